/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that hang or fill up. */
#include "tests/unit/node/cluster.h"

static struct cluster *start_holding(unsigned n, uint64_t flush_log_bytes, unsigned rows_held,
                                     struct test_client **ret, uint64_t *ret_me)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = n,
                                                                 .flush_log_bytes = flush_log_bytes,
                                                                 .segment_bytes = 262144,
                                                                 .rows_held = rows_held});
    EVENTUALLY(c, cluster_leader(c) != 0);
    *ret = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    *ret_me = client_open_session(*ret);
    return c;
}

/* Each entry is a batch of the store. */
static struct cluster *start_flushing(unsigned n, uint64_t flush_log_bytes,
                                      struct test_client **ret, uint64_t *ret_me)
{
    return start_holding(n, flush_log_bytes, 1, ret, ret_me);
}

static struct cluster *start(unsigned n, struct test_client **ret, uint64_t *ret_me)
{
    return start_flushing(n, 200000, ret, ret_me);
}

TEST(nothing_is_answered_before_it_is_on_disk)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(1, &k, &me);
    cluster_hold_syncs(c, 1, true);
    uint64_t id = client_ask_put(k, me, 1, "a", bytes_str("x"));
    cluster_run(c, 5);
    assert_false(client_has(k, id));
    cluster_hold_syncs(c, 1, false);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
    cluster_destroy(c);
}

TEST(a_quorum_of_disks_is_enough)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    unsigned slow = cluster_leader(c) % 3 + 1;
    cluster_hold_syncs(c, slow, true);
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    assert_int_equal(client_put(k, me, 2, "a", "y"), 0);
    cluster_hold_syncs(c, slow, false);
    EVENTUALLY(c, cluster_status(c, slow).applied >= cluster_status(c, cluster_leader(c)).applied);
    cluster_destroy(c);
}

/* The followers' disks suffice; the leader's own write may still be under way. */
TEST(a_put_does_not_wait_for_the_leaders_own_disk)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    cluster_hold_syncs(c, cluster_leader(c), true);
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    cluster_hold_syncs(c, cluster_leader(c), false);
    cluster_destroy(c);
}

TEST(a_leader_whose_disk_hangs_makes_room_for_another)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    unsigned old = cluster_leader(c);
    cluster_hold_syncs(c, old, true);
    client_ask_put(k, me, 1, "a", bytes_str("x"));
    EVENTUALLY(c, cluster_leader(c) != old && cluster_leader(c) != 0);
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_put(k, me, 1, "a", "again"), 0);
    assert_int_equal(client_put(k, me, 2, "a", "y"), 0);
    cluster_hold_syncs(c, old, false);
    EVENTUALLY(c, cluster_status(c, old).applied >= cluster_status(c, cluster_leader(c)).applied);
    cluster_destroy(c);
}

TEST(a_full_disk_refuses_writes_and_serves_again_when_there_is_room)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(1, &k, &me);
    const char *got;
    assert_int_equal(client_put(k, me, 1, "a", "kept"), 0);
    cluster_fill_disk(c, 1, true);
    cluster_run(c, 60);
    assert_int_equal(client_put(k, me, 2, "a", "refused"), ERR_NO_SPACE);
    assert_int_equal(client_get(k, "a", &got, NULL), 0);
    assert_string_equal(got, "kept");
    cluster_fill_disk(c, 1, false);
    cluster_run(c, 60);
    assert_int_equal(client_put(k, me, 2, "a", "taken"), 0);
    cluster_destroy(c);
}

TEST(a_leader_whose_disk_fills_up_hands_over_and_no_write_is_refused)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    unsigned old = cluster_leader(c);
    raft_term term = cluster_status(c, old).term;
    assert_int_equal(client_put(k, me, 1, "a", "x"), 0);
    cluster_fill_disk(c, old, true);
    EVENTUALLY(c, cluster_leader(c) != old && cluster_leader(c) != 0);
    assert_int_equal(cluster_status(c, cluster_leader(c)).term, term + 1);
    k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_put(k, me, 2, "a", "y"), 0);
    cluster_destroy(c);
}

