/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients ask: registers with every kind of compare and write, a counter that is only ever
 * incremented, accounts in two shards between which money moves, ranges that are scanned and
 * deleted. Values that are put are unique, so that a read tells which write it saw.
 */
#include "tests/sim/client.h"

#define REGISTERS  4
#define COUNTER    REGISTERS
#define BANK       (REGISTERS + 1)
#define RANGE      (REGISTERS + 2)
#define OBJECTS    (REGISTERS + 3)
#define START_WITH 1000

_Static_assert(OBJECTS <= CLIENT_KNOWN, "clients remember each object");
_Static_assert(1 + OBJECTS * MODEL_SHARDS < SIM_SHARDS - 1, "each has its own shards");

unsigned workload_objects(void)
{
    return OBJECTS;
}

/* --- parts ------------------------------------------------------------------------------------ */

static struct model_part *compare(struct model_txn *t, uint8_t op, unsigned cell)
{
    struct model_part *p = &t->compares[t->n_compares++];
    p->op = op;
    p->cell = (uint8_t)cell;
    return p;
}

static void get(struct model_txn *t, unsigned cell)
{
    t->reads[t->n_reads++] = (struct model_part){.op = KV_GET, .cell = (uint8_t)cell};
}

static struct model_part *write_to(struct model_txn *t, uint8_t op, unsigned cell, uint64_t at)
{
    struct model_part *p = &t->writes[t->n_writes++];
    p->op = op;
    p->cell = (uint8_t)cell;
    p->arg = at;
    return p;
}

static void add_number(struct model_part *p, uint64_t v)
{
    put_le64(p->bytes + p->n, v);
    p->n = (uint8_t)(p->n + 8);
}

static uint64_t unique(struct sim_client *k)
{
    return ++k->sim->last_value;
}

static void put_unique(struct sim_client *k, struct model_txn *t)
{
    struct model_part *p = write_to(t, KV_PUT, 0, 0);
    add_number(p, unique(k));
    add_number(p, 0);
    add_number(p, 0);
}

static void add(struct model_txn *t, unsigned cell, uint64_t at, uint64_t delta)
{
    add_number(write_to(t, KV_ADD64, cell, at), delta);
}

/* --- registers -------------------------------------------------------------------------------- */

static void register_write(struct sim_client *k, struct model_txn *t)
{
    switch (rng_below(&k->sim->client_rng, 10)) {
    case 0:
        write_to(t, KV_DELETE, 0, 0);
        return;
    case 1:
    case 2: {
        struct model_part *p = write_to(t, KV_WRITE, 0, 8);
        add_number(p, unique(k));
        add_number(p, unique(k));
        return;
    }
    case 3:
        write_to(t, KV_TRUNCATE, 0, 16);
        return;
    case 4:
        add_number(write_to(t, KV_MAX64, 0, 16), unique(k));
        return;
    case 5:
    case 6:
        add(t, 0, 8, 1 + rng_below(&k->sim->client_rng, 5));
        return;
    default:
        put_unique(k, t);
        return;
    }
}

static void register_compare(struct sim_client *k, const struct model_read *known,
                             struct model_txn *t)
{
    switch (rng_below(&k->sim->client_rng, 8)) {
    case 0:
        compare(t, KV_ABSENT, 0);
        return;
    case 1:
        compare(t, KV_EXISTS, 0);
        return;
    case 2:
    case 3:
        compare(t, KV_VERSION, 0)->arg = known->version;
        return;
    case 4:
        if (known->n >= 8) {
            struct model_part *p = compare(t, KV_BYTES, 0);
            p->n = 8;
            memcpy(p->bytes, known->bytes, 8);
        }
        return;
    default:
        return;
    }
}

static void register_txn(struct sim_client *k, unsigned object, struct model_txn *t)
{
    struct rng *r = &k->sim->client_rng;
    uint64_t what = rng_below(r, 10);
    if (what < 3 || what > 7)
        get(t, 0);
    if (what < 3)
        return;
    register_compare(k, &k->known[object][0], t);
    register_write(k, t);
}

/* --- the counter and the bank ----------------------------------------------------------------- */

static void counter_txn(struct sim_client *k, struct model_txn *t)
{
    const struct model_read *known = &k->known[COUNTER][0];
    if (known->version == 0 && rng_below(&k->sim->client_rng, 2) == 0) {
        compare(t, KV_ABSENT, 0);
        get(t, 0);
        add_number(write_to(t, KV_PUT, 0, 0), 0);
        return;
    }
    uint64_t what = rng_below(&k->sim->client_rng, 4);
    if (what <= 1)
        get(t, 0);
    if (what >= 1)
        add(t, 0, 0, 1);
}

