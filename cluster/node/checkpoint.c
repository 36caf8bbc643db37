/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/checkpoint.h"
#include "cluster/node/damage.h"
#include "cluster/node/outage.h"

static char *slot_dir(const char *group_dir, unsigned slot)
{
    return g_strdup_printf("%s.send.%u", group_dir, slot);
}

void checkpoint_clean(struct store_maker *stores, const char *group_dir, unsigned slot)
{
    char *dir = slot_dir(group_dir, slot);
    stores->destroy(stores, dir);
    g_free(dir);
}

static void checkpoint_free(struct checkpoint *c)
{
    if (c->image)
        c->stores->image_close(c->image);
    g_free(c->dir);
    g_free(c);
}

/* --- removal ---------------------------------------------------------------------------------- */

static void remove_work(struct store_job *j)
{
    struct checkpoint *c = container_of(j, struct checkpoint, job);
    if (c->image)
        c->stores->image_close(c->image);
    c->image = NULL;
    c->stores->destroy(c->stores, c->dir);
}

static void remove_done(struct store_job *j)
{
    checkpoint_free(container_of(j, struct checkpoint, job));
}

/* Its slot is free at once: whatever comes next there is the work of a later job. */
static void checkpoint_remove(struct checkpoint *c)
{
    struct group *g = c->group;
    g->checkpoint_slots &= ~(1u << c->slot);
    c->job = (struct store_job){.work = remove_work, .done = remove_done};
    c->stores->submit(c->stores, &c->job);
}

/* --- making ----------------------------------------------------------------------------------- */

static void make_work(struct store_job *j)
{
    struct checkpoint *c = container_of(j, struct checkpoint, job);
    c->stores->destroy(c->stores, c->dir);
    c->err = c->store->ops->checkpoint(c->store, c->dir, &c->msg);
    if (c->err == 0)
        c->err = kv_peek_applied(c->stores, c->dir, &c->index, &c->index_term, &c->index_time);
    if (c->err < 0)
        return;
    c->image = c->stores->image_open(c->stores, c->dir);
    if (c->image)
        c->size = c->stores->image_size(c->image);
    else
        c->err = -ERR_IO;
}

static void make_done(struct store_job *j)
{
    struct checkpoint *c = container_of(j, struct checkpoint, job);
    struct group *g = c->group;
    c->made = true;
    g->checkpoints_making--;
    if (g->node->ending) {
        if (c->users == 0)
            checkpoint_free(c);
        return;
    }
    if (c->err == -ERR_NO_SPACE)
        outage_flush_failed(g); /* a checkpoint flushes, too: the store takes nothing any more */
    else if (c->err < 0)
        group_fatal(g, c->err, "group %u: checkpoint to %s: %s", g->gid, c->dir, c->msg.text);
    const struct raft_conf *conf = c->err == 0 ? raft_conf_at(g->raft, c->index) : NULL;
    if (conf)
        c->conf = *conf;
    else if (c->err == 0)
        c->err = -ERR_STALE;
    if (c->users == 0)
        checkpoint_remove(c);
}

static unsigned free_slot(const struct group *g)
{
    unsigned slot = 0;
    while (g->checkpoint_slots & (1u << slot))
        slot++;
    ASSERT(slot < CHECKPOINT_SLOTS);
    return slot;
}

static struct checkpoint *checkpoint_begin(struct group *g)
{
    struct checkpoint *c = g_new0(struct checkpoint, 1);
    unsigned slot = free_slot(g);
    *c = (struct checkpoint){
        .job = {.work = make_work, .done = make_done},
        .group = g,
        .store = g->store,
        .stores = g->node->env.stores,
        .slot = slot,
        .dir = slot_dir(g->dir, slot),
        .index = g->applied,
    };
    g->checkpoint_slots |= 1u << slot;
    g->checkpoints_making++;
    g->node->counters.checkpoints++;
    c->stores->submit(c->stores, &c->job);
    return c;
}

/* --- users ------------------------------------------------------------------------------------ */

struct checkpoint *checkpoint_take(struct group *g)
{
    struct raft_status s;
    raft_get_status(g->raft, &s);
    struct checkpoint *c = g->checkpoint;
    /* What follows it must still be in the log. */
    if (!c || c->err < 0 || c->index + 1 < s.first) {
        int err = kv_settle(g->kv);
        if (err < 0 && err != -ERR_NO_SPACE)
            group_fatal(g, err, "group %u: write what was applied to %s", g->gid, g->dir);
        c = g->checkpoint = checkpoint_begin(g);
    }
    c->users++;
    return c;
}

void checkpoint_drop(struct checkpoint *c)
{
    if (--c->users > 0)
        return;
    if (c->group->checkpoint == c)
        c->group->checkpoint = NULL;
    if (c->group->node->ending)
        checkpoint_free(c);
    else if (c->made)
        checkpoint_remove(c);
}

bool checkpoint_busy(const struct group *g)
{
    return g->checkpoints_making > 0;
}
