/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h - what the commands of raftfsctl share (raftfsctl(8)).
 *
 * A command gets its own arguments (argv[0] is its name), prints its result on stdout and one line
 * per error on stderr, and returns the exit status: 0 done, 1 failed, 2 wrong usage.
 */
#pragma once

#include "cluster/base/err.h"
#include "cluster/client/client.h"

enum { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

struct ctl {
    char *conf; /* -c FILE, or NULL */
    bool timeout_given;
    unsigned timeout_s; /* how long to look for a leader and to wait for an answer */
};

struct ctl_command {
    const char *name;
    const char *arguments, *summary; /* for --help */
    const char *description;         /* more of it; may be NULL */
    int (*run)(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
};

int ctl_error(const char *fmt, ...) PRINTF_LIKE(1, 2); /* CTL_FAILED */
int ctl_usage(const char *fmt, ...) PRINTF_LIKE(1, 2); /* CTL_USAGE */

/* Parses a command's options (NULL: none of its own; -c and --timeout always work) out of
 * argc/argv, and checks that lo..hi arguments are left behind argv[0]. False: told, return
 * CTL_USAGE. */
bool ctl_parse(struct ctl *ctl, const struct ctl_command *self, const GOptionEntry *entries,
               int *argc, char ***argv, int lo, int hi);

/* A client for -c; with `probe` also a leader is found. NULL: told, return CTL_FAILED. */
struct client *ctl_connect(struct ctl *ctl, bool probe);
DEFINE_CLEANUP(struct client *, client_destroy)

/* The nearest of the NULL-terminated names, or NULL if none is near. */
const char *ctl_nearest(const char *word, const char *const names[]);

int cmd_init(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_status(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_leader(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_get(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_put(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_del(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_check(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_dump(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_config(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_shard(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_rebalance(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_group(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_node(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
int cmd_scan(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv);
