/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions over several groups (coordinate.h): one answer for all, all or nothing whoever dies,
 * and nothing that stays behind. */
#include "cluster/node/coordinate.h"
#include "cluster/node/group.h"
#include "tests/unit/node/multi.h"

#define GROUPS 3
#define START  1000 /* what each account holds at first */

/* Three nodes; the groups 1 to 3 share the shards. An account lies in each group. */
struct bank {
    struct cluster *c;
    uint64_t client, seq;
    unsigned shards[GROUPS]; /* [0]: of group 1 */
};

static struct bytes le64(struct cluster *c, uint64_t v)
{
    uint8_t *p = arena_alloc(&c->arena, 8);
    put_le64(p, v);
    return bytes_of(p, 8);
}

static unsigned shard_of(struct cluster *c, unsigned gid)
{
    for (unsigned shard = 0; shard < TEST_SHARDS; shard++)
        if (multi_owner(c, shard) == gid)
            return shard;
    fail_msg("group %u owns nothing", gid);
    return 0;
}

/* The client is known in each group. */
static struct bank bank_open(void)
{
    struct bank b = {.c = multi_serving(3, GROUPS)};
    multi_change(b.c, CONFIG_JOIN, 0, "123");
    EVENTUALLY(b.c, multi_settled(b.c));
    b.client = multi_session(b.c);
    for (unsigned i = 0; i < GROUPS; i++) {
        b.shards[i] = shard_of(b.c, i + 1);
        assert_int_equal(
            multi_put(b.c, b.client, ++b.seq, b.shards[i], "account", le64(b.c, START)), 0);
    }
    return b;
}

static struct bytes account(const struct bank *b, unsigned i)
{
    return multi_key(b->c, b->shards[i], "account");
}

static uint64_t balance(struct bank *b, unsigned i)
{
    struct kv_read r = {.op = KV_GET, .key = account(b, i)};
    struct msg_txn t = {.n_reads = 1, .reads = &r};
    struct msg_txn_reply reply = {0};
    assert_int_equal(multi_txn(b->c, &t, &reply), 0);
    assert_int_equal(reply.reads[0].value.n, 8);
    return get_le64(reply.reads[0].value.p);
}

/* Lives in the cluster's arena. */
static struct msg_txn transfer(struct bank *b, uint64_t client, uint64_t seq, unsigned from,
                               unsigned to, uint64_t amount)
{
    struct kv_write *w = arena_array(&b->c->arena, 2, sizeof(*w));
    w[0] =
        (struct kv_write){.op = KV_ADD64, .key = account(b, from), .value = le64(b->c, 0 - amount)};
    w[1] = (struct kv_write){.op = KV_ADD64, .key = account(b, to), .value = le64(b->c, amount)};
    return (struct msg_txn){
        .client = client, .seq = seq, .acked_below = seq, .n_writes = 2, .writes = w};
}

static const struct group *leader_of(struct cluster *c, unsigned gid)
{
    unsigned id = multi_leader(c, gid);
    return id ? node_group(c->nodes[id - 1].node, gid) : NULL;
}

static unsigned prepared(struct cluster *c, unsigned gid)
{
    const struct group *g = leader_of(c, gid);
    return g ? kv_prepared(g->kv) : 0;
}

static bool group_drained(struct cluster *c, unsigned gid)
{
    const struct group *g = leader_of(c, gid);
    unsigned n;
    if (!g || kv_prepared(g->kv) > 0 || coordinator_attempts(g->coordinator) > 0)
        return false;
    (void)kv_decisions(g->kv, &n);
    return n == 0;
}

/* Nothing is under way, prepared, or to be told. */
static bool drained(struct cluster *c)
{
    for (unsigned gid = 0; gid <= GROUPS; gid++)
        if (!group_drained(c, gid))
            return false;
    return true;
}

static void bank_close(struct bank *b)
{
    EVENTUALLY(b->c, drained(b->c));
    cluster_destroy(b->c);
}

/* --- one answer ------------------------------------------------------------------------------- */

TEST(a_transaction_over_two_groups_writes_in_both_and_answers_for_both)
{
    struct bank b = bank_open();
    struct kv_read r[2] = {{.op = KV_GET, .key = account(&b, 1)},
                           {.op = KV_GET, .key = account(&b, 0)}};
    struct msg_txn t = transfer(&b, b.client, ++b.seq, 0, 1, 7);
    struct msg_txn_reply reply = {0};
    t.n_reads = 2;
    t.reads = r;
    assert_int_equal(multi_txn(b.c, &t, &reply), 0);
    assert_int_equal(reply.n_reads, 2);
    assert_int_equal(get_le64(reply.reads[0].value.p), START); /* as it was before */
    assert_int_equal(get_le64(reply.reads[1].value.p), START);
    assert_int_equal(reply.n_versions, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(reply.versions[i].shard == b.shards[0] ||
                    reply.versions[i].shard == b.shards[1]);
        assert_int_equal(reply.versions[i].version, 2);
    }
    assert_int_equal(balance(&b, 0), START - 7);
    assert_int_equal(balance(&b, 1), START + 7);
    bank_close(&b);
}

