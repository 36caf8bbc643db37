/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/wal_model.h"

#include <inttypes.h>
#include <stdio.h>

void model_init(struct model *m)
{
    *m = (struct model){0};
    for (unsigned i = 0; i < MODEL_GROUPS; i++)
        m->groups[i].terms = g_array_new(FALSE, FALSE, sizeof(uint64_t));
}

void model_finish(struct model *m)
{
    for (unsigned i = 0; i < MODEL_GROUPS; i++)
        g_array_free(m->groups[i].terms, TRUE);
}

void model_copy(struct model *to, const struct model *from)
{
    for (unsigned i = 0; i < MODEL_GROUPS; i++) {
        GArray *terms = to->groups[i].terms;
        to->groups[i] = from->groups[i];
        to->groups[i].terms = terms;
        g_array_set_size(terms, 0);
        g_array_append_vals(terms, from->groups[i].terms->data, from->groups[i].terms->len);
    }
}

uint64_t model_last(const struct model *m, uint32_t gid)
{
    return m->groups[gid].start + m->groups[gid].terms->len;
}

static struct buf *payload(uint32_t gid, uint64_t index, uint64_t term)
{
    struct rng r;
    rng_seed(&r, gid * 1000003 + index * 1009 + term);
    uint64_t n = rng_below(&r, 12) == 0 ? rng_below(&r, 9000) : rng_below(&r, 200);
    if (n == 0)
        return NULL;
    struct buf *b = buf_alloc(n);
    for (size_t i = 0; i < n; i++)
        b->data[i] = (uint8_t)rng_next(&r);
    return b;
}

void model_append(struct model *m, struct wal *w, uint32_t gid, uint64_t term, unsigned n)
{
    struct model_group *g = &m->groups[gid];
    g->known = true;
    for (unsigned i = 0; i < n; i++) {
        uint64_t index = model_last(m, gid) + 1;
        struct wal_entry e = {term, index, index * 10, (uint8_t)(index % 3 + 1),
                              payload(gid, index, term)};
        wal_append(w, gid, &e, 1);
        buf_unref(e.data);
        g_array_append_val(g->terms, term);
    }
}

void model_hard(struct model *m, struct wal *w, uint32_t gid, uint64_t term, uint32_t vote)
{
    m->groups[gid].known = true;
    m->groups[gid].term = term;
    m->groups[gid].vote = vote;
    wal_hard(w, gid, term, vote);
}

void model_truncate(struct model *m, struct wal *w, uint32_t gid, uint64_t from)
{
    g_array_set_size(m->groups[gid].terms, (guint)(from - m->groups[gid].start - 1));
    wal_truncate(w, gid, from);
}

void model_start(struct model *m, struct wal *w, uint32_t gid, uint64_t index, bool reset)
{
    struct model_group *g = &m->groups[gid];
    wal_start(w, gid, index, 7, index * 10, reset);
    if (!reset && g->known && index <= g->start)
        return;
    g->known = true;
    guint drop = (guint)MIN(index > g->start ? index - g->start : 0, g->terms->len);
    if (reset)
        g_array_set_size(g->terms, 0);
    else if (drop > 0)
        g_array_remove_range(g->terms, 0, drop);
    g->start = index;
    g->start_term = 7;
}

void model_random(struct model *m, struct wal *w, struct rng *rng)
{
    uint32_t gid = (uint32_t)rng_below(rng, MODEL_GROUPS);
    struct model_group *g = &m->groups[gid];
    uint64_t last = model_last(m, gid);
    switch (rng_below(rng, 12)) {
    case 0:
        model_hard(m, w, gid, g->term + 1, (uint32_t)rng_below(rng, 4));
        break;
    case 1:
        if (g->terms->len > 0)
            model_truncate(m, w, gid, rng_between(rng, g->start + 1, last + 1));
        break;
    case 2:
    case 3:
        model_start(m, w, gid, rng_between(rng, g->start, last), false);
        break;
    case 4:
        if (rng_below(rng, 4) == 0)
            model_start(m, w, gid, rng_between(rng, g->start, last + 5), true);
        break;
    default:
        model_append(m, w, gid, g->term, (unsigned)rng_between(rng, 1, 5));
    }
}

static bool entry_is(uint32_t gid, const struct wal_entry *e, uint64_t index, uint64_t term)
{
    struct buf *want = payload(gid, index, term);
    bool same = e->index == index && e->term == term && e->time_ns == index * 10 &&
                e->type == index % 3 + 1 && bytes_eq(buf_bytes(e->data), buf_bytes(want));
    buf_unref(want);
    return same;
}

static const struct wal_group *group_of(const struct wal_recovery *r, uint32_t gid)
{
    for (size_t i = 0; i < r->n_groups; i++)
        if (r->groups[i].gid == gid)
            return &r->groups[i];
    return NULL;
}

static bool group_is(const struct model_group *g, uint32_t gid, const struct wal_group *w,
                     char *why, size_t n)
{
    if (!g->known || !w) {
        snprintf(why, n, "group %u: known %d, found %d", gid, g->known, w != NULL);
        return g->known == (w != NULL);
    }
    snprintf(why, n,
             "group %u: term %" PRIu64 "/%" PRIu64 " vote %u/%u start %" PRIu64 "/%" PRIu64
             " entries %u/%zu damaged %d (want/found)",
             gid, g->term, w->term, g->vote, w->vote, g->start, w->start_index, g->terms->len,
             w->n_entries, w->damaged);
    if (g->term != w->term || g->vote != w->vote || g->start != w->start_index ||
        g->start_term != w->start_term || g->terms->len != w->n_entries || w->damaged)
        return false;
    for (guint i = 0; i < g->terms->len; i++)
        if (!entry_is(gid, &w->entries[i], g->start + 1 + i,
                      g_array_index(g->terms, uint64_t, i))) {
            snprintf(why, n, "group %u: entry %" PRIu64 " differs", gid, g->start + 1 + i);
            return false;
        }
    return true;
}

bool model_is(const struct model *m, const struct wal_recovery *r, char *ret_why, size_t n)
{
    for (uint32_t gid = 0; gid < MODEL_GROUPS; gid++)
        if (!group_is(&m->groups[gid], gid, group_of(r, gid), ret_why, n))
            return false;
    return true;
}
