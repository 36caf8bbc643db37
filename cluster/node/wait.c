/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/wait.h"
#include "cluster/node/damage.h"
#include "cluster/node/queue.h"
#include "cluster/node/request.h"

/* A longer wait is asked again by the client: nothing here outlives a day. */
#define WAIT_MS_MAX (24u * 3600 * 1000)

struct waiter {
    struct request *request;
    struct bytes key; /* in request->body */
    uint64_t version;
    uint64_t deadline; /* tick */
    bool due;          /* in wait_table.due */
    GList *link;       /* in wait_table.all */
};

struct wait_table {
    struct group *group;
    GQueue all;         /* in order of arrival */
    GHashTable *by_key; /* struct bytes * (the first waiter's key copied) -> GPtrArray of waiters */
    GPtrArray *due;     /* marked by wait_changed */
    struct arena arena;
};

static guint bytes_hash(gconstpointer p)
{
    const struct bytes *b = p;
    guint h = 2166136261u;
    for (size_t i = 0; i < b->n; i++)
        h = (h ^ b->p[i]) * 16777619u;
    return h;
}

static gboolean bytes_equal(gconstpointer a, gconstpointer b)
{
    return bytes_eq(*(const struct bytes *)a, *(const struct bytes *)b);
}

static struct bytes *key_copy(struct bytes key)
{
    struct bytes *k = g_malloc(sizeof(*k) + key.n);
    memcpy(k + 1, key.p, key.n);
    *k = bytes_of(k + 1, key.n);
    return k;
}

static void waiters_free(gpointer p)
{
    g_ptr_array_free(p, TRUE);
}

struct wait_table *waits_create(struct group *g)
{
    struct wait_table *w = g_new0(struct wait_table, 1);
    w->group = g;
    g_queue_init(&w->all);
    w->by_key = g_hash_table_new_full(bytes_hash, bytes_equal, g_free, waiters_free);
    w->due = g_ptr_array_new();
    return w;
}

/* The request is left to the caller. */
static struct request *leave(struct wait_table *w, struct waiter *waiter)
{
    GPtrArray *same = g_hash_table_lookup(w->by_key, &waiter->key);
    g_ptr_array_remove(same, waiter);
    kv_unwatch(w->group->kv, waiter->key);
    if (same->len == 0)
        g_hash_table_remove(w->by_key, &waiter->key);
    if (waiter->due)
        g_ptr_array_remove(w->due, waiter);
    g_queue_delete_link(&w->all, waiter->link);
    struct request *r = waiter->request;
    g_free(waiter);
    return r;
}

void waits_destroy(struct wait_table *w)
{
    if (!w)
        return;
    struct waiter *waiter;
    while ((waiter = g_queue_peek_head(&w->all)) != NULL)
        request_destroy(leave(w, waiter));
    g_hash_table_destroy(w->by_key);
    g_ptr_array_free(w->due, TRUE);
    arena_finish(&w->arena);
    g_free(w);
}

/* Reads the key into the table's arena. 1: its version differs, 0: not yet, or an error. */
static int look(struct wait_table *w, struct bytes key, uint64_t version, struct msg_txn_reply *ret)
{
    struct kv_read read = {.op = KV_GET, .key = key};
    struct msg_txn txn = {.n_reads = 1, .reads = &read};
    *ret = (struct msg_txn_reply){0};
    int err = kv_read(w->group->kv, &txn, &w->arena, ret);
    if (err == -ERR_IO || err == -ERR_CORRUPT)
        group_fatal(w->group, err, "group %u: read the state store", w->group->gid);
    if (err < 0)
        return err;
    return ret->n_reads != 1 || ret->reads[0].version != version;
}

/* The key is locked: the request comes again (wait_enter) when it is not. */
static void wait_for_lock(struct wait_table *w, struct request *r, struct bytes key)
{
    struct kv_read read = {.op = KV_GET, .key = key};
    const struct msg_txn txn = {.n_reads = 1, .reads = &read};
    queue_read(w->group->queue, r, &txn);
}

