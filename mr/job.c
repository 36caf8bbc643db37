/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/job.h"

#include <string.h>
#include "mr/hash.h"

/* Lost attempts do not count as failures, but something is wrong with the cluster after so many. */
#define LOST_MAX 100

struct attempt_record *task_running(struct task_record *t)
{
    for (uint32_t i = 0; i < t->n_attempts; i++)
        if (t->attempts[i].state == ATTEMPT_RUNNING)
            return &t->attempts[i];
    return NULL;
}

struct attempt_record *task_attempt(struct task_record *t, uint32_t number)
{
    for (uint32_t i = 0; i < t->n_attempts; i++)
        if (t->attempts[i].number == number)
            return &t->attempts[i];
    return NULL;
}

/* Makes room for one more: the oldest goes, but failures are kept longest, for the error file. */
static struct attempt_record *push_attempt(struct task_record *t)
{
    if (t->n_attempts == ATTEMPTS_KEPT) {
        uint32_t drop = 0;
        for (uint32_t i = 0; i < t->n_attempts; i++) {
            if (t->attempts[i].state != ATTEMPT_FAILED) {
                drop = i;
                break;
            }
        }
        memmove(&t->attempts[drop], &t->attempts[drop + 1],
                (t->n_attempts - drop - 1) * sizeof t->attempts[0]);
        t->n_attempts--;
    }
    return &t->attempts[t->n_attempts++];
}

int task_assign(struct task_record *t, uint32_t node, uint64_t incarnation, uint64_t now_ns,
                uint32_t *ret)
{
    if (!task_waiting(t))
        return -ERR_FAILED;
    struct attempt_record *a = push_attempt(t);
    *a = (struct attempt_record){
        .number = ++t->started,
        .node = node,
        .incarnation = incarnation,
        .state = ATTEMPT_RUNNING,
        .started_ns = now_ns,
        .exit_code = -1,
    };
    *ret = a->number;
    return 0;
}

int task_end(struct task_record *t, uint32_t attempt, const struct attempt_end *end)
{
    struct attempt_record *a = task_attempt(t, attempt);
    if (!a || a->state != ATTEMPT_RUNNING)
        return -ERR_FAILED;
    ASSERT(!t->winner && end->state != ATTEMPT_RUNNING);
    a->state = end->state;
    a->ended_ns = end->now_ns;
    a->exit_code = end->exit_code;
    a->signal = end->signal;
    a->fatal = end->fatal;
    a->records_in = end->records_in;
    a->records_out = end->records_out;
    a->text = end->text;
    if (end->state == ATTEMPT_FAILED)
        t->failures++;
    if (end->state != ATTEMPT_WON)
        return 0;
    t->winner = attempt;
    t->digest = end->digest;
    t->out_ino = end->out_ino;
    t->out_bytes = end->out_bytes;
    t->n_counters = end->n_counters;
    t->counters = end->counters;
    return 0;
}

void task_forget(struct task_record *t, struct bytes why)
{
    struct attempt_record *a = t->winner ? task_attempt(t, t->winner) : NULL;
    if (a) {
        a->state = ATTEMPT_LOST;
        a->text = why;
    }
    t->winner = 0;
    t->blames = 0;
    t->digest = t->out_ino = t->out_bytes = 0;
    t->n_counters = 0;
}

const char *task_hopeless(const struct task_record *t, unsigned tries, unsigned nodes)
{
    uint32_t first = 0;
    bool fatal = false;
    if (t->failures >= tries)
        return "every try failed";
    if (t->started - t->failures > LOST_MAX)
        return "it was lost too often";
    /* The command does not exist: one more node may have it, another try will not. */
    for (uint32_t i = 0; i < t->n_attempts; i++) {
        const struct attempt_record *a = &t->attempts[i];
        if (a->state != ATTEMPT_FAILED || !a->fatal)
            continue;
        if (nodes < 2 || (fatal && a->node != first))
            return "the command cannot be run";
        first = a->node;
        fatal = true;
    }
    return NULL;
}

uint64_t job_consumed(const struct task_record *maps, uint32_t n)
{
    uint64_t d = n;
    for (uint32_t i = 0; i < n; i++)
        d = hash_mix(d ^ MR_HASH_A, maps[i].digest ^ MR_HASH_B);
    return d;
}
