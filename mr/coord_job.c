/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/coord_impl.h"
#include "mr/publish.h"
#include "mr/text.h"

#include <string.h>
#include "cluster/base/clock.h"

#define BLAMES_MAX 2 /* failed fetches until a map runs again */

/* --- storing ---------------------------------------------------------------------------------- */

int coord_store(struct coord *c, struct coord_job *j)
{
    return state_put_job(&c->state, j->name, &j->rec, j->version);
}

int coord_fail(struct coord *c, struct coord_job *j, const char *text)
{
    GString *t = g_string_new(NULL);
    g_string_append_printf(t, "job %.*s FAILED\n%s\n", (int)j->name.n, (const char *)j->name.p,
                           text);
    j->rec.state = JOB_FAILED;
    j->rec.ended_ns = clock_wall_ns();
    j->rec.error = arena_copy(&c->arena, bytes_of(t->str, t->len));
    g_string_free(t, TRUE);
    service_log(c->s, LOG_INFO, "job failed name=%.*s", (int)j->name.n, (const char *)j->name.p);
    return coord_store(c, j);
}

static int fail_task(struct coord *c, struct coord_job *j, const struct state_task *t)
{
    GString *s = g_string_new(NULL);
    text_task_error(s, j->name, j->spec, &t->rec);
    j->rec.state = JOB_FAILED;
    j->rec.ended_ns = clock_wall_ns();
    j->rec.error = arena_copy(&c->arena, bytes_of(s->str, s->len));
    g_string_free(s, TRUE);
    service_log(c->s, LOG_INFO, "job failed name=%.*s", (int)j->name.n, (const char *)j->name.p);
    return coord_store(c, j);
}

/* Changed tasks, in batches. */
static int store_tasks(struct coord *c, struct coord_job *j)
{
    struct state_task *batch[STATE_BATCH];
    size_t n = 0;
    uint32_t all = j->rec.maps + j->rec.reduces;
    int rc = 0;
    for (uint32_t i = 0; i < all && rc == 0; i++) {
        struct state_task *t = i < j->rec.maps ? &j->maps[i] : &j->reduces[i - j->rec.maps];
        if (t->changed)
            batch[n++] = t;
        if (n == STATE_BATCH) {
            rc = state_put_tasks(&c->state, j->name, &j->rec, JOB_HEAD_COORD, batch, n);
            n = 0;
        }
    }
    if (rc == 0 && n)
        rc = state_put_tasks(&c->state, j->name, &j->rec, JOB_HEAD_COORD, batch, n);
    return rc;
}

/* --- what has happened ------------------------------------------------------------------------ */

/* Whether what this worker process holds is gone. */
static bool gone(const struct coord *c, const struct attempt_record *a)
{
    const struct coord_worker *w = coord_worker_of(c, a->node);
    if (!w)
        return true;
    if (coord_worker_life(c, w) == WORKER_DEAD)
        return true;
    return w->incarnation != a->incarnation;
}

static void end_lost(struct coord *c, struct coord_job *j, struct state_task *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct attempt_record *a = task_running(&t[i].rec);
        if (!a || !gone(c, a))
            continue;
        struct attempt_end end = {
            .state = ATTEMPT_LOST,
            .exit_code = -1,
            .text = bytes_str("its worker is gone"),
            .now_ns = clock_wall_ns(),
        };
        if (task_end(&t[i].rec, a->number, &end) == 0)
            t[i].changed = true;
        service_log(c->s, LOG_WARN, "attempt lost job=%.*s task=%c-%05u node=%u", (int)j->name.n,
                    (const char *)j->name.p, (char)t[i].rec.kind, i, a->node);
    }
}

static bool all_done(const struct state_task *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!t[i].rec.winner)
            return false;
    return true;
}

/* Map output lies on the node that made it: it must be made again if that is gone while somebody
 * still needs it. A host's outputs go all at once. */
static void forget_lost_outputs(struct coord *c, struct coord_job *j)
{
    if (!j->rec.reduces || all_done(j->reduces, j->rec.reduces))
        return;
    for (uint32_t i = 0; i < j->rec.maps; i++) {
        struct state_task *t = &j->maps[i];
        const struct attempt_record *won =
            t->rec.winner ? task_attempt(&t->rec, t->rec.winner) : NULL;
        if (!t->rec.winner)
            continue;
        if (won && !gone(c, won) && t->rec.blames < BLAMES_MAX)
            continue;
        task_forget(&t->rec, bytes_str("its output is gone"));
        t->changed = true;
        service_log(c->s, LOG_WARN, "map output lost job=%.*s task=m-%05u", (int)j->name.n,
                    (const char *)j->name.p, i);
    }
}

