/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/session.h"

struct session_clock {
    struct group *group;
    GHashTable *heard; /* client -> tick, boxed in struct heard */
};

struct heard {
    uint64_t client, at;
};

struct session_clock *sessions_create(struct group *g)
{
    struct session_clock *s = g_new0(struct session_clock, 1);
    s->group = g;
    s->heard = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    return s;
}

void sessions_destroy(struct session_clock *s)
{
    if (!s)
        return;
    g_hash_table_destroy(s->heard);
    g_free(s);
}

static void note(struct session_clock *s, uint64_t client)
{
    struct heard *h = g_hash_table_lookup(s->heard, &client);
    if (!h) {
        h = g_new0(struct heard, 1);
        h->client = client;
        g_hash_table_insert(s->heard, &h->client, h);
    }
    h->at = s->group->node->now;
}

void session_heard(struct session_clock *s, uint64_t client)
{
    /* Only ids that live: a stranger's ids take no memory here. Group 0 alone ends sessions. */
    if (client != 0 && s->group->gid == 0 && s->group->leading && kv_has_session(s->group->kv, client))
        note(s, client);
}

void sessions_forget(struct session_clock *s)
{
    g_hash_table_remove_all(s->heard);
}

struct search {
    struct session_clock *clock;
    GArray *silent; /* client ids, in the state machine's order */
};

static void judge(void *arg, uint64_t client, struct bytes name)
{
    struct search *search = arg;
    struct session_clock *s = search->clock;
    const struct heard *h = g_hash_table_lookup(s->heard, &client);
    if (!h)
        note(s, client);
    else if (s->group->node->now - h->at > TICKS(SESSION_TIMEOUT_MS))
        g_array_append_val(search->silent, client);
}

static gboolean is_gone(gpointer key, gpointer value, gpointer arg)
{
    const struct session_clock *s = arg;
    return !kv_has_session(s->group->kv, *(const uint64_t *)key);
}

void sessions_house(struct session_clock *s)
{
    struct group *g = s->group;
    if (!g->leading)
        return;
    g_hash_table_foreach_remove(s->heard, is_gone, s);
    struct search search = {s, g_array_new(FALSE, FALSE, sizeof(uint64_t))};
    kv_each_session(g->kv, judge, &search);
    for (guint i = 0; i < search.silent->len; i++) {
        struct msg_session_close m = {g_array_index(search.silent, uint64_t, i)};
        struct enc e = {0};
        enc_session_close(&e, &m);
        node_log(g->node, LOG_INFO, "expire client=%" G_GUINT64_FORMAT, m.client);
        group_propose(g, KV_CMD_SESSION_CLOSE, enc_view(&e), NULL);
        enc_finish(&e);
        /* Should the entry be lost, it is proposed again after another time-out. */
        note(s, m.client);
    }
    g_array_free(search.silent, TRUE);
}
