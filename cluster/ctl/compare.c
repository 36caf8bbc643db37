/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/compare.h"

#define PIECES        60 /* of one cut; the bounds between them fit a question */
#define LEVELS_MAX    20 /* each makes a part some 60 times smaller */
#define REMIND_ROUNDS 100

struct run {
    struct compare *c;
    const struct compare_io *io;
    uint32_t gid;
    uint64_t index;
};

/* A part of a shard, and how many rows each replica has in it. */
struct part {
    struct bytes lo, hi;
    uint64_t rows[NODES_MAX];
    bool more;
};

void compare_init(struct compare *c, const uint32_t *nodes, unsigned n)
{
    *c = (struct compare){.n = MIN(n, NODES_MAX)};
    c->differences = g_array_new(FALSE, TRUE, sizeof(struct compare_difference));
    for (unsigned i = 0; i < c->n; i++)
        c->replicas[i].node = nodes[i];
}

void compare_finish(struct compare *c)
{
    g_array_free(c->differences, TRUE);
    arena_finish(&c->arena);
}

unsigned compare_checked(const struct compare *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->n; i++)
        n += c->replicas[i].checked;
    return n;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* True: the answer is there. False with msg empty: ask again. */
static bool judge(const struct run *r, const struct msg_check_pieces *a, struct errmsg *msg)
{
    if (a->status == 0)
        return true;
    if (a->status == ERR_BUSY || (a->status == ERR_NOT_FOUND && a->applied < r->index))
        return false;
    if (a->status == ERR_NOT_FOUND)
        (void)errmsg_set(msg, -ERR_NOT_FOUND,
                         "it no longer has that state: it was restarted, or got a snapshot");
    else
        (void)errmsg_set(msg, -(int)a->status, "its state cannot be read: %s", err_text(a->status));
    return false;
}

static void keep(struct compare *c, const struct msg_check_pieces *from,
                 struct msg_check_pieces *to)
{
    *to = *from;
    to->pieces = arena_array(&c->arena, from->n_pieces + 1, sizeof(*to->pieces));
    for (uint32_t i = 0; i < from->n_pieces; i++) {
        to->pieces[i] = from->pieces[i];
        to->pieces[i].at = arena_copy(&c->arena, from->pieces[i].at);
    }
}

/* Who waits for an answer, and how it gets on. */
struct wait {
    bool waiting;
    uint64_t got;
    unsigned idle;
};

static void ask_one(const struct run *r, unsigned i, const struct msg_check_ask *question,
                    struct wait *w, struct msg_check_pieces *ret)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct compare_replica *replica = &r->c->replicas[i];
    struct msg_check_pieces answer;
    w->waiting = false;
    if (r->io->ask(r->io->ctx, replica->node, question, &a, &answer, &replica->msg) < 0)
        return;
    if (judge(r, &answer, &replica->msg)) {
        keep(r->c, &answer, ret);
        return;
    }
    uint64_t got = answer.applied + answer.hashed;
    w->idle = got > w->got ? 0 : w->idle + 1;
    w->got = MAX(w->got, got);
    if (!replica->msg.text[0] && w->idle > r->io->patience)
        (void)errmsg_set(&replica->msg, -ERR_TIMEOUT,
                         answer.applied < r->index ? "it lags: the entry is not applied there"
                                                   : "it does not get on with its hashes");
    w->waiting = !replica->msg.text[0];
}

/* A node forgets a state that nobody asks for, while all wait for a slow one. */
static void remind(const struct run *r)
{
    const struct msg_check_ask question = {.gid = r->gid, .index = r->index};
    for (unsigned i = 0; i < r->c->n; i++) {
        struct arena CLEANUP(arena_finish) a = {0};
        struct msg_check_pieces answer;
        if (!r->c->replicas[i].msg.text[0])
            (void)r->io->ask(r->io->ctx, r->c->replicas[i].node, &question, &a, &answer, NULL);
    }
}

/* Asks all that are chosen, side by side, until each has answered or is given up, which its msg
 * says. True: all have answered. */
static bool ask(const struct run *r, const bool *chosen, const struct msg_check_ask *question,
                struct msg_check_pieces *ret)
{
    struct wait waits[NODES_MAX] = {{false}};
    unsigned left = 1;
    bool all = true;
    for (unsigned i = 0; i < r->c->n; i++)
        waits[i].waiting = chosen[i];
    for (unsigned round = 1; left > 0; round++) {
        left = 0;
        for (unsigned i = 0; i < r->c->n; i++) {
            if (waits[i].waiting)
                ask_one(r, i, question, &waits[i], &ret[i]);
            left += waits[i].waiting;
        }
        if (left > 0)
            r->io->pause(r->io->ctx);
        if (round % REMIND_ROUNDS == 0)
            remind(r);
    }
    for (unsigned i = 0; i < r->c->n; i++)
        all &= !chosen[i] || !r->c->replicas[i].msg.text[0];
    return all;
}