/* Account 0's compare holds, the one of account `bad` does not. */
static void fails_at(struct bank *b, unsigned bad)
{
    struct kv_compare c[3];
    struct kv_read r[2] = {{.op = KV_GET, .key = account(b, 0)},
                           {.op = KV_GET, .key = account(b, 1)}};
    struct msg_txn t = transfer(b, b->client, ++b->seq, 0, 1, 7);
    struct msg_txn_reply reply = {0};
    for (unsigned i = 0; i < 3; i++)
        c[i] = (struct kv_compare){.op = i == bad ? KV_ABSENT : KV_EXISTS, .key = account(b, i)};
    t.n_compares = 3;
    t.compares = c;
    t.n_reads = 2;
    t.reads = r;
    assert_int_equal(multi_txn(b->c, &t, &reply), ERR_FAILED);
    assert_int_equal(reply.failed, bad);
    assert_int_equal(reply.n_reads, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(get_le64(reply.reads[i].value.p), START);
        assert_int_equal(balance(b, i), START);
    }
}

TEST(a_compare_that_fails_in_any_group_is_told_by_its_index_and_nothing_is_written)
{
    struct bank b = bank_open();
    for (unsigned bad = 0; bad < 3; bad++)
        fails_at(&b, bad);
    bank_close(&b);
}

TEST(of_two_compares_that_fail_in_different_groups_the_first_is_told)
{
    struct bank b = bank_open();
    for (unsigned first = 0; first < 3; first++) {
        unsigned second = (first + 1) % 3;
        struct kv_compare c[2] = {{.op = KV_ABSENT, .key = account(&b, first)},
                                  {.op = KV_ABSENT, .key = account(&b, second)}};
        struct msg_txn t = transfer(&b, b.client, ++b.seq, 0, 1, 7);
        struct msg_txn_reply reply = {0};
        t.n_compares = 2;
        t.compares = c;
        assert_int_equal(multi_txn(b.c, &t, &reply), ERR_FAILED);
        assert_int_equal(reply.failed, 0);
    }
    bank_close(&b);
}

TEST(the_time_is_the_same_in_all_groups)
{
    struct bank b = bank_open();
    struct kv_write w[GROUPS];
    struct msg_txn t = {
        .client = b.client, .seq = ++b.seq, .acked_below = b.seq, .n_writes = GROUPS, .writes = w};
    struct msg_txn_reply reply = {0};
    for (unsigned i = 0; i < GROUPS; i++)
        w[i] = (struct kv_write){.op = KV_TIME64, .key = account(&b, i)};
    assert_int_equal(multi_txn(b.c, &t, &reply), 0);
    assert_int_not_equal(reply.time, 0);
    for (unsigned i = 0; i < GROUPS; i++)
        assert_int_equal(balance(&b, i), reply.time);
    bank_close(&b);
}

/* --- once ------------------------------------------------------------------------------------- */

static void same_answer(struct bank *b, const struct msg_txn *t, const struct msg_txn_reply *first)
{
    CLEANUP(enc_finish) struct enc one = {0}, two = {0};
    struct msg_txn_reply again = {0};
    assert_int_equal(multi_txn(b->c, t, &again), 0);
    enc_txn_reply(&one, first);
    enc_txn_reply(&two, &again);
    assert_int_equal(enc_view(&one).n, enc_view(&two).n);
    assert_memory_equal(enc_view(&one).p, enc_view(&two).p, enc_view(&one).n);
}

static void restart_all(struct cluster *c)
{
    for (unsigned id = 1; id <= 3; id++)
        cluster_kill(c, id);
    for (unsigned id = 1; id <= 3; id++)
        cluster_start(c, id);
}

