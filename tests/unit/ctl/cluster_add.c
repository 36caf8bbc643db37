/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/cluster_add.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/identity.h"
#include "cluster/base/tls.h"
#include "cluster/node/daemon_conf.h"
#include "tests/lib/t.h"

static const struct cluster_init_node three[] = {
    {1, "127.0.0.1:7001"},
    {2, "127.0.0.1:7002"},
    {3, "127.0.0.1:7003"},
};

/* A cluster of three, and what is to be added to it. */
static struct cluster_add a_fourth(void)
{
    struct errmsg msg = {""};
    const char *dir = t_path(t_tmpdir(), "cluster");
    const struct cluster_init o = {.dir = dir, .nodes = three, .n_nodes = 3};
    struct identity id;
    T_OK_MSG(cluster_init(&o, &msg), &msg);
    T_OK_MSG(identity_read(t_path(dir, "n1"), &id, &msg), &msg);
    return (struct cluster_add){
        .dir = dir,
        .cluster = id.cluster,
        .node = {4, "127.0.0.1:7004"},
        .peers = three,
        .n_peers = 3,
        .shards = 64,
    };
}

static void made(const struct cluster_add *o)
{
    struct errmsg msg = {""};
    T_OK_MSG(cluster_add(o, &msg), &msg);
}

static void refused(int want, const struct cluster_add *o, const char *text)
{
    struct errmsg msg = {""};
    t_check(cluster_add(o, &msg), -want, msg.text, __FILE__, __LINE__);
    T_CONTAINS(msg.text, text);
    assert_null(strchr(msg.text, '\n'));
}

