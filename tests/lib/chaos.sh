# SPDX-License-Identifier: Apache-2.0
# chaos.sh - a real cluster is broken in every way that leaves it repairable, while a witness writes,
# reads and judges (tests/chaos/witness.c). Sourced after sh/lib.sh and lib/namespaces.sh.
#
#   chaos SIZE FAULTS [fast-reads]   that many nodes at first, that many faults one after another;
#                                    fast-reads: by lease, and at whichever node answers fastest
#
# Of nodes that come there are at most four; faults that need one more pass without an effect.
# RAFTFS_SEED draws the same faults again (not the same schedules: these are real processes);
# RAFTFS_KINDS="freeze_leader kill" has only such ones.

chaos_seed=${RAFTFS_SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
chaos_state=$chaos_seed
draw() { # N: prints nothing, sets $drawn to 0 .. N-1
    chaos_state=$(((chaos_state * 1103515245 + 12345) & 2147483647))
    drawn=$(((chaos_state >> 8) % $1))
}

answered() { tr -cd 0-9 <"$T/progress"; }
answered_more() { [ "$(answered)" -ge "$1" ]; }
# The witness gets on, or (at most a few seconds long) cannot: either way the fault has had its time.
let_act() { wait_for 3 answered_more $(($(answered) + 150)) 2>/dev/null || :; }
must_serve() { # WHAT
    wait_for 30 answered_more $(($(answered) + 50)) || fail "$1: the cluster does not serve again"
}

nodes_alive() { for i in $members; do kill -0 "$(node_pid "$i")" || return 1; done; }
some_node() {
    draw "$(echo "$members" | wc -w)"
    node=$(echo "$members" | cut -d ' ' -f $((drawn + 1)))
}
# One that is not on the small disk, which fault_full_disk needs.
some_other_node() {
    some_node
    [ "$node" != 1 ] || node=$(echo "$members" | cut -d ' ' -f 2)
}
without() { echo "$members" | tr ' ' '\n' | grep -vx "$1" | tr '\n' ' ' | sed 's/ $//'; }

fault_kill_leader() {
    node=$(leader)
    node_kill "$node"
    must_serve "n$node, the leader, was killed"
    node_start "$node"
}
fault_kill() {
    some_node
    node_kill "$node"
    let_act
    node_start "$node"
}
fault_kill_all() {
    for i in $members; do node_kill "$i"; done
    for i in $members; do node_start "$i"; done
}
fault_stop() {
    some_node
    node_kill "$node" STOP
    let_act
    node_kill "$node" CONT
}
fault_stop_leader() {
    node=$(leader)
    node_kill "$node" STOP
    must_serve "n$node, the leader, was stopped"
    node_kill "$node" CONT
}
fault_cut_leader() {
    node=$(leader)
    cut_link "n$node"
    must_serve "n$node, the leader, was cut off"
    net_heal
}
fault_cut_link() {
    some_node
    cut_link "n$node"
    let_act
    net_heal
}
fault_cut_ways() { # a leader that is heard but does not hear, or the other way round
    node=$(leader)
    draw 2
    for i in $members; do
        [ "$i" = "$node" ] && continue
        if [ "$drawn" = 0 ]; then cut_way "n$i" "n$node"; else cut_way "n$node" "n$i"; fi
    done
    let_act
    net_heal
}
fault_full_disk() {
    dd if=/dev/zero of="$T/small/fill" bs=1M >/dev/null 2>&1
    let_act
    rm -f "$T/small/fill"
}

# It wakes up cut off from the others, who have gone on, and believes to lead: what is read at it
# then must not be answered.
fault_freeze_leader() {
    node=$(leader)
    cut_off "n$node"
    node_kill "$node" STOP
    must_serve "n$node, the leader, is frozen and cut off"
    node_kill "$node" CONT
    let_act
    net_heal
}
fault_restart() {
    some_node
    node_kill "$node" TERM
    wait "$(node_pid "$node")"
    case $? in 0 | 143) ;; *) fail "n$node was told to end: status $?" ;; esac # 143: it was still starting
    let_act
    node_start "$node"
}
fault_restart_leader() {
    node=$(leader)
    node_end "$node"
    must_serve "n$node, the leader, was told to end"
    node_start "$node"
}
fault_move_leader() {
    some_node
    ctl leader move "n$node" >/dev/null 2>&1 || : # it may lead already, or not be there yet
    let_act
}

