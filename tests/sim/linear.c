/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/linear.h"
#include <stdlib.h>
#include <string.h>
#include "tests/sim/hash.h"

/* How many operations of a bad history are shown around the furthest place. */
#define SHOWN 24

/* --- recording -------------------------------------------------------------------------------- */

struct history *history_create(unsigned n_objects)
{
    struct history *h = g_new0(struct history, 1);
    h->n_objects = n_objects;
    h->ops = g_ptr_array_new_with_free_func(g_free);
    return h;
}

void history_destroy(struct history *h)
{
    if (!h)
        return;
    g_ptr_array_free(h->ops, TRUE);
    g_free(h);
}

struct hist_op *history_call(struct history *h, unsigned object, const struct model_txn *t,
                             uint64_t now)
{
    struct hist_op *op = g_new0(struct hist_op, 1);
    op->object = object;
    op->txn = *t;
    op->called = ++h->stamp;
    op->called_at = now;
    g_ptr_array_add(h->ops, op);
    return op;
}

void history_return(struct history *h, struct hist_op *op, uint64_t now)
{
    op->returned = ++h->stamp;
    op->returned_at = now;
}

void history_drop(struct history *h, struct hist_op *op)
{
    g_ptr_array_remove(h->ops, op);
}

/* --- the search ------------------------------------------------------------------------------- */

/* A call or a return, in the order of their stamps. */
struct entry {
    struct entry *prev, *next;
    struct entry *match; /* the other end of the operation; of a call that never returned: NULL */
    const struct hist_op *op;
    bool is_call;
    struct entry *twin; /* of a call that never returned: the same one asked before it */
    bool placed;
    /* Of a call whose entry's time is known: its place among those, from 1; of many for each shard,
     * else the first is for all. */
    unsigned rank[MODEL_SHARDS];
    uint64_t stamp, mark; /* mark: the operation's part in the hash of a set */
};

struct seen {
    uint64_t set, state;
};

struct done {
    struct entry *call;
    struct model_state before;
    bool choice; /* something else could have had the place */
};

struct search {
    struct entry head;
    struct entry *entries;
    unsigned n;
    unsigned left;               /* answered operations that have no place yet */
    unsigned rank[MODEL_SHARDS]; /* the highest that has a place */
    /* Versions that answers tell, rising, and how many of their operations have a place. */
    GArray *versions[MODEL_SHARDS];
    unsigned told[MODEL_SHARDS];
    GHashTable *seen;
    GArray *stack; /* struct done */
    struct model_state state;
    uint64_t set;
    unsigned furthest;
    const struct hist_op *stuck; /* the return at which the furthest attempt ended */
    struct model_state stuck_state;
};

static guint seen_hash(gconstpointer p)
{
    const struct seen *s = p;
    return (guint)(s->set ^ s->state);
}

static gboolean seen_equal(gconstpointer a, gconstpointer b)
{
    const struct seen *x = a, *y = b;
    return x->set == y->set && x->state == y->state;
}

static int by_stamp(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->stamp > y->stamp) - (x->stamp < y->stamp);
}

static void link_entries(struct search *s)
{
    GHashTable *calls = g_hash_table_new(NULL, NULL);
    struct entry *last = &s->head;
    if (s->n)
        qsort(s->entries, s->n, sizeof(*s->entries), by_stamp);
    for (unsigned i = 0; i < s->n; i++) {
        struct entry *e = &s->entries[i];
        e->prev = last;
        last->next = e;
        last = e;
        if (e->is_call) {
            g_hash_table_insert(calls, (gpointer)(uintptr_t)e->op, e);
            continue;
        }
        e->match = g_hash_table_lookup(calls, e->op);
        e->match->match = e;
    }
    g_hash_table_destroy(calls);
}

static int by_time(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    return (x->op->reply.time > y->op->reply.time) - (x->op->reply.time < y->op->reply.time);
}

