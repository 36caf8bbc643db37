/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/raft/group_impl.h"

void PRINTF_LIKE(2, 3) group_tell(struct group *g, const char *fmt, ...)
{
    if (g->out == NULL)
        return;
    va_list args;
    va_start(args, fmt);
    g_string_append_vprintf(g->out, fmt, args);
    va_end(args);
    g_string_append_c(g->out, '\n');
}

/* --- entries and disks ---------------------------------------------------------------------- */

static struct raft_entry *copy_entries(const struct raft_entry *e, unsigned n)
{
    struct raft_entry *c = g_new(struct raft_entry, MAX(n, 1u));
    for (unsigned i = 0; i < n; i++) {
        c[i] = e[i];
        buf_ref(c[i].data);
    }
    return c;
}

static void free_entries(struct raft_entry *e, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        buf_unref(e[i].data);
    g_free(e);
}

raft_index disk_last(const struct disk *d)
{
    return d->base + d->entries->len;
}

const struct raft_entry *disk_at(const struct disk *d, raft_index i)
{
    return &g_array_index(d->entries, struct raft_entry, i - d->base - 1);
}

char *disk_key(raft_index index, raft_term term)
{
    return g_strdup_printf("%" PRIu64 "/%" PRIu64, index, term);
}

static void disk_cut(struct disk *d, raft_index from)
{
    while (disk_last(d) >= from) {
        buf_unref(disk_at(d, disk_last(d))->data);
        g_array_set_size(d->entries, d->entries->len - 1);
    }
}

static void disk_compact(struct disk *d, raft_index upto)
{
    guint n = (guint)MIN((raft_index)d->entries->len, upto - MIN(upto, d->base));
    for (guint i = 0; i < n; i++)
        buf_unref(g_array_index(d->entries, struct raft_entry, i).data);
    g_array_remove_range(d->entries, 0, n);
    d->base = MAX(d->base, upto);
}

static void disk_write(struct group *g, struct disk *d, const struct raft_persist *p)
{
    d->hard = p->hard;
    if (p->repaired)
        d->suspect = false;
    if (p->reset) {
        disk_cut(d, d->base + 1);
        d->base = p->reset_index;
    }
    if (p->truncate_from)
        disk_cut(d, MAX(p->truncate_from, d->base + 1));
    for (unsigned i = 0; i < p->n_entries; i++) {
        struct raft_entry e = p->entries[i];
        if (e.index <= d->base)
            continue; /* flushed and compacted before its write came to its turn */
        CHECK(g, e.index == disk_last(d) + 1, "a hole in the log on disk at %" PRIu64, e.index);
        buf_ref(e.data);
        g_array_append_val(d->entries, e);
    }
}

static void free_job(struct write_job *j)
{
    free_entries(j->entries, j->p.n_entries);
    g_free(j);
}

static void free_parcel(void *v)
{
    struct parcel *p = v;
    free_entries(p->entries, p->m.n_entries);
    g_free(p);
}

/* --- life cycle ----------------------------------------------------------------------------- */

static struct member *add_node(struct group *g)
{
    struct member *m = &g->members[g->n++];

    m->id = g->n;
    if (m->rate == 0)
        m->rate = 1000;
    rng_seed(&m->rng, g->seed * 64 + m->id);
    m->writes = g_queue_new();
    m->disk.entries = g_array_new(false, false, sizeof(struct raft_entry));
    m->disk.had = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return m;
}

struct member *group_add(struct group *g)
{
    struct member *m = add_node(g);
    group_restart(g, m);
    return m;
}