TEST(where_all_disks_are_full_leadership_comes_to_rest)
{
    struct test_client *k;
    uint64_t me;
    struct cluster *c = start(3, &k, &me);
    for (unsigned id = 1; id <= 3; id++)
        cluster_fill_disk(c, id, true);
    cluster_run(c, 400);
    unsigned leader = cluster_leader(c);
    assert_int_not_equal(leader, 0);
    raft_term term = cluster_status(c, leader).term;
    cluster_run(c, 400);
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_status(c, leader).term, term);
    k = client_connect(c, leader, ROLE_CLIENT, false);
    assert_int_equal(client_put(k, me, 1, "a", "refused"), ERR_NO_SPACE);
    cluster_destroy(c);
}

/* The disk fills up faster than housekeeping looks, and no flush has freed a segment. */
TEST(a_log_that_runs_out_of_room_acknowledges_nothing_and_loses_nothing)
{
    struct test_client *k;
    uint64_t me;
    static uint8_t value[60000];
    uint64_t ids[40];
    struct cluster *c = start_flushing(1, MIB(64), &k, &me);
    memset(value, 'x', sizeof(value));
    cluster_fill_disk(c, 1, true);
    for (unsigned i = 0; i < 40; i++) {
        char key[16];
        g_snprintf(key, sizeof(key), "k%u", i);
        ids[i] = client_ask_put(k, me, i + 1, key, bytes_of(value, sizeof(value)));
        cluster_run(c, 0);
    }
    cluster_run(c, 10);
    T_CONTAINS(c->nodes[0].log->str, "disk-full");
    assert_false(client_has(k, ids[39]) && frame_status(c, client_wait(k, ids[39]), NULL) == 0);
    cluster_fill_disk(c, 1, false);
    cluster_run(c, 120);
    for (unsigned i = 0; i < 40; i++) {
        unsigned status = frame_status(c, client_wait(k, ids[i]), NULL);
        if (status == ERR_NO_SPACE || status == ERR_BUSY)
            continue;
        assert_int_equal(status, 0);
    }
    assert_int_equal(client_put(k, me, 41, "after", "room"), 0);
    cluster_kill(c, 1);
    cluster_start(c, 1);
    EVENTUALLY(c, cluster_leader(c) == 1);
    const char *got;
    k = client_connect(c, 1, ROLE_CLIENT, false);
    assert_int_equal(client_get(k, "after", &got, NULL), 0);
    assert_string_equal(got, "room");
    cluster_destroy(c);
}

/* --- the state store's disk ------------------------------------------------------------------- */

static void store_room(struct cluster *c, unsigned id, enum store_mem_room room)
{
    store_mem_disk_set_room(c->nodes[id - 1].mem, room);
    cluster_fill_disk(c, id, room != STORE_MEM_ROOM);
}

static bool said(struct cluster *c, unsigned id, const char *what)
{
    return strstr(c->nodes[id - 1].log->str, what) != NULL;
}

/* Writes key k<seq>, and again until it is taken. */
static void put_numbered(struct cluster *c, struct test_client *k, uint64_t me, uint64_t seq)
{
    static uint8_t value[3000];
    char key[16];
    unsigned status = ERR_BUSY;
    g_snprintf(key, sizeof(key), "k%" G_GUINT64_FORMAT, seq);
    for (unsigned tries = 0; status != 0; tries++) {
        assert_true(tries < 100);
        status = frame_status(
            c, client_wait(k, client_ask_put(k, me, seq, key, bytes_of(value, sizeof(value)))),
            NULL);
        cluster_run(c, status == 0 ? 0 : 5);
    }
}

static void assert_numbered(struct cluster *c, struct test_client *k, uint64_t last)
{
    for (uint64_t seq = 1; seq <= last; seq++) {
        char key[16];
        const char *got;
        uint64_t version = 0;
        g_snprintf(key, sizeof(key), "k%" G_GUINT64_FORMAT, seq);
        assert_int_equal(client_get(k, key, &got, &version), 0);
        assert_true(version > 0);
    }
}