static bool is_ranked(const struct search *s, const struct entry *e, unsigned shard)
{
    if (!e->is_call || !e->match || e->op->reply.time == 0)
        return false;
    if (!s->state.many)
        return shard == 0;
    return model_is_timed(&e->op->txn, &e->op->reply, shard);
}

/* An answer of a write tells its entry's time, and times rise along the log, or (many) along each
 * shard: only the next one can have the next place among them. */
static void rank_entries(struct search *s, unsigned shard)
{
    GPtrArray *timed = g_ptr_array_new();
    for (unsigned i = 0; i < s->n; i++)
        if (is_ranked(s, &s->entries[i], shard))
            g_ptr_array_add(timed, &s->entries[i]);
    if (timed->len)
        qsort(timed->pdata, timed->len, sizeof(gpointer), by_time);
    for (guint i = 0; i < timed->len; i++)
        ((struct entry *)g_ptr_array_index(timed, i))->rank[shard] = i + 1;
    g_ptr_array_free(timed, TRUE);
}

static bool is_next(const struct search *s, const struct entry *call)
{
    for (unsigned i = 0; i < MODEL_SHARDS; i++)
        if (call->rank[i] > 0 && call->rank[i] != s->rank[i] + 1)
            return false;
    return true;
}

static void count_ranks(struct search *s, const struct entry *call, bool placed)
{
    for (unsigned i = 0; i < MODEL_SHARDS; i++)
        if (call->rank[i] > 0)
            s->rank[i] = placed ? call->rank[i] : call->rank[i] - 1;
}