static void transfer(struct sim_client *k, struct model_txn *t)
{
    struct rng *r = &k->sim->client_rng;
    unsigned from = (unsigned)rng_below(r, MODEL_CELLS);
    unsigned to = (from + 1 + (unsigned)rng_below(r, MODEL_CELLS - 1)) % MODEL_CELLS;
    uint64_t amount = 1 + rng_below(r, 50);
    const struct model_read *known = &k->known[BANK][from];
    if (known->n == 8 && rng_below(r, 3) == 0) {
        struct model_part *p = compare(t, KV_BYTES, from);
        p->n = 8;
        memcpy(p->bytes, known->bytes, 8);
    }
    get(t, from);
    get(t, to);
    add(t, from, 0, 0 - amount);
    add(t, to, 0, amount);
}

static void bank_txn(struct sim_client *k, struct model_txn *t)
{
    struct rng *r = &k->sim->client_rng;
    uint64_t what = rng_below(r, 8);
    if (k->known[BANK][0].version == 0 && rng_below(r, 2) == 0) {
        get(t, 0);
        for (unsigned i = 0; i < MODEL_CELLS; i++) {
            compare(t, KV_ABSENT, i);
            add_number(write_to(t, KV_PUT, i, 0), START_WITH);
        }
    } else if (what == 0) {
        /* All at once: over two shards only a write may. */
        for (unsigned i = 0; i < MODEL_CELLS; i++)
            get(t, i);
        add(t, 0, 0, 0);
    } else if (what <= 2) {
        unsigned first = rng_below(r, 2) ? 0 : 2;
        get(t, first);
        get(t, first + 1);
    } else {
        transfer(k, t);
    }
}

/* --- ranges ----------------------------------------------------------------------------------- */

static void scan(struct sim_client *k, struct model_txn *t, unsigned cell)
{
    t->reads[t->n_reads++] = (struct model_part){
        .op = KV_SCAN, .cell = (uint8_t)cell, .arg = 1 + rng_below(&k->sim->client_rng, 3)};
}

static void put_cell(struct sim_client *k, struct model_txn *t, unsigned cell)
{
    add_number(write_to(t, KV_PUT, cell, 0), unique(k));
}

/* A request without writes stays in one shard. */
static void range_txn(struct sim_client *k, struct model_txn *t)
{
    struct rng *r = &k->sim->client_rng;
    unsigned cell = (unsigned)rng_below(r, MODEL_CELLS), first = RANGE_END(cell) - 2;
    switch (rng_below(r, 8)) {
    case 0:
    case 1:
        scan(k, t, rng_below(r, 2) ? first : cell);
        return;
    case 2:
        scan(k, t, first);
        write_to(t, KV_DELETE_RANGE, first, 1 + rng_below(r, 2));
        return;
    case 3: /* its own put is in the range, too */
        put_cell(k, t, cell);
        write_to(t, KV_DELETE_RANGE, first, 1 + rng_below(r, 2));
        put_cell(k, t, (cell + 2) % MODEL_CELLS);
        return;
    case 4:
        compare(t, KV_EMPTY_RANGE, rng_below(r, 2) ? first : cell);
        put_cell(k, t, cell);
        return;
    case 5:
        write_to(t, KV_DELETE, cell, 0);
        return;
    default:
        scan(k, t, cell);
        put_cell(k, t, cell);
        return;
    }
}

/* --- requests --------------------------------------------------------------------------------- */

static struct client_request *wait_for_change(struct sim_client *k, unsigned object)
{
    struct client_request *r = request_new(k, ASK_WAIT);
    r->object = object;
    get(&r->txn, 0);
    r->wait_version = k->known[object][0].version;
    r->patience = MS(CLIENT_WAIT_MS) + SEC(1);
    return r;
}

static struct client_request *ballast(struct sim_client *k)
{
    struct client_request *r = request_new(k, ASK_TXN);
    r->ballast = 100 + (uint32_t)rng_below(&k->sim->client_rng, k->sim->profile.big_values);
    return r;
}

struct client_request *workload_next(struct sim_client *k)
{
    struct rng *rng = &k->sim->client_rng;
    unsigned only = k->sim->profile.objects;
    unsigned object = (unsigned)rng_below(rng, only ? only : OBJECTS);
    if (k->sim->profile.big_values && rng_below(rng, 3) == 0)
        return ballast(k);
    if (rng_below(rng, 20) == 0)
        return wait_for_change(k, object);
    struct client_request *r = request_new(k, ASK_TXN);
    r->object = object;
    if (only && rng_below(rng, 2))
        get(&r->txn, 0);
    else if (object < REGISTERS)
        register_txn(k, object, &r->txn);
    else if (object == COUNTER)
        counter_txn(k, &r->txn);
    else if (object == BANK)
        bank_txn(k, &r->txn);
    else
        range_txn(k, &r->txn);
    return r;
}

struct client_request *workload_read(struct sim_client *k, unsigned object, unsigned shard)
{
    struct client_request *r = request_new(k, ASK_TXN);
    r->object = object;
    for (unsigned i = 0; i < MODEL_CELLS; i++)
        if (CELL_SHARD(i) == shard)
            get(&r->txn, i);
    return r;
}
