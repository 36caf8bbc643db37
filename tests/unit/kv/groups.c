/* SPDX-License-Identifier: Apache-2.0 */
/* The groups that were made, as group 0's state machine keeps them. */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/layout.h"

static unsigned status_of(struct kvt *f, struct bytes command)
{
    struct msg_status reply;

    T_OK(kvt_apply(f, command));
    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->reply_type, MSG_status);
    T_OK(dec_status(f->reply_body, &f->arena, &reply));
    return reply.status;
}

static unsigned make(struct kvt *f, uint32_t gid, const struct group_member *members, uint32_t n)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_group_create m = {gid, n, (struct group_member *)members};

    enc_group_create(&e, &m);
    struct buf *b = kv_command(KV_CMD_GROUP, enc_view(&e));
    unsigned status = status_of(f, buf_bytes(b));
    buf_unref(b);
    return status;
}

#define MAKE(f, gid, ...)                                                                          \
    make(f, gid, (struct group_member[]){__VA_ARGS__},                                             \
         sizeof((struct group_member[]){__VA_ARGS__}) / sizeof(struct group_member))

TEST(a_group_is_made_and_found_with_its_first_members_by_id)
{
    struct kvt *f = kvt_create();
    assert_int_equal(MAKE(f, 7, {3}, {1}, {2}), 0);
    kvt_reopen(f);
    const struct kv_group *g = kv_group(f->kv, 7);
    assert_non_null(g);
    assert_int_equal(g->index, f->index);
    assert_int_equal(g->n_members, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(g->members[i], i + 1);
    assert_null(kv_group(f->kv, 6));
    kvt_destroy(f);
}

TEST(the_same_again_in_any_order_is_done_already)
{
    struct kvt *f = kvt_create();
    assert_int_equal(MAKE(f, 7, {1}, {2}), 0);
    uint64_t index = kv_group(f->kv, 7)->index;
    assert_int_equal(MAKE(f, 7, {2}, {1}), 0);
    assert_int_equal(kv_group(f->kv, 7)->index, index);
    kvt_destroy(f);
}

TEST(a_gid_is_used_once)
{
    struct kvt *f = kvt_create();
    assert_int_equal(MAKE(f, 7, {1}, {2}), 0);
    assert_int_equal(MAKE(f, 7, {1}, {3}), ERR_EXISTS);
    assert_int_equal(MAKE(f, 7, {1}), ERR_EXISTS);
    assert_int_equal(kv_group(f->kv, 7)->members[1], 2);
    kvt_destroy(f);
}

TEST(a_removed_node_is_no_member)
{
    struct kvt *f = kvt_create();
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_node_record m = {.node = 3, .state = NODE_REMOVED};
    enc_node_record(&e, &m);
    struct buf *b = kv_command(KV_CMD_NODE, enc_view(&e));
    assert_int_equal(status_of(f, buf_bytes(b)), 0);
    buf_unref(b);
    assert_int_equal(MAKE(f, 7, {1}, {2}, {3}), ERR_REMOVED);
    assert_null(kv_group(f->kv, 7));
    kvt_destroy(f);
}

TEST(nonsense_about_a_group_is_refused)
{
    struct kvt *f = kvt_create();
    assert_int_equal(MAKE(f, 0, {1}), ERR_INVALID);
    assert_int_equal(MAKE(f, GID_MAX + 1, {1}), ERR_INVALID);
    assert_int_equal(make(f, 7, NULL, 0), ERR_INVALID);
    assert_int_equal(MAKE(f, 7, {1}, {2}, {1}), ERR_INVALID);
    assert_int_equal(MAKE(f, 7, {1}, {0}), ERR_INVALID);
    assert_int_equal(MAKE(f, 7, {UINT32_MAX}), ERR_INVALID);
    assert_int_equal(status_of(f, bytes_of("\22x", 2)), ERR_INVALID);
    assert_null(kv_group(f->kv, 7));
    kvt_destroy(f);
}

TEST(there_is_an_end_to_the_number_of_groups)
{
    struct kvt *f = kvt_create();
    for (uint32_t i = 1; i <= GROUPS_MAX; i++)
        assert_int_equal(MAKE(f, i, {1}), 0);
    assert_int_equal(MAKE(f, GROUPS_MAX + 1, {1}), ERR_TOO_BIG);
    assert_int_equal(MAKE(f, GROUPS_MAX, {1}), 0); /* that is there already */
    kvt_destroy(f);
}

TEST(groups_are_listed_by_gid_with_the_newest)
{
    struct kvt *f = kvt_create();
    unsigned n;
    uint64_t index;
    assert_int_equal(MAKE(f, 9, {1}), 0);
    assert_int_equal(MAKE(f, 4, {1}), 0);
    uint64_t newest = f->index;
    EXEC(f, WRITE(put(A, "1")));
    kvt_reopen(f);
    const struct kv_group *all = kv_groups(f->kv, &n, &index);
    assert_int_equal(n, 2);
    assert_int_equal(index, newest);
    assert_int_equal(all[0].gid, 4);
    assert_int_equal(all[1].gid, 9);
    kvt_destroy(f);
}

TEST(a_damaged_row_of_a_group_is_refused)
{
    struct kvt *f = kvt_create();
    struct errmsg msg = {""};
    struct kv *kv;
    struct store_write w = {STORE_PUT, layout_group_key(&f->arena, 7), bytes_str("a shorter one")};
    T_OK(f->store->ops->write(f->store, &w, 1));
    T_ERR(ERR_CORRUPT, kv_open(f->store, 0, KVT_SHARDS, &kv, &msg));
    T_CONTAINS(msg.text, "groups");
    kvt_destroy(f);
}

static unsigned place(struct kvt *f, enum kv_command cmd, uint32_t gid,
                      const struct group_member *members, uint32_t n)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_group_home m = {gid, n, (struct group_member *)members};

    enc_group_home(&e, &m);
    struct buf *b = kv_command(cmd, enc_view(&e));
    unsigned status = status_of(f, buf_bytes(b));
    buf_unref(b);
    return status;
}