TEST(a_request_that_is_repeated_gets_the_same_answer_after_all_crashed_and_the_shards_moved)
{
    struct bank b = bank_open();
    struct kv_read r = {.op = KV_GET, .key = account(&b, 1)};
    struct msg_txn t = transfer(&b, b.client, ++b.seq, 0, 1, 7);
    struct msg_txn_reply first = {0};
    t.n_reads = 1;
    t.reads = &r;
    assert_int_equal(multi_txn(b.c, &t, &first), 0);
    same_answer(&b, &t, &first);
    restart_all(b.c);
    same_answer(&b, &t, &first);
    multi_change(b.c, CONFIG_MOVE, b.shards[0], "2");
    multi_change(b.c, CONFIG_MOVE, b.shards[1], "3");
    EVENTUALLY(b.c, multi_settled(b.c));
    same_answer(&b, &t, &first);
    multi_change(b.c, CONFIG_MOVE, b.shards[1], "2"); /* both in one group now */
    EVENTUALLY(b.c, multi_settled(b.c));
    same_answer(&b, &t, &first);
    assert_int_equal(balance(&b, 0), START - 7);
    assert_int_equal(balance(&b, 1), START + 7);
    bank_close(&b);
}

/* --- crashes ---------------------------------------------------------------------------------- */

#define STEPS 30 /* rounds; the client has its answer well before */

/* Sent to the leader of the lowest shard; the given rounds have passed. */
static struct test_client *begin(struct bank *b, const struct msg_txn *t, unsigned rounds)
{
    unsigned lowest = MIN(get_be16(t->writes[0].key.p), get_be16(t->writes[1].key.p));
    unsigned leader = multi_leader(b->c, multi_owner(b->c, lowest));
    struct test_client *k = client_connect(b->c, leader, ROLE_CLIENT, false);
    (void)CLIENT_ASK(k, txn, t);
    (void)cluster_rounds(b->c, rounds);
    return k;
}

/* The client asks again until it knows: it was done once. */
static void ends_once(struct bank *b, const struct msg_txn *t)
{
    assert_int_equal(multi_txn(b->c, t, NULL), 0);
    assert_int_equal(balance(b, 0), START - 7);
    assert_int_equal(balance(b, 1), START + 7);
    assert_int_equal(balance(b, 2), START);
}

/* Which group's leader dies; 0: all nodes. */
static void dies_at(unsigned gid, unsigned rounds, bool back_first)
{
    struct bank b = bank_open();
    struct msg_txn t = transfer(&b, b.client, ++b.seq, 0, 1, 7);
    struct test_client *k = begin(&b, &t, rounds);
    unsigned victim = gid ? multi_leader(b.c, gid) : 0;
    if (gid == 0)
        restart_all(b.c);
    else
        cluster_kill(b.c, victim);
    if (victim && back_first)
        cluster_start(b.c, victim);
    ends_once(&b, &t);
    EVENTUALLY(b.c, drained(b.c)); /* also without the one that died */
    if (victim && !back_first)
        cluster_start(b.c, victim);
    client_hang_up(k);
    bank_close(&b);
}

TEST(the_leader_of_the_first_group_may_die_at_any_step)
{
    for (unsigned rounds = 0; rounds <= STEPS; rounds++)
        dies_at(1, rounds, rounds % 2);
}

TEST(the_leader_of_the_second_group_may_die_at_any_step)
{
    for (unsigned rounds = 0; rounds <= STEPS; rounds++)
        dies_at(2, rounds, rounds % 2);
}

TEST(all_nodes_may_die_at_any_step_of_a_transaction)
{
    for (unsigned rounds = 0; rounds <= STEPS; rounds++)
        dies_at(0, rounds, false);
}

TEST(whom_nobody_asks_again_is_all_or_nothing)
{
    unsigned done = 0;
    for (unsigned rounds = 0; rounds <= STEPS; rounds += 2) {
        struct bank b = bank_open();
        struct msg_txn t = transfer(&b, b.client, ++b.seq, 0, 1, 7);
        struct test_client *k = begin(&b, &t, rounds);
        restart_all(b.c);
        EVENTUALLY(b.c, drained(b.c));
        uint64_t from = balance(&b, 0), to = balance(&b, 1);
        assert_true(from == START || from == START - 7);
        assert_int_equal(from + to, 2 * START);
        done += from != START;
        client_hang_up(k);
        bank_close(&b);
    }
    assert_in_range(done, 1, STEPS / 2); /* some died too early, some not */
}

TEST(what_a_session_began_that_ends_meanwhile_leaves_no_lock)
{
    for (unsigned rounds = 0; rounds <= STEPS; rounds += 2) {
        struct bank b = bank_open();
        struct msg_txn t = transfer(&b, b.client, ++b.seq, 0, 1, 7);
        struct test_client *k = begin(&b, &t, rounds);
        assert_int_equal(multi_close(b.c, b.client), 0);
        EVENTUALLY(b.c, multi_fencing(b.c) == 0 && drained(b.c));
        uint64_t from = balance(&b, 0);
        assert_true(from == START || from == START - 7);
        assert_int_equal(from + balance(&b, 1), 2 * START);
        client_hang_up(k);
        bank_close(&b);
    }
}

