/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - a whole cluster in one thread: real nodes (raft, log, state machine, node) on a simulated
 * clock, disk and network, with simulated clients. One seed is one run. What is modelled and what
 * is checked stands in README.md.
 *
 * Files: queue (time), trace (log, failure), disk, inode and damage, net, state (the nodes' state
 * stores), host (starts, stops and drives nodes), client, request and workload, operator and
 * operator_answer (administrators), model and linear (histories), check, check_log and check_conf
 * (invariants while running), fault, fault_draw and lost (what goes wrong when, and what may), run
 * (the phases of a run), count (what happened). All but main.c is a library: tests/course drives
 * the same machine by scripts of its own.
 */
#pragma once

#include <setjmp.h>
#include "cluster/base/limits.h"
#include "cluster/base/msg.h"
#include "cluster/base/rng.h"
#include "cluster/node/node.h"
#include "cluster/raft/raft.h"
#include "tests/sim/queue.h"
#include "tests/sim/trace.h"

#define SIM_CLUSTER 0x51u
/* A seed with this bit has several groups; those from before there were any are below it. */
#define SIM_SEED_GROUPS (UINT64_C(1) << 40)
#define SIM_SHARDS      256
#define SIM_NODES       10 /* ever, ids are not used again; links are bits of a link_mask */
#define SIM_FIRST       7  /* of them there may be from the beginning */
#define SIM_GROUPS      5  /* gids are 0 to 4 */

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
    X(FAULT_CLIENT, "client-death-or-sleep")                                                       \
    X(FAULT_LEAVE, "clean-shutdown")                                                               \
    X(FAULT_WIPE, "data-lost")                                                                     \
    X(FAULT_STOP, "stopped-at-its-clock")
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
    unsigned objects;       /* that clients use; 0: all. One alone gets many reads */
    unsigned histories;     /* objects of a script's own; 0: the workload's */
    unsigned groups;        /* besides group 0 */
    uint64_t arrange_pause; /* mean, between changes of the configuration */
    unsigned operators;     /* administrators at work */
    uint64_t operator_pause;
    unsigned crash_change, crash_install; /* soon after a configuration, a snapshot */
    unsigned snap_break;                  /* per chunk: it costs the connection */
    /* Per thousand: lives of nodes with lease reads, clients that ask any node for reads. */
    unsigned lease, anywhere;
    unsigned lease_drift; /* node_config's */
    unsigned weight[FAULT_KINDS];
};

/* What happened, to tell whether faults reached what they are meant to reach: field, name. Each
 * must happen within the seeds of the test sim-covers, or it may as well not be there (RARE: need
 * not). */
#define COUNTER_TABLE(X, RARE)                                                                     \
    X(events, "events")                                                                            \
    X(frames, "frames")                                                                            \
    X(syncs, "syncs")                                                                              \
    X(flushes, "flushes")                                                                          \
    X(jobs, "store-jobs")                                                                          \
    X(elections, "elections")                                                                      \
    X(ops, "operations")                                                                           \
    X(unknown_ops, "operations-unknown")                                                           \
    X(retries, "retries")                                                                          \
    X(answers_twice, "answered-twice")                                                             \
    X(old_leader_asked, "old-leader-asked")                                                        \
    X(client_deaths, "client-deaths")                                                              \
    X(crashes, "crashes")                                                                          \
    X(power_losses, "power-losses")                                                                \
    X(fatals, "fatal")                                                                             \
    X(pauses, "pauses")                                                                            \
    X(stops_inside, "stopped-at-their-clocks")                                                     \
    X(lease_reads, "reads-by-lease")                                                               \
    X(follower_reads, "reads-at-followers")                                                        \
    RARE(lock_waits, "waits-for-locks")                                                            \
    RARE(lock_refusals, "waits-for-locks-refused")                                                 \
    X(partitions, "partitions")                                                                    \
    X(logs_damaged, "logs-damaged")                                                                \
    X(states_damaged, "states-damaged")                                                            \
    X(suspects, "starts-suspect")                                                                  \
    X(torn_sectors, "torn-sectors")                                                                \
    X(frames_lost, "raft-frames-lost")                                                             \
    X(frames_doubled, "raft-frames-doubled")                                                       \
    X(frames_late, "raft-frames-overtaken")                                                        \
    X(snapshots_begun, "snapshots-begun")                                                          \
    X(snapshots_broken, "snapshots-broken-off")                                                    \
    X(snapshots_resumed, "snapshots-resumed")                                                      \
    X(snapshots, "snapshots-installed")                                                            \
    X(snapshots_members, "snapshots-with-changed-members")                                         \
    X(crashes_installed, "crashes-soon-after-install")                                             \
    X(confs, "configurations")                                                                     \
    X(confs_joint, "configurations-joint")                                                         \
    X(confs_truncated, "configurations-taken-back")                                                \
    X(crashes_joint, "leader-crashes-in-joint")                                                    \
    X(configs, "shard-configurations")                                                             \
    X(shards_moved, "shards-moved")                                                                \
    X(wrong_group, "asked-of-the-wrong-group")                                                     \
    X(nodes_added, "nodes-added")                                                                  \
    X(nodes_promoted, "nodes-promoted")                                                            \
    X(nodes_removed, "nodes-removed")                                                              \
    X(leaders_removed, "leaders-asked-to-be-removed")                                              \
    X(nodes_told, "removed-nodes-told")                                                            \
    X(wiped_shut_out, "wiped-nodes-shut-out")                                                      \
    X(changes_refused, "changes-refused")                                                          \
    X(nonsense_refused, "senseless-changes-refused")                                               \
    X(transfers, "transfers-done")                                                                 \
    X(transfers_failed, "transfers-given-up")                                                      \
    X(timeouts_now, "transfer-orders")                                                             \
    X(leaves, "clean-ends")                                                                        \
    X(leaves_leading, "clean-ends-of-leaders")                                                     \
    X(checks, "checks-begun")                                                                      \
    X(checks_compared, "check-answers-compared")                                                   \
    X(members_told, "members-asked")                                                               \
    RARE(unjudged, "histories-unjudged")                                                           \
    RARE(sessions_lost, "sessions-lost")                                                           \
    RARE(torn_tails, "torn-tails")                                                                 \
    RARE(starts_removed, "removed-nodes-refused-at-start")

