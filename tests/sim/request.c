/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as frames, answers as the model's. */
#include "tests/sim/client.h"

#define BALLAST_SHARD (SIM_SHARDS - 1)

struct client_request *request_new(struct sim_client *k, enum request_kind kind)
{
    struct sim *s = k->sim;
    struct client_request *r = g_new0(struct client_request, 1);
    r->kind = kind;
    r->number = ++k->last_number;
    r->called_at = s->now;
    r->session = k->session;
    r->object = NO_OBJECT;
    r->patience = s->profile.fast ? MS(30) + rng_below(&s->client_rng, MS(500))
                                  : MS(300) + rng_below(&s->client_rng, SEC(3));
    return r;
}

void request_free(struct client_request *r)
{
    g_free(r);
}

/* --- asking ----------------------------------------------------------------------------------- */

static unsigned shard_of(unsigned object, unsigned cell)
{
    return 1 + object * MODEL_SHARDS + CELL_SHARD(cell);
}

unsigned request_shard(const struct client_request *r)
{
    const struct model_txn *m = &r->txn;
    if (r->kind != ASK_TXN && r->kind != ASK_WAIT)
        return SIM_SHARDS;
    if (r->command > 0)
        return (unsigned)(r->slot % SIM_SHARDS);
    if (r->ballast > 0)
        return BALLAST_SHARD;
    unsigned shard = shard_of(r->object, m->n_writes  ? m->writes[0].cell
                                         : m->n_reads ? m->reads[0].cell
                                                      : m->compares[0].cell);
    for (unsigned i = 1; i < m->n_writes; i++)
        shard = MIN(shard, shard_of(r->object, m->writes[i].cell));
    return shard;
}

static struct bytes key_in(struct arena *a, unsigned shard, unsigned cell)
{
    uint8_t *p = arena_alloc(a, 4);
    put_be16(p, (uint16_t)shard);
    p[2] = 'k';
    p[3] = (uint8_t)('0' + cell);
    return bytes_of(p, 4);
}

static struct bytes key_of(struct arena *a, unsigned object, unsigned cell)
{
    return key_in(a, shard_of(object, cell), cell);
}

/* Where a range that begins at the cell ends. */
static struct bytes end_of(struct arena *a, unsigned object, const struct model_part *p,
                           unsigned range_op)
{
    if (p->op != range_op)
        return BYTES_NONE;
    return key_in(a, shard_of(object, p->cell), RANGE_END(p->cell));
}

static struct bytes ballast_key(struct arena *a, uint64_t n)
{
    uint8_t *p = arena_alloc(a, 3);
    put_be16(p, BALLAST_SHARD);
    p[2] = (uint8_t)('a' + n % 2);
    return bytes_of(p, 3);
}

struct bytes request_command_key(struct arena *a, uint64_t slot)
{
    uint8_t *p = arena_alloc(a, 11);
    put_be16(p, (uint16_t)(slot % SIM_SHARDS));
    p[2] = 'c';
    put_le64(p + 3, slot);
    return bytes_of(p, 11);
}

static uint64_t lowest_outstanding(const struct sim_client *k, uint64_t seq)
{
    for (guint i = 0; i < k->requests->len; i++) {
        const struct client_request *r = g_ptr_array_index(k->requests, i);
        if (r->seq > 0 && r->session == k->session)
            seq = MIN(seq, r->seq);
    }
    return seq;
}

static void fill_txn(struct arena *a, const struct client_request *r, struct msg_txn *t)
{
    const struct model_txn *m = &r->txn;
    t->n_compares = m->n_compares;
    t->compares = arena_array(a, MODEL_PARTS, sizeof(*t->compares));
    for (unsigned i = 0; i < m->n_compares; i++)
        t->compares[i] = (struct kv_compare){
            .op = m->compares[i].op,
            .key = key_of(a, r->object, m->compares[i].cell),
            .hi = end_of(a, r->object, &m->compares[i], KV_EMPTY_RANGE),
            .arg = m->compares[i].arg,
            .value = bytes_of(m->compares[i].bytes, m->compares[i].n),
        };
    t->n_reads = m->n_reads;
    t->reads = arena_array(a, MODEL_PARTS, sizeof(*t->reads));
    for (unsigned i = 0; i < m->n_reads; i++)
        t->reads[i] = (struct kv_read){
            .op = m->reads[i].op,
            .key = key_of(a, r->object, m->reads[i].cell),
            .hi = end_of(a, r->object, &m->reads[i], KV_SCAN),
            .len = m->reads[i].arg,
        };
    t->n_writes = m->n_writes;
    t->writes = arena_array(a, MODEL_PARTS, sizeof(*t->writes));
    for (unsigned i = 0; i < m->n_writes; i++)
        t->writes[i] = (struct kv_write){
            .op = m->writes[i].op,
            .key = key_of(a, r->object, m->writes[i].cell),
            .hi = end_of(a, r->object, &m->writes[i], KV_DELETE_RANGE),
            .arg = m->writes[i].arg,
            .value = bytes_of(m->writes[i].bytes, m->writes[i].n),
        };
}

