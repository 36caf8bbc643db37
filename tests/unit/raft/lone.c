/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"
#include "tests/unit/raft/lone.h"

struct rng lone_rng;
struct buf *lone_payload;
static uint64_t lone_clock;

struct raft_entry lone_entry(raft_index index, raft_term term)
{
    return (struct raft_entry){.term = term,
                               .index = index,
                               .time_ns = term * 1000 + index,
                               .type = RAFT_ENTRY_DATA,
                               .data = lone_payload};
}

struct raft *lone_node(const char *terms, raft_term t, bool lease)
{
    struct raft_config c = {
        .id = 2,
        .conf = {.n_voters = 3, .n_learners = 1, .voters = {1, 2, 3}, .learners = {4}},
        .election_ticks = 10,
        .heartbeat_ticks = 3,
        .apply_bytes_max = 1000,
        .lease = lease,
        .lease_drift_ticks = 2,
        .rng = &lone_rng};
    struct raft_entry e[20];
    struct raft_restore s = {.hard = {.term = t}, .entries = e};
    struct raft *r = NULL;

    if (lone_payload == NULL)
        lone_payload = buf_copy(bytes_str("x"));
    rng_seed(&lone_rng, 1);
    lone_clock = 0;
    for (; terms[s.n_entries]; s.n_entries++)
        e[s.n_entries] = lone_entry(s.n_entries + 1, (raft_term)(terms[s.n_entries] - '0'));
    T_OK(raft_create(&c, &s, &r));
    return r;
}

void lone_tick(struct raft *r, unsigned n)
{
    while (n-- > 0) {
        raft_clock(r, ++lone_clock);
        raft_tick(r);
    }
}

struct raft_status lone_status(const struct raft *r)
{
    struct raft_status st;
    raft_get_status(r, &st);
    return st;
}

struct raft_msg lone_append(raft_term term, raft_index prev, raft_term prev_term,
                            const struct raft_entry *e, unsigned n)
{
    return (struct raft_msg){.type = RAFT_APPEND,
                             .from = 1,
                             .to = 2,
                             .term = term,
                             .index = prev,
                             .log_term = prev_term,
                             .entries = e,
                             .n_entries = n};
}

void lone_settle(struct raft *r, struct raft_msg *ret_last)
{
    while (raft_has_ready(r)) {
        struct raft_ready rd;
        raft_ready(r, &rd);
        if (rd.n_send > 0 && ret_last)
            *ret_last = rd.send[rd.n_send - 1];
        raft_index upto = rd.n_apply ? rd.apply[rd.n_apply - 1].index : 0;
        if (rd.persist.ticket)
            raft_persisted(r, rd.persist.ticket);
        if (upto)
            raft_applied(r, upto);
    }
}

struct raft *lone_leader(bool lease)
{
    struct raft *r = lone_node("", 0, lease);
    struct raft_msg m = {.type = RAFT_PREVOTE_RESP, .from = 1, .to = 2, .term = 1};

    raft_campaign(r);
    T_OK(raft_step(r, &m));
    lone_settle(r, NULL);
    m.type = RAFT_VOTE_RESP;
    T_OK(raft_step(r, &m));
    assert_int_equal(lone_status(r).role, RAFT_LEADER);
    lone_settle(r, NULL);
    return r;
}
