/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.h - one replica: drives its raft core, applies, and holds the requests that wait for it.
 *
 * A round calls, in this order: group_collect (take what the core wants: send, queue log records,
 * remember what to apply), the node's log write, group_apply (apply, serve reads, answer), and
 * group_persisted for its ticket. Between collect and apply nobody else may call the core: the
 * entries to apply are borrowed from it.
 *
 * Start: the state store says what is applied, the log says the rest (group_open). Legal states on
 * disk, in whatever order a crash left them:
 *   - the store is ahead of the log's end, or has another entry where the log has one: entries are
 *     applied before this node's own log has them; the log starts anew behind the applied index;
 *   - the store is behind the log's end: the entries between are applied again;
 *   - the store is behind the log's start, or the log does not know a group that has applied
 *     something, or one of both is damaged: something was lost. damage.h tells what then.
 */
#pragma once

#include "cluster/kv/kv.h"
#include "cluster/node/impl.h"

struct wait_table;
struct snap_recv;
struct checkpoint;
struct bootstrap;
struct coordinator;
struct takes;
struct fence;
struct reshape;
struct lock_queue;
struct session_clock;
struct checks;
struct member_change;

/* A read point that several reads share. */
struct read_batch {
    struct raft_read read; /* ctx; the rest once it is confirmed */
    bool confirmed;
    raft_term term; /* in which it was asked */
    bool leading;   /* by the leader itself */
    GPtrArray *requests;
};

/* A proposal that waits for its entry. */
struct proposal {
    raft_index index;
    raft_term term;
    struct request *request;
};

/* How far the applied log had come at some point: where memory can be cut. */
struct log_mark {
    raft_index index;
    uint64_t bytes; /* applied since start, in all */
};

struct group {
    struct node *node;
    uint32_t gid;
    char *dir;
    struct store *store;
    struct kv *kv;
    struct raft *raft;

    /* As of the last ready. */
    raft_term term;
    enum raft_role role;
    raft_id leader;
    bool leading;  /* told to env.on_lead */
    bool leaving;  /* handed over by node_leave */
    bool touched;  /* on the ready list (table.h) */
    bool starting; /* made while the node runs, and its first log record is not durable yet */

    bool clocked;         /* the core goes by a clock: it has a lease or a promise */
    uint64_t clock_base;  /* node_clock when it was made */
    bool leader_seen;     /* since the start */
    uint64_t campaign_at; /* tick; 0: not due yet */
    bool gave_way;        /* led when the disk became nearly full (space.h), and handed over */

    struct request *move; /* move.c: NULL, or waits for move_to to lead */
    raft_id move_to;
    uint64_t move_until; /* tick */

    raft_index applied;
    raft_term applied_term;
    uint64_t applied_time;
    const struct raft_entry *to_apply; /* borrowed between collect and apply */
    unsigned n_to_apply;               /* kept while paused */

    bool store_dropped; /* by this start, because it was damaged */
    bool store_full;    /* the state store refuses writes until it is opened again (outage.h) */
    bool paused; /* and there is an entry to apply, or `store` is NULL, for a snapshot is being
                  * installed: the core is left alone */

    GQueue proposals;     /* struct proposal, by index */
    GPtrArray *new_reads; /* struct request; the next batch */
    GQueue read_batches;  /* struct read_batch, in the order of their ctx */
    uint64_t last_read_ctx;
    struct wait_table *waits;
    struct session_clock *sessions;
    struct coordinator *coordinator;
    struct takes *takes;
    struct fence *fence;
    struct reshape *reshape;
    struct bootstrap *bootstrap;
    struct lock_queue *queue;
    struct checks *checks;

    /* Flush and compaction. */
    bool flushing, flush_done, flush_wanted;
    int flush_err;
    raft_index flushed;     /* by the last one that completed */
    raft_index flush_index; /* of the one under way */
    raft_term flush_term;
    uint64_t flush_time;
    uint64_t bytes_applied, bytes_flushed; /* payload since start; of the last flush */
    GQueue marks;                          /* struct log_mark, oldest first */

    /* Membership (membership.h); of group 0. */
    uint64_t nodes_seen, met_seen, conf_seen; /* entries that it has followed */
    bool was_member;                          /* of an applied configuration, or of the first */
    struct member_change *change;             /* asked of this leader; NULL: none */
    raft_index met_asked;   /* newest entry that says who was met, of this leadership; 0: none */
    raft_index group_asked; /* newest entry that makes a group, of this leadership; 0: none */

    struct snap_recv *recv;        /* a snapshot that is coming in */
    GPtrArray *sends;              /* struct snap_send *: snapshots that go out */
    struct checkpoint *checkpoint; /* the newest; NULL: nobody uses it */
    uint32_t checkpoint_slots;     /* bits: names in use */
    unsigned checkpoints_making;
};

/* w NULL: the log does not know the group (a new node). Queues what must be logged at once. */
NODISCARD int group_open(struct node *n, uint32_t gid, const struct wal_group *w,
                         struct group **ret, struct errmsg *msg);
void group_destroy(struct group *g);

void group_tick(struct group *g);
void group_house(struct group *g); /* each HOUSE_TICKS */
void group_collect(struct group *g);
void group_apply(struct group *g);
void group_persisted(struct group *g, uint64_t ticket); /* 0: its first log record */
bool group_has_work(const struct group *g);
void group_step(struct group *g, const struct raft_msg *m);
/* The core knows what time it is (raft_clock). */
void group_clock(struct group *g);

bool group_is_leader(const struct group *g);  /* of the present term, as the core sees it */
bool group_hands_over(const struct group *g); /* its leadership, just now */
raft_id group_hint(const struct group *g);    /* whom to ask instead, 0 unknown */
bool group_follows(const struct group *g);    /* a leader that it could ask for a read point */

/* Both take the request over; it is answered now or later. An error of group_propose: it was
 * answered, and nothing was logged. */
int group_propose(struct group *g, enum kv_command cmd, struct bytes body, struct request *r);
/* Waits for a read point, then serve_read gets it. Of r->anywhere also at a node that follows. */
void group_read(struct group *g, struct request *r);
/* True: what was just read under it may be answered. False: the lease ended meanwhile, and the
 * request, which is taken over, waits for another read point. */
bool group_read_holds(struct group *g, const struct raft_read *read, struct request *r);

/* Answers everything that waits with -err. */
void group_fail_requests(struct group *g, int err);

/* Flush the store and cut the log as soon as possible. */
void group_want_flush(struct group *g);

/* Stops to lead, as far as requests and transfers are concerned; the core is not touched. */
void group_yield(struct group *g);

/* Applies entries that follow g->applied to the state machine and moves it on; sink may be NULL. */
NODISCARD int group_apply_to_state(struct group *g, const struct raft_entry *e, unsigned n,
                                   const struct kv_sink *sink, uint64_t *ret_payload);

/* Opens what lies in g->dir. In a job too, while g lives: it reads only what never changes. */
NODISCARD int group_open_store(const struct group *g, struct store **ret_store, struct kv **ret_kv,
                               struct errmsg *msg);
/* Takes them, where there are none; g->applied follows. */
void group_take_state(struct group *g, struct store *store, struct kv *kv);
NODISCARD int group_open_state(struct group *g, struct errmsg *msg); /* both */
void group_close_state(struct group *g);
/* Closes store and state machine and opens them again; the core is not touched. Nothing may be
 * under way on the store. */
void group_reopen(struct group *g);
