/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.c - membership: joint consensus (paper 6) with learners (dissertation 4.2.1).
 *
 * A change of voters is two entries: C_old,new, which needs majorities of both halves from the
 * moment it is appended, and C_new, which the leader proposes by itself once C_old,new is
 * committed. A change of learners alone is one entry. Each entry is the whole configuration, and
 * the newest one in the log is in force, committed or not; so truncation must be able to go back
 * (reference/raft.md 4.4), for which `confs` keeps all those that the log has after its base, and
 * the one at the base.
 */
#include "cluster/base/codec.h"
#include "cluster/raft/core.h"

/* --- bytes ---------------------------------------------------------------------------------- */

enum { CONF_VERSION = 1 };

static void put_ids(struct enc *e, const raft_id *ids, unsigned n)
{
    enc_u8(e, (uint8_t)n);
    for (unsigned i = 0; i < n; i++)
        enc_u32(e, ids[i]);
}

struct buf *raft_conf_encode(const struct raft_conf *conf)
{
    struct enc e = {0};

    enc_u8(&e, CONF_VERSION);
    put_ids(&e, conf->voters, conf->n_voters);
    put_ids(&e, conf->outgoing, conf->n_outgoing);
    put_ids(&e, conf->learners, conf->n_learners);
    struct buf *b = buf_copy(enc_view(&e));
    enc_finish(&e);
    return b;
}

