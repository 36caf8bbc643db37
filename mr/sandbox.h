/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - gives up rights: what raftfs-task does before it touches a byte of input.
 *
 * Core dumps off, descriptor and file-size limits, no_new_privs, then groups, gid and uid of the
 * job. uid 0 is refused: no task runs as root. The process is killed when the thread that started
 * it ends.
 */
#pragma once

#include <sys/types.h>
#include "cluster/base/err.h"

struct sandbox {
    bool change_identity; /* else stay who we are (an unprivileged raftfsd) */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t n_groups;
};

NODISCARD int sandbox_enter(const struct sandbox *s, struct errmsg *msg);