struct sim_counters {
#define FIELD(field, name) uint64_t field;
    COUNTER_TABLE(FIELD, FIELD)
#undef FIELD
    uint64_t faults[FAULT_KINDS];
    uint64_t simulated; /* ns */
};

/* What a node has told others that it keeps: a restart must not forget it. */
struct promises {
    raft_term vote_term, ack_term; /* of the newest vote; of the newest acknowledgements */
    raft_id vote;
    raft_index ack; /* the highest one of ack_term */
};

/* Of a replica, when it was last looked at. */
struct seen {
    raft_term term;
    raft_id vote;
    raft_index commit, applied, first, last;
};

/* What a node has sent to others, lost or not. */
struct traffic {
    uint64_t asks; /* raft's requests: votes, appends, heartbeats */
    uint64_t frames, bytes;
    uint64_t snap_bytes;
};

struct sim_disk;
struct sim_client;
struct sim_operator;
struct sim_arranger;
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
    bool damaged;      /* its log or state was, and it is not whole again; it may be suspect */
    bool state_bad;    /* its state store cannot be opened */
    bool told;         /* that it was removed: it has ended, for good */
    bool leaving;      /* node_leave was called; then it is down for so long */
    uint64_t leave_down;
    char fatal[300];

    /* Its configuration file: the members when it was made. joins: it is not one of the first. */
    bool joins;
    unsigned peers[SIM_NODES], n_peers;
    bool wiped;            /* its data directory was made anew, under its old id */
    unsigned known_to;     /* bits: who must refuse it since */
    uint64_t unpaused_at;  /* when it last went on after a pause */
    uint64_t installed_at; /* a snapshot; 0: never in this life */
    bool from_snapshot;    /* installed in this life */

    struct sim_disk *disk;
    struct store_mem_disk *mem;
    struct store_maker *mem_stores, *stores;
    struct state_store *open[SIM_GROUPS]; /* by gid */
    struct net *net;
    struct rng rng;

    /* Its clock: runs a little fast or slow, and shows some other time of day. */
    int64_t drift_ppm, wall_offset;
    uint64_t booted_at, ticks, ticks_base;
    bool round_posted, paused;
    /* At its stop_in-th look at the clock it is stopped inside its own code; stop_late: after it
     * has looked. */
    unsigned stop_in;
    uint64_t stop_for;
    bool stop_late, stopped;
    GQueue stalled; /* events that came while paused */

    /* check.c */
    bool leading;
    uint64_t snap_asked; /* the transfer that has just asked where to go on */
    struct traffic traffic;
    struct promises promised[SIM_GROUPS];
    struct seen seen[SIM_GROUPS];
    bool conf_known;       /* what is in force was compared for seen first .. last */
    raft_index conf_index; /* of what is in force */
};

