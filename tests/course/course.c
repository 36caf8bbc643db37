/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/course/course.h"
#include "cluster/kv/layout.h"
#include "tests/sim/disk.h"

#define CLIENTS 8
#define STEP    MS(1)

/* --- what clients and state stores tell ------------------------------------------------------- */

/* The command that a put of a state store carries, 0: none. */
static uint64_t command_in(struct bytes key, struct bytes value)
{
    if (key.n != 12 || key.p[2] != TABLE_DATA || key.p[3] != 'c' || value.n < VALUE_HEAD + 8)
        return 0;
    return get_le64(value.p + VALUE_HEAD);
}

/* Entries of one batch count as applied at its end, until another node ends one earlier. */
static void on_batch(struct sim_node *sn, uint64_t index, const struct store_write *w, size_t n)
{
    const struct course *c = sn->sim->user;
    for (size_t i = 0; i < n; i++) {
        uint64_t command = w[i].op == STORE_PUT ? command_in(w[i].key, w[i].value) : 0;
        if (command == 0)
            continue;
        const uint64_t *known = g_hash_table_lookup(c->applied, &command);
        if (!known || *known > index)
            g_hash_table_replace(c->applied, g_memdup2(&command, sizeof(command)),
                                 g_memdup2(&index, sizeof(index)));
    }
}

static void on_done(struct sim_client *k, struct client_request *r, const struct model_reply *reply)
{
    struct course *c = k->sim->user;
    struct answer *a = r->user;
    if (r->command && reply && reply->status == 0)
        g_hash_table_add(c->acked, g_memdup2(&r->command, sizeof(r->command)));
    if (a) {
        a->done = true;
        a->known = reply != NULL;
        if (reply)
            a->reply = *reply;
    }
    if (c->on_answer)
        c->on_answer(c, k, r, reply);
}

/* --- life ------------------------------------------------------------------------------------- */

static const struct profile quiet_profile = {
    .clients = CLIENTS,
    .window = 64,
    .drift_ppm = 5000,
    .flush_log_bytes = MIB(4),
    .segment_bytes = KIB(512),
    .rows_held = 1,
    .net_delay = US(100),
    .net_jitter = US(500),
    .sync_time = US(300),
    .histories = 1,
};

void course_begin(struct course *c, unsigned nodes)
{
    static const struct profile nothing;
    struct profile p = quiet_profile;
    const struct profile *given = &c->profile;
    if (memcmp(given, &nothing, sizeof(nothing)) != 0) {
        if (given->clients)
            p.clients = given->clients;
        if (given->histories)
            p.histories = given->histories;
        if (given->flush_log_bytes)
            p.flush_log_bytes = given->flush_log_bytes;
        if (given->segment_bytes)
            p.segment_bytes = given->segment_bytes;
    }
    p.nodes = c->n = nodes;
    c->profile = p;
    c->options.profile = &c->profile;
    rng_seed(&c->rng, c->options.seed ^ 0x6584);
    c->applied = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    c->acked = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    c->s = sim_create(&c->options);
    c->s->user = c;
    c->s->on_batch = on_batch;
    for (unsigned i = 0; i < p.clients; i++)
        client_of(c, i)->on_done = on_done;
    course_run(c, MS(500)); /* all have started */
}

void course_run(struct course *c, uint64_t duration)
{
    uint64_t until = c->s->now + duration;
    while (c->s->now < until) {
        sim_step(c->s, MIN(until, c->s->now + STEP));
        if (c->each)
            c->each(c);
    }
}

static bool all_linked(const struct course *c)
{
    for (unsigned a = 1; a <= c->n; a++)
        for (unsigned b = a + 1; b <= c->n; b++)
            if (up(c, a) && up(c, b) && !net_linked(c->s, a, b))
                return false;
    return true;
}

void course_link(struct course *c)
{
    uint64_t deadline = c->s->now + SEC(10);
    while (!all_linked(c)) {
        CHECK(c->s, c->s->now < deadline, "the nodes are not connected after 10 s");
        course_run(c, STEP);
    }
}

static bool all_greeted(struct course *c)
{
    bool all = true;
    for (unsigned i = 0; i < c->profile.clients; i++) {
        struct sim_client *k = client_of(c, i);
        all &= k->session > 0;
        for (unsigned node = 1; node <= c->n; node++) {
            if (!up(c, node))
                continue;
            client_dial(k, node);
            all &= k->links[node].greeted;
        }
    }
    return all;
}

static uint64_t last_entry(const struct course *c)
{
    uint64_t last = 0;
    for (unsigned i = 1; i <= c->n; i++) {
        struct raft_status st;
        if (up(c, i) && node_group_status(c->s->nodes[i - 1].node, 0, &st))
            last = MAX(last, st.last);
    }
    return last;
}

/* A new leader logs under which data directories it knows the members (cluster/node/met.h). */
void course_quiet(struct course *c)
{
    uint64_t deadline = c->s->now + SEC(20), last;
    do {
        CHECK(c->s, c->s->now < deadline, "the log grows by itself for 20 s");
        last = last_entry(c);
        course_run(c, MS(1500));
    } while (last_entry(c) != last);
}

