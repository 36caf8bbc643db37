/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - the live sessions: in the store under TABLE_SESSION and, for the check that every
 * transaction makes, in memory, ascending by client id (a new id is the highest, so it is
 * appended).
 *
 * A session's life: open (an entry; its index is the id) - live - closed by the client or by the
 * leader on expiry (an entry). There is no way back: ids are never reused, so whatever a closed
 * client still has under way is refused from that entry on.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/store/store.h"

#define SESSION_NAME_MAX 255

struct session {
    uint64_t client, nonce, opened;
    uint8_t *name; /* owned */
    size_t name_len;
};

struct sessions {
    GArray *live; /* struct session */
};

void sessions_init(struct sessions *s);
void sessions_finish(struct sessions *s);
/* Reads them all from the store. -ERR_IO, -ERR_CORRUPT. */
NODISCARD int sessions_load(struct sessions *s, struct store *store, struct arena *a);

const struct session *sessions_find(const struct sessions *s, uint64_t client);
/* The session that an OPEN with this nonce and name has made already: its sender missed the answer.
 */
const struct session *sessions_of_nonce(const struct sessions *s, uint64_t nonce,
                                        struct bytes name);
void sessions_add(struct sessions *s, uint64_t client, uint64_t nonce, uint64_t opened,
                  struct bytes name);
void sessions_remove(struct sessions *s, uint64_t client);

/* The stored form. */
struct bytes session_value(struct arena *a, uint64_t nonce, uint64_t opened, struct bytes name);
