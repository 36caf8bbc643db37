/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/promise.h"

#define PREFIX "promise-"

/* How many different time-outs are remembered; of more the first ones, and there are not so many.
 */
#define NAMES_MAX 16

struct names {
    unsigned n;
    unsigned ticks[NAMES_MAX];
};

static void note_name(void *arg, const char *name)
{
    struct names *all = arg;
    uint64_t ticks;
    if (g_str_has_prefix(name, PREFIX) && all->n < NAMES_MAX &&
        g_ascii_string_to_unsigned(name + strlen(PREFIX), 10, 1, G_MAXUINT, &ticks, NULL))
        all->ticks[all->n++] = (unsigned)ticks;
}

static const char *path_of(struct node *n, unsigned ticks)
{
    return arena_printf(&n->scratch, "%s/" PREFIX "%u", n->config.data_dir, ticks);
}

static int make_file(struct node *n, unsigned ticks)
{
    struct disk *d = n->env.disk;
    struct disk_file *f;
    int err = d->ops->open(d, path_of(n, ticks), DISK_CREATE, &f);
    if (err < 0)
        return err;
    d->ops->close(f);
    return d->ops->sync_dir(d, n->config.data_dir);
}

int promise_load(struct node *n, struct errmsg *msg)
{
    struct disk *d = n->env.disk;
    struct names all = {0};
    unsigned own = n->config.lease ? n->config.election_ticks : 0;
    bool known = false;
    int err = d->ops->list(d, n->config.data_dir, note_name, &all);
    if (err < 0)
        return errmsg_set(msg, err, "list %s: %s", n->config.data_dir, err_text(err));
    for (unsigned i = 0; i < all.n; i++) {
        n->promised_ticks = MAX(n->promised_ticks, all.ticks[i]);
        known |= all.ticks[i] == own;
        n->promises_old |= all.ticks[i] != own;
    }
    if (own == 0 || known)
        return 0;
    err = make_file(n, own);
    if (err < 0) {
        node_log(n, LOG_WARN, "make %s: %s: lease-reads is off until the next start",
                 path_of(n, own), err_text(err));
        n->config.lease = false;
    }
    return 0;
}

void promise_house(struct node *n)
{
    struct disk *d = n->env.disk;
    struct names all = {0};
    if (!n->promises_old || node_clock(n) < n->promised_ticks)
        return;
    n->promises_old = false; /* what cannot be removed is found at the next start */
    (void)d->ops->list(d, n->config.data_dir, note_name, &all);
    for (unsigned i = 0; i < all.n; i++)
        if (!n->config.lease || all.ticks[i] != n->config.election_ticks)
            (void)d->ops->remove(d, path_of(n, all.ticks[i]));
}
