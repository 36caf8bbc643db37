#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A node that was away for longer than the others keep their log gets the whole state while clients
# write: killed in the middle it goes on where it was, and when the sender dies another one sends.
. "$(dirname "$0")/lib.sh"
PATH=$bin/tests/bench:$PATH
cluster_start 3
# Slow enough to be caught in the middle, whatever the machine.
for i in 1 2 3; do echo "snapshot-rate 25" >>cluster/n$i.conf; done
for i in 1 2 3; do node_kill $i; done
for i in 1 2 3; do node_start $i; done
from=$(leader)
away=$((from % 3 + 1))
third=$((6 - from - away))

counter() { # NODE NAME
    ctl status --json | jq -er ".nodes[] | select(.node == $1) | .counters.$2"
}
is_more() { [ "$(counter "$1" "$2")" -gt "$3" ]; }

writer() { # puts numbered keys until told to stop; acknowledged ones are listed
    n=0
    while [ ! -e stop ]; do
        n=$((n + 1))
        ctl --timeout 20 put "9:k$n" "value-$n" || return 1
        echo "$n" >>acknowledged
    done
}

say "n$away is away while some 200 MB are written"
node_kill "$away"
kvbench "$T/cluster/client.conf" put 16 6 200000 >filled || fail "fill"
same "$(cut -f 6 filled)" 0 "errors of the fill"
writer 2>errors &
writer_pid=$!

say "it comes back, and dies in the middle of what n$from sends"
node_start "$away"
wait_for 30 is_more "$away" snapshot_bytes_received 30000000 || fail "nothing comes in"
node_kill "$away"
node_start "$away"
resumed() { grep -q snapshot-resume "n$away.log" && is_more "$from" snapshots_resumed 0; }
wait_for 30 resumed || fail "it does not go on where it was"
grep snapshot-resume "n$away.log" | grep -vq "bytes=0$" || fail "it kept nothing"

say "the sender dies: n$third or n$away leads, and sends if need be"
is_more "$away" snapshots_installed 0 && fail "too late to kill the sender: all is there"
node_kill "$from"
[ "$(leader)" = "$third" ] || fail "n$(leader) leads, which lacks what was written"
wait_for 60 is_more "$away" snapshots_installed 0 || fail "no snapshot was installed"

say "it has caught up, no client saw an error, nothing is lost"
node_start "$from"
: >stop
wait $writer_pid || fail "the writer saw an error: $(cat errors)"
same "$(wc -c <errors)" 0 "bytes of errors"
equal() { ctl check; }
wait_for 60 equal || { ctl check; fail "the replicas differ"; }
last=$(tail -n 1 acknowledged)
same "$(ctl get "9:k$last")" "value-$last" "the last one acknowledged"
say "$last puts meanwhile"
