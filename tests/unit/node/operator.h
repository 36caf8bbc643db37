/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operator.h - who changes the members of a cluster under test, and sees what came of it: as
 * raftfsctl asks, over the same messages. One thread; texts live as long as the cluster.
 */
#pragma once

#include "tests/unit/node/cluster.h"

struct answer {
    unsigned status, leader;
    const char *detail;
};

struct answer status_of(struct cluster *c, struct frame f);
/* One request on an administrator's connection; its id. */
uint64_t ask(struct test_client *k, enum member_op op, unsigned node, const char *address);
/* Of the leader, whoever that is by then. */
struct answer change(struct cluster *c, enum member_op op, unsigned node, const char *address);
struct answer add(struct cluster *c, unsigned node);
struct answer remove_node(struct cluster *c, unsigned node);
/* Until it has caught up. */
struct answer promote(struct cluster *c, unsigned node);

#define DONE(a)                                                                                    \
    do {                                                                                           \
        struct answer a_ = (a);                                                                    \
        if (a_.status != 0)                                                                        \
            fail_msg("%s: status %u, \"%s\"", #a, a_.status, a_.detail);                           \
    } while (0)
#define REFUSED(a, want, text)                                                                     \
    do {                                                                                           \
        struct answer a_ = (a);                                                                    \
        assert_int_equal(a_.status, (want));                                                       \
        T_CONTAINS(a_.detail, (text));                                                             \
    } while (0)

/* "v1 v2 l4 -3": voters, learners, known ones, "j" those that leave, by id, as node `at` says. */
const char *members(struct cluster *c, unsigned at);

/* A cluster that has a leader; compacting: with small flushes, so that the log is cut and snapshots
 * are needed once write_past_the_log was called. */
struct cluster *serving(unsigned n);
struct cluster *compacting(unsigned n);
void write_past_the_log(struct cluster *c);
void put(struct cluster *c, const char *key, const char *value);
void holds(struct cluster *c, const char *key, const char *value);
bool has_all(struct cluster *c, unsigned id); /* that the leader has applied */
unsigned a_follower(struct cluster *c);