static unsigned get_ids(struct dec *d, raft_id ret[VOTERS_MAX])
{
    unsigned n = dec_u8(d);

    if (n > VOTERS_MAX) {
        d->bad = true;
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        ret[i] = dec_u32(d);
    return n;
}

int raft_conf_decode(struct bytes in, struct raft_conf *ret)
{
    struct dec d = dec_of(in);
    struct raft_conf conf = {0};

    if (dec_u8(&d) != CONF_VERSION)
        return dec_ok(&d) ? -ERR_FORMAT : -ERR_INVALID;
    conf.n_voters = get_ids(&d, conf.voters);
    conf.n_outgoing = get_ids(&d, conf.outgoing);
    conf.n_learners = get_ids(&d, conf.learners);
    if (!dec_done(&d) || quorum_check(&conf) < 0)
        return -ERR_INVALID;
    *ret = conf;
    return 0;
}

/* --- the configuration in force ------------------------------------------------------------- */

static const struct conf_at *newest(const struct raft *r)
{
    return &g_array_index(r->confs, struct conf_at, r->confs->len - 1);
}

static void add_member(struct raft *r, raft_id id, const struct progress *old, unsigned n_old)
{
    if (raft_member(r, id))
        return;
    struct progress *p = &r->members[r->n_members++];
    for (unsigned i = 0; i < n_old; i++)
        if (old[i].id == id) {
            *p = old[i];
            return;
        }
    *p = (struct progress){.id = id};
    /* From a leader the entry that brought it in is the first thing that it hears. */
    progress_reset(p, MAX(raftlog_last(&r->log), 1));
}

/* Who was there before keeps his progress. A node has one for itself even where it is no member: a
 * leader may be outside of the configuration that it commits (paper 6). */
static void obey_newest(struct raft *r)
{
    unsigned n_old = r->n_members;
    struct progress *old = g_memdup2(r->members, n_old * sizeof(*old));

    r->conf = newest(r)->conf;
    r->conf_index = newest(r)->index;
    r->n_members = 0;
    for (unsigned i = 0; i < r->conf.n_voters; i++)
        add_member(r, r->conf.voters[i], old, n_old);
    for (unsigned i = 0; i < r->conf.n_outgoing; i++)
        add_member(r, r->conf.outgoing[i], old, n_old);
    for (unsigned i = 0; i < r->conf.n_learners; i++)
        add_member(r, r->conf.learners[i], old, n_old);
    add_member(r, r->id, old, n_old);
    raft_lease_void(r);
    g_free(old);
}

void raft_conf_appended(struct raft *r, const struct raft_entry *e)
{
    struct conf_at c = {.index = e->index};
    int err = raft_conf_decode(buf_bytes(e->data), &c.conf);

    ASSERT(err == 0); /* checked where it came in */
    g_array_append_val(r->confs, c);
    obey_newest(r);
}

void raft_conf_truncated(struct raft *r, raft_index from)
{
    unsigned n = r->confs->len;

    while (newest(r)->index >= from) {
        ASSERT(r->confs->len > 1); /* the first one is committed */
        g_array_set_size(r->confs, r->confs->len - 1);
    }
    if (r->confs->len < n)
        obey_newest(r);
}

void raft_conf_compacted(struct raft *r, raft_index upto)
{
    unsigned n = 0;

    while (n + 1 < r->confs->len && g_array_index(r->confs, struct conf_at, n + 1).index <= upto)
        n++;
    if (n > 0)
        g_array_remove_range(r->confs, 0, n);
}

void raft_conf_start(struct raft *r, const struct raft_conf *conf, raft_index index)
{
    struct conf_at first = {.index = index, .conf = *conf};
    unsigned n = 0;

    while (n < r->confs->len && g_array_index(r->confs, struct conf_at, n).index <= index)
        n++;
    g_array_remove_range(r->confs, 0, n);
    g_array_prepend_val(r->confs, first);
    obey_newest(r);
}

/* Dissertation 4.2.2: until it knows that the configuration without it is committed, a server may
 * be the only one that can be elected: it alone may have that entry, and the others, still under
 * the one before, need its vote, which it cannot give to a shorter log. */
bool raft_conf_needs_us(const struct raft *r)
{
    for (unsigned i = r->confs->len; i-- > 0;) {
        const struct conf_at *c = &g_array_index(r->confs, struct conf_at, i);
        if (quorum_is_voter(&c->conf, r->id))
            return true;
        if (c->index <= r->commit)
            break;
    }
    return false;
}

const struct raft_conf *raft_get_conf(const struct raft *r)
{
    return &r->conf;
}

const struct raft_conf *raft_conf_at(const struct raft *r, raft_index index)
{
    for (unsigned i = r->confs->len; i-- > 0;) {
        const struct conf_at *c = &g_array_index(r->confs, struct conf_at, i);
        if (c->index <= index)
            return &c->conf;
    }
    return NULL;
}

/* --- changes: leader only ------------------------------------------------------------------- */

static void append_conf(struct raft *r, const struct raft_conf *conf, uint64_t now_ns)
{
    struct buf *b = raft_conf_encode(conf);

    raft_add_entry(r, RAFT_ENTRY_CONF, b, now_ns);
    buf_unref(b);
}

/* One at a time, and none before this leader knows what is committed (reference/raft.md 4.3: the
 * bug of 2015; 4.4). */
static bool may_change(const struct raft *r)
{
    return r->commit >= r->term_start && r->transfer.to == RAFT_NONE;
}

int raft_change_conf(struct raft *r, const struct raft_conf *to, uint64_t now_ns,
                     raft_index *ret_index, raft_term *ret_term)
{
    struct raft_conf next = *to;

    if (quorum_is_joint(to) || quorum_check(to) < 0 || now_ns > RAFT_NUMBER_MAX)
        return -ERR_INVALID;
    if (r->role != RAFT_LEADER)
        return -ERR_NOT_LEADER;
    if (!may_change(r) || quorum_is_joint(&r->conf) || r->conf_index > r->applied)
        return -ERR_BUSY;
    for (unsigned i = 0; i < to->n_voters; i++)
        if (!quorum_is_member(&r->conf, to->voters[i]))
            return -ERR_NOT_FOUND;
    if (quorum_same_voters(to, &r->conf)) {
        if (quorum_same_learners(to, &r->conf))
            return -ERR_EXISTS;
    } else {
        next.n_outgoing = r->conf.n_voters;
        memcpy(next.outgoing, r->conf.voters, sizeof(next.outgoing));
    }
    if (!raft_reaches(r, &next))
        return -ERR_UNREACHABLE;
    append_conf(r, &next, now_ns);
    *ret_index = raftlog_last(&r->log);
    *ret_term = r->hard.term;
    return 0;
}

void raft_conf_leave_joint(struct raft *r)
{
    struct raft_conf next = r->conf;

    if (!quorum_is_joint(&r->conf) || r->commit < r->conf_index || !may_change(r))
        return;
    next.n_outgoing = 0;
    memset(next.outgoing, 0, sizeof(next.outgoing));
    append_conf(r, &next, 0);
}

bool raft_conf_is_out(const struct raft *r)
{
    return !raft_is_voter(r) && r->applied >= r->conf_index;
}
