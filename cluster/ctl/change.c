/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "cluster/ctl/change.h"
#include "cluster/ctl/members.h"
#include "cluster/ctl/owners.h"

#define POLL_US 100000
#define BAR     24
#define TELL_NS UINT64_C(1000000000)

struct change {
    struct ctl *ctl;
    const char *what;
    struct client *client;
    struct owners now, next;
    unsigned moving; /* shards */
};

static uint64_t deadline(const struct change *x)
{
    return clock_mono_ns() + x->ctl->timeout_s * UINT64_C(1000000000);
}

bool change_parse_gid(const char *what, const char *text, uint32_t *ret)
{
    guint64 gid;
    if (!g_ascii_string_to_unsigned(text, 10, 0, GID_MAX, &gid, NULL)) {
        (void)ctl_usage("%s: \"%s\" is no group; one is a number of 0 to %d", what, text, GID_MAX);
        return false;
    }
    *ret = (uint32_t)gid;
    return true;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int look(struct change *x, struct msg_config_change *m)
{
    struct errmsg msg = {""};
    int err = owners_get(x->client, CONFIG_LATEST, deadline(x), &x->now, &msg);
    m->num = x->now.reply.num;
    if (err == 0)
        err = owners_preview(x->client, m, deadline(x), &x->next, &msg);
    if (err < 0)
        return ctl_error("%s: %s", x->what, msg.text[0] ? msg.text : err_text(err));
    x->moving = owners_distance(&x->now, &x->next);
    return CTL_OK;
}

/* Another one may have been faster with the very same; or an answer of ours was lost. */
static bool is_made(struct change *x)
{
    struct owners CLEANUP(owners_finish) latest = {0};
    struct errmsg msg;
    return owners_get(x->client, CONFIG_LATEST, deadline(x), &latest, &msg) == 0 &&
           latest.reply.num == x->next.reply.num && owners_distance(&latest, &x->next) == 0;
}

static int make(struct change *x, const struct msg_config_change *m)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct errmsg msg = {""};
    enc_config_change(&e, m);
    int err = members_tell(x->client, MSG_config_change, enc_view(&e), deadline(x), &msg);
    if (err == 0 || ((err == -ERR_CONFIG_NUM || err == -ERR_MOVING) && is_made(x)))
        return CTL_OK;
    return ctl_error("%s: %s", x->what, msg.text[0] ? msg.text : err_text(err));
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* Shards of this change that are still on their way. */
static unsigned left(const struct change *x, const struct owners *latest)
{
    return latest->reply.num > x->next.reply.num ? 0 : latest->reply.n_pending;
}

struct progress {
    uint64_t began_ns, told_ns;
    unsigned told_left;
    bool terminal;
};

static void print_counts(const struct change *x, const struct progress *p, unsigned n_left)
{
    unsigned done = x->moving - n_left;
    double s = (double)(clock_mono_ns() - p->began_ns) / 1e9;
    printf("%u of %u shard%s moved", done, x->moving, x->moving == 1 ? " has" : "s have");
    if (done > 0 && n_left > 0)
        printf(", about %.0f s left", s / done * n_left + 0.5);
}

/* On a terminal a bar, else a line where something has arrived, once a second at most. */
static void show(const struct change *x, struct progress *p, unsigned n_left)
{
    unsigned filled = (x->moving - n_left) * BAR / MAX(x->moving, 1u);
    char bar[BAR + 1] = {0};
    if (p->terminal) {
        memset(bar, '.', BAR);
        memset(bar, '#', filled);
        printf("\r[%s] ", bar);
        print_counts(x, p, n_left);
        printf("\033[K");
    } else if (n_left < p->told_left && clock_mono_ns() - p->told_ns >= TELL_NS) {
        print_counts(x, p, n_left);
        putchar('\n');
        p->told_left = n_left;
        p->told_ns = clock_mono_ns();
    }
    (void)fflush(stdout);
}

static void end_line(const struct progress *p)
{
    if (p->terminal)
        printf("\r\033[K");
    (void)fflush(stdout);
}

static int wait_moved(struct change *x)
{
    struct owners CLEANUP(owners_finish) latest = {0};
    uint64_t now_ns = clock_mono_ns(), deadline_ns = deadline(x);
    unsigned n_left = x->moving;
    struct progress p = {now_ns, now_ns, n_left, isatty(STDOUT_FILENO)};
    while (n_left > 0) {
        struct errmsg msg = {""};
        int err = owners_get(x->client, CONFIG_LATEST, deadline(x), &latest, &msg);
        if (err < 0) {
            end_line(&p);
            return ctl_error("%s: %u shard%s still on the way, and go on without this command: %s",
                             x->what, n_left, n_left == 1 ? " is" : "s are",
                             msg.text[0] ? msg.text : err_text(err));
        }
        unsigned now = MIN(left(x, &latest), x->moving);
        if (now < n_left)
            deadline_ns = deadline(x);
        n_left = now;
        show(x, &p, n_left);
        if (n_left > 0 && clock_mono_ns() >= deadline_ns) {
            end_line(&p);
            return ctl_error("%s: nothing has arrived for %u s, %u shard%s still on the way "
                             "(raftfsctl config shows which)",
                             x->what, x->ctl->timeout_s, n_left, n_left == 1 ? " is" : "s are");
        }
        if (n_left > 0)
            g_usleep(POLL_US);
    }
    end_line(&p);
    printf("moved %u shard%s in %.1f s\n", x->moving, plural(x->moving),
           (double)(clock_mono_ns() - p.began_ns) / 1e9);
    return CTL_OK;
}

/* --- all of it -------------------------------------------------------------------------------- */

static int run(struct change *x, struct msg_config_change *m, const struct change_options *o)
{
    int status = look(x, m);
    if (status != CTL_OK)
        return status;
    owners_print_moves(&x->now, &x->next);
    if (x->moving == 0 && (m->op == CONFIG_REBALANCE || m->op == CONFIG_MOVE)) {
        printf("nothing is to move\n");
        return CTL_OK;
    }
    (void)fflush(stdout);
    if (o->dry_run)
        return CTL_OK;
    status = make(x, m);
    if (status == CTL_OK)
        printf("configuration %" PRIu64 "\n", x->next.reply.num);
    (void)fflush(stdout);
    return status == CTL_OK && !o->no_wait ? wait_moved(x) : status;
}

int change_run(struct ctl *ctl, const char *what, struct msg_config_change *m,
               const struct change_options *o)
{
    struct change x = {.ctl = ctl, .what = what};
    x.client = ctl_connect(ctl, false);
    int status = x.client ? run(&x, m, o) : CTL_FAILED;
    client_destroy(x.client);
    owners_finish(&x.now);
    owners_finish(&x.next);
    return status;
}