static char *content(const char *path)
{
    char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

/* --- files ------------------------------------------------------------------------------------ */

TEST(a_new_nodes_configuration_joins_the_others)
{
    struct cluster_add o = a_fourth();
    struct daemon_conf c;
    struct errmsg msg = {""};
    made(&o);
    T_OK_MSG(daemon_conf_load(t_path(o.dir, "n4.conf"), &c, &msg), &msg);
    assert_true(c.join);
    assert_int_equal(c.node, 4);
    assert_int_equal(c.n_peers, 4);
    assert_int_equal(c.shards, 64);
    assert_true(c.cluster == o.cluster);
    assert_string_equal(c.listen[0], "127.0.0.1:7004");
    assert_string_equal(c.data, t_path(o.dir, "n4"));
    daemon_conf_finish(&c);
    T_OK_MSG(daemon_conf_load(t_path(o.dir, "n1.conf"), &c, &msg), &msg);
    assert_false(c.join);
    assert_int_equal(c.n_peers, 3); /* the others' files stay as they are */
    daemon_conf_finish(&c);
}

TEST(its_directory_and_certificate_are_its_own)
{
    struct cluster_add o = a_fourth();
    struct identity id, first;
    struct tls_ctx *tls;
    struct errmsg msg = {""};
    struct stat st;
    made(&o);
    T_OK_MSG(identity_read(t_path(o.dir, "n4"), &id, &msg), &msg);
    T_OK_MSG(identity_read(t_path(o.dir, "n1"), &first, &msg), &msg);
    T_OK_MSG(identity_check(o.dir, &id, o.cluster, 4, &msg), &msg);
    assert_true(id.incarnation != first.incarnation);
    T_OK_MSG(tls_ctx_create(t_path(o.dir, "n4.crt"), t_path(o.dir, "n4.key"),
                            t_path(o.dir, "ca.crt"), &msg, &tls),
             &msg);
    assert_int_equal(tls_ctx_self(tls)->role, ROLE_NODE);
    assert_int_equal(tls_ctx_self(tls)->node, 4);
    tls_ctx_destroy(tls);
    assert_int_equal(stat(t_path(o.dir, "n4.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(t_path(o.dir, "n4"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

TEST(a_second_call_keeps_what_is_there)
{
    struct cluster_add o = a_fourth();
    made(&o);
    char *identity = content(t_path(o.dir, "n4/identity")),
         *cert = content(t_path(o.dir, "n4.crt"));
    made(&o);
    char *again = content(t_path(o.dir, "n4/identity")), *cert2 = content(t_path(o.dir, "n4.crt"));
    assert_string_equal(identity, again);
    assert_string_equal(cert, cert2);
    g_free(identity);
    g_free(again);
    g_free(cert);
    g_free(cert2);
}

TEST(a_call_that_was_interrupted_is_finished_by_the_next)
{
    static const char *const pieces[] = {"n4.conf", "n4.key", "n4.crt", "n4/identity"};
    struct cluster_add o = a_fourth();
    struct daemon_conf c;
    struct errmsg msg = {""};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        made(&o);
        assert_int_equal(unlink(t_path(o.dir, pieces[i])), 0);
        made(&o);
        T_OK_MSG(daemon_conf_load(t_path(o.dir, "n4.conf"), &c, &msg), &msg);
        daemon_conf_finish(&c);
        assert_int_equal(access(t_path(o.dir, pieces[i]), F_OK), 0);
    }
}

TEST(what_belongs_to_another_node_is_left_alone)
{
    struct cluster_add o = a_fourth();
    o.node = (struct cluster_init_node){2, "127.0.0.1:7009"};
    refused(ERR_EXISTS, &o, "n2.conf");
    o.node = (struct cluster_init_node){5, "127.0.0.1:7005"};
    assert_int_equal(mkdir(t_path(o.dir, "n5"), 0700), 0);
    t_write_file(t_path(o.dir, "n5/mine"), "x", 1);
    refused(ERR_EXISTS, &o, "not empty");
    o.cluster++;
    o.node = (struct cluster_init_node){1, "127.0.0.1:7001"};
    refused(ERR_WRONG_CLUSTER, &o, "belongs to cluster");
}

TEST(without_the_authoritys_key_nothing_is_made)
{
    struct cluster_add o = a_fourth();
    assert_int_equal(unlink(t_path(o.dir, "ca.key")), 0);
    refused(ERR_NOT_FOUND, &o, "ca.key");
    assert_int_not_equal(access(t_path(o.dir, "n4"), F_OK), 0);
}

TEST(an_address_that_nobody_could_dial_is_refused)
{
    struct cluster_add o = a_fourth();
    o.node.address = "nowhere";
    refused(ERR_CONFIG, &o, "n4");
    o.node.address = "host:0";
    refused(ERR_CONFIG, &o, "HOST:PORT");
    o.node.address = "unix:/tmp/socket";
    refused(ERR_CONFIG, &o, "HOST:PORT");
}

/* --- peer lines ------------------------------------------------------------------------------- */

static void conf_is(const char *path, const char *want)
{
    char *text = content(path);
    assert_string_equal(text, want);
    g_free(text);
}

#define CONF(...) t_write_conf(__VA_ARGS__)
static const char *t_write_conf(const char *text)
{
    const char *path = t_path(t_tmpdir(), "admin.conf");
    t_write_file(path, text, strlen(text));
    return path;
}

TEST(a_peer_is_put_behind_the_others)
{
    const char *path = CONF("# mine\ncluster 1\npeer n1 h:1\npeer n2 h:2\nca /x\n");
    T_OK(cluster_conf_peer(path, 4, "h:4", NULL));
    conf_is(path, "# mine\ncluster 1\npeer n1 h:1\npeer n2 h:2\npeer n4 h:4\nca /x\n");
    T_OK(cluster_conf_peer(path, 4, "h:4", NULL));
    conf_is(path, "# mine\ncluster 1\npeer n1 h:1\npeer n2 h:2\npeer n4 h:4\nca /x\n");
}

TEST(a_peer_is_taken_out)
{
    const char *path = CONF("cluster 1\npeer n1 h:1\npeer = n12 h:2\nca /x\n");
    T_OK(cluster_conf_peer(path, 1, NULL, NULL));
    conf_is(path, "cluster 1\npeer = n12 h:2\nca /x\n");
    T_OK(cluster_conf_peer(path, 1, NULL, NULL));
    conf_is(path, "cluster 1\npeer = n12 h:2\nca /x\n");
}

TEST(the_last_peer_stays)
{
    const char *path = CONF("cluster 1\npeer n1 h:1\n");
    T_OK(cluster_conf_peer(path, 1, NULL, NULL));
    conf_is(path, "cluster 1\npeer n1 h:1\n");
}

TEST(a_file_that_is_not_there_is_no_error)
{
    T_OK(cluster_conf_peer(t_path(t_tmpdir(), "client.conf"), 4, "h:4", NULL));
}

T_MAIN(T(a_new_nodes_configuration_joins_the_others), T(its_directory_and_certificate_are_its_own),
       T(a_second_call_keeps_what_is_there), T(a_call_that_was_interrupted_is_finished_by_the_next),
       T(what_belongs_to_another_node_is_left_alone), T(without_the_authoritys_key_nothing_is_made),
       T(an_address_that_nobody_could_dial_is_refused), T(a_peer_is_put_behind_the_others),
       T(a_peer_is_taken_out), T(the_last_peer_stays), T(a_file_that_is_not_there_is_no_error))
