/* SPDX-License-Identifier: Apache-2.0 */
/* group_check.c - what must be true of every correct run (group.h). */
#include "tests/unit/raft/group_impl.h"

#include <stdio.h>
#include <stdlib.h>

NORETURN void PRINTF_LIKE(4, 5)
    check_broken(struct group *g, const char *cond, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    g_string_vprintf(g->why, fmt, args);
    va_end(args);
    if (g->out)
        fputs(g->out->str, stderr);
    fprintf(stderr, "%s: %s (group:%d: %s)\n", g->name, g->why->str, line, cond);
    abort();
}

static uint64_t hash_of(struct bytes b)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < b.n; i++)
        h = (h ^ b.p[i]) * 0x100000001b3u;
    return h;
}

static bool names(const raft_id *ids, unsigned n, raft_id id)
{
    while (n > 0)
        if (ids[--n] == id)
            return true;
    return false;
}

static void check_elected(struct group *g, struct member *m, raft_term term)
{
    if (g->leaders->len <= term)
        g_array_set_size(g->leaders, (guint)term + 1);
    raft_id *l = &g_array_index(g->leaders, raft_id, term);
    CHECK(g, *l == RAFT_NONE || *l == m->id, "nodes %u and %u both lead term %" PRIu64, *l, m->id,
          term);
    *l = m->id;
    g->elections++;

    struct raft_status st;
    raft_get_status(m->r, &st);
    for (raft_index i = st.first; i <= g->history->len; i++)
        CHECK(g,
              history_at(g, i)->known_in >= term || raft_term_at(m->r, i) == history_at(g, i)->term,
              "node %u leads term %" PRIu64 " without the committed entry %" PRIu64, m->id, term,
              i);
}

bool same_conf(const struct raft_conf *a, const struct raft_conf *b)
{
    GString *x = g_string_new(NULL), *y = g_string_new(NULL);
    raft_print_conf(x, a);
    raft_print_conf(y, b);
    bool same = g_string_equal(x, y);
    g_string_free(x, true);
    g_string_free(y, true);
    return same;
}

/* Paper 6: C_old, C_old,new, C_new; learners come and go in one step, and voters were learners. */
static void check_conf(struct group *g, const struct raft_entry *e)
{
    const struct raft_conf *was = group_conf(g);
    struct conf_known now = {.index = e->index};

    if (e->type != RAFT_ENTRY_CONF ||
        e->index <= g_array_index(g->confs, struct conf_known, g->confs->len - 1).index)
        return;
    CHECK(g, raft_conf_decode(buf_bytes(e->data), &now.conf) == 0, "entry %" PRIu64, e->index);
    struct raft_conf want = *was;
    if (was->n_outgoing > 0) {
        want.n_outgoing = 0;
        CHECK(g, same_conf(&now.conf, &want), "a joint configuration is left for another");
    } else if (now.conf.n_outgoing > 0) {
        CHECK(g,
              now.conf.n_outgoing == was->n_voters &&
                  memcmp(now.conf.outgoing, was->voters, was->n_voters * sizeof(raft_id)) == 0,
              "the outgoing voters were others");
    } else {
        for (unsigned i = 0; i < now.conf.n_voters; i++)
            CHECK(g,
                  names(was->voters, was->n_voters, now.conf.voters[i]) &&
                      now.conf.n_voters == was->n_voters,
                  "voters change in one step");
    }
    for (unsigned i = 0; i < now.conf.n_voters; i++)
        CHECK(g,
              names(was->voters, was->n_voters, now.conf.voters[i]) ||
                  names(was->learners, was->n_learners, now.conf.voters[i]),
              "voter %u was no learner", now.conf.voters[i]);
    g_array_append_val(g->confs, now);
    g->changes++;
}

static bool on_disk(const struct group *g, const struct member *m, raft_index index, raft_term term)
{
    const struct disk *d = &m->disk;

    char *key = disk_key(index, term);
    bool had = g_hash_table_contains(d->had, key); /* and told so before it was damaged */

    g_free(key);
    return had || m->flushed >= index || d->base >= index ||
           (disk_last(d) >= index && disk_at(d, index)->term == term);
}

static void check_half(struct group *g, const struct member *m, const raft_id *voters, unsigned n,
                       raft_index commit)
{
    unsigned have = 0;

    for (unsigned i = 0; i < n; i++)
        have += on_disk(g, group_node(g, voters[i]), commit, raft_term_at(m->r, commit));
    CHECK(g, n == 0 || have > n / 2, "node %u commits %" PRIu64 ", which %u of %u voters have",
          m->id, commit, have, n);
}

/* With what the disks have, not with what the core was told. */
static void check_commit(struct group *g, struct member *m, const struct raft_status *st)
{
    const struct raft_conf *c = raft_get_conf(m->r);

    if (st->role == RAFT_LEADER && st->commit > m->commit) {
        check_half(g, m, c->voters, c->n_voters, st->commit);
        check_half(g, m, c->outgoing, c->n_outgoing, st->commit);
    }
    m->commit = st->commit;
}

/* One change at a time. (A new leader may have more than one in its log of which it does not know
 * yet that they are committed; it proposes none before it does.) */
static void check_pending(struct group *g, const struct member *m)
{
    struct raft_status st;
    unsigned n = 0, confs = 0, own = 0;

    raft_get_status(m->r, &st);
    if (st.role != RAFT_LEADER || st.last == st.commit)
        return;
    const struct raft_entry *e = raft_entries(m->r, st.commit + 1, st.last, UINT64_MAX, &n);
    for (unsigned i = 0; i < n; i++) {
        confs += e[i].type == RAFT_ENTRY_CONF;
        own += e[i].type == RAFT_ENTRY_CONF && e[i].term == st.term;
    }
    CHECK(g, own == 0 || confs == 1, "node %u leads with %u configurations uncommitted", m->id,
          confs);
}

