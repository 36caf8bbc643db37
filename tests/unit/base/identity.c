/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/identity.h"

static const struct identity mine = {
    .cluster = 0x1234abcd5678ef00u, .node = 7, .incarnation = 0x00000000deadbeefu};

static const char *write_mine(void)
{
    struct errmsg msg;
    const char *dir = t_tmpdir();
    T_OK_MSG(identity_write(dir, &mine, &msg), &msg);
    return dir;
}

TEST(an_identity_is_read_back_as_written)
{
    struct errmsg msg;
    struct identity id;
    const char *dir = write_mine();
    T_OK_MSG(identity_read(dir, &id, &msg), &msg);
    assert_true(id.cluster == mine.cluster && id.incarnation == mine.incarnation);
    assert_int_equal(id.node, mine.node);
    struct stat st;
    assert_int_equal(stat(t_path(dir, "identity"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_not_equal(access(t_path(dir, "identity.new"), F_OK), 0);
}

TEST(an_identity_is_never_replaced)
{
    struct errmsg msg;
    struct identity other = {.cluster = 1, .node = 2, .incarnation = 3}, id;
    const char *dir = write_mine();
    T_ERR(ERR_EXISTS, identity_write(dir, &other, &msg));
    T_CONTAINS(msg.text, dir);
    T_OK(identity_read(dir, &id, &msg));
    assert_int_equal(id.node, mine.node);
}

TEST(what_a_crash_left_half_written_is_in_nobodys_way)
{
    struct errmsg msg;
    const char *dir = t_tmpdir();
    t_write_file(t_path(dir, "identity.new"), "half of some identity that is longer", 36);
    T_OK_MSG(identity_write(dir, &mine, &msg), &msg);
    struct identity id;
    T_OK_MSG(identity_read(dir, &id, &msg), &msg);
}

TEST(an_absent_identity_asks_for_the_disk)
{
    struct errmsg msg;
    struct identity id;
    const char *dir = t_tmpdir();
    T_ERR(ERR_NOT_FOUND, identity_read(dir, &id, &msg));
    T_CONTAINS(msg.text, "holds no identity: is its disk mounted?");
    T_ERR(ERR_NOT_FOUND, identity_read(t_path(dir, "none"), &id, &msg));
    T_CONTAINS(msg.text, "does not exist");
}

static int read_text(const char *text, size_t n)
{
    struct errmsg msg;
    struct identity id = {.node = 99};
    const char *dir = t_tmpdir();
    t_write_file(t_path(dir, "identity"), text, n);
    int r = identity_read(dir, &id, &msg);
    if (r < 0) {
        assert_int_equal(id.node, 99); /* untouched */
        T_CONTAINS(msg.text, dir);
    }
    return r;
}

#define GOOD "raftfs-identity 1\ncluster 1234abcd5678ef00\nnode 7\nincarnation 00000000deadbeef\n"

TEST(a_text_that_is_not_exactly_an_identity_is_damaged)
{
    static const char *const damaged[] = {
        "",
        "raftfs-identity 1\n",
        GOOD "x",
        GOOD "\n",
        "raftfs-identity 1\ncluster 1234abcd5678ef0\nnode 7\nincarnation 00000000deadbeef\n",
        "raftfs-identity 1\ncluster 0000000000000000\nnode 7\nincarnation 00000000deadbeef\n",
        "raftfs-identity 1\ncluster 1234abcd5678ef00\nnode 0\nincarnation 00000000deadbeef\n",
        "raftfs-identity 1\ncluster 1234abcd5678ef00\nnode \nincarnation 00000000deadbeef\n",
        "raftfs-identity 1\ncluster 1234abcd5678ef00\nnode 1000001\nincarnation 00000000deadbeef\n",
        "raftfs-identity 1\ncluster 1234abcd5678ef00\nnode -7\nincarnation 00000000deadbeef\n",
    };
    assert_int_equal(read_text(GOOD, strlen(GOOD)), 0);
    for (size_t i = 0; i < ARRAY_LEN(damaged); i++)
        T_ERR(ERR_CORRUPT, read_text(damaged[i], strlen(damaged[i])));
    T_ERR(ERR_CORRUPT, read_text(GOOD "\0", sizeof(GOOD)));
    for (size_t n = 0; n < strlen(GOOD); n++)
        T_ERR(ERR_CORRUPT, read_text(GOOD, n));
}

TEST(a_newer_format_is_told_from_damage)
{
    struct errmsg msg;
    struct identity id;
    const char *dir = t_tmpdir();
    T_ERR(ERR_FORMAT, read_text("raftfs-identity 2\nwhatever", 26));
    t_write_file(t_path(dir, "identity"), "raftfs-identity 2\n", 18);
    T_ERR(ERR_FORMAT, identity_read(dir, &id, &msg));
    T_CONTAINS(msg.text, t_path(dir, "identity"));
    T_CONTAINS(msg.text, "has format 2, this program knows 1");
}

TEST(the_image_of_format_1_is_still_read_and_written)
{
    struct errmsg msg;
    struct identity id;
    g_autofree char *then = NULL, *now = NULL;
    const char *dir = t_tmpdir();
    assert_true(g_file_get_contents(DATA_DIR "/identity-v1", &then, NULL, NULL));
    t_write_file(t_path(dir, "identity"), then, strlen(then));
    T_OK_MSG(identity_read(dir, &id, &msg), &msg);
    assert_true(id.cluster == mine.cluster && id.incarnation == mine.incarnation);
    assert_int_equal(id.node, mine.node);
    assert_true(g_file_get_contents(t_path(write_mine(), "identity"), &now, NULL, NULL));
    assert_string_equal(now, then);
}

TEST(anothers_directory_is_refused)
{
    struct errmsg msg;
    T_OK(identity_check("/d", &mine, mine.cluster, 7, &msg));
    T_ERR(ERR_WRONG_CLUSTER, identity_check("/d", &mine, 1, 7, &msg));
    T_CONTAINS(msg.text, "1234abcd5678ef00");
    T_ERR(ERR_WRONG_CLUSTER, identity_check("/d", &mine, mine.cluster, 8, &msg));
    T_CONTAINS(msg.text, "n7");
}

TEST(a_directory_is_locked_until_its_holder_lets_go)
{
    struct errmsg msg;
    const char *dir = t_tmpdir();
    int first, second;
    T_OK_MSG(identity_lock(dir, &first, &msg), &msg);
    T_ERR(ERR_LOCKED, identity_lock(dir, &second, &msg));
    T_CONTAINS(msg.text, "another raftfsd");
    close(first);
    T_OK_MSG(identity_lock(dir, &second, &msg), &msg);
    close(second);
}

T_MAIN(T(an_identity_is_read_back_as_written), T(an_identity_is_never_replaced),
       T(what_a_crash_left_half_written_is_in_nobodys_way), T(an_absent_identity_asks_for_the_disk),
       T(a_text_that_is_not_exactly_an_identity_is_damaged), T(a_newer_format_is_told_from_damage),
       T(the_image_of_format_1_is_still_read_and_written), T(anothers_directory_is_refused),
       T(a_directory_is_locked_until_its_holder_lets_go))
