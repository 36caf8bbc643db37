/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.h - the algebra of advisory locks: what conflicts, how a new lock splits and merges the
 * ones its owner has, as fcntl(2) says. Pure; the list is what an 'L' key's value holds.
 *
 * Value: records of LOCK_RECORD bytes: le64 session, le64 owner, le64 start, le64 end (inclusive),
 * le32 pid, u8 type (F_RDLCK 0, F_WRLCK 1 as stored numbers), u8 flock, 2 bytes 0.
 */
#pragma once

#include "fs/volume.h"

#define LOCK_RECORD 40

struct range {
    uint64_t session, owner, start, end;
    uint32_t pid;
    bool write, flock;
};

NODISCARD int ranges_decode(struct bytes value, GArray *ret); /* struct range; -EIO */
void ranges_encode(const GArray *list, struct enc *e);
/* The first lock that stands against `want`; NULL: none. */
const struct range *ranges_conflict(const GArray *list, const struct range *want);
/* Gives the owner of `set` its range: with `unlock` nothing there, else a lock of set's type. */
void ranges_set(GArray *list, const struct range *set, bool unlock);
