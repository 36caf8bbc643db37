#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# catchup.sh - how fast a node that lacks everything comes back while 64 clients write, and what
# they feel of it. Prints, asserts nothing.
#
#   sh tests/bench/catchup.sh [MB] [RATE]     default 400 MB of state, snapshot-rate 50
#
# Clients put 256 bytes in windows of two seconds: with the node away (before), from its start to
# the end of the snapshot (during), and with it back (after). For each window: puts/s, p50, p99 and
# the longest in us, errors; then the medians.
: "${groups=0}" # numbers are of one group, unless asked otherwise
. "$(dirname "$0")/../sh/lib.sh"
mb=${1:-400}
rate=${2:-50}
PATH=$bin/tests/bench:$PATH
cluster_start 3
for i in 1 2 3; do echo "snapshot-rate $rate" >>cluster/n$i.conf; done
for i in 1 2 3; do node_kill $i; done
for i in 1 2 3; do node_start $i; done
away=$(($(leader) % 3 + 1))
node_kill "$away"

installed() { grep -q snapshot-installed "n$away.log"; }
window() { # NAME
    line=$(kvbench "$T/cluster/client.conf" put 64 2 256 | cut -f 2-) || fail "kvbench"
    printf '%s\t%s\n' "$1" "$line" | tee -a windows
}
median() { # NAME COLUMN
    grep "^$1	" windows | cut -f "$2" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
worst() { grep "^$1	" windows | cut -f "$2" | sort -g | tail -n 1; }
cpu() { awk '{ print $14 + $15 }' "/proc/$(node_pid "$1")/stat"; }

echo "load $(cut -d' ' -f1 /proc/loadavg)"
# 1000 keys, each a value; more than once, so that some of it is old.
kvbench "$T/cluster/client.conf" put 8 $((4 + mb / 40)) $((mb * 1000)) | sed 's/^/fill\t/'
for _ in 1 2 3; do window before; done

began=$(date +%s.%N)
node_start "$away"
{
    wait_for 600 installed
    date +%s.%N
} >ended &
watch=$!
while ! installed; do window during; done
wait $watch
for _ in 1 2 3; do window after; done

bytes=$(sed -n 's/.*snapshot-installed.* bytes=\([0-9]*\).*/\1/p' "n$away.log" | head -n 1)
grep -c snapshot-installed "n$away.log" | sed 's/$/ snapshot(s) installed/'
awk -v b="$bytes" -v from="$began" -v to="$(cat ended)" 'BEGIN {
    printf "caught up with %.0f MB in %.1f s from its start: %.1f MB/s\n", b / 1e6, to - from, b / 1e6 / (to - from) }'
for phase in before during after; do
    printf '%s\t%s puts/s\tp50 %s us\tp99 %s us (worst window %s)\tlongest %s us\terrors %s\n' "$phase" \
        "$(median $phase 2)" "$(median $phase 3)" "$(median $phase 4)" "$(worst $phase 4)" \
        "$(worst $phase 5)" "$(worst $phase 6)"
done
