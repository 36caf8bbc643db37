#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# With lease-reads on, a leader answers reads without asking anybody; one that was stopped while
# another took over and took writes, and that goes on with a read as its first input, never answers
# what was true before. With read-from any, nodes that follow answer reads, just as fresh.
. "$(dirname "$0")/lib.sh"
need_fuse
cluster_start 3
lease_reads() { # yes | no: in all files, each node started again
    for i in 1 2 3; do
        sed -i '/^lease-reads/d' "cluster/n$i.conf"
        [ "$1" = no ] || echo "lease-reads $1" >>"cluster/n$i.conf"
        node_kill $i
        node_start $i
        leader >leads
    done
}
counter() { ctl status --json | jq -e "[.nodes[].counters.$1 | numbers] | add"; }
lease() { ctl status --json | jq -er '.groups[0].lease'; }
is_lease() { [ "$(lease)" = "$1" ]; }

say "without the option there is none"
same "$(lease)" off "the lease"
leader >leads
ctl put 7:x 0 || fail "put"
ctl get 7:x >got || fail "get"
same "$(counter lease_reads)" 0 "reads by lease"

say "it is turned on node by node"
lease_reads yes
wait_for 20 is_lease holds || fail "no lease: $(ctl status)"
ctl status | grep -q ", reads by lease$" || fail "the status does not say so: $(ctl status)"
for n in 1 2 3; do ctl get 7:x >got || fail "get"; done
[ "$(counter lease_reads)" -gt 0 ] || fail "no read was by lease"

# A mount has its connection to the old leader open, so its read is among the first things that
# one finds when it goes on; the other mount has written meanwhile.
others_lead() {
    new=$(ctl status --json | jq -er '.groups[0].leader | select(. > 0)') && [ "$new" != "$old" ]
}
cluster_mount "$T/one" && cluster_mount "$T/two" || fail "mount"
echo 0 >one/x || fail "write"
for round in 1 2 3 4; do
    wait_for 20 is_lease holds || fail "no lease: $(ctl status)"
    old=$(leader)
    say "round $round: n$old leads and is stopped"
    same "$(cat one/x)" $((round - 1)) "before"
    kill -STOP "$(node_pid "$old")"
    wait_for 30 others_lead || fail "nobody took over"
    echo "$round" >two/x || fail "write"
    cat one/x >got &
    reader=$!
    kill -CONT "$(node_pid "$old")"
    wait $reader || fail "read"
    same "$(cat got)" "$round" "what is read when n$old goes on"
done
unmount "$T/one" && unmount "$T/two" || fail "unmount"

say "a restart of all without the option is as safe, and slower by a time-out only"
lease_reads no
same "$(lease)" off "the lease"
same "$(ctl get 7:x)" 0 "the value"

say "with read-from any the followers answer, too"
cp cluster/client.conf any.conf
echo "read-from any" >>any.conf
at_followers() {
    raftfsctl -c any.conf get 7:x >got || fail "get"
    same "$(cat got)" "$value" "a read anywhere"
    [ "$(counter follower_reads)" -ge 5 ]
}
value=0
wait_for 60 at_followers || fail "no follower answers: $(ctl status --json)"
for value in a b c d e f; do
    ctl put 7:x $value || fail "put"
    at_followers
done

say "and with their leader dead the reads go on"
node_kill "$(leader)" KILL
raftfsctl -c any.conf get 7:x >got || fail "get"
same "$(cat got)" "$value" "a read anywhere"
