#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# 1 GiB written, read back after remount with the same SHA-256.
. "$(dirname "$0")/lib.sh"
need_fuse
[ "$(df --output=avail -B1M "$T" | tail -n 1)" -gt 8000 ] || skip "less than 8 GB free"
embedded_mount "$T/mnt" || fail "mount"
# Fast, incompressible enough and the same each time: a keystream.
stream() { openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 0 -in /dev/zero 2>/dev/null |
    head -c 1073741824; }
want=$(stream | sha256sum)
stream >mnt/big || fail "write"
same "$(stat -c %s mnt/big)" 1073741824 "size"
same "$(sha256sum <mnt/big)" "$want" "SHA-256"
unmount "$T/mnt" && embedded_mount "$T/mnt" || fail "remount"
same "$(sha256sum <mnt/big)" "$want" "SHA-256 after remount"
rm mnt/big || fail "rm"
unmount "$T/mnt" || fail "unmount"
