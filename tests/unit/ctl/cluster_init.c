/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/cluster_init.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/addr.h"
#include "cluster/base/identity.h"
#include "cluster/base/tls.h"
#include "cluster/node/daemon_conf.h"
#include "tests/lib/t.h"

static const struct cluster_init_node three[] = {
    {1, "127.0.0.1:7001"},
    {2, "127.0.0.1:7002"},
    {7, "[::1]:7003"},
};

/* A cluster of three in a new directory, which is returned. */
static const char *make_three(void)
{
    struct errmsg msg = {""};
    const char *dir = t_path(t_tmpdir(), "cluster");
    const struct cluster_init o = {.dir = dir, .nodes = three, .n_nodes = 3};
    T_OK_MSG(cluster_init(&o, &msg), &msg);
    return dir;
}

static int mode_of(const char *dir, const char *name)
{
    struct stat st;
    assert_int_equal(stat(t_path(dir, name), &st), 0);
    return (int)(st.st_mode & 07777);
}

static int count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* --- what is made ------------------------------------------------------------------------------
 */

TEST(secrets_are_for_their_owner_only)
{
    const char *dir = make_three();
    assert_int_equal(mode_of(dir, ""), 0700);
    assert_int_equal(mode_of(dir, "ca.key"), 0600);
    assert_int_equal(mode_of(dir, "n1.key"), 0600);
    assert_int_equal(mode_of(dir, "n7.key"), 0600);
    assert_int_equal(mode_of(dir, "client.key"), 0600);
    assert_int_equal(mode_of(dir, "admin.key"), 0600);
    assert_int_equal(mode_of(dir, "n1"), 0700);
    assert_int_equal(mode_of(dir, "n1/identity"), 0600);
    assert_int_equal(mode_of(dir, "client.conf"), 0644);
}

TEST(nothing_is_made_but_what_is_described)
{
    /* ca, 3 nodes, client, admin: .crt and .key each; 5 confs; 3 data directories */
    assert_int_equal(count_entries(make_three()), 2 * 6 + 5 + 3);
}

TEST(a_nodes_configuration_is_what_raftfsd_reads)
{
    const char *dir = make_three();
    struct daemon_conf c;
    struct errmsg msg = {""};
    T_OK_MSG(daemon_conf_load(t_path(dir, "n7.conf"), &c, &msg), &msg);
    assert_int_equal(c.node, 7);
    assert_string_equal(c.data, t_path(dir, "n7"));
    assert_int_equal(c.n_listen, 1);
    assert_string_equal(c.listen[0], "[::1]:7003");
    assert_int_equal(c.n_peers, 3);
    assert_int_equal(c.peers[1].id, 2);
    assert_string_equal(c.peers[1].address, "127.0.0.1:7002");
    assert_int_equal(c.shards, SHARDS_DEFAULT);
    assert_string_equal(c.cert, t_path(dir, "n7.crt"));
    daemon_conf_finish(&c);
}

TEST(a_data_directory_belongs_to_its_node)
{
    const char *dir = make_three();
    struct daemon_conf c;
    struct identity id, other;
    struct errmsg msg = {""};
    T_OK_MSG(daemon_conf_load(t_path(dir, "n2.conf"), &c, &msg), &msg);
    T_OK_MSG(identity_read(c.data, &id, &msg), &msg);
    T_OK_MSG(identity_check(c.data, &id, c.cluster, 2, &msg), &msg);
    T_OK_MSG(identity_read(t_path(dir, "n1"), &other, &msg), &msg);
    assert_true(other.incarnation != id.incarnation);
    daemon_conf_finish(&c);
}

TEST(certificates_carry_their_roles)
{
    static const struct {
        const char *cert, *key, *name;
        enum role role;
        uint32_t node;
    } all[] = {
        {"n7.crt", "n7.key", "n7", ROLE_NODE, 7},
        {"client.crt", "client.key", "client", ROLE_CLIENT, 0},
        {"admin.crt", "admin.key", "admin", ROLE_ADMIN, 0},
    };
    const char *dir = make_three();
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct tls_ctx *ctx = NULL;
        struct errmsg msg = {""};
        T_OK_MSG(tls_ctx_create(t_path(dir, all[i].cert), t_path(dir, all[i].key),
                                t_path(dir, "ca.crt"), &msg, &ctx),
                 &msg);
        const struct tls_peer *self = tls_ctx_self(ctx);
        assert_int_equal(self->role, all[i].role);
        assert_int_equal(self->node, all[i].node);
        assert_string_equal(self->name, all[i].name);
        assert_int_equal(self->uid, -1);
        assert_false(self->read_only);
        tls_ctx_destroy(ctx);
    }
}

TEST(two_clusters_have_different_ids)
{
    struct identity a, b;
    T_OK(identity_read(t_path(make_three(), "n1"), &a, NULL));
    T_OK(identity_read(t_path(make_three(), "n1"), &b, NULL));
    assert_true(a.cluster != b.cluster);
}

TEST(an_embedded_cluster_has_unix_sockets_and_no_certificates)
{
    struct daemon_conf c;
    struct errmsg msg = {""};
    const char *dir = t_tmpdir(); /* an empty one is fine, too */
    const struct cluster_init o = {.dir = dir, .embedded = 3, .shards = 16};
    T_OK_MSG(cluster_init(&o, &msg), &msg);
    assert_int_equal(count_entries(dir), 5 + 3);
    T_OK_MSG(daemon_conf_load(t_path(dir, "n3.conf"), &c, &msg), &msg);
    g_autofree char *address = g_strdup_printf("unix:%s", t_path(dir, "n3.sock"));
    assert_string_equal(c.listen[0], address);
    assert_string_equal(c.peers[2].address, address);
    assert_null(c.ca);
    assert_int_equal(c.shards, 16);
    daemon_conf_finish(&c);
}

