/* SPDX-License-Identifier: Apache-2.0 */
/* Lab 3A: leader election. */
#include "tests/course/course.h"

static void TestInitialElection3A(struct course *c)
{
    course_begin(c, 3);
    course_link(c);
    one_leader(c);
    course_run(c, MS(50));
    raft_term term = one_term(c);
    course_run(c, 2 * ELECTION);
    /* The course only warns; on a network without faults no election has a reason. */
    CHECK(c->s, one_term(c) == term, "the term changes though nothing happens");
    one_leader(c);
    course_end(c);
}

static void TestReElection3A(struct course *c)
{
    course_begin(c, 3);
    course_link(c);
    unsigned first = one_leader(c);
    cut(c, first);
    one_leader(c);
    raft_term term = one_term(c);
    join(c, first);
    unsigned second = one_leader(c);
    CHECK(c->s, one_term(c) == term, "an old leader that comes back disturbs the new one");
    cut(c, second);
    cut(c, nth_after(c, second, 1));
    course_run(c, 2 * ELECTION);
    no_leader(c);
    join(c, nth_after(c, second, 1));
    one_leader(c);
    join(c, second);
    one_leader(c);
    course_end(c);
}

static void TestManyElections3A(struct course *c)
{
    course_begin(c, 7);
    course_link(c);
    one_leader(c);
    for (unsigned round = 0; round < 9; round++) {
        unsigned gone[3];
        for (unsigned i = 0; i < 3; i++)
            cut(c, gone[i] = 1 + (unsigned)rng_below(&c->rng, c->n));
        one_leader(c); /* the old one is still there, or four others have elected one */
        for (unsigned i = 0; i < 3; i++)
            join(c, gone[i]);
    }
    one_leader(c);
    course_end(c);
}

const struct course_test tests_3a[] = {
    COURSE(TestInitialElection3A),
    COURSE(TestReElection3A),
    COURSE(TestManyElections3A),
    {0},
};
