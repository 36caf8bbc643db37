/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dump_entry.h - what an entry of the log says, in words. Pure; the bytes may be anything.
 */
#pragma once

#include "cluster/store/record.h"

/* "noop", "data", "conf" or "?": the record's kind, as cluster/raft numbers it. */
const char *entry_kind(const struct record *r);
/* Its command and message, one line. */
void entry_text(GString *s, const struct record *r);
/* Does it name a key of the shard? False for what is no transaction. */
bool entry_touches(const struct record *r, unsigned shard);
