/* SPDX-License-Identifier: Apache-2.0 */
/* Membership as the state machine keeps it: the newest configuration, and every node ever. */
#include "tests/unit/kv/fixture.h"
#include "cluster/kv/layout.h"

static int apply_conf(struct kvt *f, const char *data)
{
    struct kv_entry e = {
        .index = ++f->index,
        .term = 1,
        .time_ns = f->time += 1000,
        .data = bytes_str(data),
        .conf = true,
    };
    return kv_apply(f->kv, &e, 1, NULL);
}

static unsigned node(struct kvt *f, uint32_t id, unsigned state, const char *address)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_node_record m = {.node = id, .state = (uint8_t)state, .address = bytes_str(address)};
    struct msg_status reply;

    enc_node_record(&e, &m);
    struct buf *b = kv_command(KV_CMD_NODE, enc_view(&e));
    T_OK(kvt_apply(f, buf_bytes(b)));
    buf_unref(b);
    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->reply_type, MSG_status);
    T_OK(dec_status(f->reply_body, &f->arena, &reply));
    return reply.status;
}

static const char *conf(struct kvt *f, uint64_t *ret_index)
{
    struct bytes b = kv_conf(f->kv, ret_index);
    return arena_printf(&f->arena, "%.*s", (int)b.n, (const char *)b.p);
}

/* --- configurations --------------------------------------------------------------------------- */

TEST(without_a_configuration_entry_there_is_none)
{
    struct kvt *f = kvt_create();
    uint64_t index = 7;
    assert_string_equal(conf(f, &index), "");
    assert_int_equal(index, 0);
    kvt_destroy(f);
}

TEST(the_newest_configuration_is_kept_with_its_index)
{
    struct kvt *f = kvt_create();
    uint64_t index;
    T_OK(apply_conf(f, "one"));
    T_OK(apply_conf(f, "two"));
    EXEC(f, WRITE(put(A, "1")));
    assert_string_equal(conf(f, &index), "two");
    assert_int_equal(index, f->index - 1);
    kvt_reopen(f);
    assert_string_equal(conf(f, &index), "two");
    assert_int_equal(index, f->index - 1);
    kvt_destroy(f);
}

TEST(a_configuration_whose_bytes_look_like_a_command_is_none)
{
    struct kvt *f = kvt_create();
    uint64_t index;
    T_OK(apply_conf(f, "\1"));
    assert_string_equal(conf(f, &index), "\1");
    assert_int_equal(kv_sessions(f->kv), 1);
    kvt_destroy(f);
}

/* After a crash at any batch: what is applied and its configuration belong together. */
TEST(a_crash_at_any_batch_leaves_the_configuration_of_what_is_applied)
{
    for (unsigned rows = 1; rows <= 7; rows++) {
        struct kvt *f = kvt_create();
        uint64_t first = f->index, index, applied, term, time;
        kvt_hold_rows(f, rows);
        for (unsigned i = 0; i < 6; i++) {
            char name[8];
            g_snprintf(name, sizeof(name), "conf%u", i);
            T_OK(apply_conf(f, name)); /* entries first + 1, + 3, ... */
            EXEC(f, WRITE(put(A, name)));
        }
        T_OK(kv_settle(f->kv));
        for (size_t n = 0; n <= ram_store_batches(f->store); n++) {
            struct kvt *g = kvt_on(ram_store_prefix(f->store, n));
            kv_applied(g->kv, &applied, &term, &time);
            const char *found = conf(g, &index);
            if (applied <= first) {
                assert_string_equal(found, "");
            } else {
                uint64_t k = (applied - first - 1) / 2;
                assert_int_equal(index, first + 1 + 2 * k);
                assert_string_equal(found, arena_printf(&g->arena, "conf%d", (int)k));
            }
            kvt_destroy(g);
        }
        kvt_destroy(f);
    }
}

TEST(a_damaged_configuration_record_is_refused)
{
    struct kvt *f = kvt_create();
    struct errmsg msg = {""};
    struct kv *kv;
    struct store_write w = {STORE_PUT, layout_conf_key(&f->arena), bytes_str("short")};
    T_OK(f->store->ops->write(f->store, &w, 1));
    T_ERR(ERR_CORRUPT, kv_open(f->store, 0, KVT_SHARDS, &kv, &msg));
    T_CONTAINS(msg.text, "members");
    kvt_destroy(f);
}

