#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An unlinked or replaced file stays readable and writable through what is open.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
cd mnt || exit 1
echo first >f
exec 3<f 4>>f
rm f || fail "rm of an open file"
echo second >&4 || fail "write after rm"
same "$(cat <&3)" "$(printf 'first\nsecond')" "what the open file holds"
same "$(stat -L -c %h /dev/fd/3)" 0 "its link count"
exec 3<&- 4>&-
echo old >g && exec 3<g && echo new >h && mv h g || fail "replace"
same "$(cat <&3)" old "the replaced file, through its descriptor"
same "$(cat g)" new "the new one, by name"
exec 3<&-
cd "$T" && unmount "$T/mnt" || fail "unmount"
