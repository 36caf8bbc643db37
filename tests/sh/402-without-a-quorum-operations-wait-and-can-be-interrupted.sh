#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two of three nodes stopped: an operation waits, Ctrl-C ends it, status says why; then all goes on.
. "$(dirname "$0")/lib.sh"
need_fuse
cluster_start 3
cluster_mount "$T/mnt" || fail "mount"
echo x >mnt/f || fail "write"
mkfifo fifo
dd if=fifo of=mnt/h conv=fsync status=none 2>/dev/null &
late=$!
exec 9>fifo
opened() { [ -e mnt/h ]; }
wait_for 10 opened || fail "dd did not open its file"
node_kill 1 && node_kill 2

say "a write waits"
sh -c 'echo y >mnt/g' 9>&- &
waiting=$!
no_leader() { ! ctl status >status 2>&1; }
wait_for 20 no_leader || fail "status still reports a leader"
kill -0 $waiting || fail "the write did not wait"

say "status says why"
grep -qi "quorum" status || { cat status; fail "no word of the quorum"; }

say "an interrupted operation ends"
timeout -s INT 3 cat mnt/f >/dev/null 2>&1
same $? 124 "exit of the interrupted cat"
ended() { ! pgrep -f "cat mnt/f" >/dev/null; }
wait_for 5 ended || fail "cat cannot be interrupted"

say "so does one whose written data cannot be flushed"
echo late >&9
exec 9>&-
in_fsync() { grep -q '^74 ' "/proc/$late/syscall"; }
[ "$(uname -m)" = x86_64 ] && { wait_for 10 in_fsync || fail "dd is not in fsync"; }
kill -INT $late # a background job of a shell ignores SIGINT: it must still be there
kill -TERM $late
gone() { ! kill -0 $late; }
wait_for 10 gone || fail "dd cannot be ended"
wait $late

say "with the quorum back the waiting write ends well"
node_start 1
wait $waiting || fail "the write failed"
same "$(cat mnt/g)" y "content"
late() { [ "$(cat mnt/h)" = late ]; }
wait_for 15 late || fail "what the ended dd had written did not arrive"
node_start 2
unmount "$T/mnt" || fail "unmount"
