/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that meet the lock of a transaction over several groups (queue.h). */
#include "cluster/node/group.h"
#include "tests/unit/node/multi.h"

#define CLIENTS 12
#define TIMES   8

/* Two groups, each with shards; low and high are those of the group with the lowest and the highest
 * number. */
struct rig {
    struct cluster *c;
    unsigned low[3], high[3]; /* by gid */
};

/* One client: its session, and a connection to the leader of a group. */
struct writer {
    struct rig *rig;
    unsigned gid;
    struct test_client *k;
    uint64_t client, seq, asked;
};

static const struct group *leader_of(struct rig *r, unsigned gid)
{
    unsigned id = multi_leader(r->c, gid);
    return id ? node_group(r->c->nodes[id - 1].node, gid) : NULL;
}

static unsigned prepared(struct rig *r, unsigned gid)
{
    const struct group *g = leader_of(r, gid);
    return g ? kv_prepared(g->kv) : 0;
}

static struct test_client *connect_to(struct rig *r, unsigned gid)
{
    EVENTUALLY(r->c, multi_leader(r->c, gid) != 0);
    return client_connect(r->c, multi_leader(r->c, gid), ROLE_ADMIN, false);
}

/* Of the node that leads the group now. */
static uint64_t counter(struct rig *r, unsigned gid, const char *name)
{
    struct test_client *k = connect_to(r, gid);
    uint64_t value = client_counter(k, name);
    client_hang_up(k);
    return value;
}

static struct kv_write put(struct rig *r, unsigned shard, const char *name, const char *value)
{
    return (struct kv_write){
        .op = KV_PUT, .key = multi_key(r->c, shard, name), .value = bytes_str(value)};
}

static void fill(struct rig *r)
{
    static const uint8_t zero[8];
    uint64_t client = multi_session(r->c), seq = 0;
    for (unsigned gid = 1; gid <= 2; gid++) {
        r->high[gid] = 0;
        r->low[gid] = TEST_SHARDS;
        for (unsigned s = 0; s < TEST_SHARDS; s++) {
            if (multi_owner(r->c, s) != gid)
                continue;
            r->low[gid] = MIN(r->low[gid], s);
            r->high[gid] = s;
        }
        struct bytes z = bytes_of(zero, sizeof(zero));
        assert_int_equal(multi_put(r->c, client, ++seq, r->low[gid], "n", z), 0);
        assert_int_equal(multi_put(r->c, client, ++seq, r->high[gid], "n", z), 0);
    }
}

static void join_both(struct rig *r)
{
    multi_change(r->c, CONFIG_JOIN, 0, "12");
    EVENTUALLY(r->c, multi_settled(r->c));
    if (multi_owner(r->c, 0) != 2)
        multi_change(r->c, CONFIG_MOVE, 0, "2");
    if (multi_owner(r->c, 1) != 1)
        multi_change(r->c, CONFIG_MOVE, 1, "1");
    EVENTUALLY(r->c, multi_settled(r->c));
    fill(r); /* low[2] < low[1] < high[1] and high[2] */
}

static struct rig two_groups(void)
{
    struct rig r = {.c = multi_serving(3, 2)};
    join_both(&r);
    return r;
}

/* No node has a replica of both, so that one can be lost without the other. */
static struct rig two_groups_apart(void)
{
    struct rig r = {.c = multi_serving(6, 0)};
    multi_make(r.c, 1, "123");
    multi_make(r.c, 2, "456");
    join_both(&r);
    return r;
}

static struct writer writer_of(struct rig *r, unsigned gid)
{
    return (struct writer){r, gid, connect_to(r, gid), multi_session(r->c), 0, 0};
}

/* Reads and adds 1 to "n" in each of the shards: reads exclude additions. */
static void ask_add(struct writer *w, const unsigned *shards, unsigned n)
{
    static const uint8_t one[8] = {1};
    struct kv_read reads[4];
    struct kv_write writes[4];
    for (unsigned i = 0; i < n; i++) {
        struct bytes key = multi_key(w->rig->c, shards[i], "n");
        reads[i] = (struct kv_read){.op = KV_GET, .key = key};
        writes[i] =
            (struct kv_write){.op = KV_ADD64, .key = key, .value = bytes_of(one, sizeof(one))};
    }
    w->seq++;
    struct msg_txn t = {
        .client = w->client,
        .seq = w->seq,
        .acked_below = w->seq,
        .n_reads = n,
        .reads = reads,
        .n_writes = n,
        .writes = writes,
    };
    w->asked = CLIENT_ASK(w->k, txn, &t);
}

