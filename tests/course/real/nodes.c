/* SPDX-License-Identifier: Apache-2.0 */
/* Processes, what they tell of themselves, and who leads. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "tests/course/real/real.h"

#define TICK_MS_HERE 20
#define STATUS_MS    1000
#define LEADER_ROLE  3 /* of NODE_STATUS */

void real_fail(const struct real *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s: ", c->name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    (void)fflush(stdout);
    _exit(1);
}

struct deadline within(unsigned ms)
{
    return (struct deadline){clock_mono_ns() + ms * UINT64_C(1000000)};
}

bool is_over(struct deadline d)
{
    return clock_mono_ns() >= d.at_ns;
}

static void nap_ms(int ms)
{
    struct pollfd none = {.fd = -1};
    (void)poll(&none, 1, ms);
}

void tick(struct real *c, struct deadline d, const char *what)
{
    CHECK(c, !is_over(d), "%s: not within the bound", what);
    nap_ms(TICK_MS_HERE);
}

/* --- processes -------------------------------------------------------------------------------- */

static char *path_in(const struct real *c, const char *name)
{
    return g_strdup_printf("%s/%s", c->dir, name);
}

static void spawn(struct real *c, unsigned node)
{
    g_autofree char *conf = g_strdup_printf("%s/cluster/n%u.conf", c->dir, node);
    g_autofree char *log = g_strdup_printf("%s/n%u.log", c->dir, node);
    g_autofree char *program = g_strdup_printf("%s/raftfsd", c->bin);
    c->last[node] = (struct group_status){0};
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGPIPE, SIG_DFL);
        net_enter(c->net, node);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
            _exit(126);
        execl(program, "raftfsd", "-c", conf, (char *)NULL);
        _exit(127);
    }
    CHECK(c, pid > 0, "fork: %s", strerror(errno));
    c->pid[node] = pid;
}

void crash(struct real *c, unsigned node)
{
    if (c->pid[node] == 0)
        return;
    kill(c->pid[node], SIGKILL);
    (void)waitpid(c->pid[node], NULL, 0);
    c->pid[node] = 0;
}

void freeze(struct real *c, unsigned node, bool on)
{
    CHECK(c, c->pid[node] > 0, "n%u is down", node);
    kill(c->pid[node], on ? SIGSTOP : SIGCONT);
}

void restart(struct real *c, unsigned node)
{
    if (c->pid[node] == 0)
        spawn(c, node);
    join(c, node);
}

void crash_all(struct real *c)
{
    for (unsigned i = 1; i <= c->n; i++)
        crash(c, i);
    for (unsigned i = 1; i <= c->n; i++)
        restart(c, i);
}