/* --- nodes ------------------------------------------------------------------------------------ */

TEST(a_node_is_added_and_found_with_its_address)
{
    struct kvt *f = kvt_create();
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7004"), 0);
    kvt_reopen(f);
    const struct kv_node *n = kv_node(f->kv, 4);
    assert_non_null(n);
    assert_int_equal(n->state, NODE_MEMBER);
    assert_string_equal(n->address, "host:7004");
    assert_int_equal(n->index, f->index);
    assert_null(kv_node(f->kv, 3));
    kvt_destroy(f);
}

TEST(the_same_again_changes_nothing)
{
    struct kvt *f = kvt_create();
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7004"), 0);
    uint64_t index = kv_node(f->kv, 4)->index;
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7004"), 0);
    assert_int_equal(kv_node(f->kv, 4)->index, index);
    kvt_destroy(f);
}

TEST(an_id_has_one_address)
{
    struct kvt *f = kvt_create();
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7004"), 0);
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7005"), ERR_EXISTS);
    assert_string_equal(kv_node(f->kv, 4)->address, "host:7004");
    kvt_destroy(f);
}

TEST(a_removed_id_never_comes_back)
{
    struct kvt *f = kvt_create();
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7004"), 0);
    assert_int_equal(node(f, 4, NODE_REMOVED, ""), 0);
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7004"), ERR_REMOVED);
    kvt_reopen(f);
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:7004"), ERR_REMOVED);
    assert_int_equal(node(f, 4, NODE_REMOVED, ""), 0);
    assert_int_equal(kv_node(f->kv, 4)->state, NODE_REMOVED);
    kvt_destroy(f);
}

TEST(a_member_of_the_first_hour_can_be_removed)
{
    struct kvt *f = kvt_create();
    assert_int_equal(node(f, 1, NODE_REMOVED, ""), 0);
    assert_int_equal(node(f, 1, NODE_MEMBER, "host:7001"), ERR_REMOVED);
    kvt_destroy(f);
}

TEST(nonsense_about_a_node_is_refused)
{
    struct kvt *f = kvt_create();
    char *longer = g_strnfill(300, 'h');
    assert_int_equal(node(f, 0, NODE_MEMBER, "host:7001"), ERR_INVALID);
    assert_int_equal(node(f, 4, NODE_MEMBER, ""), ERR_INVALID);
    assert_int_equal(node(f, 4, NODE_MEMBER, longer), ERR_INVALID);
    assert_int_equal(node(f, 4, NODE_REMOVED, "host:7001"), ERR_INVALID);
    assert_int_equal(node(f, 4, 3, "host:7001"), ERR_INVALID);
    T_OK(kvt_apply(f, bytes_of("\21x", 2)));
    assert_null(kv_node(f->kv, 4));
    g_free(longer);
    kvt_destroy(f);
}

TEST(nodes_are_listed_by_id_with_the_newest_change)
{
    struct kvt *f = kvt_create();
    unsigned n;
    uint64_t index;
    assert_int_equal(node(f, 9, NODE_MEMBER, "host:9"), 0);
    assert_int_equal(node(f, 4, NODE_MEMBER, "host:4"), 0);
    uint64_t newest = f->index;
    EXEC(f, WRITE(put(A, "1")));
    kvt_reopen(f);
    const struct kv_node *all = kv_nodes(f->kv, &n, &index);
    assert_int_equal(n, 2);
    assert_int_equal(index, newest);
    assert_int_equal(all[0].id, 4);
    assert_int_equal(all[1].id, 9);
    kvt_destroy(f);
}

T_MAIN(T(without_a_configuration_entry_there_is_none),
       T(the_newest_configuration_is_kept_with_its_index),
       T(a_configuration_whose_bytes_look_like_a_command_is_none),
       T(a_crash_at_any_batch_leaves_the_configuration_of_what_is_applied),
       T(a_damaged_configuration_record_is_refused), T(a_node_is_added_and_found_with_its_address),
       T(the_same_again_changes_nothing), T(an_id_has_one_address),
       T(a_removed_id_never_comes_back), T(a_member_of_the_first_hour_can_be_removed),
       T(nonsense_about_a_node_is_refused), T(nodes_are_listed_by_id_with_the_newest_change))
