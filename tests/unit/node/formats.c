/* SPDX-License-Identifier: Apache-2.0 */
/* The image of format 1 of `members` that tests/data keeps. */
#include "tests/unit/node/cluster.h"

#define MEMBERS_V1 DATA_DIR "/members-v1"

/* Of three nodes, node 1 gets the file. Each test node's incarnation is 100 * id + 1; the image
 * says so of node 2, and of node 3 that it was met under 42. */
static struct cluster *with_members(struct bytes file)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = 3});
    cluster_run(c, 5); /* its log has begun */
    cluster_kill(c, 1);
    t_write_file(t_path(c->nodes[0].dir, "members"), file.p, file.n);
    g_string_truncate(c->nodes[0].log, 0);
    return c;
}

TEST(the_image_of_format_1_is_still_believed)
{
    g_autofree char *p = NULL;
    gsize n = 0;
    assert_true(g_file_get_contents(MEMBERS_V1, &p, &n, NULL));
    struct cluster *c = with_members(bytes_of(p, n));
    cluster_start(c, 1);
    cluster_run(c, 200);
    T_CONTAINS(c->nodes[0].log->str, "node 3 has another data directory");
    assert_null(strstr(c->nodes[0].log->str, "node 2 has another"));
    cluster_destroy(c);
}

TEST(a_newer_format_is_refused_with_file_and_versions)
{
    struct cluster *c = with_members(bytes_str("RFSMEMB2 and whatever follows"));
    struct errmsg msg = {""};
    T_ERR(ERR_FORMAT, cluster_try_start(c, 1, &msg));
    T_CONTAINS(msg.text, t_path(c->nodes[0].dir, "members"));
    T_CONTAINS(msg.text, "has format 2, this version of raftfs knows 1");
    cluster_destroy(c);
}

TEST(damage_is_told_from_a_newer_format)
{
    struct cluster *c = with_members(bytes_str("RFSMEMB1 and whatever follows"));
    struct errmsg msg = {""};
    T_ERR(ERR_CORRUPT, cluster_try_start(c, 1, &msg));
    T_CONTAINS(msg.text, "members is damaged");
    cluster_destroy(c);
}

T_MAIN(T(the_image_of_format_1_is_still_believed),
       T(a_newer_format_is_refused_with_file_and_versions), T(damage_is_told_from_a_newer_format))