static void put_txn(const struct sim_client *k, const struct client_request *r, struct arena *a,
                    struct enc *e, uint64_t id)
{
    struct msg_txn t = {.client = r->session};
    if (r->seq > 0) {
        t.seq = r->seq;
        t.acked_below = lowest_outstanding(k, r->seq);
    }
    if (r->command > 0) {
        size_t n = MAX(r->ballast, 8);
        uint8_t *p = arena_zalloc(a, n);
        put_le64(p, r->command);
        t.n_writes = 1;
        t.writes = arena_array(a, 1, sizeof(*t.writes));
        t.writes[0] = (struct kv_write){
            .op = KV_PUT, .key = request_command_key(a, r->slot), .value = bytes_of(p, n)};
    } else if (r->ballast > 0) {
        uint8_t *p = arena_zalloc(a, r->ballast);
        put_le64(p, r->number);
        t.n_writes = 1;
        t.writes = arena_array(a, 1, sizeof(*t.writes));
        t.writes[0] = (struct kv_write){
            .op = KV_PUT, .key = ballast_key(a, r->number), .value = bytes_of(p, r->ballast)};
    } else {
        fill_txn(a, r, &t);
    }
    FRAME(e, txn, id, &t);
}

static void put_request(const struct sim_client *k, const struct client_request *r, struct arena *a,
                        struct enc *e, uint64_t id)
{
    switch (r->kind) {
    case ASK_TXN:
        put_txn(k, r, a, e, id);
        return;
    case ASK_WAIT: {
        struct msg_wait m = {key_of(a, r->object, r->txn.reads[0].cell), r->wait_version,
                             CLIENT_WAIT_MS};
        FRAME(e, wait, id, &m);
        return;
    }
    case ASK_OPEN: {
        struct msg_session_open m = {r->nonce, bytes_str("sim")};
        FRAME(e, session_open, id, &m);
        return;
    }
    case ASK_CLOSE: {
        struct msg_session_close m = {r->session};
        FRAME(e, session_close, id, &m);
        return;
    }
    case ASK_KEEPALIVE: {
        struct msg_keepalive m = {r->session};
        FRAME(e, keepalive, id, &m);
        return;
    }
    }
}

void request_send(struct sim_client *k, struct client_request *r, unsigned node)
{
    struct sim *s = k->sim;
    struct arena a = {0};
    struct enc e = {0};
    struct net_conn *nc = k->links[node].conn;
    put_request(k, r, &a, &e, r->number << 8 | (r->attempts & 0xff));
    nc->net->ops->send(nc, enc_view(&e));
    enc_finish(&e);
    arena_finish(&a);
    if (r->attempts > 0)
        s->counters.retries++;
    r->attempts++;
    r->sent = true;
    r->sent_to = node;
    r->sent_at = s->now;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void take_read(struct sim_client *k, const struct kv_result *from, struct model_read *ret)
{
    CHECK(k->sim, from->value.n <= MODEL_VALUE && from->size == from->value.n,
          "client %u: a value of %zu bytes (size %" G_GUINT64_FORMAT ")", k->id, from->value.n,
          from->size);
    *ret = (struct model_read){.version = from->version, .size = from->size};
    ret->n = (uint8_t)from->value.n;
    if (ret->n > 0)
        memcpy(ret->bytes, from->value.p, ret->n);
}

static void take_scan(struct sim_client *k, const struct client_request *r,
                      const struct kv_result *from, struct model_read *ret)
{
    *ret = (struct model_read){0};
    for (uint32_t i = 0; i < from->n_pairs; i++) {
        const struct kv_pair *p = &from->pairs[i];
        unsigned cell = p->key.n == 4 ? (unsigned)p->key.p[3] - '0' : MODEL_CELLS;
        CHECK(k->sim, cell < MODEL_CELLS && get_be16(p->key.p) == shard_of(r->object, cell),
              "client %u: a scan answers a key that is not in its range", k->id);
        model_scan_pair(ret, cell, k->sim->profile.groups ? 0 : p->version, p->value);
    }
    ret->size = from->more;
}

void request_reply(struct sim_client *k, const struct client_request *r,
                   const struct msg_txn_reply *m, struct model_reply *ret)
{
    *ret = (struct model_reply){.status = m->status, .failed = m->failed, .time = m->time};
    CHECK(k->sim, m->n_reads == r->txn.n_reads, "client %u: %u reads asked, %u answered", k->id,
          r->txn.n_reads, m->n_reads);
    for (unsigned i = 0; i < m->n_reads; i++)
        if (r->txn.reads[i].op == KV_SCAN)
            take_scan(k, r, &m->reads[i], &ret->reads[i]);
        else
            take_read(k, &m->reads[i], &ret->reads[i]);
    for (unsigned i = 0; i < m->n_deleted; i++)
        ret->deleted += m->deleted[i].value;
    for (unsigned i = 0; i < m->n_versions; i++) {
        unsigned first = shard_of(r->object, 0);
        CHECK(k->sim, m->versions[i].shard >= first && m->versions[i].shard < first + MODEL_SHARDS,
              "client %u: a version of shard %u, which was not written", k->id,
              m->versions[i].shard);
        ret->versions[m->versions[i].shard - first] = m->versions[i].version;
    }
}