static void ask_shards(struct run *r)
{
    const struct msg_check_ask question = {.gid = r->gid, .index = r->index};
    struct compare *c = r->c;
    struct msg_check_pieces *lists = arena_array(&c->arena, c->n + 1, sizeof(*lists));
    bool chosen[NODES_MAX];
    memset(chosen, true, sizeof(chosen));
    (void)ask(r, chosen, &question, lists); /* each one's msg tells */
    for (unsigned i = 0; i < c->n; i++) {
        struct compare_replica *p = &c->replicas[i];
        p->checked = !p->msg.text[0];
        p->shards = lists[i];
        for (uint32_t k = 0; p->checked && k < p->shards.n_pieces; k++) {
            p->keys += p->shards.pieces[k].keys;
            p->bytes += p->shards.pieces[k].bytes;
        }
    }
}

/* --- comparing -------------------------------------------------------------------------------- */

static bool differ(const struct compare *c, const bool *has, const uint64_t *hash)
{
    const bool *first_has = NULL;
    const uint64_t *first = NULL;
    for (unsigned i = 0; i < c->n; i++) {
        if (!c->replicas[i].checked)
            continue;
        if (first && (*first_has != has[i] || *first != hash[i]))
            return true;
        if (!first) {
            first_has = &has[i];
            first = &hash[i];
        }
    }
    return false;
}

unsigned compare_odd(const struct compare *c, const bool *has, const uint64_t *hash,
                     bool ret_odd[NODES_MAX])
{
    unsigned checked = compare_checked(c);
    for (unsigned i = 0; i < c->n; i++) {
        unsigned same = 0;
        for (unsigned k = 0; c->replicas[i].checked && k < c->n; k++) {
            bool with = c->replicas[k].checked && has[k] == has[i] && hash[k] == hash[i];
            ret_odd[k] = c->replicas[k].checked && !with;
            same += with;
        }
        if (same * 2 > checked)
            return checked - same;
    }
    return 0;
}

static const struct check_piece *piece_at(const struct msg_check_pieces *m, struct bytes at)
{
    for (uint32_t i = 0; i < m->n_pieces; i++)
        if (bytes_eq(m->pieces[i].at, at))
            return &m->pieces[i];
    return NULL;
}

/* What each replica has under the name `at` in its list. */
static void gather(const struct compare *c, const struct msg_check_pieces *lists, struct bytes at,
                   bool *has, uint64_t *hash)
{
    for (unsigned i = 0; i < c->n; i++) {
        const struct check_piece *p = c->replicas[i].checked ? piece_at(&lists[i], at) : NULL;
        has[i] = p != NULL;
        hash[i] = p ? p->hash : 0;
    }
}

/* --- looking into a shard ----------------------------------------------------------------------
 */

static bool ask_all(const struct run *r, const struct msg_check_ask *question,
                    struct msg_check_pieces *ret)
{
    bool chosen[NODES_MAX] = {false};
    for (unsigned i = 0; i < r->c->n; i++)
        chosen[i] = r->c->replicas[i].checked;
    return ask(r, chosen, question, ret);
}

static unsigned largest(const struct run *r, const struct part *p)
{
    unsigned best = NODES_MAX;
    for (unsigned i = 0; i < r->c->n; i++)
        if (r->c->replicas[i].checked && (best == NODES_MAX || p->rows[i] > p->rows[best]))
            best = i;
    return best;
}

/* The part becomes the first piece of it that differs. */
static bool choose(const struct run *r, struct part *p, const struct msg_check_pieces *lists,
                   uint32_t n)
{
    struct bytes hi = p->hi;
    bool found = false;
    for (uint32_t k = 0; k < n; k++) {
        bool has[NODES_MAX] = {false};
        uint64_t hash[NODES_MAX] = {0};
        for (unsigned i = 0; i < r->c->n; i++)
            if (r->c->replicas[i].checked)
                hash[i] = lists[i].pieces[k].hash;
        if (!differ(r->c, has, hash))
            continue;
        p->more |= found;
        if (found)
            break;
        found = true;
        unsigned any = largest(r, p);
        p->hi = k + 1 < n ? lists[any].pieces[k + 1].at : hi;
        p->lo = k > 0 ? lists[any].pieces[k].at : p->lo;
        for (unsigned i = 0; i < r->c->n; i++)
            p->rows[i] = r->c->replicas[i].checked ? lists[i].pieces[k].rows : 0;
    }
    return found;
}

static bool cut(const struct run *r, struct part *p)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_check_pieces *cuts = arena_array(&a, r->c->n, sizeof(*cuts));
    struct msg_check_pieces *lists = arena_array(&a, r->c->n, sizeof(*lists));
    bool chosen[NODES_MAX] = {false};
    struct check_bound bounds[PIECES];
    unsigned by = largest(r, p);
    struct msg_check_ask question = {
        .gid = r->gid,
        .index = r->index,
        .lo = p->lo,
        .hi = p->hi,
        .every = (p->rows[by] + PIECES - 1) / PIECES,
        .bounds = bounds,
    };
    chosen[by] = true;
    if (!ask(r, chosen, &question, cuts))
        return false;
    question.every = 0;
    for (uint32_t k = 1; k < cuts[by].n_pieces && question.n_bounds < PIECES; k++)
        bounds[question.n_bounds++].at = cuts[by].pieces[k].at;
    if (!ask_all(r, &question, lists))
        return false;
    for (unsigned i = 0; i < r->c->n; i++)
        if (r->c->replicas[i].checked && lists[i].n_pieces != question.n_bounds + 1)
            return false;
    return choose(r, p, lists, question.n_bounds + 1);
}

