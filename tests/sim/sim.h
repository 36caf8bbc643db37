/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - a whole cluster in one thread: real nodes (raft, log, state machine, node) on a simulated
 * clock, disk and network, with simulated clients. One seed is one run. What is modelled and what
 * is checked stands in README.md.
 *
 * Files: queue (time), trace (log, failure), disk, inode and damage, net, state (the nodes' state
 * stores), host (starts, stops and drives nodes), client, request and workload, model and linear
 * (histories), check and check_log (invariants while running), fault (what goes wrong when), run
 * (the phases of a run). All but main.c is a library: tests/course drives the same machine by
 * scripts of its own.
 */
#pragma once

#include <setjmp.h>
#include "cluster/base/limits.h"
#include "cluster/base/rng.h"
#include "cluster/node/node.h"
#include "cluster/raft/raft.h"
#include "tests/sim/queue.h"
#include "tests/sim/trace.h"

#define SIM_CLUSTER 0x51u
#define SIM_SHARDS  256
#define SIM_NODES   7 /* links are bits of a 64-bit mask: 8 places, clients included */

struct profile;

struct sim_options {
    uint64_t seed;
    unsigned nodes; /* 0: drawn */
    bool verbose;
    /* NULL: drawn, and faults are too. Else a script decides what goes wrong. */
    const struct profile *profile;
    const char *replay; /* the command that a failure prints; NULL: sim's */
};

/* What may go wrong besides what the network does all the time, and its name in reports. */
#define FAULT_TABLE(X)                                                                             \
    X(FAULT_KILL, "kill")                                                                          \
    X(FAULT_POWER, "power-loss")                                                                   \
    X(FAULT_POWER_IN_SYNC, "power-loss-in-sync")                                                   \
    X(FAULT_MANY, "many-nodes")                                                                    \
    X(FAULT_ISOLATE, "isolate")                                                                    \
    X(FAULT_SPLIT, "split")                                                                        \
    X(FAULT_ONE_WAY, "one-way")                                                                    \
    X(FAULT_CLOG, "clog")                                                                          \
    X(FAULT_BREAK, "connections-break")                                                            \
    X(FAULT_PAUSE, "pause")                                                                        \
    X(FAULT_FROZEN, "cut-off-and-asleep")                                                          \
    X(FAULT_SLOW_DISK, "slow-disk")                                                                \
    X(FAULT_HUNG_DISK, "hung-disk")                                                                \
    X(FAULT_SYNC_ERROR, "sync-error")                                                              \
    X(FAULT_FULL_DISK, "full-disk")                                                                \
    X(FAULT_DISK_ERROR, "disk-error")                                                              \
    X(FAULT_POWER_IN_WRITE, "power-loss-in-write")                                                 \
    X(FAULT_DAMAGE, "log-damage")                                                                  \
    X(FAULT_CLOCK, "clock-jump")                                                                   \
    X(FAULT_CLIENT, "client-death-or-sleep")
enum fault_kind {
#define KIND(kind, name) kind,
    FAULT_TABLE(KIND)
#undef KIND
        FAULT_KINDS
};
extern const char *const fault_names[FAULT_KINDS];

/* Drawn once per run: which things go wrong in it and how often. Chances are per million. */
struct profile {
    unsigned nodes, clients, ops_per_client, window;
    bool fast;                                /* short elections, short faults, many of them */
    unsigned election_ticks, heartbeat_ticks; /* 0: the node's defaults */
    unsigned drift_ppm;                       /* a node's clock may be off by that much */
    uint64_t fault_time;                      /* how long faults happen */
    uint64_t think;                           /* mean pause of a client between operations */
    uint64_t fault_pause;                     /* mean time between faults */
    uint64_t flush_log_bytes, segment_bytes;
    unsigned rows_held;  /* node_config's; 0: drawn for each life */
    uint64_t keep_bytes; /* node_config's log_keep_bytes and so on; 0: its defaults */
    unsigned keep_entries, snap_chunk, snap_tick;
    uint64_t net_delay, net_jitter;
    unsigned raft_drop, raft_dup, raft_reorder; /* per raft frame between nodes */
    unsigned raft_late;                         /* per answer: it comes 200 .. 2,200 ms late */
    unsigned conn_break;                        /* per frame */
    unsigned client_break;                      /* per frame from or to a client */
    uint64_t sync_time;                         /* mean of one sync; 0: done at once */
    unsigned sync_slow;                         /* a sync that takes 20 times as long */
    uint32_t big_values;                        /* large values of up to so many bytes; 0: none */
    unsigned objects;   /* that clients use; 0: all. One alone gets many reads */
    unsigned histories; /* objects of a script's own; 0: the workload's */
    unsigned weight[FAULT_KINDS];
};