# --- members ---

# The next id, for which there is a namespace; ids are never used twice.
next_id() { [ "$last_id" -lt "$net_size" ] && last_id=$((last_id + 1)); }
# Until raftfsctl says that it is so; a change that was interrupted goes on from where it was.
change() { wait_for 60 ctl node "$@" || fail "raftfsctl node $*"; }

# One has lost its disk: under its old id it is refused, another one takes its place.
fault_wipe() {
    next_id || return 0
    some_other_node
    node_kill "$node"
    find "$T/cluster/n$node" -mindepth 1 -delete
    # shellcheck disable=SC2046
    expect_fail $(ns_exec "n$node") raftfsd -c "$T/cluster/n$node.conf" -- "no identity"
    node_come "$last_id" replace "n$node" "$(net_node "$last_id")"
    members="$(without "$node") $last_id"
}
# One comes, while the leader dies.
fault_add() {
    next_id || return 0
    change add --learner "$(net_node "$last_id")"
    node_start "$last_id"
    node=$(leader)
    node_kill "$node"
    change promote "n$last_id"
    node_start "$node"
    members="$members $last_id"
}
# One goes, maybe the leader, while another one hangs.
fault_remove() {
    [ "$(echo "$members" | wc -w)" -gt "$chaos_size" ] || return 0
    some_other_node
    gone=$node
    members=$(without "$gone")
    some_node
    node_kill "$node" STOP
    change remove "n$gone"
    node_kill "$node" CONT
    wait "$(node_pid "$gone")" # it hears that it was removed, and ends
}

chaos_kinds=${RAFTFS_KINDS:-kill_leader cut_leader stop_leader kill_all cut_ways full_disk wipe
    kill stop cut_link freeze_leader restart_leader move_leader add restart remove}

chaos() {
    chaos_size=$1 faults=$2
    kinds=$(echo $chaos_kinds)
    n_kinds=$(echo "$kinds" | wc -w)
    say "seed $chaos_seed (RAFTFS_SEED=$chaos_seed draws these faults again)"
    net_make $((chaos_size + 4))
    net_cluster_init "$chaos_size"
    members=$(seq "$chaos_size" | tr '\n' ' ' | sed 's/ $//')
    last_id=$chaos_size
    tmpfs_mount small 700m
    mv cluster/n1 small/n1 && sed -i "s|^data .*|data $T/small/n1|" cluster/n1.conf || fail "move n1"
    if [ "${3:-}" = fast-reads ]; then
        for i in $members; do echo "lease-reads yes" >>"cluster/n$i.conf"; done
        echo "read-from any" >>cluster/client.conf
    fi
    for i in $members; do node_start "$i"; done
    wait_for 20 ctl status || fail "the cluster has no leader"
    $(ns_exec c) "$bin/tests/chaos/witness" "$T/cluster/client.conf" "$chaos_seed" 6 "$T/progress" \
        >"$T/witness.log" 2>&1 &
    witness=$!
    nodes="$nodes $witness"
    wait_for 30 test -s "$T/progress" || fail "the witness does not start"
    must_serve "nothing was broken yet"
    n=0
    while [ "$n" -lt "$faults" ]; do
        # The first ones are each kind once.
        draw "$n_kinds"
        [ "$n" -ge "$n_kinds" ] || drawn=$n
        kind=$(echo "$kinds" | cut -d ' ' -f $((drawn + 1)))
        before=$(answered)
        "fault_$kind"
        must_serve "after $kind"
        kill -0 "$witness" || fail "the witness ended"
        say "$kind: $(($(answered) - before)) operations meanwhile"
        n=$((n + 1))
    done
    nodes_alive || fail "a node ended"
    kill -TERM "$witness"
    wait "$witness" || {
        cat "$T/witness.log"
        fail "the history is not what a correct cluster shows (seed $chaos_seed)"
    }
    tail -n 1 "$T/witness.log"
}
