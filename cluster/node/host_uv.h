/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_uv.h - the loop of a raftfsd: time, rounds, signals, and the door for other threads.
 *
 * Each turn of the loop (DESIGN 3.6): sockets are polled and their input is delivered, then one
 * node_round over all of it, then all output is written. A tick is input, too. While the node has
 * work of its own the loop does not sleep.
 *
 * The host ends its loop at SIGTERM or SIGINT, when the pipe of host_watch_parent ends, or when
 * somebody calls host_stop.
 *
 * Life: create, (net, disk, node made from what it gives), run, destroy. One thread, but host_post,
 * host_wake and host_stop may be called from any while the host exists.
 */
#pragma once

#include <uv.h>
#include "cluster/base/disk.h"
#include "cluster/node/net_uv.h"
#include "cluster/node/node.h"

struct host;

struct host *host_create(struct tls_ctx *tls);
/* After node and disk are gone. NULL is fine. */
void host_destroy(struct host *h);

struct net_uv *host_net(struct host *h);
/* disk (disk_posix, borrowed), whose write and sync from now on first send what the net holds, so
 * that the followers' disk writes run beside ours. A sync of more than a few small entries runs on
 * another thread (sync_thread.h); its file is closed after host_run only, which waits for it. */
struct disk *host_disk(struct host *h, struct disk *disk);

/* End of file on fd (an inherited pipe, owned from now on) ends the loop: its other end is our
 * supervisor, dead or alive. */
NODISCARD int host_watch_parent(struct host *h, int fd, struct errmsg *msg);

/* Runs until stopped; returns the signal that ended it or 0. The node is borrowed. May be called
 * again: the same node goes on. */
int host_run(struct host *h, struct node *node);

/* From any thread: asks for a round, as input would. For store_maker.wake; arg is the host. */
void host_wake(void *arg);

/* fn(arg) on the loop's thread, before the next round, in the order of the calls. Never runs if the
 * loop ends first. */
typedef void host_fn(void *arg);
void host_post(struct host *h, host_fn *fn, void *arg);
void host_stop(struct host *h);
/* The next host_run ends by itself after so long. Before it, on its thread. */
void host_stop_within(struct host *h, unsigned ms);