static const struct state_task *hopeless(const struct coord *c, const struct coord_job *j)
{
    unsigned live = coord_live(c, NULL);
    uint32_t all = j->rec.maps + j->rec.reduces;
    for (uint32_t i = 0; i < all; i++) {
        struct state_task *t = i < j->rec.maps ? &j->maps[i] : &j->reduces[i - j->rec.maps];
        if (!t->rec.winner && task_hopeless(&t->rec, j->spec->tries, live))
            return t;
    }
    return NULL;
}

/* --- assigning -------------------------------------------------------------------------------- */

static bool failed_on(const struct task_record *t, uint32_t node)
{
    for (uint32_t i = 0; i < t->n_attempts; i++)
        if (t->attempts[i].state == ATTEMPT_FAILED && t->attempts[i].node == node)
            return true;
    return false;
}

/* The live worker with the most free slots; one where the task failed only if there is no other. */
static struct coord_worker *choose_worker(const struct coord *c, const struct task_record *t)
{
    struct coord_worker *best = NULL, *other = NULL;
    for (guint i = 0; i < c->workers->len; i++) {
        struct coord_worker *w = c->workers->pdata[i];
        if (coord_worker_life(c, w) != WORKER_ALIVE || w->used >= w->slots)
            continue;
        struct coord_worker **slot = failed_on(t, w->node) ? &other : &best;
        if (!*slot || w->slots - w->used > (*slot)->slots - (*slot)->used)
            *slot = w;
    }
    return best ? best : other;
}

static void assign(struct coord *c, struct state_task *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number;
        if (!task_waiting(&t[i].rec))
            continue;
        struct coord_worker *w = choose_worker(c, &t[i].rec);
        if (!w)
            return;
        if (task_assign(&t[i].rec, w->node, w->incarnation, clock_wall_ns(), &number) < 0)
            continue;
        t[i].changed = true;
        w->used++;
    }
}

static void note_running(struct coord *c, struct coord_job *j, struct state_task *t, uint32_t n,
                         bool count)
{
    for (uint32_t i = 0; i < n; i++) {
        struct attempt_record *a = task_running(&t[i].rec);
        if (!a)
            continue;
        struct coord_attempt x = {a->node,
                                  {.job = j->name,
                                   .epoch = j->rec.epoch,
                                   .kind = t[i].rec.kind,
                                   .task = i,
                                   .attempt = a->number}};
        struct coord_worker *w = coord_worker_of(c, a->node);
        if (count && w)
            w->used++;
        else if (!count)
            g_array_append_val(c->attempts, x);
    }
}

/* --- committing ------------------------------------------------------------------------------- */

/* Every reduce must have consumed the outputs that now stand, or outputs of two executions of a
 * non-deterministic map would be mixed (paper 3.3). The odd ones run again. */
static bool reduces_agree(struct coord *c, struct coord_job *j)
{
    struct task_record *m = arena_array(&c->arena, j->rec.maps, sizeof *m);
    bool agree = true;
    for (uint32_t i = 0; i < j->rec.maps; i++)
        m[i] = j->maps[i].rec;
    uint64_t want = job_consumed(m, j->rec.maps);
    for (uint32_t i = 0; i < j->rec.reduces; i++) {
        if (j->reduces[i].rec.digest == want)
            continue;
        task_forget(&j->reduces[i].rec, bytes_str("a map it consumed gave another output later"));
        j->reduces[i].changed = true;
        agree = false;
    }
    return agree;
}

/* Sums over the winners; `into` keys are borrowed from the records. */
static void add_counters(GArray *into, const struct task_record *t)
{
    for (uint32_t i = 0; i < t->n_counters; i++) {
        bool found = false;
        for (guint k = 0; k < into->len && !found; k++) {
            struct counter *c = &g_array_index(into, struct counter, k);
            if ((found = bytes_eq(c->name, t->counters[i].name)))
                c->value += t->counters[i].value;
        }
        if (!found && into->len < COUNTERS_MAX)
            g_array_append_val(into, t->counters[i]);
    }
}

