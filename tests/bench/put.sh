#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# put.sh - one put against the machine's own floor, and what group commit gives. Prints, asserts
# nothing.
#
#   sh tests/bench/put.sh [ROUNDS]        default 3; prints each round, then medians
#
# floor = two TLS loopback round trips (client-leader, leader-follower) + one in-place fdatasync
# while three processes sync at once, measured in the same round with the yardsticks netping and
# fsyncbench (SHARED, default ../shared/bench beside the checkout).
: "${groups=0}" # numbers are of one group, unless asked otherwise
. "$(dirname "$0")/../sh/lib.sh"
rounds=${1:-3}
shared=${SHARED:-$top/../shared/bench}
[ -f "$shared/netping.c" ] || skip "no yardsticks in $shared"
PATH=$bin/tests/bench:$PATH
gcc -O2 -o netping "$shared/netping.c" -lssl -lcrypto && gcc -O2 -o fsyncbench "$shared/fsyncbench.c" ||
    fail "cannot build the yardsticks"
cluster_start 3
mkdir sync
for round in $(seq "$rounds"); do
    rtt=$(./netping tls 2 | awk -F '\t' '/rtt64_p50/ { print $2 }')
    sync=$(./fsyncbench sync 2 3 4096 overwrite | awk -F '\t' '{ print $3 }')
    one=$(kvbench "$T/cluster/client.conf" put 1 4 256)
    many=$(kvbench "$T/cluster/client.conf" put 64 4 256)
    most=$(kvbench "$T/cluster/client.conf" put 256 4 256)
    fewer=$(kvbench "$T/cluster/client.conf" put 256 4 256 8)
    get=$(kvbench "$T/cluster/client.conf" get 1 2 256)
    printf 'round %s\trtt %s us\tfdatasync %s us\n%s\n%s\n%s\n%s\n%s\n' "$round" "$rtt" "$sync" \
        "$one" "$many" "$most" "$fewer" "$get"
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$rtt" "$sync" "$(echo "$one" | cut -f 2,3)" \
        "$(echo "$many" | cut -f 2)" "$(echo "$most" | cut -f 2)" "$(echo "$fewer" | cut -f 2)" \
        >>rounds
done
median() { cut -f "$1" rounds | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
awk -v rtt="$(median 1)" -v sync="$(median 2)" -v ops="$(median 3)" -v p50="$(median 4)" \
    -v many="$(median 5)" -v most="$(median 6)" -v fewer="$(median 7)" 'BEGIN {
        floor = 2 * rtt + sync
        printf "floor %.0f us = 2 x %.1f + %.1f\n", floor, rtt, sync
        printf "one client: median %.0f us = %.2f x the floor, %.0f puts/s\n", p50, p50 / floor, ops
        printf "64 clients: %.0f puts/s = %.1f x one client\n", many, many / ops
        printf "256 clients: %.0f puts/s = %.1f x one client\n", most, most / ops
        printf "256 clients, 8 a thread: %.0f puts/s = %.1f x one client\n", fewer, fewer / ops }'
for pid in $nodes; do awk '/VmRSS/ { print "raftfsd RSS MB:", $2 / 1024 }' "/proc/$pid/status"; done
