/* SPDX-License-Identifier: Apache-2.0 */
/* Under which incarnation nodes were first met, as group 0's state machine keeps it. */
#include "tests/unit/kv/fixture.h"
#include "cluster/base/identity.h"
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

static unsigned met(struct kvt *f, uint32_t id, uint64_t incarnation)
{
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_node_met m = {id, incarnation};

    enc_node_met(&e, &m);
    struct buf *b = kv_command(KV_CMD_MET, enc_view(&e));
    unsigned status = status_of(f, buf_bytes(b));
    buf_unref(b);
    return status;
}

static uint64_t first_of(struct kvt *f, uint32_t id)
{
    const struct kv_met *m = kv_met(f->kv, id);

    return m ? m->incarnation : 0;
}

TEST(a_node_that_is_met_is_remembered_after_a_restart_too)
{
    struct kvt *f = kvt_create();
    assert_int_equal(kv_met_check(f->kv, 3, 77), 1);
    assert_int_equal(met(f, 3, 77), 0);
    assert_int_equal(first_of(f, 3), 77);
    kvt_reopen(f);
    assert_int_equal(first_of(f, 3), 77);
    assert_int_equal(kv_met(f->kv, 3)->index, f->index);
    assert_int_equal(first_of(f, 2), 0);
    kvt_destroy(f);
}

TEST(the_first_incarnation_wins_for_ever)
{
    struct kvt *f = kvt_create();
    assert_int_equal(met(f, 3, 77), 0);
    uint64_t index = f->index;
    assert_int_equal(met(f, 3, 78), ERR_EXISTS);
    assert_int_equal(met(f, 3, 77), 0);
    kvt_reopen(f);
    assert_int_equal(met(f, 3, 78), ERR_EXISTS);
    assert_int_equal(first_of(f, 3), 77);
    assert_int_equal(kv_met(f->kv, 3)->index, index);
    kvt_destroy(f);
}

TEST(a_removed_node_keeps_its_incarnation)
{
    struct kvt *f = kvt_create();
    CLEANUP(enc_finish) struct enc e = {0};
    struct msg_node_record m = {.node = 3, .state = NODE_REMOVED};
    assert_int_equal(met(f, 3, 77), 0);
    enc_node_record(&e, &m);
    struct buf *b = kv_command(KV_CMD_NODE, enc_view(&e));
    assert_int_equal(status_of(f, buf_bytes(b)), 0);
    buf_unref(b);
    kvt_reopen(f);
    assert_int_equal(met(f, 3, 78), ERR_EXISTS);
    assert_int_equal(first_of(f, 3), 77);
    kvt_destroy(f);
}

TEST(nodes_that_were_met_are_listed_by_id_with_the_newest)
{
    struct kvt *f = kvt_create();
    unsigned n;
    uint64_t index;
    assert_int_equal(met(f, 9, 90), 0);
    assert_int_equal(met(f, 4, 40), 0);
    uint64_t newest = f->index;
    assert_int_equal(met(f, 9, 91), ERR_EXISTS);
    kvt_reopen(f);
    const struct kv_met *all = kv_met_all(f->kv, &n, &index);
    assert_int_equal(n, 2);
    assert_int_equal(index, newest);
    assert_int_equal(all[0].id, 4);
    assert_int_equal(all[1].id, 9);
    kvt_destroy(f);
}

TEST(nonsense_about_who_was_met_is_refused)
{
    struct kvt *f = kvt_create();
    assert_int_equal(met(f, 0, 1), ERR_INVALID);
    assert_int_equal(met(f, NODE_ID_MAX + 1, 1), ERR_INVALID);
    assert_int_equal(met(f, 3, 0), ERR_INVALID);
    assert_int_equal(status_of(f, bytes_of("\23x", 2)), ERR_INVALID);
    assert_null(kv_met(f->kv, 3));
    kvt_destroy(f);
}

TEST(a_damaged_row_of_who_was_met_is_refused)
{
    struct kvt *f = kvt_create();
    struct errmsg msg = {""};
    struct kv *kv;
    struct store_write w = {STORE_PUT, layout_met_key(&f->arena, 7), bytes_str("a shorter one")};
    T_OK(f->store->ops->write(f->store, &w, 1));
    T_ERR(ERR_CORRUPT, kv_open(f->store, 0, KVT_SHARDS, &kv, &msg));
    T_CONTAINS(msg.text, "incarnations");
    kvt_destroy(f);
}

T_MAIN(T(a_node_that_is_met_is_remembered_after_a_restart_too),
       T(the_first_incarnation_wins_for_ever), T(a_removed_node_keeps_its_incarnation),
       T(nodes_that_were_met_are_listed_by_id_with_the_newest),
       T(nonsense_about_who_was_met_is_refused), T(a_damaged_row_of_who_was_met_is_refused))
