/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/node/operator.h"

struct answer status_of(struct cluster *c, struct frame f)
{
    struct msg_status m;
    assert_int_equal(f.type, MSG_status);
    T_OK(dec_status(f.body, &c->arena, &m));
    return (struct answer){
        m.status, m.leader,
        arena_printf(&c->arena, "%.*s", (int)m.detail.n, (const char *)m.detail.p)};
}

uint64_t ask(struct test_client *k, enum member_op op, unsigned node, const char *address)
{
    struct msg_member_change m = {.op = (uint8_t)op, .node = node, .address = bytes_str(address)};
    return CLIENT_ASK(k, member_change, &m);
}

/* Of the leader, whoever that is by then. */
struct answer change(struct cluster *c, enum member_op op, unsigned node, const char *address)
{
    for (unsigned tries = 0;; tries++) {
        assert_true(tries < 100);
        EVENTUALLY(c, cluster_leader(c) != 0);
        struct test_client *k = client_connect(c, cluster_leader(c), ROLE_ADMIN, false);
        struct answer a = status_of(c, client_wait(k, ask(k, op, node, address)));
        client_hang_up(k);
        if (a.status != ERR_NOT_LEADER)
            return a;
        cluster_run(c, 10);
    }
}

struct answer add(struct cluster *c, unsigned node)
{
    return change(c, MEMBER_ADD, node, arena_printf(&c->arena, "node:%u", node));
}

struct answer remove_node(struct cluster *c, unsigned node)
{
    return change(c, MEMBER_REMOVE, node, "");
}

/* As raftfsctl does: until it has caught up. */
struct answer promote(struct cluster *c, unsigned node)
{
    for (unsigned tries = 0;; tries++) {
        struct answer a = change(c, MEMBER_PROMOTE, node, "");
        if (a.status != ERR_BUSY || tries == 200)
            return a;
        cluster_run(c, 10);
    }
}

/* "v1 v2 l4 -3": voters, learners, leaving ones, known ones, by id, as node `at` says. */
const char *members(struct cluster *c, unsigned at)
{
    struct test_client *k = client_connect(c, at, ROLE_CLIENT, false);
    struct msg_members m = {0};
    struct msg_members_reply r;
    struct frame f = client_wait(k, CLIENT_ASK(k, members, &m));
    assert_int_equal(f.type, MSG_members_reply);
    T_OK(dec_members_reply(f.body, &c->arena, &r));
    const char *out = "";
    for (unsigned id = 1; id <= 9; id++)
        for (uint32_t i = 0; i < r.n_members; i++)
            if (r.members[i].node == id) {
                uint8_t roles = r.members[i].roles;
                const char *role = roles == MEMBER_VOTER     ? "v"
                                   : roles == MEMBER_LEARNER ? "l"
                                   : roles == 0              ? "-"
                                                             : "j";
                out = arena_printf(&c->arena, "%s%s%s%u", out, *out ? " " : "", role, id);
            }
    client_hang_up(k);
    return out;
}

struct cluster *serving(unsigned n)
{
    struct cluster *c = cluster_create(&(struct cluster_options){.n = n});
    EVENTUALLY(c, cluster_leader(c) != 0);
    return c;
}

/* Small flushes, so that the log is cut and snapshots are needed. */
struct cluster *compacting(unsigned n)
{
    struct cluster *c = cluster_create(
        &(struct cluster_options){.n = n, .flush_log_bytes = 200000, .segment_bytes = 262144});
    EVENTUALLY(c, cluster_leader(c) != 0);
    return c;
}

void put(struct cluster *c, const char *key, const char *value)
{
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    assert_int_equal(client_put(k, me, 1, key, value), 0);
    client_hang_up(k);
}

void holds(struct cluster *c, const char *key, const char *value)
{
    const char *got;
    EVENTUALLY(c, cluster_leader(c) != 0);
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    assert_int_equal(client_get(k, key, &got, NULL), 0);
    assert_string_equal(got, value);
    client_hang_up(k);
}

void write_past_the_log(struct cluster *c)
{
    static uint8_t value[64 * 1024];
    struct test_client *k = client_connect(c, cluster_leader(c), ROLE_CLIENT, false);
    uint64_t me = client_open_session(k);
    for (unsigned i = 0; i < 250; i++) {
        char key[16];
        g_snprintf(key, sizeof(key), "k%u", i % 50);
        uint64_t id = client_ask_put(k, me, i + 1, key, bytes_of(value, sizeof(value)));
        assert_int_equal(frame_status(c, client_wait(k, id), NULL), 0);
    }
    assert_true(cluster_status(c, cluster_leader(c)).first > 50);
    client_hang_up(k);
}

bool has_all(struct cluster *c, unsigned id)
{
    return cluster_status(c, id).applied >= cluster_status(c, cluster_leader(c)).applied;
}

unsigned a_follower(struct cluster *c)
{
    return cluster_leader(c) == 2 ? 3 : 2;
}
