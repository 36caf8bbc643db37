/* SPDX-License-Identifier: Apache-2.0 */
/* Commands: to one node and never again, or through a client that does not give up. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include "cluster/base/clock.h"
#include "tests/course/real/real.h"

#define COMMAND_SHARDS 200 /* over which they are spread; the counter has one of its own */
#define COUNTER_SHARD  250
#define GIVE_UP_MS     60000

/* A key of 12 bytes at most: shard, and a number as text. */
static struct bytes command_key(uint64_t id, uint8_t ret[16])
{
    put_be16(ret, (uint16_t)(1 + id % COMMAND_SHARDS));
    int n = snprintf((char *)ret + 2, 14, "c%" G_GUINT64_FORMAT, id);
    return bytes_of(ret, 2 + (size_t)n);
}

static struct bytes counter_key(uint8_t ret[3])
{
    put_be16(ret, COUNTER_SHARD);
    ret[2] = 'n';
    return bytes_of(ret, 3);
}

/* --- at one node ------------------------------------------------------------------------------ */

static enum outcome outcome_in(unsigned type, struct buf *b)
{
    struct dec d = dec_of(buf_bytes(b));
    unsigned status = dec_u16(&d);
    if (type == MSG_txn_reply)
        return status == 0 ? DONE : UNKNOWN;
    return status == ERR_NOT_LEADER ? REFUSED : UNKNOWN;
}

static void *carry(void *arg)
{
    struct command *k = arg;
    struct txn t = {0};
    struct enc e = {0};
    struct buf *b = NULL;
    uint8_t key[16], *value = g_malloc0(k->bytes);
    unsigned type = 0;
    enum outcome outcome = UNKNOWN;
    put_le64(value, k->id);
    if (k->add)
        txn_add64(&t, counter_key(key), 0, 1);
    else
        txn_put(&t, command_key(k->id, key), bytes_of(value, k->bytes));
    t.m.client = client_session(k->c->starter);
    t.m.seq = k->id;
    /* Nobody asks for results again; those of this many threads may be under way. */
    t.m.acked_below = k->id > SESSION_WINDOW - 1 ? k->id - (SESSION_WINDOW - 1) : 1;
    enc_txn(&e, &t.m);
    if (client_ask_node(k->c->starter, k->node, MSG_txn, enc_view(&e), GIVE_UP_MS, &type, &b) == 0)
        outcome = outcome_in(type, b);
    buf_unref(b);
    enc_finish(&e);
    txn_finish(&t);
    g_free(value);
    __atomic_store_n(&k->outcome, outcome, __ATOMIC_RELEASE);
    return NULL;
}

static struct command *submit(struct real *c, unsigned node, uint32_t bytes, bool add)
{
    if (!leads(c, node))
        return NULL;
    struct command *k = g_new0(struct command, 1);
    *k = (struct command){
        .c = c, .id = c->commands->len + 1, .node = node, .add = add, .bytes = MAX(bytes, 8)};
    g_ptr_array_add(c->commands, k);
    CHECK(c, pthread_create(&k->thread, NULL, carry, k) == 0, "no thread");
    pthread_detach(k->thread);
    return k;
}

struct command *start(struct real *c, unsigned node, uint32_t bytes)
{
    return submit(c, node, bytes, false);
}

struct command *start_add(struct real *c, unsigned node)
{
    return submit(c, node, 8, true);
}

enum outcome outcome_of(const struct command *k)
{
    return __atomic_load_n(&k->outcome, __ATOMIC_ACQUIRE);
}

enum outcome wait_command(struct command *k, unsigned ms)
{
    struct pollfd none = {.fd = -1};
    struct deadline d = within(ms);
    while (outcome_of(k) == UNDER_WAY && !is_over(d))
        (void)poll(&none, 1, 1);
    return outcome_of(k);
}

/* --- agreement -------------------------------------------------------------------------------- */

static unsigned n_applied(struct real *c, uint64_t index)
{
    unsigned n = 0;
    for (unsigned i = 1; i <= c->n; i++) {
        struct group_status s;
        n += status_of(c, i, &s) && s.applied >= index;
    }
    return n;
}

void wait_applied(struct real *c, uint64_t index, unsigned n)
{
    struct deadline d = within(COMMAND_WITHIN_MS);
    while (n_applied(c, index) < n)
        tick(c, d, "nodes apply what was answered");
}

