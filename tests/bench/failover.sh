#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# failover.sh - how long a stream of puts stands still when the leader is killed or stops. Prints,
# asserts nothing.
#
#   sh tests/bench/failover.sh [ROUNDS]        default 20; three TLS nodes, default time-outs
#
# Per round one client puts for 5 s; a second in, the leader gets SIGKILL (odd rounds) or SIGSTOP
# (even ones). The longest put is the time without service.
: "${groups=0}" # numbers are of one group, unless asked otherwise
. "$(dirname "$0")/../sh/lib.sh"
rounds=${1:-20}
PATH=$bin/tests/bench:$PATH
cluster_start 3
for round in $(seq "$rounds"); do
    node=$(leader)
    sig=STOP
    [ $((round % 2)) = 0 ] || sig=KILL
    kvbench "$T/cluster/client.conf" put 1 5 256 >out 2>err &
    bench=$!
    timeout 1.3 tail -f /dev/null # it warms up for 0.3 s
    node_kill "$node" $sig
    wait $bench
    [ $sig = KILL ] || node_kill "$node" KILL
    node_start "$node"
    wait_for 20 ctl status
    awk -v sig=$sig '{ printf "%s\t%.0f\n", sig, $5 / 1000 }' out | tee -a gaps
done
for sig in KILL STOP; do
    awk -v sig=$sig '$1 == sig { print $2 }' gaps | sort -n |
        awk -v sig=$sig '{ v[NR] = $1 } END { if (NR) printf "SIG%s: median %d ms, worst %d ms of %d\n",
            sig, v[int((NR + 1) / 2)], v[NR], NR }'
done