/* --- a participant that is away --------------------------------------------------------------- */

/* Group 2 lies on node 4 alone, which went down when it was prepared, `rounds` after. */
static void away(unsigned rounds, bool coordinator_dies)
{
    struct bank b = {.c = multi_serving(4, 1)};
    multi_make(b.c, 2, "4");
    multi_make(b.c, 3, "123");
    multi_change(b.c, CONFIG_JOIN, 0, "123");
    EVENTUALLY(b.c, multi_settled(b.c));
    b.client = multi_session(b.c);
    for (unsigned i = 0; i < GROUPS; i++) {
        b.shards[i] = shard_of(b.c, i + 1);
        assert_int_equal(
            multi_put(b.c, b.client, ++b.seq, b.shards[i], "account", le64(b.c, START)), 0);
    }
    assert_true(b.shards[0] < b.shards[1]); /* group 1 coordinates */
    struct msg_txn t = transfer(&b, b.client, ++b.seq, 0, 1, 7);
    struct test_client *k = begin(&b, &t, 0);
    for (unsigned i = 0; i < 100 && prepared(b.c, 2) == 0; i++)
        (void)cluster_rounds(b.c, 1);
    assert_int_equal(prepared(b.c, 2), 1);
    (void)cluster_rounds(b.c, rounds);
    cluster_kill(b.c, 4);
    unsigned victim = multi_leader(b.c, 1);
    if (coordinator_dies) {
        cluster_kill(b.c, victim);
        cluster_run(b.c, 50);
        cluster_start(b.c, victim);
    }
    cluster_run(b.c, 1000);
    cluster_start(b.c, 4);
    EVENTUALLY(b.c, drained(b.c));
    ends_once(&b, &t);
    client_hang_up(k);
    bank_close(&b);
}

TEST(a_participant_that_was_down_for_long_finds_out_what_became_of_it)
{
    for (unsigned rounds = 0; rounds < 12; rounds++) {
        away(rounds, false);
        away(rounds, true);
    }
}

/* --- load, moves, crashes --------------------------------------------------------------------- */

#define CLIENTS 4

struct teller {
    uint64_t client, seq;
    bool busy;
    unsigned from, to;
    uint64_t amount;
    struct msg_txn txn;
    struct test_client *link; /* NULL: to be sent (again) */
    uint64_t id, sent_at;
};

struct load {
    struct bank bank;
    struct rng rng;
    struct teller tellers[CLIENTS];
    uint64_t expect[GROUPS];
    unsigned down, acked, moved, killed;
    bool stopping;
};

/* The node that serves the shard; 0: none does now. */
static unsigned serving(struct cluster *c, unsigned shard)
{
    for (unsigned gid = 0; gid <= GROUPS; gid++) {
        const struct group *g = leader_of(c, gid);
        if (g && kv_shard(g->kv, shard)->state == SHARD_OWNED)
            return multi_leader(c, gid);
    }
    return 0;
}

static void teller_begin(struct load *l, struct teller *w)
{
    w->from = (unsigned)rng_below(&l->rng, GROUPS);
    w->to = (w->from + 1 + (unsigned)rng_below(&l->rng, GROUPS - 1)) % GROUPS;
    w->amount = 1 + rng_below(&l->rng, 9);
    w->txn = transfer(&l->bank, w->client, ++w->seq, w->from, w->to, w->amount);
    w->busy = true;
}

static void teller_send(struct load *l, struct teller *w)
{
    struct cluster *c = l->bank.c;
    const unsigned *shards = l->bank.shards;
    unsigned node = serving(c, MIN(shards[w->from], shards[w->to]));
    if (node == 0)
        return;
    w->link = client_connect(c, node, ROLE_CLIENT, false);
    w->id = CLIENT_ASK(w->link, txn, &w->txn);
    w->sent_at = c->now;
}

static void teller_hear(struct load *l, struct teller *w)
{
    struct cluster *c = l->bank.c;
    bool has = client_has(w->link, w->id);
    if (!has && !client_closed(w->link) && c->now - w->sent_at < 300)
        return;
    unsigned status = has ? frame_status(c, client_wait(w->link, w->id), NULL) : ERR_TIMEOUT;
    client_hang_up(w->link);
    w->link = NULL;
    if (status == ERR_BUSY || status == ERR_NOT_LEADER || status == ERR_WRONG_GROUP ||
        status == ERR_TIMEOUT)
        return;
    assert_int_equal(status, 0);
    l->expect[w->from] -= w->amount;
    l->expect[w->to] += w->amount;
    l->acked++;
    w->busy = false;
}