void course_ready(struct course *c)
{
    uint64_t deadline = c->s->now + SEC(20);
    course_link(c);
    while (!all_greeted(c)) {
        CHECK(c->s, c->s->now < deadline, "the clients have no sessions after 20 s");
        course_run(c, MS(10));
    }
}

static void check_acked(struct course *c)
{
    GHashTableIter it;
    gpointer command;
    g_hash_table_iter_init(&it, c->acked);
    while (g_hash_table_iter_next(&it, &command, NULL))
        CHECK(c->s, n_applied(c, *(uint64_t *)command, NULL) == c->n,
              "command %" G_GUINT64_FORMAT " was answered, but not every replica has it",
              *(uint64_t *)command);
    if (c->slots > 0)
        return;
    /* Nobody removes them: an acknowledged one that is absent was lost. */
    for (unsigned i = 1; i <= c->n; i++)
        CHECK(c->s, commands_held(c, i) == g_hash_table_size(c->applied),
              "node %u holds %u commands, %u were applied", i, commands_held(c, i),
              g_hash_table_size(c->applied));
}

void course_end(struct course *c)
{
    c->each = NULL;
    course_unreliable(c, false);
    course_late_answers(c, false);
    for (unsigned i = 1; i <= c->n; i++)
        up(c, i) ? join(c, i) : restart(c, i);
    sim_settle(c->s);
    check_acked(c);
    sim_judge(c->s);
    g_hash_table_destroy(c->applied);
    g_hash_table_destroy(c->acked);
    sim_destroy(c->s);
}

void course_unreliable(struct course *c, bool on)
{
    struct profile *p = &c->s->profile;
    p->raft_drop = on ? 100000 : 0;
    p->client_break = on ? 20000 : 0;
    p->net_jitter = on ? MS(26) : quiet_profile.net_jitter;
}