/* What happened, to tell whether faults reached what they are meant to reach. */
struct sim_counters {
    uint64_t events, frames, syncs, crashes, power_losses, fatals, pauses, partitions, elections,
        logs_damaged, refused, snapshots, flushes, torn_sectors, torn_tails, ops, unknown_ops,
        retries, answers_twice, sessions_lost, frames_lost, frames_doubled, frames_late,
        client_deaths, old_leader_asked, simulated;
    uint64_t faults[FAULT_KINDS];
};

/* What a node has told others that it keeps: a restart must not forget it. */
struct promises {
    raft_term vote_term, ack_term; /* of the newest vote; of the newest acknowledgements */
    raft_id vote;
    raft_index ack; /* the highest one of ack_term */
};

/* What a node has sent to others, lost or not. */
struct traffic {
    uint64_t asks; /* raft's requests: votes, appends, heartbeats */
    uint64_t frames, bytes;
    uint64_t snap_bytes;
};

struct sim_disk;
struct sim_client;
struct state_store;

struct sim_node {
    struct sim *sim;
    unsigned id;
    char *address;
    struct node *node; /* NULL: down */
    uint64_t life;     /* counts starts and ends: callbacks of an older one go nowhere */
    bool up_wanted;    /* a restart is posted or it is up */
    jmp_buf dead;      /* where env.fatal goes */
    bool inside;       /* node code is running */
    bool power_failed; /* that is why it died inside */
    bool damaged;      /* its log was; it may refuse to start */
    bool refused;      /* and did, for good */
    char fatal[300];

    struct sim_disk *disk;
    struct store_mem_disk *mem;
    struct store_maker *mem_stores, *stores;
    struct state_store *store; /* open */
    struct net *net;
    struct rng rng;

    /* Its clock: runs a little fast or slow, and shows some other time of day. */
    int64_t drift_ppm, wall_offset;
    uint64_t booted_at, ticks, ticks_base;
    bool round_posted, paused;
    GQueue stalled; /* events that came while paused */

    /* check.c */
    bool leading;
    struct traffic traffic;
    struct promises promised;
    raft_term seen_term;
    raft_id seen_vote;
    raft_index seen_commit, seen_applied;
};

struct sim {
    struct sim_options options;
    struct profile profile;
    struct rng rng; /* faults and everything else */
    struct rng net_rng, disk_rng, client_rng;
    uint64_t now; /* ns */
    struct queue queue;
    struct trace trace;
    struct sim_counters counters;

    unsigned n;
    struct sim_node nodes[SIM_NODES]; /* nodes[0] is node 1 */

    /* net.c */
    GPtrArray *conns;
    bool blocked[SIM_NODES + 1][SIM_NODES + 1]; /* from, to; 0 is the clients' place */
    uint64_t blocked_since[SIM_NODES + 1][SIM_NODES + 1];
    bool quiet; /* the faults are over: no more losses */

    /* client.c, history in linear.h */
    GPtrArray *clients;
    struct history *history;
    uint64_t last_value, last_nonce;

    /* check.c, check_log.c */
    struct check *check;
    struct check_log *check_log;

    /* A script's: after each batch of a node's state store. */
    void (*on_batch)(struct sim_node *sn, uint64_t index, const struct store_write *w, size_t n);
    void *user;
};

static inline struct sim_node *sim_node(struct sim *s, unsigned id)
{
    return &s->nodes[id - 1];
}

static inline void sim_post(struct sim *s, struct event *e, uint64_t delay)
{
    queue_push(&s->queue, e, s->now + delay);
}

