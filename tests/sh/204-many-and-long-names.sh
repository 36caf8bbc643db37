#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# 10,000 files in one directory, names of 255 bytes, odd bytes in names.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
mkdir mnt/many && cd mnt/many || exit 1

say "10,000 files"
seq 10000 | xargs touch || fail "touch"
same "$(ls -f | wc -l)" 10002 "entries with . and .."
same "$(ls -f | sort -u | wc -l)" 10002 "different entries"
same "$(find . -type f | wc -l)" 10000 "find"
rm 5000 && same "$(ls | wc -l)" 9999 "after one rm"
ls | xargs rm && rmdir ../many || fail "rm of all"
mkdir "$T/mnt/odd" && cd "$T/mnt/odd" || exit 1

say "long and odd names"
long=$(printf 'n%.0s' $(seq 255))
echo x >"$long" && same "$(cat "$long")" x "name of 255 bytes"
expect_fail touch "${long}n" -- "File name too long"
expect_fail mkdir "${long}n" -- "File name too long"
touch 'a b' "$(printf 'new\nline')" "$(printf '\377\376')" -- '-dash' || fail "odd names"
same "$(find . -type f | tr -cd '\0' | wc -c)" 0 "no NUL"
same "$(ls -A -b | wc -l)" 5 "five names"
cd "$T" && unmount "$T/mnt" || fail "unmount"
