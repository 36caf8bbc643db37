#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SIGKILL of raftfs, then of its raftfsd: the next mount on the same place works at once.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
echo kept >mnt/f || fail "write"

say "raftfs killed"
kill -KILL "$(pgrep -f -- "raftfs -o data=$T/store")" || fail "no raftfs"
dead() { ! stat mnt >/dev/null 2>&1; }
wait_for 10 dead || fail "the mount still answers"
embedded_mount "$T/mnt" || fail "mount after a killed raftfs"
same "$(cat mnt/f)" kept "content"

say "raftfsd killed too"
kill -KILL $(pgrep -f -- "$T/store") || fail "no processes"
wait_for 10 dead || fail "the mount still answers"
embedded_mount "$T/mnt" || fail "mount after everything was killed"
same "$(cat mnt/f)" kept "content"
unmount "$T/mnt" || fail "unmount"
