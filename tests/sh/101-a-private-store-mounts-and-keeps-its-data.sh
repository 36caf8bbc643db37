#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `raftfs -o data=DIR MOUNTPOINT` alone: mounts, works, unmounts cleanly, finds everything again.
. "$(dirname "$0")/lib.sh"
need_fuse

say "mounts and works"
embedded_mount "$T/mnt" || fail "mount"
is_mounted "$T/mnt" || fail "not in the mount table"
echo hello >mnt/greeting || fail "write"
same "$(cat mnt/greeting)" hello "content"
mkdir mnt/d && mv mnt/greeting mnt/d/g || fail "mkdir and mv"

say "unmounting stops every process of the store"
unmount "$T/mnt" || fail "unmount"
no_daemon() { ! pgrep -f -- "$T/store" >/dev/null; }
wait_for 15 no_daemon || fail "a raftfsd of the store is still running"

say "mounting again finds the data"
embedded_mount "$T/mnt" || fail "second mount"
same "$(cat mnt/d/g)" hello "content after remount"
unmount "$T/mnt" || fail "second unmount"
