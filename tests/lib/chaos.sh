# SPDX-License-Identifier: Apache-2.0
# chaos.sh - a real cluster is broken in every way that leaves it repairable, while a witness writes,
# reads and judges (tests/chaos/witness.c). Sourced after sh/lib.sh and lib/namespaces.sh.
#
#   chaos SIZE FAULTS     that many nodes, that many faults one after another
#
# RAFTFS_SEED draws the same faults again (not the same schedules: these are real processes).

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

nodes_alive() { for i in $(seq "$net_size"); do kill -0 "$(node_pid "$i")" || return 1; done; }
some_node() {
    draw "$net_size"
    node=$((drawn + 1))
}

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
    for i in $(seq "$net_size"); do node_kill "$i"; done
    for i in $(seq "$net_size"); do node_start "$i"; done
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
    for i in $(seq "$net_size"); do
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

chaos() {
    size=$1 faults=$2
    say "seed $chaos_seed (RAFTFS_SEED=$chaos_seed draws these faults again)"
    net_make "$size"
    net_cluster_init
    tmpfs_mount small 700m
    mv cluster/n1 small/n1 && sed -i "s|^data .*|data $T/small/n1|" cluster/n1.conf || fail "move n1"
    for i in $(seq "$size"); do node_start "$i"; done
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
        draw 9
        [ "$n" -ge 9 ] || drawn=$n
        kind=$(echo kill_leader cut_leader stop_leader kill_all cut_ways full_disk kill stop cut_link |
            cut -d ' ' -f $((drawn + 1)))
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