#define PLACE(f, cmd, gid, ...)                                                                    \
    place(f, cmd, gid, (struct group_member[]){__VA_ARGS__},                                       \
          sizeof((struct group_member[]){__VA_ARGS__}) / sizeof(struct group_member))

TEST(a_group_lives_at_its_first_members_until_it_is_told_otherwise)
{
    struct kvt *f = kvt_create();
    assert_int_equal(MAKE(f, 7, {3}, {1}, {2}), 0);
    const struct kv_group *g = kv_group(f->kv, 7);
    assert_int_equal(g->home_index, 0);
    assert_int_equal(g->n_home, 3);
    assert_int_equal(g->n_held, 3);
    assert_true(group_home_has(g, 2));
    assert_false(group_home_has(g, 4));
    assert_int_equal(PLACE(f, KV_CMD_HOME, 7, {1}, {2}, {3}), 0);
    assert_int_equal(kv_group(f->kv, 7)->home_index, 0); /* it is so already */
    kvt_destroy(f);
}

TEST(where_a_group_shall_live_and_where_it_does_are_kept)
{
    struct kvt *f = kvt_create();
    assert_int_equal(MAKE(f, 7, {3}, {1}, {2}), 0);
    assert_int_equal(PLACE(f, KV_CMD_HOME, 7, {5}, {4}), 0);
    assert_int_equal(PLACE(f, KV_CMD_HELD, 7, {1}, {2}, {3}, {4}), 0);
    uint64_t index = f->index;
    for (unsigned i = 0; i < 2; i++) {
        const struct kv_group *g = kv_group(f->kv, 7);
        assert_int_equal(g->n_members, 3);
        assert_int_equal(g->n_home, 2);
        assert_int_equal(g->home[0], 4);
        assert_int_equal(g->home[1], 5);
        assert_int_equal(g->n_held, 4);
        assert_int_equal(g->held[3], 4);
        assert_int_equal(g->home_index, index);
        assert_int_equal(kv_homes_index(f->kv), index);
        kvt_reopen(f);
    }
    kvt_destroy(f);
}

TEST(nonsense_about_a_home_is_refused)
{
    struct kvt *f = kvt_create();
    assert_int_equal(MAKE(f, 7, {1}), 0);
    assert_int_equal(PLACE(f, KV_CMD_HOME, 6, {1}), ERR_NOT_FOUND);
    assert_int_equal(PLACE(f, KV_CMD_HOME, 7, {2}, {2}), ERR_INVALID);
    assert_int_equal(PLACE(f, KV_CMD_HOME, 7, {0}), ERR_INVALID);
    assert_int_equal(place(f, KV_CMD_HOME, 7, NULL, 0), ERR_INVALID);
    assert_int_equal(kv_group(f->kv, 7)->home[0], 1);
    kvt_destroy(f);
}

TEST(a_damaged_row_of_a_home_is_refused)
{
    struct kvt *f = kvt_create();
    struct errmsg msg = {""};
    struct kv *kv;
    assert_int_equal(MAKE(f, 7, {1}), 0);
    kvt_reopen(f);
    struct store_write w = {STORE_PUT, layout_home_key(&f->arena, 7), bytes_str("a shorter one")};
    T_OK(f->store->ops->write(f->store, &w, 1));
    T_ERR(ERR_CORRUPT, kv_open(f->store, 0, KVT_SHARDS, &kv, &msg));
    kvt_destroy(f);
}

T_MAIN(T(a_group_is_made_and_found_with_its_first_members_by_id),
       T(the_same_again_in_any_order_is_done_already), T(a_gid_is_used_once),
       T(a_removed_node_is_no_member), T(nonsense_about_a_group_is_refused),
       T(there_is_an_end_to_the_number_of_groups), T(groups_are_listed_by_gid_with_the_newest),
       T(a_damaged_row_of_a_group_is_refused),
       T(a_group_lives_at_its_first_members_until_it_is_told_otherwise),
       T(where_a_group_shall_live_and_where_it_does_are_kept), T(nonsense_about_a_home_is_refused),
       T(a_damaged_row_of_a_home_is_refused))