void course_late_answers(struct course *c, bool on)
{
    c->s->profile.raft_late = on ? 666667 : 0;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static void set_links(struct course *c)
{
    for (unsigned a = 1; a <= c->n; a++)
        for (unsigned b = 1; b <= c->n; b++)
            if (a != b)
                net_block(c->s, a, b, c->cut[a] || c->cut[b]);
}

void cut(struct course *c, unsigned node)
{
    trace_line(c->s, "SCRIPT cuts n%u", node);
    c->cut[node] = true;
    set_links(c);
}

void join(struct course *c, unsigned node)
{
    trace_line(c->s, "SCRIPT joins n%u", node);
    c->cut[node] = false;
    set_links(c);
}

void split(struct course *c, unsigned side)
{
    trace_line(c->s, "SCRIPT splits %x", side);
    for (unsigned a = 1; a <= c->n; a++)
        for (unsigned b = 1; b <= c->n; b++)
            if (a != b)
                net_block(c->s, a, b, (side >> a & 1) != (side >> b & 1));
}

bool up(const struct course *c, unsigned node)
{
    return sim_node(c->s, node)->node != NULL;
}

void crash(struct course *c, unsigned node)
{
    if (!up(c, node))
        return;
    trace_line(c->s, "SCRIPT n%u loses power", node);
    host_stop(sim_node(c->s, node), END_POWER_LOSS);
}

void restart(struct course *c, unsigned node)
{
    if (!up(c, node))
        host_start(sim_node(c->s, node));
    join(c, node);
    for (unsigned i = 0; i < c->profile.clients; i++)
        client_dial(client_of(c, i), node);
}

unsigned nth_after(const struct course *c, unsigned node, unsigned n)
{
    return (node - 1 + n) % c->n + 1;
}

bool status_of(const struct course *c, unsigned node, struct raft_status *ret)
{
    return up(c, node) && node_group_status(sim_node(c->s, node)->node, 0, ret);
}

uint64_t log_bytes(const struct course *c, unsigned node)
{
    return sim_disk_bytes(sim_node(c->s, node)->disk, "/d/wal/");
}

static bool leads(const struct course *c, unsigned node, struct raft_status *ret)
{
    return status_of(c, node, ret) && ret->role == RAFT_LEADER;
}

unsigned one_leader(struct course *c)
{
    for (unsigned try = 0; try < 10; try++) {
        struct raft_status st;
        raft_term term = 0;
        unsigned leader = 0;
        course_run(c, MS(450) + rng_below(&c->rng, MS(100)));
        for (unsigned i = 1; i <= c->n; i++) {
            if (c->cut[i] || !leads(c, i, &st) || st.term < term)
                continue;
            CHECK(c->s, st.term > term, "nodes %u and %u lead in one term", leader, i);
            term = st.term;
            leader = i;
        }
        if (leader)
            return leader;
    }
    sim_fail(c->s, "there is no leader after 5 s");
}

void no_leader(struct course *c)
{
    struct raft_status st;
    for (unsigned i = 1; i <= c->n; i++)
        CHECK(c->s, c->cut[i] || !leads(c, i, &st), "node %u leads without a quorum", i);
}

/* 0: they differ. */
static raft_term common_term(struct course *c)
{
    raft_term term = 0;
    for (unsigned i = 1; i <= c->n; i++) {
        struct raft_status st;
        if (c->cut[i] || !status_of(c, i, &st))
            continue;
        if (term != 0 && st.term != term)
            return 0;
        term = st.term;
    }
    return term;
}

raft_term one_term(struct course *c)
{
    /* A node may still wait before it connects again. */
    uint64_t deadline = c->s->now + SEC(1);
    while (common_term(c) == 0) {
        CHECK(c->s, c->s->now < deadline, "the nodes disagree on the term");
        course_run(c, STEP);
    }
    return common_term(c);
}

uint64_t asks_sent(const struct course *c)
{
    uint64_t n = 0;
    for (unsigned i = 1; i <= c->n; i++)
        n += sim_node(c->s, i)->traffic.asks;
    return n;
}

/* --- commands --------------------------------------------------------------------------------- */

struct sim_client *client_of(const struct course *c, unsigned i)
{
    return g_ptr_array_index(c->s->clients, i);
}

static uint64_t submit(struct course *c, unsigned node, uint32_t bytes)
{
    struct sim_client *k = NULL;
    for (unsigned i = 0; i < c->profile.clients && (!k || k->session == 0); i++)
        k = client_of(c, c->turn++ % c->profile.clients);
    if (!k || k->session == 0)
        return 0;
    struct client_request *r = request_new(k, ASK_TXN);
    r->command = ++c->last_command;
    r->slot = c->slots ? r->command % c->slots : r->command;
    r->ballast = bytes;
    r->target = node;
    r->once = node > 0;
    uint64_t command = r->command;
    client_ask(k, r); /* it may be gone already */
    return command;
}

uint64_t start(struct course *c, unsigned node, uint32_t bytes)
{
    struct raft_status st;
    return leads(c, node, &st) ? submit(c, node, bytes) : 0;
}

uint64_t ask(struct course *c, uint32_t bytes)
{
    uint64_t command = submit(c, 0, bytes);
    CHECK(c->s, command > 0, "no client has a session");
    return command;
}

unsigned n_applied(const struct course *c, uint64_t command, uint64_t *ret_index)
{
    const uint64_t *index = g_hash_table_lookup(c->applied, &command);
    unsigned n = 0;
    for (unsigned i = 1; index && i <= c->n; i++) {
        struct raft_status st;
        n += status_of(c, i, &st) && st.applied >= *index;
    }
    if (index && ret_index)
        *ret_index = *index;
    return n;
}

bool acked(const struct course *c, uint64_t command)
{
    return g_hash_table_contains(c->acked, &command);
}

bool wait_applied(struct course *c, uint64_t command, unsigned n, uint64_t within)
{
    uint64_t deadline = c->s->now + within;
    while (n_applied(c, command, NULL) < n && c->s->now < deadline)
        course_run(c, STEP);
    return n_applied(c, command, NULL) >= n;
}

bool wait_acked(struct course *c, uint64_t command, uint64_t within)
{
    uint64_t deadline = c->s->now + within;
    while (!acked(c, command) && c->s->now < deadline)
        course_run(c, STEP);
    return acked(c, command);
}

uint64_t one_of_bytes(struct course *c, unsigned n, bool retry, uint32_t bytes)
{
    uint64_t within = c->agree_within ? c->agree_within : AGREE_WITHIN;
    uint64_t deadline = c->s->now + within, index = 0;
    while (c->s->now < deadline) {
        uint64_t command = 0;
        for (unsigned i = 1; i <= c->n && command == 0; i++)
            if (!c->cut[i])
                command = start(c, i, bytes);
        if (command == 0) {
            course_run(c, MS(50));
            continue;
        }
        if (wait_applied(c, command, n, COMMAND_WITHIN)) {
            n_applied(c, command, &index);
            return index;
        }
        CHECK(c->s, retry, "a leader took command %" G_GUINT64_FORMAT ", but %u of %u have it",
              command, n_applied(c, command, NULL), n);
    }
    sim_fail(c->s, "no agreement of %u nodes within %.0f s", n, (double)within / 1e9);
}

uint64_t one(struct course *c, unsigned n, bool retry)
{
    return one_of_bytes(c, n, retry, 8);
}

unsigned commands_held(struct course *c, unsigned node)
{
    struct store *real = node_group_store(sim_node(c->s, node)->node, 0);
    struct bytes key, value;
    unsigned n = 0;
    CHECK(c->s, real, "node %u cannot write its state", node);
    struct store_iter *it = real->ops->iter_open(real, NULL, BYTES_NONE, BYTES_NONE);
    while (real->ops->iter_next(it, &key, &value))
        n += command_in(key, value) > 0;
    real->ops->iter_close(it);
    return n;
}
