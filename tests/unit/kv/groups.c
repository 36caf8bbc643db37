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

T_MAIN(T(a_group_is_made_and_found_with_its_first_members_by_id),
       T(the_same_again_in_any_order_is_done_already), T(a_gid_is_used_once),
       T(a_removed_node_is_no_member), T(nonsense_about_a_group_is_refused),
       T(there_is_an_end_to_the_number_of_groups), T(groups_are_listed_by_gid_with_the_newest),
       T(a_damaged_row_of_a_group_is_refused))
