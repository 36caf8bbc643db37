/* SPDX-License-Identifier: Apache-2.0 */
/* A replica that finds its files damaged is repaired by its peers, or refuses if it has none. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
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

/* A group that has put k1..k40, and lost node `id`. */
static struct cluster *with_data(unsigned n, uint64_t flush_log_bytes, unsigned id)
{
    struct cluster *c =
        cluster_create(&(struct cluster_options){.n = n, .flush_log_bytes = flush_log_bytes});
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    put_many(c, k, client_open_session(k), 1, 40);
    cluster_run(c, 100);
    cluster_kill(c, id);
    return c;
}

/* The first record of the second batch, with valid ones behind (store/format.h). */
static void flip_a_bit_early(const char *dir)
{
    char command[400], name[300] = "";
    g_snprintf(command, sizeof(command), "ls -S %s/wal/* | head -1", dir);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(name, sizeof(name), f));
    pclose(f);
    g_strchomp(name);
    int fd = open(name, O_RDWR);
    uint8_t b = 0;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &b, 1, 4096 + 70), 1);
    b ^= 1;
    assert_int_equal(pwrite(fd, &b, 1, 4096 + 70), 1);
    close(fd);
}

static void remove_log(const char *dir)
{
    shell("rm -r %s/wal", dir);
}

static bool says(struct cluster *c, unsigned id, const char *what)
{
    return strstr(c->nodes[id - 1].log->str, what) != NULL;
}

/* It is a full member again: with another one gone, all that was acknowledged is there. */
static void assert_repaired(struct cluster *c, unsigned id)
{
    EVENTUALLY(c, !cluster_status(c, id).suspect);
    assert_true(says(c, id, "repaired gid=0"));
    EVENTUALLY(c, cluster_leader(c) != 0);
    cluster_run(c, 100);
    unsigned leader = cluster_leader(c), gone = leader != id ? leader : id % c->n + 1;
    cluster_kill(c, gone);
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    const char *value;
    uint64_t version;
    for (unsigned i = 1; i <= 40; i++) {
        char key[16];
        g_snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(client_get(k, key, &value, &version), 0);
        assert_true(version > 0);
    }
    /* And it stays one: the mark is gone from the log. */
    cluster_start(c, gone);
    cluster_run(c, 100);
    cluster_kill(c, id);
    cluster_start(c, id);
    assert_false(cluster_status(c, id).suspect);
    cluster_destroy(c);
}

static void repair_from(void (*damage)(const char *dir), const char *what)
{
    for (unsigned id = 1; id <= 3; id++) {
        struct cluster *c = with_data(3, 0, id);
        damage(c->nodes[id - 1].dir);
        cluster_start(c, id);
        assert_true(cluster_status(c, id).suspect);
        assert_true(says(c, id, "damaged gid=0"));
        assert_true(says(c, id, what));
        assert_repaired(c, id);
    }
}

TEST(a_damaged_log_is_repaired_from_the_peers)
{
    repair_from(flip_a_bit_early,
                "its log is damaged (segment 0000000000000001, offset 4096: batch");
}

TEST(a_log_that_is_gone_is_repaired_from_the_peers)
{
    repair_from(remove_log, "its log is gone");
}

/* Whatever it stored is forgotten, but it has met others: it is no new node. */
TEST(a_member_of_which_only_the_name_is_left_is_repaired_from_the_peers)
{
    struct cluster *c = with_data(3, 20000, 2);
    struct test_node *tn = &c->nodes[1];
    remove_log(tn->dir);
    T_OK(tn->stores->destroy(tn->stores, t_path(tn->dir, "groups/0")));
    shell("rm -rf %s/groups", tn->dir);
    cluster_start(c, 2);
    assert_true(cluster_status(c, 2).suspect);
    assert_repaired(c, 2);
}

TEST(a_state_store_that_is_gone_is_repaired_by_a_snapshot)
{
    struct cluster *c = with_data(3, 20000, 3);
    struct test_node *tn = &c->nodes[2];
    T_OK(tn->stores->destroy(tn->stores, t_path(tn->dir, "groups/0")));
    cluster_start(c, 3);
    assert_true(cluster_status(c, 3).suspect);
    assert_true(says(c, 3, "its state store is older than the start of its log"));
    assert_repaired(c, 3);
}

/* In memory there is nothing to damage. */
static bool on_rocks(void)
{
    return g_strcmp0(getenv("NODE_STORE"), "rocks") == 0;
}

static void spoil_store(const char *dir, const char *how)
{
    char *command = g_strdup_printf("cd %s/groups/0 && %s", dir, how);
    shell("%s", command);
    g_free(command);
}

