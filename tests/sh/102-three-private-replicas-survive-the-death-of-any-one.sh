#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# -o replicas=3: three supervised raftfsd; each is killed in turn while files are written and read.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" -o replicas=3 || fail "mount"
replicas() { pgrep -f -- "raftfsd -c $T/store" | wc -l; }
three() { [ "$(replicas)" = 3 ]; }
wait_for 10 three || fail "not three raftfsd but $(replicas)"

for round in 1 2 3; do
    say "killing replica $round"
    echo "before $round" >"mnt/before$round" || fail "write before kill $round"
    victim=$(pgrep -f -- "raftfsd -c $T/store.*n$round.conf" | head -n 1)
    kill -KILL "$victim" || fail "no replica n$round"
    echo "after $round" >"mnt/after$round" || fail "write after kill $round"
    same "$(cat "mnt/before$round")" "before $round" "content"
    wait_for 15 three || fail "the supervisor does not start it again"
done
same "$(cat mnt/before* mnt/after* | wc -l)" 6 "files in all"
unmount "$T/mnt" || fail "unmount"