void group_init(struct group *g, const char *name, unsigned voters, unsigned learners,
                uint64_t seed)
{
    *g = (struct group){.name = name,
                        .election_ticks = 10,
                        .heartbeat_ticks = 3,
                        .apply_bytes_max = MIB(1),
                        .seed = seed,
                        .clock_ns = 1000};
    g->conf.n_voters = voters;
    g->conf.n_learners = learners;
    while (g->n < voters + learners) {
        unsigned i = g->n;
        struct member *m = add_node(g);
        if (i < voters)
            g->conf.voters[i] = m->id;
        else
            g->conf.learners[i - voters] = m->id;
    }
    struct conf_known first = {0, g->conf};
    g->confs = g_array_new(false, false, sizeof(struct conf_known));
    g_array_append_val(g->confs, first);
    g->wire = g_ptr_array_new();
    g->history = g_array_new(false, false, sizeof(struct committed));
    g->leaders = g_array_new(false, true, sizeof(raft_id));
    g->reads = g_array_new(false, false, sizeof(struct read_asked));
    g->why = g_string_new(NULL);
}

void group_start(struct group *g)
{
    for (unsigned i = 0; i < g->n; i++)
        group_restart(g, &g->members[i]);
}

void group_finish(struct group *g)
{
    for (unsigned i = 0; i < g->n; i++) {
        struct member *m = &g->members[i];
        group_crash(g, m, 0);
        g_queue_free(m->writes);
        disk_cut(&m->disk, m->disk.base + 1);
        g_array_unref(m->disk.entries);
        g_hash_table_unref(m->disk.had);
    }
    for (guint i = 0; i < g->wire->len; i++)
        free_parcel(g->wire->pdata[i]);
    g_ptr_array_unref(g->wire);
    g_array_unref(g->history);
    g_array_unref(g->confs);
    g_array_unref(g->leaders);
    g_array_unref(g->reads);
    g_string_free(g->why, true);
}

struct member *group_node(struct group *g, raft_id id)
{
    return id >= 1 && id <= g->n ? &g->members[id - 1] : NULL;
}

const struct committed *history_at(const struct group *g, raft_index i)
{
    return &g_array_index(g->history, struct committed, i - 1);
}

const struct raft_conf *conf_at(const struct group *g, raft_index index)
{
    guint i = g->confs->len - 1;
    while (g_array_index(g->confs, struct conf_known, i).index > index)
        i--;
    return &g_array_index(g->confs, struct conf_known, i).conf;
}

const struct raft_conf *group_conf(const struct group *g)
{
    return conf_at(g, UINT64_MAX);
}

static bool names(const raft_id *ids, unsigned n, raft_id id)
{
    while (n > 0)
        if (ids[--n] == id)
            return true;
    return false;
}

static bool has_member(const struct raft_conf *c, raft_id id)
{
    return names(c->voters, c->n_voters, id) || names(c->outgoing, c->n_outgoing, id) ||
           names(c->learners, c->n_learners, id);
}

bool group_is_member(const struct group *g, raft_id id)
{
    return has_member(group_conf(g), id);
}

bool group_was_member(const struct group *g, raft_id id)
{
    for (guint i = 0; i < g->confs->len; i++)
        if (has_member(&g_array_index(g->confs, struct conf_known, i).conf, id))
            return true;
    return false;
}

void group_crash(struct group *g, struct member *m, unsigned kept_writes)
{
    struct write_job *j;

    while ((j = g_queue_pop_head(m->writes)) != NULL) {
        if (kept_writes > 0) {
            disk_write(g, &m->disk, &j->p);
            kept_writes--;
        }
        free_job(j);
    }
    raft_destroy(m->r);
    m->r = NULL;
    m->applied = m->flushed;
}

void group_wipe(struct group *g, struct member *m)
{
    group_crash(g, m, 0);
    disk_cut(&m->disk, m->disk.base + 1);
    m->disk.suspect = false;
    m->disk.base = m->applied = m->flushed = 0;
    m->disk.hard = (struct raft_hard){0};
}

bool group_is_suspect(const struct member *m)
{
    struct raft_status st = {0};

    if (m->r)
        raft_get_status(m->r, &st);
    return st.suspect || m->disk.suspect; /* it may be repaired, and crash before that is durable */
}

