/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - the other members: one link to each, kept up.
 *
 * Rule: of a pair the node with the lower id dials, again and again with a growing pause; so there
 * is one link, without a race of two. A newer link replaces the older one (the other side may have
 * gone without a word). For a snapshot the leader dials a second one (HELLO_BULK, snapshot.h).
 *
 * Identity: hello must name this cluster and the node that the certificate names, and the
 * incarnation under which the node was first met; a data directory that was made anew under an old
 * id has forgotten its votes and must not be heard (DESIGN 3.5).
 *
 * Raft messages are dropped when there is no link or its queue is over its bound: the core repeats.
 */
#pragma once

#include "cluster/node/impl.h"

struct peer {
    uint32_t id;
    const char *address;
    uint64_t incarnation; /* 0: not met yet */
    struct conn *link;    /* greeted, HELLO_MAIN */
    struct conn *dialing; /* ours, not greeted yet */
    uint64_t retry_at;    /* tick */
    unsigned failures;    /* dials that failed in a row */
    uint64_t heard_at;    /* tick of the last frame on any link; 0: never */
    bool reported;        /* its absence was logged */
};

/* From config: all members but this node. -ERR_CONFIG. */
NODISCARD int peers_init(struct node *n, struct errmsg *msg);
struct peer *peer_find(struct node *n, uint32_t id);
void peers_tick(struct node *n);

/* A hello arrived on c: 0 and c is greeted, or an error with text for both sides. */
NODISCARD int peer_greet(struct conn *c, const struct msg_hello *hello, struct errmsg *msg);
void peer_closed(struct conn *c);

void peer_send_raft(struct node *n, uint32_t gid, const struct raft_msg *m);
/* This node and the members it has a link to are more than half. */
bool peers_reach_majority(const struct node *n);
/* Members (not this node) that were not heard for an election time-out. */
unsigned peers_silent(const struct node *n);