static unsigned status_of(struct writer *w)
{
    struct msg_txn_reply reply;
    return frame_status(w->rig->c, client_wait(w->k, w->asked), &reply);
}

static uint64_t number_at(struct rig *r, unsigned shard)
{
    struct kv_read get = {.op = KV_GET, .key = multi_key(r->c, shard, "n")};
    struct msg_txn t = {.n_reads = 1, .reads = &get};
    struct msg_txn_reply reply = {0};
    assert_int_equal(multi_txn(r->c, &t, &reply), 0);
    assert_int_equal(reply.reads[0].value.n, 8);
    return get_le64(reply.reads[0].value.p);
}

/* Each in turn when its one before is answered; nobody is ever told anything but OK. Time passes
 * only when nobody can go on without it: so many ticks. */
static unsigned all_add(struct writer *w, unsigned n, unsigned times,
                        void (*ask)(struct writer *w, unsigned i))
{
    unsigned left = n * times, done[CLIENTS] = {0};
    uint64_t begin = w->rig->c->now;
    for (unsigned i = 0; i < n; i++)
        ask(&w[i], i);
    for (unsigned ticks = 0; left > 0; ticks++) {
        if (ticks > PATIENCE)
            fail_msg("%u never end", left);
        for (unsigned i = 0; i < n; i++) {
            if (done[i] == times || !client_has(w[i].k, w[i].asked))
                continue;
            assert_int_equal(status_of(&w[i]), 0);
            left--;
            if (++done[i] < times)
                ask(&w[i], i);
        }
        if (!cluster_rounds(w->rig->c, 1))
            cluster_tick(w->rig->c);
    }
    return (unsigned)(w->rig->c->now - begin);
}

static void ask_same_two(struct writer *w, unsigned i)
{
    const unsigned shards[] = {w->rig->low[1], w->rig->high[2]};
    ask_add(w, shards, 2);
}

TEST(many_that_change_the_same_two_keys_in_two_groups_are_never_told_busy)
{
    struct rig r = two_groups();
    struct writer w[CLIENTS];
    unsigned gid = r.low[1] < r.high[2] ? 1 : 2;
    for (unsigned i = 0; i < CLIENTS; i++)
        w[i] = writer_of(&r, gid);
    assert_in_range(all_add(w, CLIENTS, TIMES, ask_same_two), 0, 6); /* no pauses */
    assert_int_equal(number_at(&r, r.low[1]), CLIENTS * TIMES);
    assert_int_equal(number_at(&r, r.high[2]), CLIENTS * TIMES);
    assert_true(counter(&r, 3 - gid, "waits_for_locks") > 0);
    assert_int_equal(counter(&r, 3 - gid, "waits_for_locks_refused"), 0);
    cluster_destroy(r.c);
}

/* Each group coordinates some, and both want the highest shard of either group. */
static void ask_crossing(struct writer *w, unsigned i)
{
    const struct rig *r = w->rig;
    const unsigned shards[] = {r->low[w->gid], r->high[1], r->high[2]};
    ask_add(w, shards, 3);
}

TEST(transactions_that_cross_each_other_all_end_and_are_never_told_busy)
{
    struct rig r = two_groups();
    struct writer w[CLIENTS];
    for (unsigned i = 0; i < ARRAY_LEN(w); i++)
        w[i] = writer_of(&r, 1 + i % 2);
    assert_in_range(all_add(w, CLIENTS, TIMES, ask_crossing), 0, 100);
    assert_int_equal(number_at(&r, r.high[1]), ARRAY_LEN(w) * TIMES);
    assert_int_equal(number_at(&r, r.high[2]), ARRAY_LEN(w) * TIMES);
    assert_int_equal(number_at(&r, r.low[1]), ARRAY_LEN(w) * TIMES / 2);
    cluster_destroy(r.c);
}

static void ask_mixed(struct writer *w, unsigned i)
{
    const unsigned both[] = {w->rig->low[1], w->rig->high[2]};
    if (i % 2 == 0)
        ask_add(w, both, 2);
    else
        ask_add(w, &both[w->gid - 1], 1);
}

TEST(writes_of_one_group_wait_for_those_of_two_and_are_never_told_busy)
{
    struct rig r = two_groups();
    struct writer w[9];
    unsigned gid = r.low[1] < r.high[2] ? 1 : 2;
    for (unsigned i = 0; i < ARRAY_LEN(w); i++)
        w[i] = writer_of(&r, i % 2 == 0 ? gid : 1 + i / 2 % 2);
    (void)all_add(w, ARRAY_LEN(w), TIMES, ask_mixed);
    assert_int_equal(number_at(&r, r.low[1]) + number_at(&r, r.high[2]), (10 + 4) * TIMES);
    cluster_destroy(r.c);
}