void group_damage(struct group *g, struct member *m, struct raft_hard left, bool store)
{
    struct disk *d = &m->disk;

    group_crash(g, m, 0);
    for (raft_index i = d->base + 1; i <= disk_last(d); i++)
        g_hash_table_add(d->had, disk_key(i, disk_at(d, i)->term));
    for (raft_index i = 1; i <= m->flushed; i++)
        if (store)
            g_hash_table_add(d->had, disk_key(i, history_at(g, i)->term));
    disk_cut(d, d->base + 1);
    if (store)
        m->applied = m->flushed = 0;
    d->base = m->flushed;
    d->suspect = true;
    d->hard = left;
    if (m->flushed > 0 && history_at(g, m->flushed)->term > left.term)
        d->hard = (struct raft_hard){history_at(g, m->flushed)->term, RAFT_NONE};
    group_restart(g, m);
}

void group_restart(struct group *g, struct member *m)
{
    struct disk *d = &m->disk;

    /* The log before and at the flushed index is not needed; where it disagrees with the state
     * machine, or ends before it, it is the log of before an installation. */
    if (m->flushed > disk_last(d) ||
        (m->flushed > d->base && disk_at(d, m->flushed)->term != history_at(g, m->flushed)->term)) {
        disk_cut(d, d->base + 1);
        d->base = m->flushed;
    }
    struct raft_restore s = {
        .hard = d->hard,
        .snap_index = d->base,
        .snap_term = d->base ? history_at(g, d->base)->term : 0,
        .snap_time_ns = d->base ? history_at(g, d->base)->time_ns : 0,
        .applied = m->flushed,
        .conf = conf_at(g, m->flushed),
        .entries = (const struct raft_entry *)(void *)d->entries->data,
        .n_entries = d->entries->len,
        .suspect = d->suspect,
    };
    struct raft_config c = {.id = m->id,
                            .conf = g->conf,
                            .election_ticks = g->election_ticks,
                            .heartbeat_ticks = g->heartbeat_ticks,
                            .apply_bytes_max = g->apply_bytes_max,
                            .lease = g->lease,
                            .lease_drift_ticks = g->lease_drift,
                            .rng = &m->rng};
    int e = raft_create(&c, &s, &m->r);
    CHECK(g, e == 0, "node %u cannot start from its disk: %s", m->id, err_name(e));
    m->applied = m->commit = m->flushed;
    m->ticks = g->time * m->rate / 1000;
    m->clock = 0;
    m->role = RAFT_FOLLOWER;
    m->term = d->hard.term;
}

/* --- the host's duties ---------------------------------------------------------------------- */

static void put_on_wire(struct group *g, struct member *m, const struct raft_msg *s)
{
    struct parcel *p = g_new0(struct parcel, 1);

    check_promise(g, m, s);
    p->m = *s;
    p->entries = copy_entries(s->entries, s->n_entries);
    p->m.entries = p->entries;
    g_ptr_array_add(g->wire, p);
    if (g->out) {
        raft_print_msg(g->out, s);
        g_string_append_c(g->out, '\n');
    }
}

static void queue_write(struct group *g, struct member *m, const struct raft_persist *p)
{
    struct write_job *j = g_new0(struct write_job, 1);

    j->ticket = p->ticket;
    j->p = *p;
    j->entries = copy_entries(p->entries, p->n_entries);
    j->p.entries = j->entries;
    g_queue_push_tail(m->writes, j);
    if (g->out) {
        g_string_append_printf(g->out, "%u ", m->id);
        raft_print_persist(g->out, p);
        g_string_append_c(g->out, '\n');
    }
}

static void apply(struct group *g, struct member *m, const struct raft_ready *rd)
{
    if (rd->n_apply == 0)
        return;
    if (g->out)
        g_string_append_printf(g->out, "%u apply", m->id);
    for (unsigned i = 0; i < rd->n_apply; i++) {
        check_applied(g, m, &rd->apply[i]);
        if (g->out) {
            g_string_append(g->out, i ? ", " : " ");
            raft_print_entry(g->out, &rd->apply[i]);
        }
    }
    group_tell(g, "%s", "");
}

