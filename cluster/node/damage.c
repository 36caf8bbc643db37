/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/damage.h"
#include "cluster/node/membership.h"
#include "cluster/node/place.h"
#include "cluster/node/table.h"

static const char *aside_of(const struct group *g)
{
    return arena_printf(&g->node->memory, "%s.damaged", g->dir);
}

static const char *note_of(const struct group *g)
{
    return arena_printf(&g->node->memory, "%s.unreadable", g->dir);
}

static int sync_names(struct node *n)
{
    struct disk *d = n->env.disk;
    return d->ops->sync_dir(d, arena_printf(&n->memory, "%s/groups", n->config.data_dir));
}

static bool is_there(struct disk *d, const char *path)
{
    struct disk_file *f;
    if (d->ops->open(d, path, DISK_READ, &f) < 0)
        return false;
    d->ops->close(f);
    return true;
}

bool damage_is_alone(const struct group *g)
{
    const struct node *n = g->node;
    struct raft_conf conf;
    bool known = g->kv && membership_conf(g, &conf) > 0;
    if (g->gid == 0 && n->n_met > 0)
        return false; /* its configuration may be of long ago */
    if (g->gid == 0 && !known)
        return n->n_peers == 0;
    if (!known)
        conf = place_first_conf(g);
    return conf.n_voters == 1 && conf.n_outgoing == 0 && conf.voters[0] == n->config.id;
}

static int refuse(const struct group *g, const char *what, struct errmsg *msg)
{
    return errmsg_set(msg, -ERR_CORRUPT,
                      "replica of group %u in %s is damaged: %s; it is the only replica, so that "
                      "nobody can repair it: restore it from a backup",
                      g->gid, g->node->config.data_dir, what);
}

/* --- the state store -------------------------------------------------------------------------- */

bool damage_noted(const struct group *g)
{
    return is_there(g->node->env.disk, note_of(g));
}

static void note(const struct group *g)
{
    struct disk *d = g->node->env.disk;
    struct disk_file *f;
    if (d->ops->open(d, note_of(g), DISK_CREATE, &f) < 0)
        return; /* then the next one to read it finds the damage again */
    d->ops->close(f);
    (void)!sync_names(g->node);
}

static int put_aside(struct group *g)
{
    struct node *n = g->node;
    struct store_maker *stores = n->env.stores;
    struct disk *d = n->env.disk;
    const char *aside = aside_of(g);
    int err = stores->destroy(stores, aside);
    if (err == 0)
        err = stores->replace(stores, g->dir, aside);
    if (err == 0 || err == -ERR_NOT_FOUND)
        err = d->ops->remove(d, note_of(g));
    return err == 0 || err == -ERR_NOT_FOUND ? sync_names(g->node) : err;
}

int damage_drop_store(struct group *g, struct errmsg *msg)
{
    struct node *n = g->node;
    struct errmsg what = *msg;
    if (!what.text[0])
        (void)errmsg_set(&what, -ERR_CORRUPT, "a part of its state store could not be read");
    if (damage_is_alone(g))
        return refuse(g, what.text, msg);
    group_close_state(g);
    int err = put_aside(g);
    if (err < 0)
        return errmsg_set(msg, err, "put %s aside: %s", g->dir, err_text(err));
    node_log(n, LOG_ERROR,
             "damaged gid=%u: the state store is not readable (%s); it is put aside as %s, and "
             "filled again from the log, or else from the other members",
             g->gid, what.text, aside_of(g));
    g->store_dropped = true;
    return group_open_state(g, msg);
}

/* --- the log ---------------------------------------------------------------------------------- */

static const char *lost_of(const struct node *n)
{
    return arena_printf(&((struct node *)n)->memory, "%s/groups/lost", n->config.data_dir);
}

void damage_mark(struct node *n, struct wal_recovery *rec)
{
    g_strlcpy(n->damage, rec->text, sizeof(n->damage));
    n->log_lost = rec->all_damaged || (rec->n_groups == 0 && n->met_before) ||
                  is_there(n->env.disk, lost_of(n));
    for (size_t i = 0; i < rec->n_groups; i++) {
        struct wal_group *w = &rec->groups[i];
        if (!w->damaged)
            continue;
        for (size_t k = 0; k < w->n_entries; k++)
            buf_unref(w->entries[k].data);
        w->n_entries = 0;
        w->start_index = w->start_term = w->start_time = 0;
        w->suspect = true;
        wal_suspect(n->wal, w->gid, w->term, w->vote, 0, 0, 0);
    }
}