/* Two replicas hold the same rows. */
static void assert_same_state(struct cluster *c, unsigned a, unsigned b)
{
    struct store *x = node_group_store(c->nodes[a - 1].node, 0);
    struct store *y = node_group_store(c->nodes[b - 1].node, 0);
    struct store_iter *i = x->ops->iter_open(x, NULL, BYTES_NONE, BYTES_NONE);
    struct store_iter *j = y->ops->iter_open(y, NULL, BYTES_NONE, BYTES_NONE);
    struct bytes key, value, other_key, other;
    unsigned rows = 0;
    while (x->ops->iter_next(i, &key, &value)) {
        assert_true(y->ops->iter_next(j, &other_key, &other));
        assert_true(bytes_eq(key, other_key) && bytes_eq(value, other));
        rows++;
    }
    assert_false(y->ops->iter_next(j, &other_key, &other));
    assert_true(rows > 0);
    T_OK(x->ops->iter_close(i));
    T_OK(y->ops->iter_close(j));
}

TEST(a_flush_without_room_stops_writes_but_not_reads_until_there_is_room)
{
    struct test_client *k;
    uint64_t me, seq = 1;
    struct cluster *c = start_flushing(1, 20000, &k, &me);
    put_numbered(c, k, me, seq);
    /* Not seen by housekeeping: a flush is begun. */
    store_mem_disk_set_room(c->nodes[0].mem, STORE_MEM_NO_FLUSH);
    while (!said(c, 1, "store-full"))
        put_numbered(c, k, me, ++seq);
    store_room(c, 1, STORE_MEM_NO_FLUSH);
    assert_int_equal(client_put(k, me, seq + 1, "a", "refused"), ERR_NO_SPACE);
    assert_numbered(c, k, seq);
    cluster_run(c, 120);
    assert_int_equal(client_put(k, me, seq + 1, "a", "refused"), ERR_NO_SPACE);
    assert_numbered(c, k, seq);
    store_room(c, 1, STORE_MEM_ROOM);
    for (unsigned i = 0; i < 30; i++)
        put_numbered(c, k, me, ++seq);
    T_CONTAINS(c->nodes[0].log->str, "store-has-room-again");
    assert_numbered(c, k, seq);
    cluster_kill(c, 1);
    cluster_start(c, 1);
    EVENTUALLY(c, cluster_leader(c) == 1);
    assert_numbered(c, client_connect(c, 1, ROLE_CLIENT, false), seq);
    cluster_destroy(c);
}

TEST(a_batch_without_room_pauses_a_lone_replica_until_there_is_room)
{
    struct test_client *k;
    uint64_t me, seq = 0;
    struct cluster *c = start_flushing(1, 200000, &k, &me);
    while (seq < 90)
        put_numbered(c, k, me, ++seq); /* one flush and a good part of the next */
    store_mem_disk_set_room(c->nodes[0].mem, STORE_MEM_FULL);
    uint64_t id = client_ask_put(k, me, ++seq, "k91", bytes_str("once"));
    EVENTUALLY(c, said(c, 1, "store-full"));
    store_room(c, 1, STORE_MEM_FULL);
    assert_int_equal(frame_status(c, client_wait(k, id), NULL), ERR_NOT_LEADER);
    assert_int_equal(client_put(k, me, seq, "k91", "again"), ERR_NO_SPACE);
    cluster_run(c, 120);
    store_room(c, 1, STORE_MEM_ROOM);
    EVENTUALLY(c, cluster_leader(c) == 1 && said(c, 1, "store-has-room-again"));
    /* It was in the log and is applied: once. */
    const char *got;
    assert_int_equal(client_put(k, me, seq, "k91", "again"), 0);
    assert_int_equal(client_get(k, "k91", &got, NULL), 0);
    assert_string_equal(got, "once");
    assert_numbered(c, k, seq);
    cluster_destroy(c);
}

