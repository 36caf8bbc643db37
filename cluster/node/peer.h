/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - the other members: one link to each, kept up.
 *
 * Rule: of a pair the node with the lower id dials, again and again with a growing pause; so there
 * is one link, without a race of two. A newer link replaces the older one (the other side may have
 * gone without a word). For a snapshot the leader dials a second one (HELLO_BULK, snapshot.h).
 *
 * Who: the members that the configuration file names, and those that were added since (records,
 * membership.h). One of them may not know of this node yet, because it was down meanwhile, and so
 * never dials it: who has missed a lower one for MISSED_MS dials it, too. There this node is a
 * guest: its certificate says that it is of the cluster, so it may speak (raft.h, raft_step; that
 * is how the other learns of it), but it is not dialed, listed, or remembered.
 *
 * Identity: hello must name this cluster and the node that the certificate names, and the
 * incarnation under which the node was first met, by the cluster (met.h) or else by this node; a
 * data directory that was made anew under an old id has forgotten its votes and must not be heard
 * (DESIGN 3.5).
 *
 * Heartbeats and their answers wait for each other (beat.h). Raft messages are dropped when there
 * is no link or its queue is over its bound: the core repeats.
 */
#pragma once

#include "cluster/node/beat.h"

struct peer {
    uint32_t id;
    const char *address;  /* of a guest "" */
    uint64_t incarnation; /* 0: not met yet */
    struct conn *link;    /* greeted, HELLO_MAIN */
    struct conn *dialing; /* ours, not greeted yet */
    uint64_t retry_at;    /* tick */
    uint64_t missed_at;   /* tick since which there is no link */
    unsigned failures;    /* dials that failed in a row */
    uint64_t heard_at;    /* tick of the last frame on any link; 0: never */
    bool reported;        /* its absence was logged */
    struct beats beats;   /* what waits for it */
};

/* From config: all that it names but this node. -ERR_CONFIG. */
NODISCARD int peers_init(struct node *n, struct errmsg *msg);
/* The i-th of all n_peers + 1 members by id, this node included, and where it is found. */
uint32_t peer_nth(const struct node *n, unsigned i, const char **ret_address);
/* It has become a member, maybe under another address. -ERR_CONFIG: over NODES_MAX. */
NODISCARD int peer_add(struct node *n, uint32_t id, const char *address);
/* It was removed from the cluster: its links end. */
void peer_remove(struct node *n, uint32_t id);
/* It is known under which incarnation it was first met: links to another one end. Of a node that is
 * no member nothing is written down. */
void peer_met(struct node *n, uint32_t id, uint64_t incarnation);
struct peer *peer_find(struct node *n, uint32_t id); /* a member, no guest */
void peers_tick(struct node *n);

/* A hello arrived on c: 0 and c is greeted, or an error with text for both sides. */
NODISCARD int peer_greet(struct conn *c, const struct msg_hello *hello, struct errmsg *msg);
void peer_closed(struct conn *c);
/* A status on a member's link: what it thinks of our hello. */
void peer_told(struct conn *c, struct bytes status);

void peer_send_raft(struct node *n, uint32_t gid, const struct raft_msg *m);
/* This node and those it has a link to are more than half of the voters, of each half. */
bool peers_reach_majority(const struct node *n, const struct raft_conf *conf);
/* Voters (not this node) that were not heard for an election time-out. */
unsigned peers_silent(const struct node *n, const struct raft_conf *conf);
