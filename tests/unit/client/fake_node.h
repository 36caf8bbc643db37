/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_node.h - nodes that do as the test says, for the client: one thread behind real sockets.
 *
 * All nodes of a fake share one state: who leads, the sessions, the results of executed requests by
 * (client, seq). The leader answers, others say NOT_LEADER with a hint; unless the script of a node
 * says otherwise for its next request; and but for reads over a
 * connection whose hello says that any node will do. LOCATE and hellos are not scripted. A GET
 * answers "value", one of a part [off, off + len) len bytes, each `off`.
 *
 * A write that is executed is counted; one that comes again under its name gets the first result,
 * and it is an error (fake_destroy fails the test) if its bytes differ.
 */
#pragma once

#include "cluster/client/client.h"
#include "tests/lib/t.h"

#define FAKE_CLUSTER 0x00c0ffee12345678u
#define FAKE_SHARDS  16

enum fake_step {
    ANSWER,  /* as without a script */
    HANG_UP, /* not executed */
    EXECUTE_HANG_UP,
    HALF_ANSWER,  /* executes, sends half of the answer and hangs up */
    HOLD,         /* until fake_release: then executed and answered */
    HOLD_HALF,    /* as HOLD, but half of the answer is sent at once */
    STATUS,       /* arg: the ERR_ number, in a status message */
    STATUS_REPLY, /* arg, in a txn_reply */
    NOT_LEADER,   /* arg: the hint */
    WRONG_MAGIC,  /* bytes that are no frame, the connection stays */
    WRONG_CRC,
    WRONG_TYPE,     /* a well-formed answer of a type that was not asked for */
    WRONG_BODY,     /* a txn_reply that does not decode */
    OTHER_ID_FIRST, /* an answer to somebody else, then the right one */
};

struct fake;
struct fake_seen {
    uint32_t node;
    unsigned type;
    uint64_t client, seq, acked_below; /* of a txn */
};

struct fake *fake_create(unsigned nodes); /* Unix sockets */
struct fake *fake_create_tls(unsigned nodes);
/* Of these only the first are in the client's conf; LOCATE tells of all. */
struct fake *fake_create_joined(unsigned nodes, unsigned in_conf);
void fake_destroy(struct fake *f);
const char *fake_conf(struct fake *f); /* a client's */

void fake_lead(struct fake *f, uint32_t leader); /* at first n1; 0: nobody */
/* Groups: at first group 0 has every shard. Who is asked and does not lead says who does. */
void fake_lead_group(struct fake *f, uint32_t gid, uint32_t leader); /* gid 1 to 3 */
void fake_own(struct fake *f, unsigned shard, uint32_t gid);
/* Its owner refuses the shard, on its way to `next`, until somebody else owns it. */
void fake_freeze(struct fake *f, unsigned shard, uint32_t next);
/* Its LOCATE knows nothing of shards that are on their way. */
void fake_lag(struct fake *f, uint32_t node);
void fake_script(struct fake *f, uint32_t node, enum fake_step step, uint32_t arg);
void fake_release(struct fake *f);           /* what is held, now */
void fake_release_backwards(struct fake *f); /* the last held is answered first */
void fake_tell(struct fake *f, uint32_t node, uint32_t leader); /* what its LOCATE answers */
void fake_identity(struct fake *f, uint32_t node, uint64_t cluster, uint32_t id, uint32_t protocol);
void fake_hang(struct fake *f, uint32_t node, bool hang); /* as SIGSTOP and SIGCONT */
void fake_restart(struct fake *f, uint32_t node);         /* its connections end */
void fake_stop(struct fake *f, uint32_t node);            /* and nobody listens */
void fake_expire(struct fake *f);                         /* all sessions, so far */

/* Requests in the order they came, without LOCATE and hello. */
unsigned fake_count(struct fake *f, unsigned type); /* 0: all; MSG_locate too */
struct fake_seen fake_seen(struct fake *f, unsigned type, unsigned i);
unsigned fake_executed(struct fake *f); /* writes, each counted once */
unsigned fake_conns(struct fake *f, uint32_t node);
unsigned fake_accepted(struct fake *f, uint32_t node); /* since the start */