struct sim {
    struct sim_options options;
    struct profile profile;
    struct rng rng; /* faults and everything else */
    struct rng net_rng, disk_rng, client_rng;
    struct rng reads_rng; /* of what was added later: older seeds stay as they are */
    uint64_t now;         /* ns */
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
    GPtrArray *operators;          /* struct sim_operator */
    struct sim_arranger *arranger; /* NULL: there is group 0 alone */
    struct history *history;
    uint64_t last_value, last_nonce;

    /* check.c, check_log.c, check_conf.c */
    struct check *check;
    struct check_log *check_log;
    struct check_conf *check_conf;
    struct check_owner *check_owner;
    unsigned planted; /* a script's: this node's state was changed behind its back */

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

/* --- count.c --- */

void count_add(struct sim_counters *to, const struct sim_counters *from);
void count_say(const struct sim_counters *c);
/* Names what never happened; true: nothing is missing. */
bool count_covers(const struct sim_counters *c);

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
/* A clean end: it hands over what it leads, then ends; restarts after the delay. */
void host_leave(struct sim_node *sn, uint64_t down);
/* One more node, whose file names the given members; it is not started. NULL: there are too many.
 */
struct sim_node *host_add(struct sim *s, const unsigned *members, unsigned n);
/* Its disk is a new one, and its incarnation. It is down. */
void host_wipe(struct sim_node *sn);
/* It will not run again. */
static inline bool host_is_gone(const struct sim_node *sn)
{
    return sn->told;
}
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
/* It comes on a connection on which older ones have not been delivered since the last pause. */
bool net_waits(const struct sim *s, const struct event *e);
/* Who is no node, and what happens to its end of a connection. */
struct net_user {
    enum role role;
    void (*on_open)(struct net_user *u, struct net_conn *nc);
    void (*on_frame)(struct net_user *u, struct net_conn *nc, const struct frame *f);
    void (*on_close)(struct net_user *u, struct net_conn *nc);
};
struct net_conn *net_user_dial(struct sim *s, struct net_user *u, unsigned node); /* never NULL */
/* From on_open: says hello as somebody who is no node. */
void net_user_hello(struct net_conn *nc, enum hello_purpose purpose);

/* --- state.c --- */

void state_init(struct sim_node *sn);
void state_finish(struct sim_node *sn);
/* The node died inside its own code and will not close its store. */
void state_abandon(struct sim_node *sn);
struct store *state_real(struct sim_node *sn, uint32_t gid); /* NULL: it is not open */

/* --- check.c --- */

void check_init(struct sim *s);
void check_finish(struct sim *s);
void check_node(struct sim_node *sn);                     /* after each call of node code */
void check_node_started(struct sim_node *sn);             /* a new life */
void check_sent(struct sim_node *sn, struct bytes frame); /* from this node to another */
void check_lead(struct sim_node *sn, bool leading);
/* The node's state store took a batch; it was opened, maybe with another node's state. */
void check_batch(struct sim_node *sn, uint32_t gid, const struct store_write *w, size_t n);
void check_state(struct sim_node *sn, uint32_t gid);
/* The last configuration expects of it that it has everything. */
bool check_is_replica(const struct sim *s, const struct sim_node *sn);
bool check_replicas_settled(struct sim *s);
void check_say_unsettled(struct sim *s); /* lines that tell why not */
void check_replicas_equal(struct sim *s);
/* It leads, or has led, a term from `since` on. */
bool check_has_led(const struct sim *s, unsigned node, raft_term since);

/* --- damage.c --- */

/* Of a node that has lost its power. False: there is nothing to damage. */
bool damage_log(struct sim_node *sn);
void damage_state(struct sim_node *sn);

/* --- check_log.c: called by check.c --- */

void check_log_init(struct sim *s);
void check_log_finish(struct sim *s);
void check_log_append(struct sim_node *sn, const struct msg_raft_wire *m); /* sent by a leader */
void check_log_acked(struct sim_node *sn, raft_term term, raft_index index);
void check_log_elected(struct sim_node *sn, const struct raft_status *st);
void check_log_commit(struct sim_node *sn, const struct raft_status *st); /* a leader's has risen */
/* What is committed on a node is what was committed there, on others, and in earlier lives. */
void check_log_immutable(struct sim_node *sn, const struct raft_status *st);
void check_log_voted(struct sim_node *sn, raft_term term, raft_id candidate);
/* A leader orders a transfer: to one who has all that it has. */
void check_log_order(struct sim_node *sn, raft_term term, raft_id to);
/* A node has acknowledged an entry to the term's leader; for whom it voted. */
bool check_log_has(const struct sim *s, unsigned node, raft_term term, raft_index index);
raft_id check_log_granted(const struct sim *s, unsigned node, raft_term term);

/* --- check_conf.c --- */

void check_conf_init(struct sim *s);
void check_conf_finish(struct sim *s);
/* An entry that is in the log of a node, maybe seen before. */
void check_conf_entry(struct sim_node *sn, raft_index index, raft_term term,
                      enum raft_entry_type type, struct bytes data);
void check_conf_started(struct sim_node *sn);
/* After each call; appended: before the others look. */
void check_conf_appended(struct sim_node *sn, const struct raft_status *st);
void check_conf_node(struct sim_node *sn, const struct raft_status *st);
/* In check_conf_node's call: it has come to lead; its commit index has risen. */
void check_conf_elected(struct sim_node *sn, const struct raft_status *st);
void check_conf_commit(struct sim_node *sn, const struct raft_status *st);
const struct raft_conf *check_conf_committed(const struct sim *s); /* the newest */
bool check_conf_has(const struct raft_conf *conf, unsigned id);
bool check_conf_is_voter(const struct raft_conf *conf, unsigned id);
/* Each configuration that is in force somewhere or may come into force again. */
void check_conf_each(const struct sim *s, void (*fn)(void *arg, const struct raft_conf *c),
                     void *arg);
bool check_conf_removed(const struct sim *s, unsigned id);  /* its removal is committed */
bool check_conf_recorded(const struct sim *s, unsigned id); /* to the last step */
/* Removed, or recorded as a member before the last configuration, which it may not be in. */
bool check_conf_is_spent(const struct sim *s, unsigned id);
bool check_conf_changed(const struct sim *s); /* since the beginning */
bool check_conf_leads_joint(const struct sim_node *sn);
/* An operator asks for it from now on: nobody else may have changed it. */
void check_conf_asked(struct sim *s, enum member_op op, unsigned id);
/* Whoever was removed serves nothing that was asked after that; nobody else is told so. */
void check_conf_served(struct sim *s, unsigned node, uint64_t asked_at);
void check_conf_told(struct sim_node *sn);
/* Peace: the last configuration is not joint, and who was removed has ended if it can be told. */
bool check_conf_settled(struct sim *s);
/* What a node says of the members: something that was decided; exact: the last that was. */
void check_conf_said(struct sim *s, unsigned node, const struct msg_members_reply *m, bool exact);

/* --- lost.c: how much may be lost for good --- */

/* The others go on whatever configuration comes to be in force. */
bool lost_allows(const struct sim *s, unsigned victim);
bool lost_allows_removal(const struct sim *s, unsigned id);
/* All others have written down under which incarnation they met it, so they must refuse another.
 * Who joins later could not know: node/README.md. */
bool lost_is_known(struct sim *s, unsigned id, unsigned *ret_known_to);

/* --- check_owner.c --- */

void check_owner_init(struct sim *s);
void check_owner_finish(struct sim *s);
void check_owner(struct sim_node *sn, uint32_t gid,
                 const struct raft_status *st); /* as check_node */
bool check_owner_settled(struct sim *s);        /* nothing is under way between groups */
void check_owner_say(struct sim *s);
void check_owner_end(struct sim *s);

/* --- arranger.c --- */

void arranger_init(struct sim *s);
void arranger_finish(struct sim *s);
void arranger_last(struct sim *s);       /* the faults are over: no further changes */
bool arranger_idle(const struct sim *s); /* all shards are where they shall be */

/* --- operator.c --- */

void operators_init(struct sim *s);
void operators_finish(struct sim *s);
bool operators_idle(const struct sim *s);
void operators_say_busy(struct sim *s);
/* The faults are over: ends what was begun, replaces what was lost, compares the replicas. */
void operators_last(struct sim *s);
void operators_audit(struct sim *s); /* all is settled: asks everybody for the members */
/* Changes that may still happen: removed (op MEMBER_REMOVE) or promoted nodes; their number. */
unsigned operators_pending(const struct sim *s, struct msg_member_change *ret, unsigned max);

/* --- fault.c --- */

void fault_draw(struct sim *s); /* the profile */
void fault_begin(struct sim *s);
void fault_at_change(struct sim_node *leader); /* it has just appended a configuration */
void fault_at_install(struct sim_node *sn);    /* it installs a snapshot */
void fault_heal(struct sim *s);                /* everything; no more faults after it */