/* NULL: all that was promised is there. */
static const char *doubt(const struct group *g, const struct wal_group *w)
{
    const struct node *n = g->node;
    if (w && w->damaged)
        return arena_printf(&g->node->memory, "its log is damaged (%s)", n->damage);
    if (!w && n->log_lost && n->damage[0])
        return arena_printf(&g->node->memory, "the log is damaged (%s)", n->damage);
    if (!w && n->log_lost)
        return "it has met other members, but its log is gone";
    if (!w && g->applied > 0)
        return "there is applied state, but no log of it";
    if (w && g->applied < w->start_index)
        return arena_printf(&g->node->memory,
                            "its state store is %s, and its log begins at entry %" G_GUINT64_FORMAT,
                            g->store_dropped ? "damaged" : "older than the start of its log",
                            w->start_index + 1);
    return NULL;
}

/* Before the first log write, so that whoever does not find a log finds this. */
static int note_lost(struct node *n)
{
    struct disk_file *f;
    int err = n->env.disk->ops->open(n->env.disk, lost_of(n), DISK_CREATE, &f);
    if (err < 0)
        return err;
    n->env.disk->ops->close(f);
    return sync_names(n);
}

int damage_judge(struct group *g, const struct wal_group **w, struct wal_group *anew,
                 bool *ret_marked, struct errmsg *msg)
{
    struct node *n = g->node;
    const char *what = doubt(g, *w);
    *ret_marked = false;
    if (!what)
        return 0;
    if (damage_is_alone(g))
        return refuse(g, what, msg);
    int err = g->gid == 0 && n->log_lost ? note_lost(n) : 0;
    if (err < 0)
        return errmsg_set(msg, err, "make %s: %s", lost_of(n), err_text(err));
    if (!*w || !(*w)->damaged) {
        *anew = (struct wal_group){.gid = g->gid, .suspect = true};
        if (*w) {
            anew->term = (*w)->term;
            anew->vote = (*w)->vote;
        }
        *w = anew;
        wal_suspect(n->wal, g->gid, anew->term, anew->vote, 0, 0, 0);
        *ret_marked = true;
    }
    node_log(n, LOG_ERROR,
             "damaged gid=%u: %s; it may have forgotten votes and acknowledgements, so it takes no "
             "part in them until it is repaired from the other members; it keeps its state as of "
             "entry %" G_GUINT64_FORMAT,
             g->gid, what, g->applied);
    return 0;
}

void damage_house(struct node *n)
{
    struct group *g0 = node_group(n, 0);
    struct raft_status s;
    unsigned count;
    uint64_t index;
    if (!n->log_lost)
        return;
    raft_get_status(g0->raft, &s);
    (void)kv_groups(g0->kv, &count, &index);
    if (s.suspect || s.leader == RAFT_NONE || g0->applied < s.commit || n->placed != index)
        return;
    int err = n->env.disk->ops->remove(n->env.disk, lost_of(n));
    n->log_lost = err < 0 && err != -ERR_NOT_FOUND;
}

/* --- the end ---------------------------------------------------------------------------------- */

void damage_repaired(struct group *g)
{
    struct node *n = g->node;
    struct raft_status s;
    raft_get_status(g->raft, &s);
    wal_repaired(n->wal, g->gid);
    n->counters.repairs++;
    node_log(n, LOG_INFO,
             "repaired gid=%u: holds the log of leader %u up to entry %" G_GUINT64_FORMAT
             " and votes again",
             g->gid, s.leader, s.persisted);
    damage_clean(g);
}

void damage_clean(struct group *g)
{
    struct store_maker *stores = g->node->env.stores;
    (void)!stores->destroy(stores, aside_of(g));
}

NORETURN void group_fatal(struct group *g, int err, const char *fmt, ...)
{
    char what[600];
    va_list ap;
    va_start(ap, fmt);
    g_vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (err == -ERR_CORRUPT && !damage_is_alone(g))
        note(g);
    node_fatal(g->node, err, "%s", what);
}