static inline void sim_post_node(struct sim_node *sn, struct event *e, uint64_t delay)
{
    e->node = sn;
    e->life = sn->life;
    sim_post(sn->sim, e, delay);
}

/* Around the mean, with a long tail: mostly less, now and then several times as much. */
uint64_t sim_spread(struct rng *r, uint64_t mean);

/* --- run.c --- */

/* A whole run, its counters added to the given ones. */
void sim_run(const struct sim_options *o, uint64_t *ret_hash, struct sim_counters *counters);

/* Its parts: the nodes start within the first 500 ms; time passes; each returns or fails. */
struct sim *sim_create(const struct sim_options *o);
void sim_step(struct sim *s, uint64_t until);
void sim_settle(struct sim *s); /* every node gets to the same state in bounded time */
void sim_judge(struct sim *s);  /* all histories are linearizable */
void sim_destroy(struct sim *s);

/* --- host.c --- */

void host_init(struct sim *s);
void host_finish(struct sim *s);
void host_start(struct sim_node *sn);
/* From inside the node: the power is gone, what runs does not return. */
NORETURN void host_power_fails(struct sim_node *sn);
enum host_end { END_KILLED, END_POWER_LOSS };
void host_stop(struct sim_node *sn, enum host_end how);
void host_restart_later(struct sim_node *sn, uint64_t delay);
void host_pause(struct sim_node *sn, uint64_t duration);
/* Calls fn with node code allowed to end in env.fatal; then a round is due. False: it died. */
bool host_enter(struct sim_node *sn, void (*fn)(struct sim_node *sn, void *arg), void *arg);
unsigned host_leader(struct sim *s); /* that may serve, of the highest term; 0: none */

/* --- net.c --- */

void net_init(struct sim *s);
void net_finish(struct sim *s);
/* The node has ended; the other ends learn of it now, or (power loss) maybe much later. */
void net_node_gone(struct sim_node *sn, bool silently);
void net_block(struct sim *s, unsigned from, unsigned to, bool blocked);
void net_break_some(struct sim *s);
/* Two nodes have a connection, and both know it. */
bool net_linked(const struct sim *s, unsigned a, unsigned b);
/* When a paused node gets an event that waited for it: the sockets are read in any order. */
uint64_t net_resume_at(struct sim *s, struct event *e);
/* A client's end: callbacks in client.c. NULL: never. */
struct net_conn *net_client_dial(struct sim *s, struct sim_client *k, unsigned node);

/* --- state.c --- */

void state_init(struct sim_node *sn);
void state_finish(struct sim_node *sn);
/* The node died inside its own code and will not close its store. */
void state_abandon(struct sim_node *sn);
struct store *state_real(struct sim_node *sn);

/* --- check.c --- */

void check_init(struct sim *s);
void check_finish(struct sim *s);
void check_node(struct sim_node *sn);                     /* after each call of node code */
void check_node_started(struct sim_node *sn);             /* a new life */
void check_sent(struct sim_node *sn, struct bytes frame); /* from this node to another */
void check_lead(struct sim_node *sn, bool leading);
/* The node's state store took a batch; it was opened, maybe with another node's state. */
void check_batch(struct sim_node *sn, const struct store_write *w, size_t n);
void check_state(struct sim_node *sn);
bool check_replicas_settled(struct sim *s);
void check_replicas_equal(struct sim *s);

/* --- damage.c --- */

/* Of a node that has lost its power. False: there is nothing to damage. */
bool damage_log(struct sim_node *sn);

/* --- check_log.c: called by check.c --- */

struct msg_raft_wire;
void check_log_init(struct sim *s);
void check_log_finish(struct sim *s);
void check_log_append(struct sim_node *sn, const struct msg_raft_wire *m); /* sent by a leader */
void check_log_acked(struct sim_node *sn, raft_term term, raft_index index);
void check_log_elected(struct sim_node *sn, const struct raft_status *st);
void check_log_commit(struct sim_node *sn, const struct raft_status *st); /* a leader's has risen */

/* --- fault.c --- */

void fault_draw(struct sim *s); /* the profile */
void fault_begin(struct sim *s);
void fault_heal(struct sim *s); /* everything; no more faults after it */