static void answer(struct request *r, int got, const struct msg_txn_reply *reply)
{
    if (got < 0) {
        request_fail(r, got, 0, NULL);
        return;
    }
    CONN_ANSWER(r->node, r->token, txn_reply, r->id, reply);
    request_destroy(r);
}

void wait_enter(struct wait_table *w, struct request *r, const struct raft_read *read)
{
    struct msg_wait m;
    struct msg_txn_reply reply;
    arena_reset(&w->arena);
    if (dec_wait(buf_bytes(r->body), &w->arena, &m) < 0) {
        request_fail(r, -ERR_INVALID, 0, NULL); /* cannot be: it was decoded when it came */
        return;
    }
    int got = look(w, m.key, m.version, &reply);
    if (got == -ERR_BUSY) {
        wait_for_lock(w, r, m.key);
        return;
    }
    r->lock_until = 0;
    if (!group_read_holds(w->group, read, r))
        return;
    if (got != 0) {
        answer(r, got, &reply);
        return;
    }
    struct waiter *waiter = g_new0(struct waiter, 1);
    waiter->request = r;
    waiter->key = m.key;
    waiter->version = m.version;
    waiter->deadline = w->group->node->now + TICKS(MIN(m.timeout_ms, WAIT_MS_MAX));
    g_queue_push_tail(&w->all, waiter);
    waiter->link = g_queue_peek_tail_link(&w->all);
    GPtrArray *same = g_hash_table_lookup(w->by_key, &m.key);
    if (!same) {
        same = g_ptr_array_new();
        g_hash_table_insert(w->by_key, key_copy(m.key), same);
    }
    g_ptr_array_add(same, waiter);
    kv_watch(w->group->kv, m.key);
}

void wait_changed(struct wait_table *w, struct bytes key)
{
    GPtrArray *same = g_hash_table_lookup(w->by_key, &key);
    for (guint i = 0; same && i < same->len; i++) {
        struct waiter *waiter = g_ptr_array_index(same, i);
        if (!waiter->due)
            g_ptr_array_add(w->due, waiter);
        waiter->due = true;
    }
}

void wait_shard_changed(struct wait_table *w, unsigned shard)
{
    for (GList *l = w->all.head; l; l = l->next) {
        struct waiter *waiter = l->data;
        if (get_be16(waiter->key.p) != shard || waiter->due)
            continue;
        g_ptr_array_add(w->due, waiter);
        waiter->due = true;
    }
}

void waits_serve(struct wait_table *w)
{
    /* Answering never marks: no new ones come while this runs. */
    while (w->due->len > 0) {
        struct waiter *waiter = g_ptr_array_remove_index(w->due, 0);
        struct msg_txn_reply reply;
        waiter->due = false;
        arena_reset(&w->arena);
        int got = look(w, waiter->key, waiter->version, &reply);
        if (got == -ERR_BUSY) {
            struct bytes key = waiter->key; /* in the request */
            wait_for_lock(w, leave(w, waiter), key);
        } else if (got != 0) {
            answer(leave(w, waiter), got, &reply);
        }
    }
}

void waits_tick(struct wait_table *w)
{
    uint64_t now = w->group->node->now;
    for (GList *l = w->all.head, *next; l; l = next) {
        struct waiter *waiter = l->data;
        next = l->next;
        if (now >= waiter->deadline)
            request_fail(leave(w, waiter), -ERR_TIMEOUT, 0, NULL);
    }
}

void waits_fail(struct wait_table *w, int err)
{
    struct waiter *waiter;
    while ((waiter = g_queue_peek_head(&w->all)) != NULL)
        request_fail(leave(w, waiter), err, group_hint(w->group), NULL);
}

void waits_drop_conn(struct wait_table *w, uint64_t token)
{
    for (GList *l = w->all.head, *next; l; l = next) {
        struct waiter *waiter = l->data;
        next = l->next;
        if (waiter->request->token == token)
            request_destroy(leave(w, waiter));
    }
}

size_t waits_count(const struct wait_table *w)
{
    return g_queue_get_length((GQueue *)&w->all);
}
