#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A node whose disk is full: the others go on; when it is the last one, writes fail with ENOSPC and
# work again once there is space.
. "$(dirname "$0")/lib.sh"
need_fuse
tmpfs_mount small 300m
mkdir mnt
mounts="$mounts $T/mnt"
raftfs -o data="$T/small/store" "$T/mnt" || fail "mount"
echo kept >mnt/kept || fail "write"
n=0
while [ $n -lt 60 ] && head -c 8000000 /dev/urandom >"mnt/fill$n" 2>errors; do n=$((n + 1)); done
[ $n -lt 60 ] || fail "480 MB went into 300"
grep -qi "no space" errors || { cat errors; fail "not ENOSPC"; }
same "$(cat mnt/kept)" kept "what was written before"
say "full after $n files; space comes back"
mount -o remount,size=900m "$T/small" || fail "remount"
written() { echo again >mnt/again; }
wait_for 30 written || fail "writes still fail"
same "$(cat mnt/again)" again "content"
unmount "$T/mnt" || fail "unmount"
mounts="$mounts $T/mnt"
raftfs -o data="$T/small/store" "$T/mnt" || fail "mount again"
same "$(cat mnt/kept)$(cat mnt/again)" keptagain "after a restart"
unmount "$T/mnt" || fail "unmount"
