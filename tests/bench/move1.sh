#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# move.sh - a large shard moves while it is written: for how long is it not served, and what do clients
# of other shards notice; then what it costs to rebalance when a group joins. Prints, asserts nothing.
#
#   sh tests/bench/move.sh [MB]    default 2048
. "$(dirname "$0")/../sh/lib.sh"
groups=0 # they are made here
mb=${1:-2048}
PATH=$bin/tests/bench:$PATH
cluster_start 3
ctl --timeout 60 group create --count 3 >/dev/null || fail "group create"
ctl --timeout 60 group join 1 2 >/dev/null || fail "group join"
shard=7
# By the disk itself: /proc/PID/io counts a page of the cache that is written to as a whole, and such a
# page may be a MiB.
disk=/sys/dev/block/$(stat -c '%Hd:%Ld' "$T")/stat
written() { awk '{ printf "%.0f", $7 * 512 }' "$disk"; }
b0=$(written)
movebench "$T/cluster/client.conf" fill $shard "$mb" || fail "fill"
printf 'filled: %s MB written to disk\n' "$((($(written) - b0) / 1048576))"
from=$(ctl config --json | jq ".owners[$shard]")
to=$((3 - from))

b0=$(written)
movebench "$T/cluster/client.conf" watch $shard 10 4 >still
printf 'ten seconds of the watching alone: %s MB written to disk\n' "$((($(written) - b0) / 1048576))"
movebench "$T/cluster/client.conf" watch $shard "$((20 + mb / 20))" 4 >moving &
watcher=$!
b0=$(written)
date +%s.%N; ctl --timeout 600 shard move $shard $to || fail "shard move"
printf 'written to disk meanwhile: %s MB, of a shard of %s MB\n' "$((($(written) - b0) / 1048576))" "$mb"
kill -0 $watcher 2>/dev/null || echo "the watcher ended before the move did"
date +%s.%N; wait $watcher; for i in 1 2 3; do tail -15 $T/n$i.log; done; exit 0
for f in still moving; do
    awk -v what=$f -F '\t' '{ printf "%s: longest time without an answer from the shard %.0f ms; others: %s puts/s, p50 %s us, p99 %s us, max %s us, errors %s\n", what, $3, $4, $5, $6, $7, $8 }' $f
done
ctl --timeout 600 rebalance --dry-run
ctl --timeout 600 group join 3
