#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SIGTERM to the leader: it hands over before it ends, so the next term is the very next one (an
# election after a time-out might need more) and a stream of writes sees no error. The same for
# raftfsctl leader move.
. "$(dirname "$0")/lib.sh"
cluster_start 3

: >acknowledged
writer() { # numbered keys until told to stop; acknowledged ones are listed
    n=0
    while [ ! -e stop ]; do
        n=$((n + 1))
        ctl put "7:k$n" "value $n" || return 1
        echo "$n" >>acknowledged
    done
}
writer 2>errors &
writer_pid=$!
written() { [ "$(wc -l <acknowledged)" -ge "$1" ]; }
more() {
    wait_for 30 written $(($(wc -l <acknowledged) + 5)) ||
        fail "no progress: $(cat errors)"
}
term() { ctl status --json | jq -er '.groups[0].term'; }
# Without the third one, a majority hangs on a node that may not be linked yet.
complete() { [ "$(ctl status --json | jq '[.groups[0].members[] | select(.heard_ms < 500)] | length')" = 3 ]; }
more
for round in 1 2 3; do
    wait_for 20 complete || fail "a node is not heard"
    old=$(leader)
    before=$(term) || fail "no term"
    say "round $round: n$old leads term $before and is told to end"
    node_end "$old"
    new=$(leader)
    [ "$new" != "$old" ] || fail "n$old is gone and said to lead"
    same "$(term)" $((before + 1)) "the term after the hand-over"
    grep -q "hand-over gid=0" "n$old.log" || fail "n$old did not say that it hands over"
    more
    node_start_and_meet "$old"
    more
    same "$(term)" $((before + 1)) "the term after n$old is back"
done

old=$(leader)
new=$((old % 3 + 1))
before=$(term) || fail "no term"
say "an operator moves the leader from n$old to n$new"
wait_for 20 complete || fail "a node is not heard"
moved() { ctl leader move "n$new" >said; }
wait_for 20 moved || fail "leader move"
same "$(cat said)" "n$new leads group 0" "leader move"
same "$(leader)" "$new" "the leader after the move"
same "$(term)" $((before + 1)) "the term after the move"
more
expect_fail ctl leader move n9 -- "n9 is no member of group 0"
expect_fail ctl leader move x -- "is no node"
expect_fail ctl leader move --group 5 n1 -- "no such group"
expect_fail raftfsctl -c "$T/cluster/client.conf" leader move n1 -- "may not do this"
: >stop
wait $writer_pid || fail "the writer saw an error: $(cat errors)"
same "$(wc -c <errors)" 0 "bytes of errors"

say "every acknowledged value is there"
while read -r n; do
    same "$(ctl get "7:k$n")" "value $n" "key $n"
done <acknowledged
say "$(wc -l <acknowledged) values checked"
