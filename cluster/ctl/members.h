/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members.h - asks a cluster who belongs to it, and its leader to change that.
 *
 * Both find the leader themselves: node by node, following the hints.
 */
#pragma once

#include "cluster/ctl/ctl.h"

struct members {
    struct msg_members_reply reply;
    struct arena arena; /* of what is in it */
};
void members_finish(struct members *m);
static inline UNUSED void members_finish_p(struct members *m)
{
    members_finish(m);
}

/* As the leader sees it. -ERR_UNREACHABLE, with a reason, past the deadline. */
NODISCARD int members_ask(struct client *c, uint64_t deadline_ns, struct members *ret,
                          struct errmsg *msg);
/* As this node sees it, now. */
NODISCARD int members_ask_node(struct client *c, uint32_t node, unsigned timeout_ms,
                               struct members *ret, struct errmsg *msg);
/* A string in the arena; "" for a node that is not among them. */
const char *members_address(const struct members *m, uint32_t node);

/* A request that is answered by a status, to whoever leads group 0: its verdict and text. An answer
 * that was lost is asked for again. -ERR_UNREACHABLE: no leader until the deadline. */
NODISCARD int members_tell(struct client *c, unsigned type, struct bytes body, uint64_t deadline_ns,
                           struct errmsg *msg);

/* The same for one that is answered by a message of type `answer`: its body, in *ret. */
NODISCARD int members_get(struct client *c, unsigned type, struct bytes body, unsigned answer,
                          uint64_t deadline_ns, struct buf **ret, struct errmsg *msg);

/* The leader's verdict: 0, done or so already; its error and text. An answer that was lost is asked
 * for again, which is harmless. -ERR_UNREACHABLE: no leader until the deadline. */
NODISCARD int members_change(struct client *c, enum member_op op, uint32_t node,
                             const char *address, uint64_t deadline_ns, struct errmsg *msg);