void check_role(struct group *g, struct member *m)
{
    struct raft_status st;

    raft_get_status(m->r, &st);
    CHECK(g, st.term >= m->term, "node %u's term goes back", m->id);
    CHECK(g, st.applied <= st.commit && st.commit <= st.last, "node %u's cursors", m->id);
    if (st.role == RAFT_LEADER && (m->role != RAFT_LEADER || m->term != st.term))
        check_elected(g, m, st.term);
    check_commit(g, m, &st);
    if (st.role != m->role || st.term != m->term)
        group_tell(g, "%u is %s t=%" PRIu64, m->id, raft_role_name(st.role), st.term);
    m->role = st.role;
    m->term = st.term;
    g->max_commit = MAX(g->max_commit, st.commit);
}

/* A promise may leave when, and only when, the disk would remember it. */
void check_promise(struct group *g, const struct member *m, const struct raft_msg *s)
{
    const struct disk *d = &m->disk;
    raft_index acked = 0;

    if (s->type == RAFT_VOTE || (s->type == RAFT_VOTE_RESP && !s->reject)) {
        raft_id vote = s->type == RAFT_VOTE ? m->id : s->to;
        CHECK(g, d->hard.term > s->term || (d->hard.term == s->term && d->hard.vote == vote),
              "node %u votes for %u in term %" PRIu64 " and could forget it", m->id, vote, s->term);
    }
    if (s->type == RAFT_APPEND_RESP && !s->reject)
        acked = s->index;
    if (s->type == RAFT_HEARTBEAT_RESP)
        acked = s->hint;
    if (acked == 0)
        return;
    CHECK(g, d->hard.term >= s->term, "node %u acknowledges in a term it could forget", m->id);
    CHECK(g, acked <= MAX(disk_last(d), m->flushed),
          "node %u acknowledges %" PRIu64 ", its disk ends at %" PRIu64, m->id, acked,
          disk_last(d));
    /* One of an older term may still have been waiting for this ready; the log has moved on. */
    struct raft_status st;
    raft_get_status(m->r, &st);
    raft_term term = st.term == s->term ? raft_term_at(m->r, acked) : 0;
    if (acked > d->base && acked <= disk_last(d) && acked > m->flushed && term != 0)
        CHECK(g, disk_at(d, acked)->term == term,
              "node %u acknowledges %" PRIu64 " with another term than its disk has", m->id, acked);
}

void check_applied(struct group *g, struct member *m, const struct raft_entry *e)
{
    uint64_t hash = hash_of(buf_bytes(e->data));

    CHECK(g, e->index == m->applied + 1, "node %u applies %" PRIu64 " after %" PRIu64, m->id,
          e->index, m->applied);
    if (e->index > g->history->len) {
        struct committed c = {e->term, e->time_ns, hash, m->term};
        g_array_append_val(g->history, c);
    }
    check_conf(g, e);
    const struct committed *c = history_at(g, e->index);
    CHECK(g, c->term == e->term && c->hash == hash && c->time_ns == e->time_ns,
          "node %u applies %" PRIu64 "/%" PRIu64 ", another node %" PRIu64 "/%" PRIu64, m->id,
          e->index, e->term, e->index, c->term);
    m->applied = e->index;
}

void check_read(struct group *g, struct member *m, const struct raft_read *read)
{
    for (guint i = 0; i < g->reads->len; i++) {
        struct read_asked *a = &g_array_index(g->reads, struct read_asked, i);
        if (a->ctx != read->ctx)
            continue;
        CHECK(g, a->node == m->id, "read %" PRIu64 " comes back at node %u", a->ctx, m->id);
        CHECK(g, read->index >= a->floor,
              "read %" PRIu64 " at %" PRIu64 ", but %" PRIu64 " was committed", a->ctx, read->index,
              a->floor);
        g_array_remove_index_fast(g->reads, i);
        g->reads_served++;
        return;
    }
    CHECK(g, false, "read %" PRIu64 " comes back twice or was never asked", read->ctx);
}

void check_no_read(struct group *g, const struct raft_read *read)
{
    for (guint i = 0; i < g->reads->len; i++)
        if (g_array_index(g->reads, struct read_asked, i).ctx == read->ctx) {
            g_array_remove_index_fast(g->reads, i);
            return;
        }
    CHECK(g, false, "read %" PRIu64 " comes back twice or was never asked", read->ctx);
}

void group_check_logs(struct group *g)
{
    for (unsigned i = 0; i < g->n; i++)
        if (g->members[i].r)
            check_pending(g, &g->members[i]);
    for (unsigned i = 0; i < g->n; i++)
        for (unsigned j = i + 1; j < g->n; j++) {
            struct raft_status a, b;
            bool agreed = false;
            if (g->members[i].r == NULL || g->members[j].r == NULL)
                continue;
            raft_get_status(g->members[i].r, &a);
            raft_get_status(g->members[j].r, &b);
            for (raft_index k = MIN(a.last, b.last); k >= MAX(a.first, b.first); k--) {
                bool same = raft_term_at(g->members[i].r, k) == raft_term_at(g->members[j].r, k);
                CHECK(g, same || !agreed, "nodes %u and %u agree after %" PRIu64 " but not there",
                      a.id, b.id, k);
                agreed |= same;
            }
        }
}