static int commit(struct coord *c, struct coord_job *j)
{
    GArray *sum = g_array_new(FALSE, FALSE, sizeof(struct counter));
    for (uint32_t i = 0; i < j->rec.maps; i++)
        add_counters(sum, &j->maps[i].rec);
    for (uint32_t i = 0; i < j->rec.reduces; i++)
        add_counters(sum, &j->reduces[i].rec);
    j->rec.state = JOB_COMMITTING;
    j->rec.n_counters = sum->len;
    j->rec.counters = arena_array(&c->arena, sum->len, sizeof(struct counter));
    if (sum->len)
        memcpy(j->rec.counters, sum->data, sum->len * sizeof(struct counter));
    g_array_unref(sum);
    return coord_store(c, j);
}

/* --- the steps -------------------------------------------------------------------------------- */

static int run_tasks(struct coord *c, struct coord_job *j, bool *ret_again)
{
    end_lost(c, j, j->maps, j->rec.maps);
    end_lost(c, j, j->reduces, j->rec.reduces);
    forget_lost_outputs(c, j);
    const struct state_task *bad = hopeless(c, j);
    if (bad)
        return fail_task(c, j, bad);
    if (all_done(j->maps, j->rec.maps) && all_done(j->reduces, j->rec.reduces) &&
        reduces_agree(c, j)) {
        *ret_again = true;
        return commit(c, j);
    }
    if (all_done(j->maps, j->rec.maps))
        assign(c, j->reduces, j->rec.reduces);
    else
        assign(c, j->maps, j->rec.maps);
    int rc = store_tasks(c, j);
    if (rc < 0)
        return rc;
    note_running(c, j, j->maps, j->rec.maps, false);
    note_running(c, j, j->reduces, j->rec.reduces, false);
    return 0;
}

static void stay(struct coord *c, const struct coord_job *j)
{
    struct running_record r = {.job = j->name, .epoch = j->rec.epoch};
    g_array_append_val(c->jobs, r);
}

static int with_tasks(struct coord *c, struct coord_job *j, bool *ret_again)
{
    int rc = state_tasks(&c->state, &c->arena, j->name, &j->rec, &j->maps, &j->reduces);
    if (rc == -ERR_CORRUPT || rc == -ERR_FORMAT)
        return coord_fail(c, j, "its task records are damaged");
    if (rc < 0)
        return rc;
    stay(c, j);
    if (j->rec.state == JOB_COMMITTING) {
        *ret_again = true;
        return coord_publish(c, j);
    }
    note_running(c, j, j->maps, j->rec.maps, true);
    note_running(c, j, j->reduces, j->rec.reduces, true);
    return run_tasks(c, j, ret_again);
}

static int take_over(struct coord *c, struct coord_job *j)
{
    if (j->rec.coordinator == c->number)
        return 0;
    if (j->rec.coordinator > c->number) {
        c->deposed = true;
        return -ERR_FAILED;
    }
    j->rec.coordinator = c->number;
    int rc = coord_store(c, j);
    if (rc == 0) /* the version for the next store */
        rc = state_job(&c->state, &c->arena, j->name, &j->rec, &j->version);
    return rc;
}

static int unlist(struct coord *c, struct bytes name, uint64_t listed)
{
    return state_delete_version(&c->state, key_active(&c->arena, name), listed);
}

static int step(struct coord *c, struct coord_job *j, uint64_t listed, bool *ret_again)
{
    struct errmsg msg;
    if (j->rec.state == JOB_SUBMITTED)
        return 0;
    if (job_ended(j->rec.state)) {
        int rc = job_clean(&c->state, c->door->volume, j->name, &j->rec);
        return rc < 0 ? rc : unlist(c, j->name, listed);
    }
    int rc = take_over(c, j);
    if (rc < 0)
        return rc;
    rc = spec_parse("spec", (const char *)j->rec.spec.p, j->rec.spec.n, &j->spec, &msg);
    if (rc < 0)
        return coord_fail(c, j, msg.text);
    if (j->rec.state != JOB_QUEUED)
        return with_tasks(c, j, ret_again);
    *ret_again = true;
    return coord_plan(c, j);
}

int coord_step(struct coord *c, struct bytes name, uint64_t listed, bool *ret_again)
{
    struct coord_job j = {.name = name};
    int rc = state_job(&c->state, &c->arena, name, &j.rec, &j.version);
    if (rc == -ERR_NOT_FOUND)
        return unlist(c, name, listed);
    bool ended = rc == 0 && job_ended(j.rec.state);
    if (rc == 0)
        rc = step(c, &j, listed, ret_again);
    if (rc == 0 && !ended && job_ended(j.rec.state))
        *ret_again = true; /* clean up at once */
    spec_destroy(j.spec);
    if (rc != -ERR_FAILED)
        return rc;
    *ret_again = !c->deposed; /* somebody changed a record first: look at it */
    return 0;
}