TEST(all_nodes_are_told_how_many_groups_there_shall_be)
{
    struct daemon_conf c;
    struct errmsg msg = {""};
    const char *dir = t_path(t_tmpdir(), "cluster");
    const struct cluster_init o = {.dir = dir, .nodes = three, .n_nodes = 3, .groups = 5};
    T_OK_MSG(cluster_init(&o, &msg), &msg);
    for (size_t i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("n%u.conf", three[i].id);
        T_OK_MSG(daemon_conf_load(t_path(dir, name), &c, &msg), &msg);
        assert_int_equal(c.groups, 5);
        daemon_conf_finish(&c);
    }
}

TEST(no_groups_are_made_where_none_are_asked_for)
{
    struct daemon_conf c;
    struct errmsg msg = {""};
    T_OK_MSG(daemon_conf_load(t_path(make_three(), "n1.conf"), &c, &msg), &msg);
    assert_int_equal(c.groups, 0);
    daemon_conf_finish(&c);
}

TEST(there_should_be_a_group_for_each_node_to_lead)
{
    assert_int_equal(cluster_init_groups(3, 256), 3);
    assert_int_equal(cluster_init_groups(5, 256), 5);
    assert_int_equal(cluster_init_groups(5, 2), 2);
    assert_int_equal(cluster_init_groups(1, 256), 0);
    assert_int_equal(cluster_init_groups(0, 256), 0); /* embedded */
}

/* --- what is refused ----------------------------------------------------------------------------
 */

static void refused(int want, const struct cluster_init *o, const char *text)
{
    struct errmsg msg = {""};
    t_check(cluster_init(o, &msg), -want, msg.text, __FILE__, __LINE__);
    T_CONTAINS(msg.text, text);
    assert_null(strchr(msg.text, '\n'));
}

TEST(a_directory_with_something_in_it_is_left_alone)
{
    const char *dir = t_tmpdir();
    const struct cluster_init o = {.dir = dir, .nodes = three, .n_nodes = 3};
    t_write_file(t_path(dir, "mine"), "x", 1);
    refused(ERR_EXISTS, &o, "not empty");
    assert_int_equal(count_entries(dir), 1);
}

TEST(bad_nodes_are_named)
{
    static const struct cluster_init_node twice[] = {{1, "h:1"}, {1, "h:2"}};
    static const struct cluster_init_node same[] = {{1, "h:1"}, {2, "h:1"}};
    static const struct cluster_init_node nowhere[] = {{3, "h"}};
    static const struct cluster_init_node no_port[] = {{3, "h:0"}};
    const char *dir = t_path(t_tmpdir(), "cluster");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .nodes = twice, .n_nodes = 2}, "n1");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .nodes = same, .n_nodes = 2}, "h:1");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .nodes = nowhere, .n_nodes = 1}, "n3");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .nodes = no_port, .n_nodes = 1}, "n3");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir}, "0 nodes");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .embedded = 10}, "10 nodes");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .embedded = 1, .shards = 5000}, "5000");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .embedded = 1, .groups = 65}, "65");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .embedded = 1, .shards = 2, .groups = 3},
            "2 shards");
}

TEST(a_failure_leaves_nothing_behind)
{
    static const struct cluster_init_node nowhere[] = {{3, "h"}};
    const char *dir = t_path(t_tmpdir(), "cluster");
    refused(ERR_CONFIG, &(struct cluster_init){.dir = dir, .nodes = nowhere, .n_nodes = 1}, "n3");
    assert_int_not_equal(access(dir, F_OK), 0);
}

TEST(what_a_configuration_cannot_say_is_refused)
{
    const char *dir = t_path(t_tmpdir(), "a #b");
    struct cluster_init o = {.dir = dir, .nodes = three, .n_nodes = 3};
    refused(ERR_CONFIG, &o, "a #b");
    o.dir = t_path(t_tmpdir(), "cluster");
    o.name = "two\nlines";
    refused(ERR_CONFIG, &o, "name");
}

/* --- nID=ADDRESS --------------------------------------------------------------------------------
 */

TEST(a_node_is_an_id_and_an_address)
{
    char text[] = "n12=host:7001";
    struct cluster_init_node node;
    T_OK(cluster_init_parse_node(text, &node, NULL));
    assert_int_equal(node.id, 12);
    assert_string_equal(node.address, "host:7001");
}

TEST(a_node_without_id_is_refused)
{
    char *bad[] = {(char[]){"1=h:1"},
                   (char[]){"n0=h:1"},
                   (char[]){"n=h:1"},
                   (char[]){"nx=h:1"},
                   (char[]){"n1"},
                   (char[]){""},
                   (char[]){"n99999999999999999999=h:1"}};
    struct cluster_init_node node;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        T_ERR(ERR_CONFIG, cluster_init_parse_node(bad[i], &node, NULL));
}

T_MAIN(T(secrets_are_for_their_owner_only), T(nothing_is_made_but_what_is_described),
       T(a_nodes_configuration_is_what_raftfsd_reads), T(a_data_directory_belongs_to_its_node),
       T(certificates_carry_their_roles), T(two_clusters_have_different_ids),
       T(an_embedded_cluster_has_unix_sockets_and_no_certificates),
       T(all_nodes_are_told_how_many_groups_there_shall_be),
       T(no_groups_are_made_where_none_are_asked_for),
       T(there_should_be_a_group_for_each_node_to_lead),
       T(a_directory_with_something_in_it_is_left_alone), T(bad_nodes_are_named),
       T(a_failure_leaves_nothing_behind), T(what_a_configuration_cannot_say_is_refused),
       T(a_node_is_an_id_and_an_address), T(a_node_without_id_is_refused))
