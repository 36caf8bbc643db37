#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Without root: mount with fusermount3, private store in $HOME, unmount.
. "$(dirname "$0")/lib.sh"
need_fuse
[ "$(id -u)" = 0 ] || skip "run as root, to become an ordinary user"
command -v runuser >/dev/null || skip "no runuser"
[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-uid"
mkdir home home/mnt && chown -R nobody home
# Debian's udev rule makes /dev/fuse usable by all; where no udev ran (a container), a device of our own
# in a mount namespace of our own stands in for it.
if ! runuser -u nobody -- test -w /dev/fuse && [ -z "${RAFTFS_OWN_FUSE:-}" ]; then
    mknod -m 666 fuse c 10 229 2>/dev/null && unshare -m true 2>/dev/null || skip "/dev/fuse is root's"
    unshare -m --propagation private sh -c "mount --bind '$T/fuse' /dev/fuse &&
        RAFTFS_OWN_FUSE=1 exec sh '$top/tests/sh/$(basename "$0")'"
    exit $?
fi
runuser -u nobody -- test -x "$bin/fs/fuse/raftfs" || skip "nobody cannot reach $bin"
mounts="$mounts $T/home/mnt"
as() { runuser -u nobody -- env HOME="$T/home" XDG_DATA_HOME="$T/home/data" PATH="$PATH" "$@"; }

as raftfs "$T/home/mnt" || fail "mount as nobody"
as sh -c 'echo mine >"$HOME/mnt/f" && cat "$HOME/mnt/f"' >out || fail "write as nobody"
same "$(cat out)" mine "content"
same "$(as stat -c %U "$T/home/mnt/f")" nobody "owner"
as fusermount3 -u "$T/home/mnt" || fail "unmount as nobody"
gone() { ! pgrep -u nobody raftfs >/dev/null; }
wait_for 15 gone || fail "a daemon of nobody is left"