/* A transaction that group 2 has prepared and whose end is not known yet, in shard high[2]. */
static struct writer hold_lock(struct rig *r)
{
    struct writer w = writer_of(r, 1);
    const unsigned shards[] = {r->low[1], r->high[2]};
    assert_true(r->low[1] < r->high[2]);
    ask_add(&w, shards, 2);
    for (unsigned i = 0; prepared(r, 2) == 0; i++) {
        assert_true(i < 1000);
        if (!cluster_rounds(r->c, 1))
            cluster_tick(r->c);
    }
    return w;
}

static uint64_t ask_number(struct rig *r, struct test_client *k, unsigned shard)
{
    struct kv_read get = {.op = KV_GET, .key = multi_key(r->c, shard, "n")};
    struct msg_txn t = {.n_reads = 1, .reads = &get};
    return CLIENT_ASK(k, txn, &t);
}

TEST(a_read_that_meets_a_lock_gets_what_is_there_after_it)
{
    struct rig r = two_groups();
    struct test_client *k = connect_to(&r, 2);
    struct msg_txn_reply reply = {0};
    struct writer w = hold_lock(&r);
    uint64_t id = ask_number(&r, k, r.high[2]);
    assert_int_equal(frame_status(r.c, client_wait(k, id), &reply), 0);
    assert_int_equal(get_le64(reply.reads[0].value.p), 1);
    assert_int_equal(status_of(&w), 0);
    assert_true(counter(&r, 2, "waits_for_locks") > 0);
    cluster_destroy(r.c);
}

TEST(a_wait_for_a_change_of_a_locked_key_is_answered_with_the_change)
{
    struct rig r = two_groups();
    struct test_client *k = connect_to(&r, 2);
    struct msg_txn_reply reply = {0};
    struct kv_read get = {.op = KV_GET, .key = multi_key(r.c, r.high[2], "n")};
    struct msg_txn t = {.n_reads = 1, .reads = &get};
    assert_int_equal(multi_txn(r.c, &t, &reply), 0);
    const struct msg_wait m = {
        .key = get.key, .version = reply.reads[0].version, .timeout_ms = 20000};
    struct writer w = hold_lock(&r);
    uint64_t id = CLIENT_ASK(k, wait, &m);
    assert_int_equal(frame_status(r.c, client_wait(k, id), &reply), 0);
    assert_int_equal(get_le64(reply.reads[0].value.p), 1);
    assert_int_equal(status_of(&w), 0);
    cluster_destroy(r.c);
}

static uint64_t ask_put(struct rig *r, struct test_client *k, uint64_t client, uint64_t seq)
{
    struct kv_write w = put(r, r->high[2], "n", "12345678");
    struct msg_txn t = {
        .client = client, .seq = seq, .acked_below = seq, .n_writes = 1, .writes = &w};
    return CLIENT_ASK(k, txn, &t);
}

/* The group knows the session: it is no longer new to it. */
static uint64_t known_session(struct rig *r)
{
    uint64_t client = multi_session(r->c);
    assert_int_equal(multi_put(r->c, client, 1, r->high[2], "other", bytes_str("x")), 0);
    return client;
}

/* Straight into the log of group 2, without the queue's knowledge, as an earlier leader's entry. */
static void log_for_2(struct rig *r, enum kv_command cmd, struct enc *e)
{
    struct group *g = node_group(r->c->nodes[multi_leader(r->c, 2) - 1].node, 2);
    T_OK(group_propose(g, cmd, enc_view(e), NULL));
}

static void log_prepare(struct rig *r, uint64_t client)
{
    CLEANUP(enc_finish) struct enc part = {0}, e = {0};
    struct kv_write w = put(r, r->high[2], "n", "abcdefgh");
    const struct msg_txn t = {
        .client = client, .seq = 9, .acked_below = 1, .n_writes = 1, .writes = &w};
    enc_txn(&part, &t);
    const struct msg_prepare m = {.gid = 1, .term = 1000, .n = 1, .part = enc_view(&part)};
    enc_prepare(&e, &m);
    log_for_2(r, KV_CMD_PREPARE, &e);
}

static void log_abort(struct rig *r)
{
    CLEANUP(enc_finish) struct enc e = {0};
    const struct msg_outcome m = {.gid = 1, .term = 1000, .n = 1};
    enc_outcome(&e, &m);
    log_for_2(r, KV_CMD_OUTCOME, &e);
}