/* The clock is read after the read was served, and the lease looked at once more. */
static void serve_reads(struct group *g, struct member *m, const struct raft_read *reads,
                        unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (reads[i].lease)
            group_catch_up(g, m);
        bool valid = raft_read_valid(m->r, &reads[i]);
        if (valid)
            check_read(g, m, &reads[i]);
        else
            check_no_read(g, &reads[i]);
        g->reads_by_lease += valid && reads[i].lease;
        g->reads_invalid += !valid;
        group_tell(g, "%u read ctx=%" PRIu64 " index=%" PRIu64 "%s%s", m->id, reads[i].ctx,
                   reads[i].index, reads[i].lease ? " by lease" : "", valid ? "" : " INVALID");
    }
}

bool group_ready(struct group *g, struct member *m)
{
    struct raft_ready rd;

    if (m->r == NULL || !raft_has_ready(m->r))
        return false;
    check_role(g, m);
    raft_ready(m->r, &rd);
    for (unsigned i = 0; i < rd.n_send; i++)
        put_on_wire(g, m, &rd.send[i]);
    if (rd.persist.ticket)
        queue_write(g, m, &rd.persist);
    apply(g, m, &rd);
    unsigned n_reads = rd.n_reads;
    struct raft_read *reads = g_memdup2(rd.reads, n_reads * sizeof(*reads));
    for (unsigned i = 0; i < rd.n_snapshots; i++) {
        group_tell(g, "%u: %u needs a snapshot", m->id, rd.snapshots[i]);
        if (!g->manual)
            group_send_snapshot(g, m, rd.snapshots[i]);
    }
    if (rd.n_apply > 0)
        raft_applied(m->r, m->applied);
    serve_reads(g, m, reads, n_reads);
    g_free(reads);
    return true;
}

bool group_complete(struct group *g, struct member *m)
{
    struct write_job *j = m->r ? g_queue_pop_head(m->writes) : NULL;

    if (j == NULL)
        return false;
    group_catch_up(g, m);
    disk_write(g, &m->disk, &j->p);
    group_tell(g, "%u has #%" PRIu64, m->id, j->ticket);
    raft_persisted(m->r, j->ticket);
    free_job(j);
    check_role(g, m);
    return true;
}

void group_settle(struct group *g)
{
    bool busy = true;

    while (busy) {
        busy = false;
        for (unsigned i = 0; i < g->n; i++) {
            struct member *m = &g->members[i];
            busy |= group_ready(g, m);
            busy |= !m->hold && group_complete(g, m);
        }
    }
}

static void deliver_snapshot(struct group *g, const struct parcel *p, struct member *to)
{
    bool wanted = raft_wants_snapshot(to->r, p->m.index, p->m.log_term);

    if (wanted) {
        to->applied = to->flushed = p->m.index;
        wanted = raft_install(to->r, p->m.from, p->m.term, p->m.index, p->m.log_term, p->time_ns,
                              conf_at(g, p->m.index));
        CHECK(g, wanted, "node %u wants a snapshot and refuses it", to->id);
        g->installs++;
    }
    group_tell(g, "%u %s the snapshot %" PRIu64 "/%" PRIu64, to->id,
               wanted ? "installs" : "needs not", p->m.index, p->m.log_term);
}

void group_deliver(struct group *g, unsigned i, bool drop, bool keep)
{
    struct parcel *p = keep ? g->wire->pdata[i] : g_ptr_array_remove_index(g->wire, i);
    struct member *to = group_node(g, p->m.to), *from = group_node(g, p->m.from);
    bool lost = drop || to->r == NULL || g->cut[from->id][to->id];

    if (lost && g->out) {
        raft_print_msg(g->out, &p->m);
        group_tell(g, " LOST");
    } else if (!lost && !p->snapshot) {
        group_catch_up(g, to);
        int e = raft_step(to->r, &p->m);
        CHECK(g, e == 0, "node %u refuses a message of a correct peer", to->id);
        check_role(g, to);
    } else if (!lost) {
        group_catch_up(g, to);
        deliver_snapshot(g, p, to);
        check_role(g, to);
    }
    if (p->snapshot && from->r)
        raft_snapshot_sent(from->r, to->id, p->m.index, !lost);
    if (!keep)
        free_parcel(p);
}

