/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_raft - runs a text trace against a group of raft cores and compares all that can be seen.
 *
 *     run_raft FILE            0: as written; 1: differs, both texts on stderr
 *     run_raft --rewrite FILE  writes what happens; review the diff before you commit it
 *
 * A trace is a row of blocks, parted by empty lines: comment lines (# says the intent), commands, a
 * line ----, and the output. After each command every node's ready is taken and its writes complete
 * (unless held) until nothing is left to do, but nothing is delivered by itself; proposals and
 * reads that follow each other in a block share one ready. The output has each message when it is
 * sent, each write when it is given to the disk and when it is done ("1 has #3"), what is applied,
 * and changes of role. "ok": nothing happened.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cluster/base/err.h"
#include "cluster/raft/print.h"
#include "tests/unit/raft/group.h"

struct trace {
    const char *file;
    int line;
    struct group g;
    bool started;
    GString *out;
    char **words; /* of the command: words[0] is the verb */
};

static NORETURN void PRINTF_LIKE(2, 3) give_up(const struct trace *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *what = g_strdup_vprintf(fmt, args);
    va_end(args);
    fprintf(stderr, "%s:%d: %s: %s\n", t->file, t->line, t->words ? t->words[0] : "", what);
    exit(2);
}

/* --- arguments: positional words, and name=value or name=(a,b) anywhere --------------------------
 */

static const char *option(const struct trace *t, const char *name)
{
    size_t n = strlen(name);
    for (char **w = t->words + 1; *w; w++)
        if (strncmp(*w, name, n) == 0 && (*w)[n] == '=')
            return *w + n + 1;
    return NULL;
}

static uint64_t number(const struct trace *t, const char *s)
{
    char *end;
    uint64_t v = strtoull(s, &end, 10);
    if (end == s || *end)
        give_up(t, "%s is no number", s);
    return v;
}

static uint64_t option_number(const struct trace *t, const char *name, uint64_t otherwise)
{
    const char *s = option(t, name);
    return s ? number(t, s) : otherwise;
}

/* Is id in (1,2)? True without the option. */
static bool selected(const struct trace *t, const char *name, raft_id id, bool otherwise)
{
    const char *s = option(t, name);
    if (s == NULL)
        return otherwise;
    while (*s) {
        char *end;
        s += strspn(s, "(,)");
        uint64_t v = strtoull(s, &end, 10);
        if (end == s && *s)
            give_up(t, "%s is no list of nodes", s);
        if (end != s && v == id)
            return true;
        s = end;
    }
    return false;
}

static const char *word(const struct trace *t, unsigned i)
{
    for (char **w = t->words + 1; *w; w++)
        if (strchr(*w, '=') == NULL && --i == 0)
            return *w;
    return NULL;
}

static struct member *node(struct trace *t, unsigned i)
{
    const char *s = word(t, i);
    struct member *m = s ? group_node(&t->g, (raft_id)number(t, s)) : NULL;
    if (m == NULL)
        give_up(t, "names no node");
    return m;
}

static struct member *up(struct trace *t, unsigned i)
{
    struct member *m = node(t, i);
    if (m->r == NULL)
        give_up(t, "node %u is down", m->id);
    return m;
}

static void say(struct trace *t, int e)
{
    if (e < 0)
        g_string_append_printf(t->out, "%s\n", err_name(e));
}

static GString *padded(const char *s, size_t pad)
{
    GString *data = g_string_new(s);
    while (pad-- > 0)
        g_string_append_c(data, '.');
    return data;
}

/* --- verbs --------------------------------------------------------------------------------------
 */

/* add-nodes VOTERS [learners=N] [election=10] [heartbeat=3] [apply-bytes=N] [lease=DRIFT]: all up
 * and empty. */
static void do_add_nodes(struct trace *t)
{
    if (t->started)
        give_up(t, "only once");
    t->started = true;
    group_init(&t->g, t->file, (unsigned)number(t, word(t, 1)),
               (unsigned)option_number(t, "learners", 0), 1);
    t->g.out = t->out;
    t->g.manual = true;
    t->g.election_ticks = (unsigned)option_number(t, "election", 10);
    t->g.heartbeat_ticks = (unsigned)option_number(t, "heartbeat", 3);
    t->g.apply_bytes_max = option_number(t, "apply-bytes", MIB(1));
    t->g.lease = option(t, "lease");
    t->g.lease_drift = (unsigned)option_number(t, "lease", 0);
    group_start(&t->g);
}

/* add-node: one more, up and empty, of no configuration. */
static void do_add_node(struct trace *t)
{
    struct member *m = group_add(&t->g);
    g_string_append_printf(t->out, "%u is there\n", m->id);
}

/* disk ID TERM... [t=N] [vote=ID] [pad=BYTES]: the node restarts with this log on its disk, one
 * entry per term named. Entries of one index, term and pad are the same on all nodes. */
static void do_disk(struct trace *t)
{
    struct member *m = node(t, 1);
    raft_term last = 0;
    const char *w;

    group_wipe(&t->g, m);
    for (unsigned i = 2; (w = word(t, i)) != NULL; i++) {
        char data[32];
        raft_term term = number(t, w);
        (void)snprintf(data, sizeof(data), "e%u.%s", i - 1, w);
        GString *padding = padded(data, (size_t)option_number(t, "pad", 0));
        struct raft_entry e = {.term = term,
                               .index = i - 1,
                               .time_ns = term * 1000 + i,
                               .type = RAFT_ENTRY_DATA,
                               .data = buf_copy(bytes_of(padding->str, padding->len))};
        g_string_free(padding, true);
        g_array_append_val(m->disk.entries, e);
        last = term;
    }
    m->disk.hard.term = option_number(t, "t", last);
    m->disk.hard.vote = (raft_id)option_number(t, "vote", RAFT_NONE);
    group_restart(&t->g, m);
}

/* campaign ID */
static void do_campaign(struct trace *t)
{
    raft_campaign(up(t, 1)->r);
}

static void stabilize(struct trace *t);

/* Whom ID can reach has not heard a leader for an election time-out; a leader among them steps
 * down. */
static void lose_patience(struct trace *t, raft_id id)
{
    struct group *g = &t->g;

    for (unsigned i = 0; i < g->n; i++)
        for (unsigned k = 0; k < g->election_ticks; k++)
            if (g->members[i].r && g->members[i].id != id && !g->cut[id][g->members[i].id])
                group_tick(&g->members[i]);
    group_settle(g);
    while (g->wire->len > 0) /* its last heartbeats are lost */
        group_deliver(g, 0, true, false);
}

/* elect ID: it campaigns while nobody it can reach hears a leader, and all is delivered. Of the
 * output only changes of role are shown. */
static void do_elect(struct trace *t)
{
    size_t keep = t->out->len;
    struct member *m = up(t, 1);

    lose_patience(t, m->id);
    raft_campaign(m->r);
    stabilize(t);
    char *all = g_strdup(t->out->str + keep);
    g_string_truncate(t->out, keep);
    char **lines = g_strsplit(all, "\n", -1);
    for (char **l = lines; *l; l++)
        if (strstr(*l, " is "))
            g_string_append_printf(t->out, "%s\n", *l);
    g_strfreev(lines);
    g_free(all);
}

/* tick ID|all [n=1] */
static void do_tick(struct trace *t)
{
    bool all = word(t, 1) && strcmp(word(t, 1), "all") == 0;

    for (uint64_t n = option_number(t, "n", 1); n > 0; n--) {
        for (unsigned i = 0; i < t->g.n; i++)
            if (t->g.members[i].r && (all || up(t, 1) == &t->g.members[i]))
                group_tick(&t->g.members[i]);
        group_settle(&t->g);
    }
}

/* propose ID DATA... [pad=BYTES]: what is refused is told; all of one block share a ready. */
static void do_propose(struct trace *t)
{
    struct member *m = up(t, 1);
    size_t pad = (size_t)option_number(t, "pad", 0);
    const char *w;

    for (unsigned i = 2; (w = word(t, i)) != NULL; i++) {
        GString *data = padded(w, pad);
        say(t, group_propose(&t->g, m, bytes_of(data->str, data->len)));
        g_string_free(data, true);
    }
}

static void list(const struct trace *t, const char *name, raft_id ids[VOTERS_MAX], unsigned *ret_n)
{
    for (raft_id id = 1; id <= GROUP_MAX && *ret_n < VOTERS_MAX; id++)
        if (selected(t, name, id, false))
            ids[(*ret_n)++] = id;
}

/* change ID voters=(1,2) [learners=(3)]: node ID proposes that; what is refused is told. */
static void do_change(struct trace *t)
{
    struct member *m = up(t, 1);
    struct raft_conf to = {0};

    list(t, "voters", to.voters, &to.n_voters);
    list(t, "learners", to.learners, &to.n_learners);
    say(t, group_change(&t->g, m, &to));
}

/* conf [ID]: the configuration in force. */
static void do_conf(struct trace *t)
{
    for (unsigned i = 0; i < t->g.n; i++) {
        struct member *m = &t->g.members[i];
        if (m->r == NULL || (word(t, 1) && node(t, 1) != m))
            continue;
        g_string_append_printf(t->out, "%u ", m->id);
        raft_print_conf(t->out, raft_get_conf(m->r));
        g_string_append_c(t->out, '\n');
    }
}

/* transfer ID TO: node ID hands leadership over; what is refused is told. */
static void do_transfer(struct trace *t)
{
    struct member *m = up(t, 1);
    say(t, group_transfer(&t->g, m, (raft_id)number(t, word(t, 2))));
}

/* read ID CTX */
static void do_read(struct trace *t)
{
    struct member *m = up(t, 1);
    say(t, group_read(&t->g, m, number(t, word(t, 2))));
}

/* read-any ID CTX: also at a follower. */
static void do_read_any(struct trace *t)
{
    struct member *m = up(t, 1);
    say(t, group_read_any(&t->g, m, number(t, word(t, 2))));
}

static bool chosen(struct trace *t, const struct raft_msg *m)
{
    const char *type = option(t, "type");
    return selected(t, "from", m->from, true) && selected(t, "to", m->to, true) &&
           (type == NULL || strcmp(type, raft_msg_name(m->type)) == 0);
}

/* deliver [from=(..)] [to=(..)] [type=T] [drop=(to..)] [copy=1] [newest=1]: what is on the wire
 * now, in order (newest: latest first); drop loses what goes to those; copy leaves it on the wire
 * too. */
static void do_deliver(struct trace *t)
{
    struct group *g = &t->g;
    bool copy = option(t, "copy"), newest = option(t, "newest");
    guint n = g->wire->len;

    for (guint k = 0, at = 0; k < n; k++) {
        guint i = newest ? n - 1 - k : at;
        const struct parcel *p = g->wire->pdata[i];
        if (!chosen(t, &p->m)) {
            at++;
            continue;
        }
        group_deliver(g, i, selected(t, "drop", p->m.to, false), copy);
        at += copy;
    }
}

/* stabilize [to=(..)] [from=(..)]: deliver and settle until nothing more comes; the rest stays. */
static void stabilize(struct trace *t)
{
    struct group *g = &t->g;
    bool busy = true;

    group_settle(g);
    while (busy) {
        busy = false;
        for (guint i = 0; i < g->wire->len;) {
            const struct parcel *p = g->wire->pdata[i];
            if (!chosen(t, &p->m)) {
                i++;
                continue;
            }
            group_deliver(g, i, false, false);
            group_settle(g);
            busy = true;
        }
    }
}

/* persist-hold ID: writes queue up. persist ID [n=1]: the oldest ones complete. persist-release ID
 */
static void do_hold(struct trace *t)
{
    node(t, 1)->hold = strcmp(t->words[0], "persist-hold") == 0;
}

static void do_persist(struct trace *t)
{
    struct member *m = up(t, 1);
    for (uint64_t n = option_number(t, "n", 1); n > 0; n--)
        if (!group_complete(&t->g, m))
            give_up(t, "no write is queued");
}

/* partition ID...: those are cut off from the others, both ways. heal: all ways are open. */
static void do_partition(struct trace *t)
{
    bool in[GROUP_MAX + 1] = {false};

    for (unsigned i = 1; word(t, i); i++)
        in[node(t, i)->id] = true;
    for (unsigned a = 1; a <= t->g.n; a++)
        for (unsigned b = 1; b <= t->g.n; b++)
            t->g.cut[a][b] |= in[a] != in[b];
}

static void do_heal(struct trace *t)
{
    memset(t->g.cut, 0, sizeof(t->g.cut));
}

/* compact ID INDEX: flushed, and the log up to INDEX forgotten. */
static void do_compact(struct trace *t)
{
    struct member *m = up(t, 1);
    group_compact(&t->g, m, number(t, word(t, 2)));
}

/* send-snapshot FROM TO: of what FROM has applied; it is delivered like a message.
 * fail-snapshot FROM TO: FROM gives up sending. */
static void do_send_snapshot(struct trace *t)
{
    group_send_snapshot(&t->g, up(t, 1), node(t, 2)->id);
}

static void do_fail_snapshot(struct trace *t)
{
    raft_snapshot_sent(up(t, 1)->r, node(t, 2)->id, 0, false);
}

/* crash ID [kept=0]: kept writes reached the disk unreported. restart ID */
static void do_crash(struct trace *t)
{
    struct member *m = up(t, 1);
    group_crash(&t->g, m, (unsigned)option_number(t, "kept", 0));
}

/* damage ID [t=N] [vote=ID] [store=1]: ID crashes, its log is lost (and its state machine, too), of
 * its hard state that is left; it starts, suspect. */
static void do_damage(struct trace *t)
{
    struct raft_hard left = {option_number(t, "t", 0),
                             (raft_id)option_number(t, "vote", RAFT_NONE)};
    group_damage(&t->g, node(t, 1), left, option(t, "store"));
}

static void do_restart(struct trace *t)
{
    struct member *m = node(t, 1);
    if (m->r)
        give_up(t, "node %u is up", m->id);
    group_restart(&t->g, m);
}

static void print_progress(struct trace *t, const struct raft *r)
{
    struct raft_progress_view v[GROUP_MAX];
    unsigned n = raft_get_progress(r, v, GROUP_MAX);

    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(t->out, "  %u: %c match=%" PRIu64 " next=%" PRIu64 "%s%s\n", v[i].id,
                               v[i].state, v[i].match, v[i].next,
                               v[i].voter       ? ""
                               : v[i].caught_up ? " learner, caught up"
                                                : " learner",
                               v[i].suspect ? " suspect" : "");
}

/* status [ID]: cursors, and a leader's view of the others. log ID: the terms in memory. */
static void do_status(struct trace *t)
{
    for (unsigned i = 0; i < t->g.n; i++) {
        struct member *m = &t->g.members[i];
        struct raft_status st;
        if (word(t, 1) && node(t, 1) != m)
            continue;
        if (m->r == NULL) {
            g_string_append_printf(t->out, "%u is down\n", m->id);
            continue;
        }
        raft_get_status(m->r, &st);
        raft_print_status(t->out, &st);
        g_string_append_c(t->out, '\n');
        print_progress(t, m->r);
    }
}

static void do_log(struct trace *t)
{
    struct member *m = up(t, 1);
    struct raft_status st;

    raft_get_status(m->r, &st);
    g_string_append_printf(t->out, "%u after %" PRIu64 ":", m->id, st.first - 1);
    for (raft_index i = st.first; i <= st.last; i++)
        g_string_append_printf(t->out, " %" PRIu64, raft_term_at(m->r, i));
    g_string_append_c(t->out, '\n');
}

static const struct {
    const char *name;
    void (*run)(struct trace *t);
} verbs[] = {
    {"add-nodes", do_add_nodes},
    {"add-node", do_add_node},
    {"disk", do_disk},
    {"campaign", do_campaign},
    {"elect", do_elect},
    {"tick", do_tick},
    {"propose", do_propose},
    {"read", do_read},
    {"read-any", do_read_any},
    {"transfer", do_transfer},
    {"change", do_change},
    {"conf", do_conf},
    {"deliver", do_deliver},
    {"stabilize", stabilize},
    {"persist-hold", do_hold},
    {"persist-release", do_hold},
    {"persist", do_persist},
    {"partition", do_partition},
    {"heal", do_heal},
    {"compact", do_compact},
    {"send-snapshot", do_send_snapshot},
    {"fail-snapshot", do_fail_snapshot},
    {"crash", do_crash},
    {"restart", do_restart},
    {"damage", do_damage},
    {"status", do_status},
    {"log", do_log},
};

/* --- the file -----------------------------------------------------------------------------------
 */

static void run_command(struct trace *t, const char *line)
{
    t->words = g_strsplit(line, " ", -1);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(t->words[0], verbs[i].name) == 0) {
            if (!t->started && i > 0)
                give_up(t, "comes before add-nodes");
            if (t->started && verbs[i].run != do_propose && verbs[i].run != do_read &&
                verbs[i].run != do_read_any)
                group_settle(&t->g);
            verbs[i].run(t);
            g_strfreev(t->words);
            t->words = NULL;
            return;
        }
    give_up(t, "no such verb");
}

