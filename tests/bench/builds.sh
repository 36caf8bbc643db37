#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# builds.sh - several builds of raftfsd side by side, round after round, so that what else runs on
# the machine meets all of them. Prints, asserts nothing.
#
#   sh tests/bench/builds.sh ROUNDS RAFTFSD...
#
# Each round runs a cluster of three with each build: puts of 256 bytes by 1, 16 and 64 clients for
# two seconds. Prints the medians: puts/s, p50 and p99 in us, and CPU time of the three nodes per put.
: "${groups=0}" # numbers are of one group, unless asked otherwise
. "$(dirname "$0")/../sh/lib.sh"
rounds=$1
shift
PATH=$bin/tests/bench:$PATH
for build in "$@"; do [ -x "$build" ] || fail "no raftfsd: $build"; done
tick=$((1000000 / $(getconf CLK_TCK)))

cpu_us() { # of all nodes so far
    for pid in $pid_1 $pid_2 $pid_3; do
        awk -v tick="$tick" '{ print ($14 + $15) * tick }' "/proc/$pid/stat"
    done | awk '{ sum += $1 } END { print sum }'
}
for round in $(seq "$rounds"); do
    number=0
    for build in "$@"; do
        number=$((number + 1))
        raftfsd() { exec "$build" "$@"; }
        cluster_start 3 >/dev/null
        for clients in 1 16 64; do
            before=$(cpu_us)
            line=$(kvbench "$T/cluster/client.conf" put $clients 2 256 | cut -f 2-4) || fail kvbench
            after=$(cpu_us)
            # kvbench puts for 0.3 s more, before its clock runs.
            echo "$line" | awk -v n=$number -v c=$clients -v cpu=$((after - before)) \
                '{ printf "%s\t%s\t%s\t%s\t%s\t%.1f\n", n, c, $1, $2, $3, cpu / ($1 * 2.3) }' >>rounds
        done
        for i in 1 2 3; do node_kill $i; done
        rm -rf cluster n?.log
    done
done
median() { # BUILD CLIENTS COLUMN
    awk -v b="$1" -v c="$2" -v col="$3" '$1 == b && $2 == c { print $col }' rounds | sort -g |
        awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
number=0
for build in "$@"; do
    number=$((number + 1))
    echo "$build"
    for clients in 1 16 64; do
        printf '  %s clients\t%s puts/s\tp50 %s us\tp99 %s us\t%s us of CPU per put\n' $clients \
            "$(median $number $clients 3)" "$(median $number $clients 4)" \
            "$(median $number $clients 5)" "$(median $number $clients 6)"
    done
done
