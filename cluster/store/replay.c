/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/replay.h"

#include <stdarg.h>
#include <stdio.h>

static void drop_entry(gpointer p)
{
    struct wal_entry *e = p;
    buf_unref(e->data);
}

static void destroy_group(gpointer p)
{
    struct replay_group *g = p;
    g_array_free(g->entries, TRUE);
    g_free(g);
}

void replay_init(struct replay *r)
{
    *r = (struct replay){.groups = g_ptr_array_new_with_free_func(destroy_group)};
}

void replay_finish(struct replay *r)
{
    if (r->groups)
        g_ptr_array_free(r->groups, TRUE);
    r->groups = NULL;
}

static struct replay_group *find_group(const struct replay *r, uint32_t gid)
{
    for (guint i = 0; i < r->groups->len; i++) {
        struct replay_group *g = g_ptr_array_index(r->groups, i);
        if (g->state.gid == gid)
            return g;
    }
    return NULL;
}

static struct replay_group *add_group(struct replay *r, uint32_t gid)
{
    struct replay_group *g = g_new0(struct replay_group, 1);
    g->state.gid = gid;
    g->first = 1;
    g->damaged = r->all_damaged;
    g->entries = g_array_new(FALSE, FALSE, sizeof(struct wal_entry));
    g_array_set_clear_func(g->entries, drop_entry);
    guint at = 0;
    while (at < r->groups->len &&
           ((struct replay_group *)g_ptr_array_index(r->groups, at))->state.gid < gid)
        at++;
    g_ptr_array_insert(r->groups, (gint)at, g);
    return g;
}

/* --- damage ----------------------------------------------------------------------------------- */

void replay_damage(struct replay *r, const char *fmt, ...)
{
    char text[sizeof(r->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!r->damaged)
        g_strlcpy(r->text, text, sizeof(r->text));
    r->damaged = true;
    if (r->on_damage)
        r->on_damage(r->ctx, text);
}

void replay_damaged(struct replay *r, uint32_t gid)
{
    struct replay_group *g = find_group(r, gid);
    if (!g)
        g = add_group(r, gid);
    g->damaged = true;
}

void replay_damaged_all(struct replay *r)
{
    r->all_damaged = true;
    for (guint i = 0; i < r->groups->len; i++)
        ((struct replay_group *)g_ptr_array_index(r->groups, i))->damaged = true;
}

void replay_damaged_anywhere(struct replay *r)
{
    r->anywhere = true;
    replay_damaged_all(r);
}

/* --- records ---------------------------------------------------------------------------------- */

/* Makes the entries agree with the state: none beyond last_index, none up to start_index. */
static void trim(struct replay_group *g)
{
    const struct wal_state *s = &g->state;
    uint64_t end = g->first + g->entries->len; /* one past the last entry held */
    if (end > s->last_index + 1) {
        uint64_t keep = s->last_index + 1 > g->first ? s->last_index + 1 - g->first : 0;
        g_array_set_size(g->entries, (guint)keep);
    }
    if (g->first <= s->start_index) {
        uint64_t drop = MIN(s->start_index + 1 - g->first, g->entries->len);
        if (drop > 0)
            g_array_remove_range(g->entries, 0, (guint)drop);
        g->first += drop;
    }
    if (g->entries->len == 0)
        g->first = s->last_index + 1;
}

static void replay_group_record(struct replay *r, const struct record *rec)
{
    struct replay_group *g = find_group(r, rec->gid);
    bool known = g != NULL;
    if (!known)
        g = add_group(r, rec->gid);
    const struct wal_state was = g->state;
    state_apply(&g->state, rec);
    const struct wal_state *now = &g->state;
    bool agrees = !known || (was.term == now->term && was.vote == now->vote &&
                             was.start_index == now->start_index &&
                             was.last_index == now->last_index && was.suspect == now->suspect);
    if (!agrees) {
        replay_damage(r, "records of group %u are missing before a segment", rec->gid);
        g->damaged = true;
        /* What was found and what was lost cannot be put together. */
        if (was.last_index < now->last_index)
            g_array_set_size(g->entries, 0);
    }
    trim(g);
}

void replay_record(struct replay *r, const struct record *rec)
{
    if (rec->type == WAL_RECORD_GROUP) {
        replay_group_record(r, rec);
        return;
    }
    struct replay_group *g = find_group(r, rec->gid);
    if (!g)
        g = add_group(r, rec->gid);
    if (!state_allows(&g->state, rec)) {
        replay_damage(r, "records of group %u are missing before index %" G_GUINT64_FORMAT,
                      rec->gid, rec->index);
        g->damaged = true;
        return;
    }
    state_apply(&g->state, rec);
    if (record_restates(rec) && !r->anywhere)
        g->damaged = false; /* it is known, and what may be missing is not relied upon */
    if (rec->type == WAL_RECORD_ENTRY) {
        struct wal_entry e = {
            .term = rec->term,
            .index = rec->index,
            .time_ns = rec->time,
            .type = rec->kind,
            .data = rec->data.n > 0 ? buf_copy(rec->data) : NULL,
        };
        g_array_append_val(g->entries, e);
        return;
    }
    if ((rec->type == WAL_RECORD_START && rec->kind) || record_restates(rec))
        g_array_set_size(g->entries, 0);
    trim(g);
}

/* --- the result ------------------------------------------------------------------------------- */

void replay_states(const struct replay *r, struct wal_states *ret)
{
    states_finish(ret);
    for (guint i = 0; i < r->groups->len; i++) {
        const struct replay_group *g = g_ptr_array_index(r->groups, i);
        *states_get(ret, g->state.gid) = g->state;
    }
}

static void check_whole(struct replay *r, struct replay_group *g)
{
    if (g->first <= g->state.start_index + 1)
        return;
    replay_damage(r, "entries %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT " of group %u are missing",
                  g->state.start_index + 1, g->first - 1, g->state.gid);
    g->damaged = true;
    g_array_set_size(g->entries, 0);
}

void replay_check(struct replay *r)
{
    for (guint i = 0; i < r->groups->len; i++)
        check_whole(r, g_ptr_array_index(r->groups, i));
}

bool replay_is_damaged(const struct replay *r, uint32_t gid)
{
    const struct replay_group *g = find_group(r, gid);
    return g && g->damaged;
}

void replay_result(struct replay *r, struct wal_recovery *ret)
{
    size_t n = r->groups->len;
    ret->groups = g_new0(struct wal_group, n + 1);
    ret->n_groups = n;
    for (size_t i = 0; i < n; i++) {
        struct replay_group *g = g_ptr_array_index(r->groups, i);
        struct wal_group *out = &ret->groups[i];
        *out = (struct wal_group){
            .gid = g->state.gid,
            .term = g->state.term,
            .vote = g->state.vote,
            .start_index = g->state.start_index,
            .start_term = g->state.start_term,
            .start_time = g->state.start_time,
            .n_entries = g->entries->len,
            .damaged = g->damaged,
            .suspect = g->state.suspect,
        };
        g_array_set_clear_func(g->entries, NULL); /* the references move */
        out->entries = (struct wal_entry *)(void *)g_array_free(g->entries, FALSE);
        g->entries = g_array_new(FALSE, FALSE, sizeof(struct wal_entry));
    }
    ret->damaged = r->damaged;
    ret->all_damaged = r->all_damaged;
    g_strlcpy(ret->text, r->text, sizeof(ret->text));
}