TEST(a_state_store_that_cannot_be_opened_is_put_aside_and_filled_again)
{
    const char *const ways[] = {"for f in MANIFEST-*; do echo rubbish >$f; done",
                                "rm CURRENT FORMAT", "rm MANIFEST-*", "rm $(ls *.sst | head -n 1)"};
    for (size_t i = 0; on_rocks() && i < ARRAY_LEN(ways); i++) {
        struct cluster *c = with_data(3, 20000, 3);
        const char *dir = c->nodes[2].dir;
        spoil_store(dir, ways[i]);
        cluster_start(c, 3);
        assert_true(says(c, 3, "the state store is not readable"));
        assert_true(cluster_status(c, 3).suspect);
        assert_true(g_file_test(t_path(dir, "groups/0.damaged"), G_FILE_TEST_IS_DIR));
        EVENTUALLY(c, !cluster_status(c, 3).suspect);
        assert_false(g_file_test(t_path(dir, "groups/0.damaged"), G_FILE_TEST_IS_DIR));
        assert_repaired(c, 3);
    }
}

/* Nothing that it promised is lost: it votes as ever. */
TEST(a_log_that_has_all_entries_fills_a_damaged_state_store)
{
    if (!on_rocks())
        return;
    struct cluster *c = with_data(3, 0, 3);
    spoil_store(c->nodes[2].dir, "echo rubbish >CURRENT");
    cluster_cut_off(c, 3, true);
    cluster_start(c, 3);
    assert_true(says(c, 3, "the state store is not readable"));
    assert_false(cluster_status(c, 3).suspect);
    cluster_cut_off(c, 3, false);
    cluster_kill(c, 1);
    EVENTUALLY(c, cluster_leader(c) != 0);
    EVENTUALLY(c, cluster_status(c, 3).applied == cluster_status(c, 2).applied);
    cluster_destroy(c);
}

/* Found while it runs: the node ends, and this note is what it leaves. */
TEST(a_state_store_that_could_not_be_read_is_put_aside_at_the_next_start)
{
    struct cluster *c = with_data(3, 20000, 3);
    const char *note = t_path(c->nodes[2].dir, "groups/0.unreadable");
    assert_true(g_file_set_contents(note, "", 0, NULL));
    cluster_start(c, 3);
    assert_true(says(c, 3, "a part of its state store could not be read"));
    assert_true(cluster_status(c, 3).suspect);
    assert_false(g_file_test(note, G_FILE_TEST_EXISTS));
    assert_repaired(c, 3);
}

TEST(a_crash_in_the_middle_of_a_repair_finds_the_mark_again)
{
    struct cluster *c = with_data(3, 0, 1);
    flip_a_bit_early(c->nodes[0].dir);
    cluster_cut_off(c, 1, true);
    cluster_start(c, 1);
    cluster_run(c, 10);
    for (unsigned i = 0; i < 2; i++) {
        cluster_kill(c, 1);
        g_string_truncate(c->nodes[0].log, 0);
        cluster_start(c, 1);
        assert_true(cluster_status(c, 1).suspect);
        assert_true(says(c, 1, "goes on"));
        cluster_run(c, 10);
    }
    cluster_cut_off(c, 1, false);
    assert_repaired(c, 1);
}

TEST(two_of_three_that_are_damaged_elect_nobody_and_lose_nothing)
{
    struct cluster *c = with_data(3, 0, 1);
    cluster_kill(c, 2);
    flip_a_bit_early(c->nodes[0].dir);
    flip_a_bit_early(c->nodes[1].dir);
    cluster_start(c, 1);
    cluster_start(c, 2);
    cluster_run(c, 1000);
    assert_int_equal(cluster_leader(c), 0);
    assert_true(cluster_status(c, 1).suspect && cluster_status(c, 2).suspect);
    cluster_destroy(c);
}

TEST(a_lone_replica_refuses_damage_and_touches_nothing)
{
    void (*const ways[])(const char *dir) = {flip_a_bit_early, remove_log};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct cluster *c = with_data(1, 20000, 1);
        const char *dir = c->nodes[0].dir;
        struct errmsg msg = {""};
        ways[i](dir);
        shell("cd %s && find . -name 0000000000000001.seg | xargs -r md5sum >sums", dir);
        T_ERR(ERR_CORRUPT, cluster_try_start(c, 1, &msg));
        T_CONTAINS(msg.text, "replica of group 0 in ");
        T_CONTAINS(msg.text, "is damaged");
        T_CONTAINS(msg.text, "restore it from a backup");
        T_ERR(ERR_CORRUPT, cluster_try_start(c, 1, &msg));
        shell("cd %s && { ! test -s sums || md5sum --quiet -c sums; }", dir);
        assert_false(g_file_test(t_path(dir, "groups/0.damaged"), G_FILE_TEST_EXISTS));
        cluster_destroy(c);
    }
}

T_MAIN(T(a_damaged_log_is_repaired_from_the_peers),
       T(a_log_that_is_gone_is_repaired_from_the_peers),
       T(a_member_of_which_only_the_name_is_left_is_repaired_from_the_peers),
       T(a_state_store_that_is_gone_is_repaired_by_a_snapshot),
       T(a_state_store_that_cannot_be_opened_is_put_aside_and_filled_again),
       T(a_log_that_has_all_entries_fills_a_damaged_state_store),
       T(a_state_store_that_could_not_be_read_is_put_aside_at_the_next_start),
       T(a_crash_in_the_middle_of_a_repair_finds_the_mark_again),
       T(two_of_three_that_are_damaged_elect_nobody_and_lose_nothing),
       T(a_lone_replica_refuses_damage_and_touches_nothing))
