#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Sparse files, truncate down and up, reads past the end, df.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
cd mnt || exit 1

say "a hole of 100 MB"
truncate -s 100M hole && printf end | dd of=hole bs=1 seek=104857600 conv=notrunc status=none
same "$(stat -c %s hole)" 104857603 "size"
same "$(head -c 104857600 hole | tr -d '\0' | wc -c)" 0 "zeros"
same "$(tail -c 3 hole)" end "what follows"

say "what was cut off never comes back"
head -c 300000 /dev/urandom >f && truncate -s 1000 f && truncate -s 300000 f || fail "truncate"
same "$(tail -c 299000 f | tr -d '\0' | wc -c)" 0 "zeros after truncate down and up"
printf x | dd of=f bs=1 seek=500000 conv=notrunc status=none
same "$(tail -c +1001 f | tr -d '\0')" x "only the last byte"

say "limits answer with their errors"
expect_fail truncate -s 65T f -- "File too large"
if command -v setfattr >/dev/null; then
    head -c 70000 /dev/zero | tr '\0' x >"$T/long"
    expect_fail setfattr -n user.long -v "$(cat "$T/long")" f -- "Argument list too long"
fi

say "df"
df --output=size,avail . | tail -n 1 | grep -q '[1-9]' || fail "df says nothing"
cd "$T" && unmount "$T/mnt" || fail "unmount"