/* Whoever leads, among those that are not cut off, gets it. */
static struct command *offer(struct real *c, uint32_t bytes)
{
    struct command *k = NULL;
    for (unsigned i = 1; i <= c->n && !k; i++)
        if (!c->cut[i])
            k = start(c, i, bytes);
    return k;
}

uint64_t one_of_bytes(struct real *c, unsigned n, bool retry, uint32_t bytes)
{
    struct deadline d = within(AGREE_WITHIN_MS);
    for (;; tick(c, d, "agreement")) {
        struct group_status s;
        struct command *k = offer(c, bytes);
        enum outcome outcome = k ? wait_command(k, COMMAND_WITHIN_MS) : REFUSED;
        CHECK(c, outcome == DONE || retry || !k,
              "a leader took command %" G_GUINT64_FORMAT ", but did not commit it", k->id);
        if (outcome != DONE || !status_of(c, k->node, &s))
            continue;
        wait_applied(c, s.applied, n); /* who answers has applied it */
        return s.applied;
    }
}

uint64_t one(struct real *c, unsigned n, bool retry)
{
    return one_of_bytes(c, n, retry, 8);
}

/* --- through a client that goes on ------------------------------------------------------------ */

/* The version of a key and the number it begins with. */
static uint64_t read_number(struct real *c, struct bytes key, uint64_t *ret_version)
{
    struct txn t = {0};
    txn_get_part(&t, key, 0, 8);
    int err = txn_run(c->clerk, &t, GIVE_UP_MS, NULL);
    CHECK(c, err == 0, "a read is not answered: %s", err_text(err));
    const struct kv_result *r = &t.reply.reads[0];
    uint64_t v = r->version && r->value.n >= 8 ? get_le64(r->value.p) : 0;
    *ret_version = r->version;
    txn_finish(&t);
    return v;
}

void check_absent(struct real *c, const struct command *k)
{
    uint8_t key[16];
    uint64_t version;
    (void)read_number(c, command_key(k->id, key), &version);
    CHECK(c, version == 0, "command %" G_GUINT64_FORMAT " is there though it cannot be committed",
          k->id);
}

void check_commands(struct real *c)
{
    for (guint i = 0; i < c->commands->len; i++) {
        const struct command *k = g_ptr_array_index(c->commands, i);
        uint8_t key[16];
        uint64_t version;
        if (k->add || outcome_of(k) != DONE)
            continue;
        uint64_t id = read_number(c, command_key(k->id, key), &version);
        CHECK(c, version > 0 && id == k->id,
              "command %" G_GUINT64_FORMAT " was answered and is lost", k->id);
    }
}

void increment(struct real *c, unsigned times)
{
    uint8_t key[3];
    for (unsigned i = 0; i < times; i++) {
        struct txn t = {0};
        if (c->n_increments == 0) {
            uint8_t one_more[8] = {1};
            txn_absent(&t, counter_key(key));
            txn_put(&t, counter_key(key), bytes_of(one_more, 8));
        } else {
            txn_add64(&t, counter_key(key), 0, 1);
        }
        int err = txn_run(c->clerk, &t, GIVE_UP_MS, NULL);
        CHECK(c, err == 0, "an increment is not answered: %s", err_text(err));
        c->n_increments++;
        txn_finish(&t);
    }
}

uint64_t counter(struct real *c)
{
    uint8_t key[3];
    uint64_t version;
    return read_number(c, counter_key(key), &version);
}

bool counter_at(struct real *c, unsigned node, uint64_t *ret)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    struct txn t CLEANUP(txn_finish) = {0};
    struct msg_txn_reply reply;
    struct buf *b = NULL;
    uint8_t key[3];
    unsigned type = 0;
    txn_get(&t, counter_key(key));
    enc_txn(&e, &t.m);
    if (client_ask_node(c->watcher, node, MSG_txn, enc_view(&e), COMMAND_WITHIN_MS, &type, &b) < 0)
        return false;
    bool answered = type == MSG_txn_reply && dec_txn_reply(buf_bytes(b), &a, &reply) == 0 &&
                    reply.status == 0 && reply.n_reads == 1 && reply.reads[0].value.n == 8;
    if (answered)
        *ret = get_le64(reply.reads[0].value.p);
    buf_unref(b);
    return answered;
}
