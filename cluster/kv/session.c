/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kv/session.h"

#include "cluster/kv/layout.h"

static void session_clear(void *p)
{
    struct session *session = p;

    g_free(session->name);
}

void sessions_init(struct sessions *s)
{
    s->live = g_array_new(false, false, sizeof(struct session));
    g_array_set_clear_func(s->live, session_clear);
}

void sessions_finish(struct sessions *s)
{
    if (s->live)
        g_array_free(s->live, true);
    *s = (struct sessions){0};
}

static struct session *at(const struct sessions *s, unsigned i)
{
    return &g_array_index(s->live, struct session, i);
}

/* The first with an id not below `client`. */
static unsigned lower_bound(const struct sessions *s, uint64_t client)
{
    unsigned lo = 0, hi = s->live->len;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (at(s, mid)->client < client)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct session *sessions_find(const struct sessions *s, uint64_t client)
{
    unsigned i = lower_bound(s, client);

    return i < s->live->len && at(s, i)->client == client ? at(s, i) : NULL;
}

const struct session *sessions_of_nonce(const struct sessions *s, uint64_t nonce, struct bytes name)
{
    for (unsigned i = 0; nonce && i < s->live->len; i++) {
        const struct session *session = at(s, i);

        if (session->nonce == nonce && bytes_eq(bytes_of(session->name, session->name_len), name))
            return session;
    }
    return NULL;
}

void sessions_add(struct sessions *s, uint64_t client, uint64_t nonce, uint64_t opened,
                  struct bytes name)
{
    struct session session = {
        .client = client,
        .nonce = nonce,
        .opened = opened,
        .name = g_memdup2(name.p, name.n),
        .name_len = name.n,
    };
    unsigned i = lower_bound(s, client);

    ASSERT(i == s->live->len || at(s, i)->client != client);
    g_array_insert_val(s->live, i, session);
}

void sessions_remove(struct sessions *s, uint64_t client)
{
    unsigned i = lower_bound(s, client);

    ASSERT(i < s->live->len && at(s, i)->client == client);
    g_array_remove_index(s->live, i);
}

struct bytes session_value(struct arena *a, uint64_t nonce, uint64_t opened, struct bytes name)
{
    uint8_t *p = arena_alloc(a, 16 + name.n);

    put_le64(p, nonce);
    put_le64(p + 8, opened);
    if (name.n)
        memcpy(p + 16, name.p, name.n);
    return bytes_of(p, 16 + name.n);
}

static int load_one(struct sessions *s, struct bytes key, struct bytes value)
{
    uint64_t client;
    int err = layout_session_client(key, &client);

    if (err || value.n < 16)
        return -ERR_CORRUPT;
    sessions_add(s, client, get_le64(value.p), get_le64(value.p + 8),
                 bytes_of(value.p + 16, value.n - 16));
    return 0;
}

int sessions_load(struct sessions *s, struct store *store, struct arena *a)
{
    struct bytes lo, hi, key, value;
    int err = 0;

    layout_session_range(a, &lo, &hi);
    struct store_iter *it = store->ops->iter_open(store, NULL, lo, hi);
    while (!err && store->ops->iter_next(it, &key, &value))
        err = load_one(s, key, value);
    int broken = store->ops->iter_close(it);
    return err ? err : broken;
}
