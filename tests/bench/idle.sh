#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# idle.sh - what many idle groups cost. Prints, asserts nothing.
#
#   sh tests/bench/idle.sh [GROUPS [SECONDS]]      default 64 and 10; three TLS nodes
#
# Processor time of each node, from /proc/PID/stat, and frames between each two nodes (heartbeats of
# all groups share one, see cluster/node/beat.h); then the same after one node was killed.
: "${groups=0}" # numbers are of one group, unless asked otherwise
. "$(dirname "$0")/../sh/lib.sh"
groups=${1:-64}
seconds=${2:-10}
cluster_start 3
ctl --timeout 120 group create --count $((groups - 1)) >made || fail "group create"
# node, its uptime in ms, frames sent, beats among them; one line each
frames() {
    ctl status --json | jq -r '.nodes[] | select(.reachable) | "\(.node) \(.uptime_ms) \(
        [.counters | to_entries[] | select(.key | test("^(beats_sent|sent_)")) | .value] | add
        ) \(.counters.beats_sent)"'
}
cpu() { # node, clock in s, ticks of processor time
    for i in "$@"; do
        echo "$i $(date +%s.%N) $(awk '{ print $14 + $15 }' "/proc/$(node_pid "$i")/stat")"
    done
}
measure() { # nodes
    frames >frames.before
    cpu "$@" >cpu.before
    timeout "$seconds" tail -f /dev/null
    cpu "$@" >cpu.after
    frames >frames.after
    join cpu.before cpu.after | awk -v hz="$(getconf CLK_TCK)" \
        '{ printf "  n%d: %.1f %% of a core\n", $1, 100 * ($5 - $3) / hz / ($4 - $2) }'
    join frames.before frames.after | awk \
        '{ s = ($5 - $2) / 1000; f = ($6 - $3) / s; sum += f
           printf "  n%d sends %.1f frames/s, %.1f of them beats\n", $1, f, ($7 - $4) / s }
         END { printf "  each pair of nodes: %.1f frames/s, both directions\n", sum / (NR * (NR - 1) / 2) }'
}
echo "$groups groups, 3 nodes, idle:"
wait_for 30 ctl status
timeout 5 tail -f /dev/null # connections settle
measure 1 2 3
node_kill 3
wait_for 30 ctl status
timeout 5 tail -f /dev/null # elections are over
echo "the same with n3 killed:"
measure 1 2