int group_propose(struct group *g, struct member *m, struct bytes data)
{
    struct buf *b = buf_copy(data);
    raft_index index;
    raft_term term;
    int e = raft_propose(m->r, b, g->clock_ns, &index, &term);

    g->clock_ns += 1000;
    buf_unref(b);
    return e;
}

int group_change(struct group *g, struct member *m, const struct raft_conf *to)
{
    raft_index index;
    raft_term term;

    check_role(g, m);
    int e = raft_change_conf(m->r, to, g->clock_ns, &index, &term);
    g->clock_ns += 1000;
    return e;
}

int group_transfer(struct group *g, struct member *m, raft_id to)
{
    int e = raft_transfer(m->r, to);
    if (e == 0)
        g->transfers++;
    return e;
}

void group_tick(struct member *m)
{
    raft_clock(m->r, ++m->clock);
    raft_tick(m->r);
}

void group_catch_up(struct group *g, struct member *m)
{
    uint64_t now = g->time * m->rate / 1000;

    if (!m->r || m->ticks >= now)
        return;
    m->clock += now - m->ticks;
    raft_clock(m->r, m->clock);
    /* After a pause it lives through some of the ticks only. */
    for (uint64_t n = MIN(now - m->ticks, 5); n > 0; n--)
        raft_tick(m->r);
    m->ticks = now;
}

static int read_with(struct group *g, struct member *m, uint64_t ctx,
                     int (*read)(struct raft *r, uint64_t ctx))
{
    for (unsigned i = 0; i < g->n; i++)
        if (g->members[i].r)
            check_role(g, &g->members[i]);
    int e = read(m->r, ctx);
    if (e == 0) {
        struct read_asked a = {m->id, ctx, g->max_commit};
        g_array_append_val(g->reads, a);
    }
    return e;
}

int group_read(struct group *g, struct member *m, uint64_t ctx)
{
    return read_with(g, m, ctx, raft_read);
}

int group_read_any(struct group *g, struct member *m, uint64_t ctx)
{
    struct raft_status st;
    raft_get_status(m->r, &st);
    int e = read_with(g, m, ctx, raft_read_any);
    g->reads_forwarded += e == 0 && st.role != RAFT_LEADER;
    return e;
}

/* Is the log on disk still one of before an installation, or does its end conflict with the
 * leader's? The host queues the cut behind these writes. */
static bool log_is_behind(const struct member *m)
{
    for (const GList *l = m->writes->head; l; l = l->next) {
        const struct raft_persist *p = &((const struct write_job *)l->data)->p;
        if (p->reset || p->truncate_from > 0)
            return true;
    }
    return false;
}

void group_compact(struct group *g, struct member *m, raft_index upto)
{
    m->flushed = m->applied;
    raft_compact(m->r, upto);
    if (!log_is_behind(m))
        disk_compact(&m->disk, upto);
}

void group_send_snapshot(struct group *g, struct member *from, raft_id to)
{
    struct raft_status st;
    struct parcel *p = g_new0(struct parcel, 1);

    raft_get_status(from->r, &st);
    const struct raft_conf *conf = raft_conf_at(from->r, from->applied);
    CHECK(g, conf && same_conf(conf, conf_at(g, from->applied)),
          "node %u does not know the configuration of its snapshot", from->id);
    p->snapshot = true;
    p->entries = copy_entries(NULL, 0);
    p->time_ns = history_at(g, from->applied)->time_ns;
    p->m = (struct raft_msg){.from = from->id,
                             .to = to,
                             .term = st.term,
                             .index = from->applied,
                             .log_term = history_at(g, from->applied)->term};
    g_ptr_array_add(g->wire, p);
}

struct member *group_leader(struct group *g)
{
    struct member *best = NULL;

    for (unsigned i = 0; i < g->n; i++) {
        struct member *m = &g->members[i];
        struct raft_status st;
        if (m->r == NULL)
            continue;
        raft_get_status(m->r, &st);
        if (st.role == RAFT_LEADER && (best == NULL || st.term > best->term))
            best = m;
    }
    return best;
}
