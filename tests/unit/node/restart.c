/* SPDX-License-Identifier: Apache-2.0 */
/* What a replica may find on disk, and what it refuses. */
#include <stdio.h>
#include <stdlib.h>
#include "tests/unit/node/cluster.h"

static void shell(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void shell(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *command = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    assert_int_equal(system(command), 0);
    g_free(command);
}

static void put_many(struct cluster *c, struct test_client *k, uint64_t me, unsigned from,
                     unsigned to)
{
    char value[2000], key[16];
    memset(value, 'v', sizeof(value));
    for (unsigned i = from; i <= to; i++) {
        g_snprintf(key, sizeof(key), "k%u", i);
        uint64_t id = client_ask_put(k, me, i, key, bytes_of(value, sizeof(value)));
        assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
    }
}

/* A follower applies what the others have on disk before its own log has it; its store may be
 * flushed, and the log write be lost. */
TEST(a_store_ahead_of_its_log_starts_and_catches_up)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3, .flush_log_bytes = 20000});
    EVENTUALLY(c, cluster_leader(c) != 0);
    unsigned leader = cluster_leader(c), late = leader % 3 + 1;
    struct test_client *k = client_connect(c, leader, ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    put_many(c, k, me, 1, 5);
    cluster_run(c, 20);
    const char *dir = c->nodes[late - 1].dir;
    shell("cp -r %s/wal %s/old", dir, dir);
    raft_index old = cluster_status(c, late).last;
    put_many(c, k, me, 6, 60);
    cluster_run(c, 20);
    cluster_kill(c, late);
    shell("rm -r %s/wal && mv %s/old %s/wal", dir, dir, dir);
    cluster_start(c, late);
    assert_true(cluster_status(c, late).applied > old);
    assert_int_equal(cluster_status(c, late).last, cluster_status(c, late).applied);
    EVENTUALLY(c, cluster_status(c, late).applied >= cluster_status(c, leader).applied);
    put_many(c, k, me, 61, 70);
    cluster_run(c, 20);
    cluster_kill(c, late);
    cluster_start(c, late);
    EVENTUALLY(c, cluster_status(c, late).applied >= cluster_status(c, leader).applied);
    cluster_destroy(c);
}

TEST(an_id_that_is_no_member_is_refused)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 1});
    struct errmsg msg = {""};
    cluster_kill(c, 1);
    c->nodes[0].id = 4;
    c->n = 0; /* nobody is a member */
    T_ERR(ERR_CONFIG, cluster_try_start(c, 1, &msg));
    c->n = 1;
    c->nodes[0].id = 1;
    cluster_destroy(c);
}

T_MAIN(T(a_store_ahead_of_its_log_starts_and_catches_up), T(an_id_that_is_no_member_is_refused))
