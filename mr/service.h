/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - MapReduce on one node: a worker, and the coordinator while this node leads group 0.
 *
 * Everything runs in threads of its own with blocking calls; nothing here touches the node's loop.
 * The service makes its own client and volume (again, when its session is lost). State lives in the
 * cluster's keys (schema.h), so a service may be stopped, killed or replaced at any moment.
 *
 *   mr_service_create -> start -> (lead true/false, fetch)* -> stop -> destroy
 *
 * An idle service writes nothing: workers send heartbeats only while a coordinator has jobs.
 */
#pragma once

#include "cluster/base/codec.h"
#include "cluster/base/log.h"
#include "cluster/base/msg.h"

struct mr_service;

struct mr_service_options {
    const char *conf; /* client.conf for this node's jobs */
    uint32_t node;
    const char *data;      /* directory for spills and scratch; made if absent, emptied at start */
    unsigned slots;        /* attempts at once; 0: one per core */
    const char *job_user;  /* who runs root's jobs; NULL: "nobody" */
    const char *task_path; /* the raftfs-task program */
    void (*log)(void *ctx, enum log_level level,
                const char *text); /* from any thread; may be NULL */
    /* Tests: how a section is fetched from another node. NULL: client_ask_node. 0 and a reply body
     * in *reply, or an error. */
    int (*fetch)(void *ctx, uint32_t node, const struct msg_fetch *m, struct enc *reply);
    void *ctx;
    unsigned tick_ms;  /* heartbeat; 0: 500 */
    unsigned lease_ms; /* a worker silent for so long is lost; 0: 5000 */
};

/* Copies the options. -ERR_CONFIG, -ERR_IO with msg. */
NODISCARD int mr_service_create(const struct mr_service_options *o, struct mr_service **ret,
                                struct errmsg *msg);
/* Starts the worker thread. It waits for the cluster by itself. */
NODISCARD int mr_service_start(struct mr_service *s, struct errmsg *msg);
/* This node gained or lost leadership of group 0: starts or ends the coordinator. Returns at once
 * (starting) or when its thread has ended (stopping). Any thread, also while stop runs. */
void mr_service_lead(struct mr_service *s, bool leading);
/* Answers a shuffle FETCH: the body of a FETCH_REPLY into reply. Any thread; reads a file. */
void mr_service_fetch(struct mr_service *s, const struct msg_fetch *m, struct enc *reply);
/* Ends all attempts and threads. */
void mr_service_stop(struct mr_service *s);
void mr_service_destroy(struct mr_service *s);
DEFINE_CLEANUP(struct mr_service *, mr_service_destroy)
