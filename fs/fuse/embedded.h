/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedded.h - the private store of a mount without a cluster: raftfsd processes on Unix sockets.
 *
 * The data directory is made at first use (raftfsctl init --embedded N does the same) and keeps its
 * number of replicas. Each raftfsd is a child that ends when the pipe it inherited is closed, so a
 * killed raftfs leaves none behind. One that dies is started again, with a growing pause. Their
 * output goes to DIR/nK.log.
 *
 * Threads: one supervisor thread; embedded_start and embedded_stop from the main thread.
 */
#pragma once

#include "cluster/base/err.h"

struct embedded;

/* replicas 0: what the directory has, 1 for a new one. *ret_conf: the client's conf, owned by it.
 */
NODISCARD int embedded_start(const char *dir, unsigned replicas, struct embedded **ret,
                             const char **ret_conf, struct errmsg *msg);
void embedded_stop(struct embedded *e); /* SIGTERM, waits, SIGKILL after 10 s */
