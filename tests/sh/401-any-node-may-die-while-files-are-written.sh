#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each node is killed in turn, the leader too, while a mount writes: no error, nothing lost.
. "$(dirname "$0")/lib.sh"
need_fuse
cluster_start 3
cluster_mount "$T/mnt" || fail "mount"

writer() { # writes numbered files until told to stop; acknowledged ones are listed
    n=0
    while [ ! -e stop ]; do
        n=$((n + 1))
        echo "content of $n" >"mnt/f$n" && mv "mnt/f$n" "mnt/g$n" || return 1
        echo "$n" >>acknowledged
    done
}
writer 2>errors &
writer_pid=$!
written() { [ "$(wc -l <acknowledged 2>/dev/null || echo 0)" -ge "$1" ]; }
more() { # waits until some more were acknowledged
    wait_for 30 written $(($(wc -l <acknowledged 2>/dev/null || echo 0) + 30)) ||
        fail "no progress: $(cat errors)"
}
more
for round in 1 2 3 4; do
    victim=$(leader)
    [ $((round % 2)) = 0 ] && victim=$((victim % 3 + 1))
    say "killing n$victim"
    node_kill "$victim"
    more
    node_start "$victim"
    more
done
: >stop
wait $writer_pid || fail "the writer saw an error: $(cat errors)"
same "$(wc -c <errors)" 0 "bytes of errors"

say "every acknowledged file is there, also from a fresh mount"
unmount "$T/mnt" && cluster_mount "$T/mnt" || fail "remount"
while read -r n; do
    same "$(cat "mnt/g$n")" "content of $n" "file $n"
done <acknowledged
say "$(wc -l <acknowledged) files checked"

say "and after all nodes were killed at once"
for i in 1 2 3; do node_kill $i; done
for i in 1 2 3; do node_start $i; done
while read -r n; do
    same "$(cat "mnt/g$n")" "content of $n" "file $n"
done <acknowledged
unmount "$T/mnt" || fail "unmount"
