/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/record.h"
#include <stdio.h>
#include <string.h>
#include "cluster/base/clock.h"

void record_init(struct record *r, unsigned n_objects)
{
    pthread_mutex_init(&r->lock, NULL);
    r->history = history_create(n_objects);
}

void record_finish(struct record *r)
{
    history_destroy(r->history);
    pthread_mutex_destroy(&r->lock);
}

/* --- what is asked ---------------------------------------------------------------------------- */

static struct model_part *part(struct model_part *parts, unsigned *n, uint8_t op, unsigned cell)
{
    struct model_part *p = &parts[(*n)++];
    *p = (struct model_part){.op = op, .cell = (uint8_t)cell};
    return p;
}

void record_get(struct model_txn *t, unsigned cell)
{
    (void)part(t->reads, &t->n_reads, KV_GET, cell);
}

void record_absent(struct model_txn *t, unsigned cell)
{
    (void)part(t->compares, &t->n_compares, KV_ABSENT, cell);
}

void record_version(struct model_txn *t, unsigned cell, uint64_t version)
{
    part(t->compares, &t->n_compares, KV_VERSION, cell)->arg = version;
}

void record_write(struct model_txn *t, uint8_t op, unsigned cell, uint64_t v)
{
    struct model_part *p = part(t->writes, &t->n_writes, op, cell);
    put_le64(p->bytes, v);
    p->n = 8;
}

/* --- asking ----------------------------------------------------------------------------------- */

static unsigned first_shard(unsigned object)
{
    return 1 + object * MODEL_SHARDS;
}

static struct bytes key_of(uint8_t p[3], unsigned object, unsigned cell)
{
    put_be16(p, (uint16_t)(first_shard(object) + CELL_SHARD(cell)));
    p[2] = (uint8_t)('a' + cell);
    return bytes_of(p, 3);
}

static void build(struct txn *t, unsigned object, const struct model_txn *m)
{
    uint8_t key[3];
    for (unsigned i = 0; i < m->n_compares; i++) {
        struct bytes k = key_of(key, object, m->compares[i].cell);
        if (m->compares[i].op == KV_ABSENT)
            (void)txn_absent(t, k);
        else
            (void)txn_version(t, k, m->compares[i].arg);
    }
    for (unsigned i = 0; i < m->n_reads; i++)
        (void)txn_get(t, key_of(key, object, m->reads[i].cell));
    for (unsigned i = 0; i < m->n_writes; i++) {
        const struct model_part *p = &m->writes[i];
        struct bytes k = key_of(key, object, p->cell);
        if (p->op == KV_PUT)
            txn_put(t, k, bytes_of(p->bytes, p->n));
        else
            txn_add64(t, k, 0, (int64_t)get_le64(p->bytes));
    }
}

static void take_reply(unsigned object, const struct msg_txn_reply *r, struct model_reply *ret)
{
    *ret = (struct model_reply){.status = r->status, .failed = r->failed, .time = r->time};
    for (unsigned i = 0; i < r->n_reads && i < MODEL_PARTS; i++) {
        const struct kv_result *from = &r->reads[i];
        ret->reads[i] = (struct model_read){.version = from->version, .size = from->size};
        ret->reads[i].n = (uint8_t)MIN(from->value.n, MODEL_VALUE);
        if (from->value.n > 0)
            memcpy(ret->reads[i].bytes, from->value.p, ret->reads[i].n);
    }
    for (unsigned i = 0; i < r->n_versions; i++) {
        unsigned at = r->versions[i].shard - first_shard(object);
        if (at < MODEL_SHARDS)
            ret->versions[at] = r->versions[i].version;
    }
}

static uint64_t retries_of(struct client *c)
{
    struct client_stats stats;
    client_get_stats(c, &stats);
    return stats.retries;
}

enum recorded record_run(struct record *r, struct client *c, unsigned object,
                         const struct model_txn *m, unsigned deadline_ms,
                         struct model_reply *ret_reply, int *ret_err)
{
    struct txn t = {0};
    enum recorded how = RECORD_UNKNOWN;
    uint64_t retries = retries_of(c);
    build(&t, object, m);
    pthread_mutex_lock(&r->lock);
    struct hist_op *op = history_call(r->history, object, m, clock_mono_ns());
    pthread_mutex_unlock(&r->lock);
    int err = txn_run(c, &t, deadline_ms, NULL);
    pthread_mutex_lock(&r->lock);
    if (err == 0 || err == -ERR_FAILED) {
        take_reply(object, &t.reply, &op->reply);
        history_return(r->history, op, clock_mono_ns());
        *ret_reply = op->reply;
        how = RECORD_ANSWERED;
    } else if (m->n_writes == 0 || (err == -ERR_NO_SPACE && retries_of(c) == retries)) {
        history_drop(r->history, op);
        how = RECORD_REFUSED;
    }
    pthread_mutex_unlock(&r->lock);
    txn_finish(&t);
    *ret_err = err;
    return how;
}

/* -ERR_NOT_LEADER stands for any refusal. */
static int ask_at(struct client *c, uint32_t node, const struct txn *t, unsigned timeout_ms,
                  unsigned object, struct model_reply *ret)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    struct msg_txn_reply reply;
    struct buf *b = NULL;
    unsigned type = 0;
    enc_txn(&e, &t->m);
    int err = client_ask_node(c, node, MSG_txn, enc_view(&e), timeout_ms, &type, &b);
    if (err == 0 && (type != MSG_txn_reply || dec_txn_reply(buf_bytes(b), &a, &reply) < 0 ||
                     (reply.status != 0 && reply.status != ERR_FAILED)))
        err = -ERR_NOT_LEADER;
    if (err == 0)
        take_reply(object, &reply, ret);
    buf_unref(b);
    return err;
}

enum recorded record_read_at(struct record *r, struct client *c, uint32_t node, unsigned object,
                             const struct model_txn *m, unsigned timeout_ms,
                             struct model_reply *ret_reply)
{
    struct txn t = {0};
    struct model_reply reply;
    build(&t, object, m);
    pthread_mutex_lock(&r->lock);
    struct hist_op *op = history_call(r->history, object, m, clock_mono_ns());
    pthread_mutex_unlock(&r->lock);
    int err = ask_at(c, node, &t, timeout_ms, object, &reply);
    pthread_mutex_lock(&r->lock);
    if (err == 0) {
        *ret_reply = op->reply = reply;
        history_return(r->history, op, clock_mono_ns());
    } else {
        history_drop(r->history, op);
    }
    pthread_mutex_unlock(&r->lock);
    txn_finish(&t);
    return err == 0 ? RECORD_ANSWERED : RECORD_REFUSED;
}

bool record_judge(const struct record *r, uint64_t budget)
{
    bool good = true;
    for (unsigned object = 0; object < r->history->n_objects; object++) {
        GString *text = g_string_new(NULL);
        enum linear_verdict v = history_check(r->history, object, budget, text);
        if (v != LINEAR_OK) {
            good = false;
            printf("object %u: %s\n%s", object,
                   v == LINEAR_BUDGET ? "cannot be judged within the budget"
                                      : "the history is not linearizable",
                   text->str);
        }
        g_string_free(text, TRUE);
    }
    return good;
}