static gint by_version(gconstpointer a, gconstpointer b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void collect_versions(struct search *s)
{
    for (unsigned shard = 0; shard < MODEL_SHARDS; shard++) {
        s->versions[shard] = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        for (unsigned i = 0; i < s->n; i++) {
            const struct entry *e = &s->entries[i];
            if (e->is_call && e->match && e->op->reply.versions[shard] > 0)
                g_array_append_val(s->versions[shard], e->op->reply.versions[shard]);
        }
        g_array_sort(s->versions[shard], by_version);
    }
}

static bool tells_version(const struct entry *call, unsigned shard)
{
    return call->match && call->op->reply.versions[shard] > 0;
}

/* Counters only rise: once one has reached a version that an operation without a place is known to
 * have made, that operation never gets one. So what was never answered is tried only where there is
 * room for its steps. */
static bool leaves_room(const struct search *s, const struct entry *call,
                        const struct model_state *next)
{
    for (unsigned shard = 0; shard < MODEL_SHARDS; shard++) {
        unsigned told = s->told[shard] + tells_version(call, shard);
        if (told < s->versions[shard]->len &&
            next->counters[shard] >= g_array_index(s->versions[shard], uint64_t, told))
            return false;
    }
    return true;
}

static void count_told(struct search *s, const struct entry *call, bool placed)
{
    for (unsigned shard = 0; shard < MODEL_SHARDS; shard++) {
        if (!tells_version(call, shard))
            continue;
        if (placed)
            s->told[shard]++;
        else
            s->told[shard]--;
    }
}

static bool same_txn(const struct model_txn *a, const struct model_txn *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Of several that are the same and were never answered, whichever has a place: it may as well be
 * the one that was asked first. So only the order of their calls is tried. */
static void link_twins(struct search *s)
{
    for (struct entry *e = s->head.next; e; e = e->next) {
        if (!e->is_call || e->match)
            continue;
        for (struct entry *p = e->prev; p != &s->head && !e->twin; p = p->prev)
            if (p->is_call && !p->match && same_txn(&p->op->txn, &e->op->txn))
                e->twin = p;
    }
}

static void collect(struct search *s, const struct history *h, unsigned object)
{
    s->entries = g_new0(struct entry, 2 * (gsize)h->ops->len + 1);
    for (guint i = 0; i < h->ops->len; i++) {
        const struct hist_op *op = g_ptr_array_index(h->ops, i);
        if (op->object != object)
            continue;
        uint64_t mark = hash_u64(hash_u64(0x5117, i), 0x77);
        s->entries[s->n++] =
            (struct entry){.op = op, .is_call = true, .stamp = op->called, .mark = mark};
        if (op->returned == 0)
            continue;
        s->entries[s->n++] = (struct entry){.op = op, .stamp = op->returned};
        s->left++;
    }
    link_entries(s);
    for (unsigned shard = 0; shard < MODEL_SHARDS; shard++)
        rank_entries(s, shard);
    link_twins(s);
    collect_versions(s);
}

static void unlink_entry(struct entry *e)
{
    e->prev->next = e->next;
    if (e->next)
        e->next->prev = e->prev;
}

static void relink_entry(struct entry *e)
{
    e->prev->next = e;
    if (e->next)
        e->next->prev = e;
}

/* An operation that changes nothing and fits here may as well have its place here: whatever order
 * has it later is right with it moved here too. So a read is never a choice. */
static bool is_read(const struct entry *call)
{
    return call->match && call->op->txn.n_writes == 0;
}

/* But who learns a version that nobody was told changes what is known. */
static bool learns(const struct search *s, const struct entry *call)
{
    const struct model_txn *t = &call->op->txn;
    for (unsigned i = 0; s->state.many && i < t->n_reads; i++)
        if (s->state.cells[t->reads[i].cell].version == MODEL_UNSEEN)
            return true;
    for (unsigned i = 0; s->state.many && i < t->n_compares; i++)
        if (s->state.cells[t->compares[i].cell].version == MODEL_UNSEEN)
            return true;
    return false;
}

static bool is_choice(const struct search *s, const struct entry *call)
{
    return !is_read(call) || learns(s, call);
}

/* Gives the call the next place, if its answer fits and this was not tried yet. */
static bool place(struct search *s, struct entry *call)
{
    struct model_state next = s->state;
    if (!is_next(s, call))
        return false;
    if (call->twin && !call->twin->placed)
        return false;
    if (!model_step(&next, &call->op->txn, call->match ? &call->op->reply : NULL))
        return false;
    if (!leaves_room(s, call, &next))
        return false;
    struct seen key = {s->set ^ call->mark, model_hash(&next)};
    /* Never answered and without effect here: as good as never done. */
    if (!call->match && key.state == model_hash(&s->state))
        return false;
    if (g_hash_table_contains(s->seen, &key))
        return false;
    g_hash_table_add(s->seen, g_memdup2(&key, sizeof(key)));
    struct done d = {call, s->state, is_choice(s, call)};
    g_array_append_val(s->stack, d);
    s->set = key.set;
    s->state = next;
    count_ranks(s, call, true);
    call->placed = true;
    count_told(s, call, true);
    unlink_entry(call);
    if (call->match) {
        unlink_entry(call->match);
        s->left--;
    }
    return true;
}

static void place_reads(struct search *s)
{
    struct entry *next;
    for (struct entry *e = s->head.next; e && e->is_call; e = next) {
        next = e->next;
        if (is_choice(s, e))
            continue;
        bool adjacent = next == e->match;
        if (place(s, e) && adjacent)
            next = e->match->next;
    }
}

/* Takes the last choice back; the search goes on with the entry behind it. False: there was none.
 */
static bool take_back(struct search *s, struct entry **ret)
{
    while (s->stack->len > 0) {
        struct done d = g_array_index(s->stack, struct done, s->stack->len - 1);
        g_array_set_size(s->stack, s->stack->len - 1);
        s->state = d.before;
        s->set ^= d.call->mark;
        count_ranks(s, d.call, false);
        d.call->placed = false;
        count_told(s, d.call, false);
        if (d.call->match) {
            relink_entry(d.call->match);
            s->left++;
        }
        relink_entry(d.call);
        *ret = d.call->next;
        if (d.choice)
            return true;
    }
    return false;
}

static void note_stuck(struct search *s, const struct entry *e)
{
    if (s->stuck && s->stack->len <= s->furthest)
        return;
    s->furthest = s->stack->len;
    s->stuck = e->op;
    s->stuck_state = s->state;
}

static enum linear_verdict search(struct search *s, uint64_t budget)
{
    place_reads(s);
    struct entry *e = s->head.next;
    while (s->left > 0) {
        if (budget-- == 0)
            return LINEAR_BUDGET;
        if (e && e->is_call) {
            if (!is_choice(s, e) || !place(s, e)) {
                e = e->next;
                continue;
            }
            place_reads(s);
            e = s->head.next;
            continue;
        }
        /* The answer was there before anything else could happen: something was placed wrongly. */
        if (e)
            note_stuck(s, e);
        if (!take_back(s, &e))
            return LINEAR_VIOLATION;
    }
    return LINEAR_OK;
}

/* --- reports ---------------------------------------------------------------------------------- */

static void print_op(GString *text, const struct hist_op *op, const struct hist_op *stuck)
{
    g_string_append_printf(text, "%s client %u seq %" G_GUINT64_FORMAT " [%.6f, ",
                           op == stuck ? "=>" : "  ", op->client, op->seq,
                           (double)op->called_at / 1e9);
    if (op->returned)
        g_string_append_printf(text, "%.6f]", (double)op->returned_at / 1e9);
    else
        g_string_append(text, "...)");
    model_print(text, &op->txn, op->returned ? &op->reply : NULL);
    g_string_append_c(text, '\n');
}

static int by_return(const void *a, const void *b)
{
    const struct hist_op *x = *(struct hist_op *const *)a, *y = *(struct hist_op *const *)b;
    uint64_t p = x->returned ? x->returned : UINT64_MAX, q = y->returned ? y->returned : UINT64_MAX;
    return p != q ? (p > q) - (p < q) : (x->called > y->called) - (x->called < y->called);
}

static void print_stuck(const struct search *s, const struct history *h, unsigned object,
                        GString *text)
{
    GPtrArray *ops = g_ptr_array_new();
    guint at = 0;
    for (guint i = 0; i < h->ops->len; i++) {
        struct hist_op *op = g_ptr_array_index(h->ops, i);
        if (op->object == object)
            g_ptr_array_add(ops, op);
    }
    if (ops->len)
        qsort(ops->pdata, ops->len, sizeof(gpointer), by_return);
    for (guint i = 0; i < ops->len; i++)
        if (g_ptr_array_index(ops, i) == s->stuck)
            at = i;
    for (guint i = at > SHOWN ? at - SHOWN : 0; i < ops->len && i < at + SHOWN / 2; i++)
        print_op(text, g_ptr_array_index(ops, i), s->stuck);
    for (guint i = at + SHOWN / 2; i < ops->len; i++)
        if (((struct hist_op *)g_ptr_array_index(ops, i))->returned == 0)
            print_op(text, g_ptr_array_index(ops, i), s->stuck);
    g_string_append_printf(text, "  %u of %u operations have a place before =>; the values then:",
                           s->furthest, ops->len);
    for (unsigned i = 0; i < MODEL_CELLS; i++)
        if (s->stuck_state.cells[i].version)
            g_string_append_printf(text, " cell %u v%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, i,
                                   s->stuck_state.cells[i].version,
                                   get_le64(s->stuck_state.cells[i].bytes));
    g_string_append_c(text, '\n');
    g_ptr_array_free(ops, TRUE);
}

enum linear_verdict history_check(const struct history *h, unsigned object, uint64_t budget,
                                  GString *ret_text)
{
    struct search s = {
        .seen = g_hash_table_new_full(seen_hash, seen_equal, g_free, NULL),
        .stack = g_array_new(FALSE, FALSE, sizeof(struct done)),
    };
    s.state.many = h->many;
    collect(&s, h, object);
    enum linear_verdict v = search(&s, budget);
    if (v != LINEAR_OK)
        print_stuck(&s, h, object, ret_text);
    g_hash_table_destroy(s.seen);
    g_array_free(s.stack, TRUE);
    for (unsigned i = 0; i < MODEL_SHARDS; i++)
        g_array_free(s.versions[i], TRUE);
    g_free(s.entries);
    return v;
}
