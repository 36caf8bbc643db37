/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/state.h"

#include <string.h>

#define SCAN_PAGE  1000
#define DELETE_MAX 1000

static int run(struct state *s, struct txn *t)
{
    return txn_run(s->client, t, 0, s->cancel);
}

int state_init(struct state *s, struct client *client, struct client_cancel *cancel)
{
    *s = (struct state){.client = client, .cancel = cancel, .shards = client_shards(client)};
    if (s->shards)
        return 0;
    int rc = client_probe(client, 5000, NULL);
    s->shards = client_shards(client);
    if (rc == 0 && !s->shards)
        rc = -ERR_UNREACHABLE;
    return rc;
}

int state_get(struct state *s, struct arena *a, struct bytes key, struct bytes *ret,
              uint64_t *ret_version)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_get(&t, key);
    int rc = run(s, &t);
    if (rc < 0)
        return rc;
    *ret = arena_copy(a, t.reply.reads[0].value);
    *ret_version = t.reply.reads[0].version;
    return 0;
}

int state_replace(struct state *s, struct bytes key, uint64_t version, struct bytes value)
{
    struct txn t CLEANUP(txn_finish) = {0};
    if (version)
        txn_version(&t, key, version);
    else
        txn_absent(&t, key);
    txn_put(&t, key, value);
    return run(s, &t);
}

int state_put(struct state *s, struct bytes key, struct bytes value)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_put(&t, key, value);
    return run(s, &t);
}

int state_delete(struct state *s, struct bytes key)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_delete(&t, key);
    return run(s, &t);
}

int state_delete_version(struct state *s, struct bytes key, uint64_t version)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_version(&t, key, version);
    txn_delete(&t, key);
    int rc = run(s, &t);
    return rc == -ERR_FAILED ? 0 : rc;
}

int state_scan(struct state *s, struct arena *a, struct bytes lo, struct bytes hi,
               struct state_pair **ret, size_t *ret_n)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(struct state_pair));
    bool more = true;
    int rc = 0;
    while (more && rc == 0) {
        struct txn t CLEANUP(txn_finish) = {0};
        txn_scan(&t, lo, hi, SCAN_PAGE, false);
        rc = run(s, &t);
        if (rc < 0)
            break;
        const struct kv_result *r = &t.reply.reads[0];
        for (uint32_t i = 0; i < r->n_pairs; i++) {
            struct state_pair p = {arena_copy(a, r->pairs[i].key), arena_copy(a, r->pairs[i].value),
                                   r->pairs[i].version};
            g_array_append_val(all, p);
        }
        more = r->more && r->n_pairs;
        if (more) { /* the smallest key after the last one */
            struct bytes last = g_array_index(all, struct state_pair, all->len - 1).key;
            uint8_t *p = arena_zalloc(a, last.n + 1);
            memcpy(p, last.p, last.n);
            lo = bytes_of(p, last.n + 1);
        }
    }
    if (rc == 0) {
        *ret = arena_array(a, all->len, sizeof **ret);
        if (all->len)
            memcpy(*ret, all->data, all->len * sizeof **ret);
        *ret_n = all->len;
    }
    g_array_unref(all);
    return rc;
}

int state_delete_range(struct state *s, struct bytes lo, struct bytes hi)
{
    for (;;) {
        struct txn t CLEANUP(txn_finish) = {0};
        txn_delete_range(&t, lo, hi, DELETE_MAX);
        int rc = run(s, &t);
        if (rc < 0)
            return rc;
        if (!t.reply.n_deleted || t.reply.deleted[0].value < DELETE_MAX)
            return 0;
    }
}

int state_ring(struct state *s)
{
    struct arena a CLEANUP(arena_finish) = {0};
    return state_put(s, key_bell(&a), bytes_str("!"));
}

int state_job(struct state *s, struct arena *a, struct bytes name, struct job_record *ret,
              uint64_t *ret_version)
{
    struct bytes v;
    int rc = state_get(s, a, key_job(a, s->shards, name), &v, ret_version);
    if (rc == 0 && !*ret_version)
        rc = -ERR_NOT_FOUND;
    return rc < 0 ? rc : dec_job_record(v, a, ret);
}

int state_put_job(struct state *s, struct bytes name, const struct job_record *j, uint64_t version)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    enc_job_record(&e, j);
    return state_replace(s, key_job(&a, s->shards, name), version, enc_view(&e));
}

int state_task(struct state *s, struct arena *a, struct bytes name, uint64_t epoch,
               enum task_kind kind, uint32_t task, struct state_task *ret)
{
    struct bytes v;
    struct state_task t = {0};
    int rc = state_get(s, a, key_task(a, s->shards, name, epoch, kind, task), &v, &t.version);
    if (rc == 0 && !t.version)
        rc = -ERR_NOT_FOUND;
    if (rc == 0)
        rc = dec_task_record(v, a, &t.rec);
    if (rc == 0)
        *ret = t;
    return rc;
}

int state_tasks(struct state *s, struct arena *a, struct bytes name, const struct job_record *j,
                struct state_task **ret_maps, struct state_task **ret_reduces)
{
    struct bytes lo, hi;
    struct state_pair *pairs;
    size_t n, found = 0;
    struct state_task *maps = arena_array(a, j->maps, sizeof *maps);
    struct state_task *reduces = arena_array(a, j->reduces, sizeof *reduces);
    key_tasks_range(a, s->shards, 't', name, j->epoch, &lo, &hi);
    int rc = state_scan(s, a, lo, hi, &pairs, &n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct state_task t = {.version = pairs[i].version};
        rc = dec_task_record(pairs[i].value, a, &t.rec);
        if (rc < 0)
            return rc;
        bool map = t.rec.kind == TASK_MAP;
        if (t.rec.index >= (map ? j->maps : j->reduces))
            return -ERR_CORRUPT;
        (map ? maps : reduces)[t.rec.index] = t;
        found++;
    }
    if (rc == 0 && found != (size_t)j->maps + j->reduces)
        rc = -ERR_CORRUPT;
    if (rc == 0) {
        *ret_maps = maps;
        *ret_reduces = reduces;
    }
    return rc;
}

int state_put_tasks(struct state *s, struct bytes name, const struct job_record *j, size_t head,
                    struct state_task *const *tasks, size_t n)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct txn t CLEANUP(txn_finish) = {0};
    struct enc job CLEANUP(enc_finish) = {0}, e[STATE_BATCH] = {0};
    struct bytes job_key = key_job(&a, s->shards, name);
    ASSERT(n <= STATE_BATCH);
    enc_job_record(&job, j);
    txn_bytes_at(&t, job_key, 0, bytes_of(job.p, head));
    for (size_t i = 0; i < n; i++) {
        const struct task_record *r = &tasks[i]->rec;
        struct bytes key = key_task(&a, s->shards, name, j->epoch, r->kind, r->index);
        enc_task_record(&e[i], r);
        txn_version(&t, key, tasks[i]->version);
        txn_put(&t, key, enc_view(&e[i]));
    }
    int rc = run(s, &t);
    if (rc == 0) {
        for (size_t i = 0; i < n; i++) {
            tasks[i]->version = t.reply.n_versions ? t.reply.versions[0].version : 0;
            tasks[i]->changed = false;
        }
    }
    for (size_t i = 0; i < n; i++)
        enc_finish(&e[i]);
    return rc;
}