static int by_key(const void *a, const void *b)
{
    return bytes_cmp(((const struct compare_row *)a)->key, ((const struct compare_row *)b)->key);
}

static void add_row(const struct run *r, GArray *rows, const struct msg_check_pieces *lists,
                    struct bytes key)
{
    struct compare_row row = {.key = key};
    for (guint i = 0; i < rows->len; i++)
        if (bytes_eq(g_array_index(rows, struct compare_row, i).key, key))
            return;
    gather(r->c, lists, key, row.has, row.hash);
    if (differ(r->c, row.has, row.hash))
        g_array_append_val(rows, row);
}

/* Row by row. */
static bool list_rows(const struct run *r, const struct part *p, struct compare_difference *d)
{
    struct arena CLEANUP(arena_finish) a = {0};
    struct msg_check_pieces *lists = arena_array(&a, r->c->n, sizeof(*lists));
    const struct msg_check_ask question = {
        .gid = r->gid, .index = r->index, .lo = p->lo, .hi = p->hi, .every = 1};
    if (!ask_all(r, &question, lists))
        return false;
    GArray *rows = g_array_new(FALSE, FALSE, sizeof(struct compare_row));
    for (unsigned i = 0; i < r->c->n; i++)
        for (uint32_t k = 0; k < lists[i].n_pieces; k++)
            add_row(r, rows, lists, lists[i].pieces[k].at);
    g_array_sort(rows, by_key);
    d->n_rows = rows->len;
    d->rows = arena_array(&r->c->arena, rows->len + 1, sizeof(*d->rows));
    if (rows->len > 0)
        memcpy(d->rows, rows->data, rows->len * sizeof(*d->rows));
    g_array_free(rows, TRUE);
    return true;
}

/* None was lost while another shard was looked into. */
static bool all_answer(const struct compare *c)
{
    bool all = true;
    for (unsigned i = 0; i < c->n; i++)
        all &= !c->replicas[i].checked || !c->replicas[i].msg.text[0];
    return all;
}

static void look_into(const struct run *r, struct compare_difference *d, struct bytes at)
{
    uint8_t next[2];
    struct part p = {.lo = at};
    put_be16(next, (uint16_t)(d->shard + 1));
    if (d->shard < UINT16_MAX)
        p.hi = arena_copy(&r->c->arena, bytes_of(next, sizeof(next)));
    for (unsigned i = 0; i < r->c->n; i++) {
        const struct check_piece *piece =
            r->c->replicas[i].checked ? piece_at(&r->c->replicas[i].shards, at) : NULL;
        p.rows[i] = piece ? piece->rows : 0;
    }
    bool ok = all_answer(r->c);
    for (unsigned level = 0; ok && level < LEVELS_MAX; level++) {
        if (p.rows[largest(r, &p)] <= COMPARE_LEAF_ROWS)
            break;
        ok = cut(r, &p);
    }
    d->lo = p.lo;
    d->hi = p.hi;
    d->more = p.more;
    if (ok && p.rows[largest(r, &p)] <= COMPARE_LEAF_ROWS)
        (void)list_rows(r, &p, d); /* without: the part is named */
}

/* --- the whole -------------------------------------------------------------------------------- */

static void compare_shard(struct run *r, struct bytes at)
{
    struct compare *c = r->c;
    struct compare_difference d = {.shard = at.n == 2 ? get_be16(at.p) : 0, .lo = at};
    struct msg_check_pieces *lists = arena_array(&c->arena, c->n, sizeof(*lists));
    for (unsigned i = 0; i < c->n; i++)
        lists[i] = c->replicas[i].shards;
    gather(c, lists, at, d.has, d.hash);
    if (!differ(c, d.has, d.hash))
        return;
    for (guint i = 0; i < c->differences->len; i++)
        if (g_array_index(c->differences, struct compare_difference, i).shard == d.shard)
            return;
    if (c->differences->len < COMPARE_SHARDS_MAX)
        look_into(r, &d, at);
    g_array_append_val(c->differences, d);
}

void compare_run(struct compare *c, const struct compare_io *io, uint32_t gid, uint64_t index)
{
    struct run r = {c, io, gid, index};
    ask_shards(&r);
    for (unsigned i = 0; i < c->n; i++)
        for (uint32_t k = 0; c->replicas[i].checked && k < c->replicas[i].shards.n_pieces; k++)
            compare_shard(&r, c->replicas[i].shards.pieces[k].at);
}
