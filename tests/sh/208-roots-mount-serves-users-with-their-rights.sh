#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Permissions hold on a mount made by root: modes, owners, sticky directories.
. "$(dirname "$0")/lib.sh"
need_fuse
[ "$(id -u)" = 0 ] || skip "run as root, to become an ordinary user"
command -v runuser >/dev/null || skip "no runuser"
embedded_mount "$T/mnt" || fail "mount"
as() { runuser -u nobody -- "$@"; }
as stat mnt >/dev/null 2>&1 || fail "another user may not even look"
echo secret >mnt/private && chmod 600 mnt/private
expect_fail as cat "$T/mnt/private" -- "Permission denied"
expect_fail as touch "$T/mnt/x" -- "Permission denied"
mkdir -m 1777 mnt/tmp
as sh -c "echo mine >$T/mnt/tmp/f" || fail "write into a 1777 directory"
same "$(stat -c %U mnt/tmp/f)" nobody "owner"
touch mnt/tmp/roots
expect_fail as rm -f "$T/mnt/tmp/roots" -- "Operation not permitted"
expect_fail as mv "$T/mnt/tmp/roots" "$T/mnt/tmp/taken" -- "Operation not permitted"
expect_fail as chmod 777 "$T/mnt/tmp/roots" -- "Operation not permitted"
mkdir -m 2777 mnt/group && chgrp 1234 mnt/group && chmod 2777 mnt/group
as touch "$T/mnt/group/f" && same "$(stat -c %g mnt/group/f)" 1234 "group from a setgid directory"
unmount "$T/mnt" || fail "unmount"
