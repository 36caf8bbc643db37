/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much may be lost, for good or until it is repaired, so that what is left must go on: in each
 * configuration that may come to be in force, half of the voters are one too many.
 */
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

#define MEMBERS     "/d/members"
#define MEMBERS_AT  8 /* count, records (cluster/node/members.h) */
#define RECORD_LEN  12
#define PENDING_MAX 6

struct question {
    const struct sim *s;
    unsigned victim; /* 0: nobody else */
    unsigned without;
    struct msg_member_change pending[PENDING_MAX];
    unsigned n_pending;
    bool good;
};

/* It does not come back, or not before the others have repaired it. */
static bool is_lost(const struct sim *s, unsigned id)
{
    const struct sim_node *sn = &s->nodes[id - 1];
    return sn->damaged || sn->wiped;
}

/* With some of what is pending done. */
static bool half_goes_on(const struct question *q, const raft_id *ids, unsigned n, unsigned done)
{
    bool voter[SIM_NODES + 1] = {false};
    unsigned voters = 0, lost = 0;
    for (unsigned i = 0; i < n; i++)
        voter[ids[i]] = true;
    for (unsigned i = 0; i < q->n_pending; i++)
        if (done >> i & 1)
            voter[q->pending[i].node] = q->pending[i].op == MEMBER_PROMOTE;
    if (q->without)
        voter[q->without] = false;
    for (unsigned id = 1; id <= SIM_NODES; id++) {
        voters += voter[id];
        lost += voter[id] && (id == q->victim || is_lost(q->s, id));
    }
    return voters > 0 && lost <= (voters - 1) / 2;
}

static void ask_conf(void *arg, const struct raft_conf *c)
{
    struct question *q = arg;
    for (unsigned done = 0; done < 1u << q->n_pending && q->good; done++)
        q->good = half_goes_on(q, c->voters, c->n_voters, done) &&
                  (c->n_outgoing == 0 || half_goes_on(q, c->outgoing, c->n_outgoing, done));
}

static bool ask(struct question *q)
{
    q->good = true;
    q->n_pending = operators_pending(q->s, q->pending, PENDING_MAX);
    check_conf_each(q->s, ask_conf, q);
    return q->good;
}

bool lost_allows(const struct sim *s, unsigned victim)
{
    struct question q = {.s = s, .victim = victim};
    return ask(&q);
}

bool lost_allows_removal(const struct sim *s, unsigned id)
{
    struct question q = {.s = s, .without = id};
    return ask(&q);
}

/* --- who would refuse it ---------------------------------------------------------------------- */

/* So it stands in what a power loss leaves of the other's disk. */
static bool has_written_down(struct sim_node *other, unsigned id)
{
    const uint8_t *p = sim_disk_durable(other->disk, MEMBERS);
    if (!p)
        return false;
    uint32_t n = get_le32(p + MEMBERS_AT);
    for (uint32_t i = 0; i < n && n <= SIM_NODES; i++) {
        const uint8_t *record = p + MEMBERS_AT + 4 + i * RECORD_LEN;
        if (get_le32(record) == id)
            return true;
    }
    return false;
}

bool lost_is_known(struct sim *s, unsigned id, unsigned *ret_known_to)
{
    unsigned known_to = 0;
    for (unsigned other = 1; other <= s->n; other++) {
        struct sim_node *sn = sim_node(s, other);
        if (other == id || host_is_gone(sn) || sn->wiped)
            continue;
        if (!has_written_down(sn, id))
            return false;
        known_to |= 1u << other;
    }
    *ret_known_to = known_to;
    return known_to != 0;
}
