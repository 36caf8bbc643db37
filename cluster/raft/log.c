/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/raft/log.h"

enum { SLOTS_MIN = 64 };

void raftlog_init(struct raftlog *l, raft_index base, raft_term base_term, uint64_t base_time)
{
    *l = (struct raftlog){.base = base, .base_term = base_term, .base_time = base_time};
}

static void drop(struct raftlog *l, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct raft_entry *e = &l->slots[l->head + i];
        l->bytes -= buf_bytes(e->data).n;
        buf_unref(e->data);
        e->data = NULL;
    }
}

void raftlog_finish(struct raftlog *l)
{
    drop(l, 0, l->n);
    g_free(l->slots);
    *l = (struct raftlog){0};
}

raft_term raftlog_last_term(const struct raftlog *l)
{
    return raftlog_term_at(l, raftlog_last(l));
}

uint64_t raftlog_last_time(const struct raftlog *l)
{
    return l->n ? raftlog_at(l, raftlog_last(l))->time_ns : l->base_time;
}

raft_term raftlog_term_at(const struct raftlog *l, raft_index index)
{
    if (index == l->base)
        return l->base_term;
    if (index < l->base || index > raftlog_last(l))
        return 0;
    return raftlog_at(l, index)->term;
}

const struct raft_entry *raftlog_at(const struct raftlog *l, raft_index index)
{
    ASSERT(index > l->base && index <= raftlog_last(l));
    return &l->slots[l->head + (size_t)(index - l->base - 1)];
}

size_t raftlog_fit(const struct raftlog *l, raft_index from, raft_index to, uint64_t bytes,
                   size_t max, uint64_t *ret_bytes)
{
    uint64_t sum = 0;
    size_t n = 0;

    for (raft_index i = from; i <= to && n < max; i++, n++) {
        uint64_t len = buf_bytes(raftlog_at(l, i)->data).n;
        if (n > 0 && sum + len > bytes)
            break;
        sum += len;
    }
    *ret_bytes = sum;
    return n;
}

raft_index raftlog_floor(const struct raftlog *l, raft_index index, raft_term term)
{
    raft_index lo = l->base, hi = MAX(MIN(index, raftlog_last(l)), l->base);

    while (lo < hi) { /* terms never fall, so this is a search in a sorted run */
        raft_index mid = lo + (hi - lo + 1) / 2;
        if (raftlog_term_at(l, mid) <= term)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

static void move_to(struct raftlog *l, size_t cap)
{
    struct raft_entry *slots = g_new(struct raft_entry, cap);
    if (l->n)
        memcpy(slots, l->slots + l->head, l->n * sizeof(*slots));
    g_free(l->slots);
    l->slots = slots;
    l->cap = cap;
    l->head = 0;
}

static void make_room(struct raftlog *l)
{
    if (l->head + l->n < l->cap)
        return;
    if (l->head > l->cap / 2) {
        memmove(l->slots, l->slots + l->head, l->n * sizeof(*l->slots));
        l->head = 0;
    } else {
        move_to(l, MAX((size_t)SLOTS_MIN, l->cap * 2));
    }
}

void raftlog_append(struct raftlog *l, const struct raft_entry *e)
{
    ASSERT(raft_entry_follows(e, raftlog_last(l), raftlog_last_term(l), raftlog_last_time(l)));
    make_room(l);
    l->slots[l->head + l->n++] = *e;
    buf_ref(e->data);
    l->bytes += buf_bytes(e->data).n;
}

void raftlog_truncate(struct raftlog *l, raft_index from)
{
    ASSERT(from > l->base);
    if (from > raftlog_last(l))
        return;
    size_t keep = (size_t)(from - l->base - 1);
    drop(l, keep, l->n);
    l->n = keep;
}

void raftlog_compact(struct raftlog *l, raft_index upto)
{
    ASSERT(upto <= raftlog_last(l));
    if (upto <= l->base)
        return;
    const struct raft_entry *e = raftlog_at(l, upto);
    size_t gone = (size_t)(upto - l->base);
    l->base_term = e->term;
    l->base_time = e->time_ns;
    l->base = upto;
    drop(l, 0, gone);
    l->head += gone;
    l->n -= gone;
    if (l->cap > SLOTS_MIN && l->n < l->cap / 8)
        move_to(l, MAX((size_t)SLOTS_MIN, l->n * 2));
}

void raftlog_reset(struct raftlog *l, raft_index base, raft_term base_term, uint64_t base_time)
{
    raftlog_finish(l);
    raftlog_init(l, base, base_term, base_time);
}

bool raft_entry_follows(const struct raft_entry *b, raft_index index, raft_term term,
                        uint64_t time_ns)
{
    return b->index == index + 1 && b->term >= term && b->term > 0 && b->time_ns > time_ns;
}