TEST(a_write_whose_entry_meets_a_lock_is_not_told_busy)
{
    struct rig r = two_groups();
    uint64_t client = known_session(&r);
    struct test_client *k = connect_to(&r, 2);
    log_prepare(&r, client);
    uint64_t id = ask_put(&r, k, client, 2);
    EVENTUALLY(r.c, client_counter(k, "waiting_for_locks") == 1);
    assert_int_equal(prepared(&r, 2), 1);
    log_abort(&r);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), 0);
    assert_int_equal(client_counter(k, "waits_for_locks_refused"), 0);
    cluster_destroy(r.c);
}

TEST(a_lock_that_came_and_went_before_the_answer_makes_nobody_busy)
{
    struct rig r = two_groups();
    uint64_t client = known_session(&r);
    struct test_client *k = connect_to(&r, 2);
    log_prepare(&r, client);
    uint64_t id = ask_put(&r, k, client, 2);
    cluster_rounds(r.c, 1); /* the write is in the log */
    log_abort(&r);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), 0);
    assert_int_equal(client_counter(k, "waits_for_locks_refused"), 0);
    cluster_destroy(r.c);
}

TEST(who_waits_for_a_lock_is_told_when_its_session_has_ended)
{
    struct rig r = two_groups();
    uint64_t client = known_session(&r);
    struct test_client *k = connect_to(&r, 2);
    log_prepare(&r, client);
    EVENTUALLY(r.c, prepared(&r, 2) == 1);
    uint64_t id = ask_put(&r, k, client, 2);
    EVENTUALLY(r.c, client_counter(k, "waiting_for_locks") == 1);
    assert_int_equal(multi_close(r.c, client), 0);
    EVENTUALLY(r.c, multi_fencing(r.c) == 0);
    log_abort(&r);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), ERR_NO_SESSION);
    cluster_destroy(r.c);
}

/* --- a lock that stays ------------------------------------------------------------------------ */

/* The coordinator's group is gone; its lock on shard high[2] stays until nodes 1 to 3 come back. */
static struct rig locked_for_long(void)
{
    struct rig r = two_groups_apart();
    /* Group 0 goes on with the one that is left. */
    unsigned lead = multi_leader(r.c, 1), other = lead == 1 ? 2 : 1;
    hold_lock(&r);
    cluster_kill(r.c, lead);
    cluster_kill(r.c, other);
    return r;
}

static void come_back(struct rig *r)
{
    for (unsigned id = 1; id <= 3; id++)
        if (!r->c->nodes[id - 1].node)
            cluster_start(r->c, id);
    EVENTUALLY(r->c, multi_leader(r->c, 1) != 0 && prepared(r, 2) == 0);
}

/* Ticks until it is answered. */
static unsigned time_of(struct rig *r, struct test_client *k, uint64_t id)
{
    unsigned ticks = 0;
    while (!client_has(k, id) && ticks < PATIENCE) {
        cluster_run(r->c, 1);
        ticks++;
    }
    return ticks;
}

TEST(a_write_waits_two_seconds_for_a_dead_coordinator_and_is_told_busy)
{
    struct rig r = two_groups_apart();
    uint64_t client = known_session(&r);
    struct test_client *k = connect_to(&r, 2);
    unsigned lead = multi_leader(r.c, 1);
    (void)hold_lock(&r);
    cluster_kill(r.c, lead);
    cluster_kill(r.c, lead == 1 ? 2 : 1);
    uint64_t id = ask_put(&r, k, client, 2);
    assert_in_range(time_of(&r, k, id), 95, 110);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), ERR_BUSY);
    assert_int_equal(client_counter(k, "waits_for_locks_refused"), 1);
    assert_int_equal(client_counter(k, "waiting_for_locks"), 0);
    come_back(&r);
    id = ask_put(&r, k, client, 2);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), 0);
    cluster_destroy(r.c);
}

TEST(a_read_waits_two_seconds_for_a_dead_coordinator_and_is_told_busy)
{
    struct rig r = locked_for_long();
    struct test_client *k = connect_to(&r, 2);
    uint64_t id = ask_number(&r, k, r.high[2]);
    assert_in_range(time_of(&r, k, id), 95, 110);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), ERR_BUSY);
    come_back(&r);
    assert_int_equal(number_at(&r, r.high[2]), 0); /* it was never decided */
    cluster_destroy(r.c);
}

TEST(keys_that_are_not_locked_are_served_meanwhile)
{
    struct rig r = locked_for_long();
    struct test_client *k = connect_to(&r, 2);
    uint64_t id = ask_number(&r, k, r.low[2]);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), 0);
    assert_int_equal(client_counter(k, "waits_for_locks"), 0);
    cluster_destroy(r.c);
}