/* Runs raftfsctl; its output goes to a file. */
static int ctl(struct real *c, const char *const *args)
{
    g_autofree char *out = path_in(c, "ctl.out");
    g_autofree char *program = g_strdup_printf("%s/cluster/ctl/raftfsctl", c->bin);
    const char *argv[REAL_NODES * 2 + 8] = {"raftfsctl"};
    int status = 0;
    for (unsigned i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
            _exit(126);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    CHECK(c, pid > 0 && waitpid(pid, &status, 0) == pid, "raftfsctl: %s", strerror(errno));
    return status;
}

static const char *ctl_said(struct real *c)
{
    g_autofree char *out = path_in(c, "ctl.out");
    char *text = NULL;
    return g_file_get_contents(out, &text, NULL, NULL) ? text : "";
}

/* --- ways ------------------------------------------------------------------------------------- */

static void set_links(struct real *c)
{
    for (unsigned a = 1; a <= c->n; a++)
        for (unsigned b = 1; b <= c->n; b++)
            if (a != b)
                net_block(c->net, a, b, c->cut[a] || c->cut[b]);
}

void cut(struct real *c, unsigned node)
{
    c->cut[node] = true;
    set_links(c);
}

void join(struct real *c, unsigned node)
{
    c->cut[node] = false;
    set_links(c);
}

void split(struct real *c, unsigned side)
{
    for (unsigned a = 1; a <= c->n; a++)
        for (unsigned b = 1; b <= c->n; b++)
            if (a != b)
                net_block(c->net, a, b, (side >> a & 1) != (side >> b & 1));
}

/* --- statuses --------------------------------------------------------------------------------- */

static void check_alive(struct real *c, unsigned node)
{
    int status;
    if (c->pid[node] && waitpid(c->pid[node], &status, WNOHANG) == c->pid[node])
        real_fail(c, "n%u ended by itself (status %x)", node, (unsigned)status);
}

static void check_status(struct real *c, unsigned node, const struct group_status *now)
{
    const struct group_status *was = &c->last[node];
    CHECK(c, now->term >= was->term && now->commit >= was->commit && now->applied >= was->applied,
          "n%u goes back: term %" G_GUINT64_FORMAT " commit %" G_GUINT64_FORMAT
          " applied %" G_GUINT64_FORMAT " after %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
          " %" G_GUINT64_FORMAT,
          node, now->term, now->commit, now->applied, was->term, was->commit, was->applied);
    CHECK(c, now->applied <= now->commit, "n%u has applied what is not committed", node);
    if (now->role == LEADER_ROLE) {
        const void *other = g_hash_table_lookup(c->leaders, &now->term);
        CHECK(c, !other || GPOINTER_TO_UINT(other) == node,
              "n%u and n%u both lead term %" G_GUINT64_FORMAT, node, GPOINTER_TO_UINT(other),
              now->term);
        if (!other)
            g_hash_table_insert(c->leaders, g_memdup2(&now->term, sizeof(now->term)),
                                GUINT_TO_POINTER(node));
    }
    c->last[node] = *now;
    c->last[node].members = NULL;
}

/* The whole answer, in the arena. */
static bool ask_status(struct real *c, unsigned node, struct arena *a,
                       struct msg_node_status_reply *ret)
{
    struct enc e CLEANUP(enc_finish) = {0};
    const struct msg_node_status m = {0};
    struct buf *b = NULL;
    unsigned type = 0;
    check_alive(c, node);
    if (c->pid[node] == 0)
        return false;
    enc_node_status(&e, &m);
    if (client_ask_node(c->watcher, node, MSG_node_status, enc_view(&e), STATUS_MS, &type, &b) < 0)
        return false;
    bool good = type == MSG_node_status_reply &&
                dec_node_status_reply(arena_copy(a, buf_bytes(b)), a, ret) == 0 &&
                ret->n_groups > 0;
    buf_unref(b);
    return good;
}

bool status_of(struct real *c, unsigned node, struct group_status *ret)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_node_status_reply reply;
    if (!ask_status(c, node, &a, &reply))
        return false;
    *ret = reply.groups[0];
    check_status(c, node, ret);
    ret->members = NULL;
    return true;
}

uint64_t counter_of(struct real *c, unsigned node, const char *name)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct msg_node_status_reply reply;
    if (!ask_status(c, node, &a, &reply))
        return 0;
    for (uint32_t i = 0; i < reply.n_counters; i++)
        if (reply.counters[i].name.n == strlen(name) &&
            memcmp(reply.counters[i].name.p, name, strlen(name)) == 0)
            return reply.counters[i].value;
    real_fail(c, "n%u has no counter %s", node, name);
}

bool leads(struct real *c, unsigned node)
{
    struct group_status s;
    return status_of(c, node, &s) && s.role == LEADER_ROLE;
}

/* Of those that are not cut off, the leader of the highest term; 0: none. */
static unsigned find_leader(struct real *c)
{
    uint64_t term = 0;
    unsigned leader = 0;
    for (unsigned i = 1; i <= c->n; i++) {
        struct group_status s;
        if (c->cut[i] || !status_of(c, i, &s) || s.role != LEADER_ROLE || s.term <= term)
            continue;
        term = s.term;
        leader = i;
    }
    return leader;
}

unsigned one_leader(struct real *c)
{
    struct deadline d = within(LEADER_WITHIN_MS);
    unsigned leader;
    while ((leader = find_leader(c)) == 0)
        tick(c, d, "a leader");
    return leader;
}

void pass(struct real *c, unsigned ms)
{
    struct deadline d = within(ms);
    while (!is_over(d)) {
        (void)find_leader(c);
        nap_ms(TICK_MS_HERE);
    }
}

void no_leader(struct real *c)
{
    struct deadline d = within(LEADER_WITHIN_MS);
    while (find_leader(c))
        tick(c, d, "a leader without a quorum steps down");
    for (d = within(2 * ELECTION_MS); !is_over(d); nap_ms(TICK_MS_HERE))
        CHECK(c, find_leader(c) == 0, "a leader is elected without a quorum");
}

