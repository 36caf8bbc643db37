/* SPDX-License-Identifier: Apache-2.0 */
/*
 * change.h - a change of the configuration, as group join, group leave, shard move and rebalance
 * make it: says what will move, asks for it, and waits until it has moved, with a bar on a
 * terminal.
 *
 * Interrupted, it has changed nothing or everything: the cluster goes on by itself.
 */
#pragma once

#include "cluster/ctl/ctl.h"

struct change_options {
    gboolean dry_run, no_wait;
};

/* For a GOptionEntry array. */
#define CHANGE_OPTIONS(o)                                                                          \
    {"dry-run", 0, 0, G_OPTION_ARG_NONE, &(o).dry_run, "Only say what would move", NULL},        \
    {                                                                                              \
        "no-wait", 0, 0, G_OPTION_ARG_NONE, &(o).no_wait, "Return before anything has moved", NULL \
    }

/* False: told. */
bool change_parse_gid(const char *what, const char *text, uint32_t *ret);
/* m->num is filled in. An exit status. */
int change_run(struct ctl *ctl, const char *what, struct msg_config_change *m,
               const struct change_options *o);