/* Runs all blocks; the result is the file as it ought to be. */
static GString *run_file(struct trace *t, const char *text)
{
    GString *now = g_string_new(NULL);
    char **lines = g_strsplit(text, "\n", -1);
    bool skipping = false; /* the old output */

    for (char **l = lines; *l; l++) {
        t->line++;
        skipping &= **l != '\0';
        if (skipping)
            continue;
        if (l[1] || **l)
            g_string_append_printf(now, "%s\n", *l);
        if (strcmp(*l, "----") == 0) {
            group_settle(&t->g);
            g_string_append(now, t->out->len ? t->out->str : "ok\n");
            g_string_truncate(t->out, 0);
            skipping = true;
        } else if (**l && **l != '#') {
            run_command(t, *l);
        }
    }
    g_strfreev(lines);
    return now;
}

int main(int argc, char **argv)
{
    bool rewrite = argc == 3 && strcmp(argv[1], "--rewrite") == 0;
    struct trace t = {.file = argv[argc - 1], .out = g_string_new(NULL)};
    char *text;
    int rc = 0;

    if (argc != 2 && !rewrite) {
        fprintf(stderr, "usage: %s [--rewrite] FILE\n", argv[0]);
        return 2;
    }
    if (!g_file_get_contents(t.file, &text, NULL, NULL)) {
        fprintf(stderr, "%s: cannot be read\n", t.file);
        return 2;
    }
    GString *now = run_file(&t, text);
    if (rewrite) {
        rc = g_file_set_contents(t.file, now->str, (gssize)now->len, NULL) ? 0 : 2;
    } else if (strcmp(now->str, text) != 0) {
        fprintf(stderr, "--- %s: want\n%s\n--- got\n%s\n", t.file, text, now->str);
        rc = 1;
    }
    if (t.started)
        group_finish(&t.g);
    g_string_free(t.out, true);
    g_string_free(now, true);
    g_free(text);
    return rc;
}
