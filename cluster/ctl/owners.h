/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owners.h - a configuration as the leader of group 0 tells it, and how it is shown: which group
 * owns which shards, and what is on its way.
 */
#pragma once

#include "cluster/ctl/ctl.h"
#include "cluster/ctl/json.h"

struct owners {
    struct msg_config_reply reply;
    struct arena arena; /* of what is in it */
};
void owners_finish(struct owners *o);
static inline UNUSED void owners_finish_p(struct owners *o)
{
    owners_finish(o);
}

/* Configuration `num`; CONFIG_LATEST. *ret is replaced. The leader's error and text;
 * -ERR_UNREACHABLE: no leader until the deadline. */
NODISCARD int owners_get(struct client *c, uint64_t num, uint64_t deadline_ns, struct owners *ret,
                         struct errmsg *msg);
/* The latest, asked of one node, which has to lead. */
NODISCARD int owners_get_node(struct client *c, uint32_t node, unsigned timeout_ms,
                              struct owners *ret, struct errmsg *msg);
/* The one that the change would make now. */
NODISCARD int owners_preview(struct client *c, const struct msg_config_change *m,
                             uint64_t deadline_ns, struct owners *ret, struct errmsg *msg);

/* Shards that have another owner in b. */
unsigned owners_distance(const struct owners *a, const struct owners *b);

void owners_print(const struct owners *o);
void owners_json(const struct owners *o, struct json *j);
/* A line for each pair of groups between which shards move from a to b. */
void owners_print_moves(const struct owners *a, const struct owners *b);
/* A line: how many shards each group has now; and one for what is on its way. */
void owners_text_counts(const struct owners *o, GString *out);

/* "s" or "", as in 2 shards and 1 shard. */
const char *plural(uint64_t n);