uint64_t one_term(struct real *c)
{
    struct deadline d = within(LEADER_WITHIN_MS);
    for (;; tick(c, d, "agreement on the term")) {
        uint64_t term = 0;
        bool same = true;
        for (unsigned i = 1; i <= c->n; i++) {
            struct group_status s;
            if (c->cut[i] || c->pid[i] == 0)
                continue;
            same &= status_of(c, i, &s) && (term == 0 || s.term == term);
            term = same ? s.term : 0;
        }
        if (same && term > 0)
            return term;
    }
}

/* --- life ------------------------------------------------------------------------------------- */

struct client *client_open(const struct real *c, const char *name)
{
    g_autofree char *conf = g_strdup_printf("%s/cluster/client.conf", c->dir);
    const struct client_options o = {.conf = conf, .name = name};
    struct client *client = NULL;
    struct errmsg msg = {""};
    int err = client_create(&o, &client, &msg);
    if (err == 0)
        err = client_probe(client, LEADER_WITHIN_MS, &msg);
    CHECK(c, err == 0, "client: %s", msg.text);
    return client;
}

static void make_files(struct real *c)
{
    g_autofree char *cluster = path_in(c, "cluster");
    char nodes[REAL_NODES][32];
    const char *args[REAL_NODES * 2 + 6] = {"init", cluster, "--groups", "0"};
    for (unsigned i = 0; i < c->n; i++) {
        (void)snprintf(nodes[i], sizeof(nodes[i]), "n%u=10.77.0.%u:7000", i + 1, i + 1);
        args[4 + 2 * i] = "--node";
        args[5 + 2 * i] = nodes[i];
    }
    CHECK(c, ctl(c, args) == 0, "raftfsctl init: %s", ctl_said(c));
}

/* The leader hears all, and a majority without it could be formed: in the course's network there
 * are no connections that must be made first. */
static bool all_met(struct real *c)
{
    for (unsigned i = 1; i <= c->n; i++) {
        g_autofree char *log = g_strdup_printf("%s/n%u.log", c->dir, i);
        g_autofree char *text = NULL;
        if (!g_file_get_contents(log, &text, NULL, NULL))
            return false;
        for (unsigned other = 1; other <= c->n; other++) {
            g_autofree char *line = g_strdup_printf("link node=%u ", other);
            if (other != i && !strstr(text, line))
                return false;
        }
    }
    return true;
}

void real_begin(struct real *c, unsigned nodes)
{
    c->n = nodes;
    c->leaders = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    c->commands = g_ptr_array_new();
    c->net = net_create(c, nodes);
    make_files(c);
    for (unsigned i = 1; i <= nodes; i++)
        spawn(c, i);
    c->watcher = client_open(c, "watcher");
    struct deadline d = within(LEADER_WITHIN_MS);
    while (!all_met(c))
        tick(c, d, "every two nodes meet");
    one_leader(c);
    c->starter = client_open(c, "starter");
    c->clerk = client_open(c, "clerk");
    CHECK(c, client_new_session(c->starter) == 0, "no session");
}

static bool all_equal(struct real *c)
{
    uint64_t applied = 0;
    for (unsigned i = 1; i <= c->n; i++) {
        struct group_status s;
        if (!status_of(c, i, &s) || (applied && s.applied != applied) || s.applied != s.last)
            return false;
        applied = s.applied;
    }
    return true;
}

void real_end(struct real *c)
{
    g_autofree char *conf = path_in(c, "cluster/admin.conf");
    const char *const check[] = {"-c", conf, "check", NULL};
    struct deadline d = within(SETTLE_WITHIN_MS);
    net_weather(c->net, false);
    for (unsigned i = 1; i <= c->n; i++)
        c->pid[i] ? join(c, i) : restart(c, i);
    while (!all_equal(c))
        tick(c, d, "all replicas have applied the same");
    while (ctl(c, check) != 0) {
        CHECK(c, !strstr(ctl_said(c), "DIFFERENCE"), "raftfsctl check: %s", ctl_said(c));
        tick(c, d, ctl_said(c)); /* a node was too busy to answer */
    }
    check_commands(c);
    CHECK(c, !c->record || record_judge(c->record, SEARCH_BUDGET), "the history is wrong");
    for (unsigned i = 1; i <= c->n; i++)
        check_alive(c, i);
}