TEST(who_hangs_up_waits_for_no_lock_any_more)
{
    struct rig r = locked_for_long();
    struct test_client *k = connect_to(&r, 2), *other = connect_to(&r, 2);
    (void)ask_number(&r, k, r.high[2]);
    EVENTUALLY(r.c, client_counter(other, "waiting_for_locks") == 1);
    client_hang_up(k);
    cluster_run(r.c, 2);
    assert_int_equal(client_counter(other, "waiting_for_locks"), 0);
    assert_int_equal(client_counter(other, "waits_for_locks_refused"), 0);
    cluster_destroy(r.c);
}

TEST(who_waits_for_a_lock_is_sent_to_the_next_leader)
{
    struct rig r = locked_for_long();
    struct test_client *k = connect_to(&r, 2);
    unsigned lead = multi_leader(r.c, 2);
    uint64_t id = ask_number(&r, k, r.high[2]);
    EVENTUALLY(r.c, client_counter(k, "waiting_for_locks") == 1);
    const struct msg_leader_move m = {.gid = 2, .node = lead == 4 ? 5 : 4};
    (void)CLIENT_ASK(k, leader_move, &m);
    assert_int_equal(frame_status(r.c, client_wait(k, id), NULL), ERR_NOT_LEADER);
    assert_int_equal(client_counter(k, "waiting_for_locks"), 0);
    cluster_destroy(r.c);
}

TEST(the_next_leader_lets_requests_wait_for_a_lock_that_it_finds)
{
    struct rig r = locked_for_long();
    unsigned old = multi_leader(r.c, 2);
    cluster_kill(r.c, old);
    cluster_start(r.c, old);
    cluster_run(r.c, 100); /* elections are over */
    EVENTUALLY(r.c, multi_leader(r.c, 2) != 0 && prepared(&r, 2) == 1);
    struct test_client *k = connect_to(&r, 2);
    uint64_t id = ask_number(&r, k, r.high[2]);
    EVENTUALLY(r.c, client_counter(k, "waiting_for_locks") == 1);
    come_back(&r);
    (void)client_wait(k, id);
    cluster_destroy(r.c);
}

/* Its term goes on, but what it coordinated was forgotten (outage.h). */
TEST(a_leader_whose_store_was_full_coordinates_again)
{
    struct rig r = {.c = multi_serving(1, 0)};
    multi_make(r.c, 1, "1");
    multi_make(r.c, 2, "1");
    join_both(&r);
    struct writer w = writer_of(&r, 1);
    ask_same_two(&w, 0);
    assert_int_equal(status_of(&w), 0);
    struct group *g = node_group(r.c->nodes[0].node, 1);
    uint64_t term = g->term;
    kv_hold_rows(g->kv, 1);
    store_mem_disk_set_room(r.c->nodes[0].mem, STORE_MEM_FULL);
    ask_same_two(&w, 0);
    assert_int_equal(status_of(&w), ERR_NOT_LEADER);
    store_mem_disk_set_room(r.c->nodes[0].mem, STORE_MEM_ROOM);
    EVENTUALLY(r.c, multi_leader(r.c, 1) != 0);
    w.seq--; /* once more */
    ask_same_two(&w, 0);
    assert_int_equal(status_of(&w), 0);
    assert_int_equal(g->term, term);
    assert_int_equal(number_at(&r, r.low[1]), 2);
    assert_int_equal(number_at(&r, r.high[2]), 2);
    cluster_destroy(r.c);
}

T_MAIN(T(many_that_change_the_same_two_keys_in_two_groups_are_never_told_busy),
       T(transactions_that_cross_each_other_all_end_and_are_never_told_busy),
       T(writes_of_one_group_wait_for_those_of_two_and_are_never_told_busy),
       T(a_read_that_meets_a_lock_gets_what_is_there_after_it),
       T(a_wait_for_a_change_of_a_locked_key_is_answered_with_the_change),
       T(a_write_whose_entry_meets_a_lock_is_not_told_busy),
       T(a_lock_that_came_and_went_before_the_answer_makes_nobody_busy),
       T(who_waits_for_a_lock_is_told_when_its_session_has_ended),
       T(a_write_waits_two_seconds_for_a_dead_coordinator_and_is_told_busy),
       T(a_read_waits_two_seconds_for_a_dead_coordinator_and_is_told_busy),
       T(keys_that_are_not_locked_are_served_meanwhile), T(who_hangs_up_waits_for_no_lock_any_more),
       T(who_waits_for_a_lock_is_sent_to_the_next_leader),
       T(the_next_leader_lets_requests_wait_for_a_lock_that_it_finds),
       T(a_leader_whose_store_was_full_coordinates_again))
