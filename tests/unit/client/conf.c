/* SPDX-License-Identifier: Apache-2.0 */
/* What a client needs of its configuration. */
#include "cluster/client/client.h"
#include "tests/lib/t.h"

static int create(const char *text, struct client **ret, struct errmsg *msg)
{
    const char *path = t_path(t_tmpdir(), "c.conf");
    struct client_options o = {.conf = path};
    t_write_file(path, text, strlen(text));
    return client_create(&o, ret, msg);
}

static void refuse(const char *text, const char *needle)
{
    struct client *c = NULL;
    struct errmsg msg = {0};
    T_ERR(ERR_CONFIG, create(text, &c, &msg));
    T_CONTAINS(msg.text, needle);
    assert_null(c);
}

TEST(cluster_and_nodes_are_read_in_order)
{
    struct client *c;
    struct errmsg msg;
    uint32_t ids[4];
    T_OK_MSG(
        create("cluster 00000000000000ab\npeer n7 unix:/tmp/a\npeer 3 unix:/tmp/b\n", &c, &msg),
        &msg);
    assert_int_equal(client_cluster(c), 0xab);
    assert_int_equal(client_nodes(c, ids, 4), 2);
    assert_int_equal(ids[0], 7);
    assert_int_equal(ids[1], 3);
    assert_string_equal(client_node_address(c, 3), "unix:/tmp/b");
    assert_null(client_node_address(c, 4));
    assert_null(client_node_address(c, 0));
    assert_int_equal(client_nodes(c, ids, 1), 1);
    client_destroy(c);
}

TEST(what_is_missing_is_named_with_what_to_write)
{
    refuse("peer n1 unix:/tmp/a\n", "needs `cluster`");
    refuse("cluster xyz\npeer n1 unix:/tmp/a\n", "16 hex digits");
    refuse("cluster 1\n", "names no node");
    refuse("cluster 1\npeer n1 127.0.0.1:7000\n", "needs `ca`, `cert` and `key`");
}

TEST(a_wrong_peer_is_named_with_its_line)
{
    refuse("cluster 1\npeer n0 unix:/tmp/a\n", "c.conf:2");
    refuse("cluster 1\npeer n1\n", "expected `peer nID HOST:PORT`");
    refuse("cluster 1\npeer nx unix:/tmp/a\n", "expected");
    refuse("cluster 1\npeer n1 nonsense\n", "c.conf:2");
    refuse("cluster 1\npeer n1 unix:/tmp/a\npeer n1 unix:/tmp/b\n", "n1 is named twice");
}

TEST(a_conf_that_is_not_there_is_said_so)
{
    struct client *c;
    struct errmsg msg = {0};
    struct client_options o = {.conf = "/nonexistent/raftfs.conf"};
    T_ERR(ERR_NOT_FOUND, client_create(&o, &c, &msg));
    T_CONTAINS(msg.text, "/nonexistent/raftfs.conf");
}

TEST(reads_are_the_leaders_or_anybodys)
{
    struct client *c;
    struct errmsg msg;
    const char *node = "cluster 00000000000000ab\npeer n1 unix:/tmp/a\n";
    const char *good[] = {"read-from leader\n", "read-from any\n"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        g_autofree char *text = g_strconcat(node, good[i], NULL);
        T_OK_MSG(create(text, &c, &msg), &msg);
        client_destroy(c);
    }
    g_autofree char *text = g_strconcat(node, "read-from n2\n", NULL);
    refuse(text, "c.conf:3: read-from: expected leader or any");
}

T_MAIN(T(reads_are_the_leaders_or_anybodys), T(cluster_and_nodes_are_read_in_order),
       T(what_is_missing_is_named_with_what_to_write), T(a_wrong_peer_is_named_with_its_line),
       T(a_conf_that_is_not_there_is_said_so))