static void tellers_step(struct load *l)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct teller *w = &l->tellers[i];
        if (!w->busy && !l->stopping)
            teller_begin(l, w);
        if (w->busy && !w->link)
            teller_send(l, w);
        if (w->link)
            teller_hear(l, w);
    }
}

static bool all_idle(const struct load *l)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (l->tellers[i].busy)
            return false;
    return true;
}

static struct load load_open(void)
{
    struct load l = {.bank = bank_open(), .rng = t_rng()};
    for (unsigned i = 0; i < CLIENTS; i++)
        l.tellers[i].client = multi_session(l.bank.c);
    for (unsigned i = 0; i < GROUPS; i++)
        l.expect[i] = START;
    return l;
}

/* All is back; what is under way is asked for until it is known; each was done once. */
static void load_close(struct load *l)
{
    struct cluster *c = l->bank.c;
    if (l->down)
        cluster_start(c, l->down);
    l->stopping = true;
    for (unsigned i = 0; i < PATIENCE && !all_idle(l); i++) {
        tellers_step(l);
        cluster_run(c, 1);
    }
    assert_true(all_idle(l));
    EVENTUALLY(c, multi_settled(c));
    for (unsigned i = 0; i < GROUPS; i++)
        assert_int_equal(balance(&l->bank, i), l->expect[i]);
    bank_close(&l->bank);
}

static void move_one(struct load *l)
{
    static const char *const gids[GROUPS] = {"1", "2", "3"};
    struct cluster *c = l->bank.c;
    if (!multi_settled(c))
        return;
    unsigned shard = l->bank.shards[rng_below(&l->rng, GROUPS)], to;
    unsigned owner = multi_owner(c, shard);
    to = (owner + (unsigned)rng_below(&l->rng, GROUPS - 1)) % GROUPS; /* gid - 1, another */
    multi_change(c, CONFIG_MOVE, shard, gids[to]);
    l->moved++;
}

TEST(shards_move_while_transactions_run_over_them)
{
    struct load l = load_open();
    for (unsigned i = 0; i < 400; i++) {
        tellers_step(&l);
        cluster_run(l.bank.c, 1);
        if (i % 10 == 9)
            move_one(&l);
    }
    assert_in_range(l.acked, 20, 100000);
    assert_in_range(l.moved, 5, 100000);
    load_close(&l);
}

static void crash_or_start(struct load *l)
{
    if (l->down) {
        cluster_start(l->bank.c, l->down);
        l->down = 0;
        return;
    }
    l->down = 1 + (unsigned)rng_below(&l->rng, 3);
    cluster_kill(l->bank.c, l->down);
    l->killed++;
}

TEST(nothing_is_lost_or_done_twice_whatever_moves_and_dies)
{
    struct load l = load_open();
    for (unsigned i = 0; i < 1000; i++) {
        tellers_step(&l);
        (void)cluster_rounds(l.bank.c, (unsigned)rng_below(&l.rng, 4)); /* crashes within a tick */
        if (rng_below(&l.rng, 40) == 0)
            crash_or_start(&l);
        cluster_run(l.bank.c, 1);
        if (rng_below(&l.rng, 30) == 0)
            move_one(&l);
    }
    assert_in_range(l.acked, 20, 100000);
    load_close(&l);
}

T_MAIN(T(a_transaction_over_two_groups_writes_in_both_and_answers_for_both),
       T(a_compare_that_fails_in_any_group_is_told_by_its_index_and_nothing_is_written),
       T(of_two_compares_that_fail_in_different_groups_the_first_is_told),
       T(the_time_is_the_same_in_all_groups),
       T(a_request_that_is_repeated_gets_the_same_answer_after_all_crashed_and_the_shards_moved),
       T(the_leader_of_the_first_group_may_die_at_any_step),
       T(the_leader_of_the_second_group_may_die_at_any_step),
       T(all_nodes_may_die_at_any_step_of_a_transaction),
       T(whom_nobody_asks_again_is_all_or_nothing),
       T(what_a_session_began_that_ends_meanwhile_leaves_no_lock),
       T(a_participant_that_was_down_for_long_finds_out_what_became_of_it),
       T(shards_move_while_transactions_run_over_them),
       T(nothing_is_lost_or_done_twice_whatever_moves_and_dies))