TEST(others_lead_while_the_leaders_store_has_no_room)
{
    struct test_client *k;
    uint64_t me, seq = 0;
    struct cluster *c = start_flushing(3, 200000, &k, &me);
    unsigned old = cluster_leader(c);
    while (seq < 90)
        put_numbered(c, k, me, ++seq);
    store_mem_disk_set_room(c->nodes[old - 1].mem, STORE_MEM_FULL);
    client_ask_put(k, me, ++seq, "k91", bytes_str("x"));
    EVENTUALLY(c, said(c, old, "store-full"));
    store_room(c, old, STORE_MEM_FULL);
    EVENTUALLY(c, cluster_leader(c) != old && cluster_leader(c) != 0);
    unsigned new = cluster_leader(c);
    k = client_connect(c, new, ROLE_CLIENT, false);
    while (seq < 190)
        put_numbered(c, k, me, ++seq);
    assert_numbered(c, k, seq);
    store_room(c, old, STORE_MEM_ROOM);
    EVENTUALLY(c, cluster_status(c, old).applied == cluster_status(c, new).applied);
    assert_same_state(c, old, new);
    cluster_kill(c, old);
    cluster_start(c, old);
    EVENTUALLY(c, cluster_status(c, old).applied == cluster_status(c, cluster_leader(c)).applied);
    assert_same_state(c, old, cluster_leader(c));
    cluster_destroy(c);
}

/* Again and again, at whatever point of batches and flushes, on whichever node. */
TEST(stores_that_run_out_of_room_now_and_then_lose_nothing)
{
    struct rng rng = t_rng();
    struct test_client *k;
    uint64_t me, seq = 0;
    unsigned rows = (unsigned)rng_below(&rng, 3) * 20; /* 0: the default, more than are written */
    struct cluster *c = start_holding(3, 50000, rows, &k, &me);
    for (unsigned round = 0; round < 30; round++) {
        unsigned id = (unsigned)rng_between(&rng, 1, 3);
        enum store_mem_room room = rng_below(&rng, 2) ? STORE_MEM_FULL : STORE_MEM_NO_FLUSH;
        store_mem_disk_set_room(c->nodes[id - 1].mem, room);
        uint64_t upto = seq + rng_between(&rng, 1, 40);
        while (seq < upto) {
            static uint8_t value[3000];
            char key[16];
            g_snprintf(key, sizeof(key), "k%" G_GUINT64_FORMAT, seq + 1);
            EVENTUALLY(c, cluster_leader(c) != 0);
            if (rng_below(&rng, 20) == 0)
                cluster_fill_disk(c, id, true); /* housekeeping shall see it */
            k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
            uint64_t ask = client_ask_put(k, me, seq + 1, key, bytes_of(value, sizeof(value)));
            if (frame_status(c, client_wait(k, ask), NULL) == 0)
                seq++;
            else if (cluster_leader(c) == id)
                store_room(c, id, STORE_MEM_ROOM);
            client_hang_up(k);
            cluster_run(c, (unsigned)rng_below(&rng, 3));
        }
        store_room(c, id, STORE_MEM_ROOM);
    }
    cluster_run(c, 120);
    EVENTUALLY(c, cluster_leader(c) != 0);
    assert_numbered(c, client_connect(c, cluster_leader(c), ROLE_CLIENT, false), seq);
    for (unsigned id = 1; id <= 3; id++) {
        EVENTUALLY(c,
                   cluster_status(c, id).applied == cluster_status(c, cluster_leader(c)).applied);
        assert_same_state(c, id, cluster_leader(c));
    }
    cluster_destroy(c);
}

T_MAIN(T(nothing_is_answered_before_it_is_on_disk), T(a_quorum_of_disks_is_enough),
       T(a_put_does_not_wait_for_the_leaders_own_disk),
       T(a_leader_whose_disk_hangs_makes_room_for_another),
       T(a_full_disk_refuses_writes_and_serves_again_when_there_is_room),
       T(a_leader_whose_disk_fills_up_hands_over_and_no_write_is_refused),
       T(where_all_disks_are_full_leadership_comes_to_rest),
       T(a_log_that_runs_out_of_room_acknowledges_nothing_and_loses_nothing),
       T(a_flush_without_room_stops_writes_but_not_reads_until_there_is_room),
       T(a_batch_without_room_pauses_a_lone_replica_until_there_is_room),
       T(others_lead_while_the_leaders_store_has_no_room),
       T(stores_that_run_out_of_room_now_and_then_lose_nothing))
