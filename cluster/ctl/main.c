/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl: the table of commands, their options, and help with mistyped ones. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cluster/base/log.h"
#include "cluster/ctl/ctl.h"

#define TIMEOUT_S_DEFAULT 10
#define WORD_COMPARED_MAX 32
#define NAMES_MAX         32

static int cmd_version(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    if (!ctl_parse(ctl, self, NULL, &argc, &argv, 0, 0))
        return CTL_USAGE;
    printf("raftfsctl %s\n", RAFTFS_VERSION);
    return CTL_OK;
}

#define KEY_SYNTAX                                                                                 \
    "KEY is SHARD:REST, e.g. 7:hello; \\xNN stands for any byte, \\\\ for a backslash."

static const struct ctl_command commands[] = {
    {"init", "DIR", "make a new cluster's certificates, configurations and data directories",
     "DIR must be empty or absent. Nodes are given as --node nID=HOST:PORT, once for each.",
     cmd_init},
    {"status", "", "show members, leader, terms, indexes and lag",
     "Asks each node. The exit status is 0 only if there is a leader with a quorum.", cmd_status},
    {"leader", "move NODE", "let another node lead",
     "NODE is nID, e.g. n2. Returns when it leads; nothing is lost and no election is waited for.",
     cmd_leader},
    {"get", "KEY", "print the value of a key", KEY_SYNTAX, cmd_get},
    {"put", "KEY VALUE", "set the value of a key",
     KEY_SYNTAX "\nVALUE is taken as it is; - reads it from standard input.", cmd_put},
    {"del", "KEY", "delete a key", KEY_SYNTAX, cmd_del},
    {"scan", "[PREFIX]", "list keys and values in order",
     "PREFIX is the beginning of a KEY, at least SHARD: of it; without it all shards are listed.",
     cmd_scan},
    {"check", "", "compare the replicas while they serve",
     "Each replica hashes its state as of one log entry. A difference names replica and keys.\n"
     "The exit status is 0 only if all were checked and hold the same.",
     cmd_check},
    {"dump", "wal|state DIR", "print a stopped node's files",
     "DIR is the node's data directory, or wal/ or groups/0/ in it. Nothing in it is changed.",
     cmd_dump},
    {"node", "VERB ...", "add, promote, remove or replace a node while the cluster serves",
     "node add nID=HOST:PORT [--learner]    a new node; a voter once it has caught up\n"
     "node promote nID                      a learner that has caught up becomes a voter\n"
     "node remove nID                       for good: its id is not used again\n"
     "node replace nOLD nNEW=HOST:PORT      add the new one, then remove the old one\n"
     "An interrupted command is given again and goes on. --timeout is 60 if not given.",
     cmd_node},
    {"group", "create [...] | join GID... | leave GID...", "make groups, and let them own shards",
     "group create [--gid N] [--count N] [--members LIST]\n"
     "    Returns when they are made and led. Members are 3 nodes with the fewest replicas if not\n"
     "    given. A gid is not used again. They own nothing until they join.\n"
     "group join GID... | group leave GID...\n"
     "    Shards move until those that have joined own as many each; files stay in use meanwhile.\n"
     "    Returns when they have moved; with --no-wait at once, with --dry-run nothing is done.",
     cmd_group},
    {"shard", "move SHARD GID", "give one shard to a group",
     "Returns when it has moved; with --no-wait at once. A later join, leave or rebalance may "
     "move\n"
     "it again.",
     cmd_shard},
    {"config", "[N]", "show which group owns which shard",
     "The latest configuration and what is on its way to it; with N the one of that number.",
     cmd_config},
    {"rebalance", "", "spread the shards evenly over the groups that have joined",
     "Moves as few as that needs. --dry-run only says which.", cmd_rebalance},
    {"version", "", "print the version", NULL, cmd_version},
};

/* --- telling ---------------------------------------------------------------------------------- */

static void tell(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* One line, whatever is quoted in it. */
static void tell(const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    for (char *p = text; *p; p++)
        if (g_ascii_iscntrl(*p))
            *p = '?';
    fprintf(stderr, "raftfsctl: %s\n", text);
}

int ctl_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell(fmt, ap);
    va_end(ap);
    return CTL_FAILED;
}

int ctl_usage(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell(fmt, ap);
    va_end(ap);
    return CTL_USAGE;
}

/* --- mistyped words ----------------------------------------------------------------------------
 */

/* Edit distance where swapping two neighbours counts one (optimal string alignment). */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t d[WORD_COMPARED_MAX + 1][WORD_COMPARED_MAX + 1];
    for (size_t i = 0; i <= na; i++)
        for (size_t j = 0; j <= nb; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            size_t replaced = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = MIN(replaced, MIN(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[na][nb];
}

const char *ctl_nearest(const char *word, const char *const names[])
{
    const char *found = NULL;
    size_t n = strlen(word), best = SIZE_MAX;
    for (size_t i = 0; names[i] && n <= WORD_COMPARED_MAX; i++) {
        size_t length = strlen(names[i]);
        if (length > WORD_COMPARED_MAX)
            continue;
        size_t d = distance(word, n, names[i], length);
        if (d < best && d <= MAX(MAX(n, length) / 3, 1)) {
            best = d;
            found = names[i];
        }
    }
    return found;
}

/* --- options ---------------------------------------------------------------------------------- */

static size_t count_names(const GOptionEntry *entries, const char **ret, size_t at)
{
    for (; entries && entries->long_name && at + 1 < NAMES_MAX; entries++)
        ret[at++] = entries->long_name;
    return at;
}

static bool option_error(const struct ctl_command *self, const GError *error,
                         const GOptionEntry *common, const GOptionEntry *entries)
{
    static const char *const lead = "Unknown option --";
    const char *names[NAMES_MAX] = {NULL};
    const char *near = NULL;
    size_t n = count_names(common, names, 0);
    names[n++] = "help";
    names[count_names(entries, names, n)] = NULL;
    if (g_str_has_prefix(error->message, lead))
        near = ctl_nearest(error->message + strlen(lead), names);
    g_autofree char *where =
        self ? g_strdup_printf("raftfsctl %s --help", self->name) : g_strdup("raftfsctl --help");
    if (near)
        (void)ctl_usage("%s: did you mean --%s? See %s", error->message, near, where);
    else
        (void)ctl_usage("%s: see %s", error->message, where);
    return false;
}

static int timeout_value(struct ctl *ctl, int given)
{
    if (given < 0)
        return CTL_OK;
    if (given == 0 || given > 3600)
        return ctl_usage("--timeout %d: expected 1 to 3600 seconds", given);
    ctl->timeout_s = (unsigned)given;
    ctl->timeout_given = true;
    return CTL_OK;
}

/* self NULL: the options before the command, where parsing ends at the first word. */
static bool parse(struct ctl *ctl, const struct ctl_command *self, GOptionContext *context,
                  const GOptionEntry *entries, int *argc, char ***argv)
{
    int timeout_s = -1;
    g_autofree char *conf = NULL;
    g_autoptr(GError) error = NULL;
    const GOptionEntry common[] = {
        {"conf", 'c', 0, G_OPTION_ARG_FILENAME, &conf, "admin.conf of the cluster", "FILE"},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &timeout_s, "Give up after so long (10)", "SECONDS"},
        {NULL},
    };
    if (entries)
        g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, common, NULL);
    g_option_context_set_strict_posix(context, !self);
    if (!g_option_context_parse(context, argc, argv, &error))
        return option_error(self, error, common, entries);
    if (conf) {
        g_free(ctl->conf);
        ctl->conf = g_steal_pointer(&conf);
    }
    return timeout_value(ctl, timeout_s) == CTL_OK;
}

bool ctl_parse(struct ctl *ctl, const struct ctl_command *self, const GOptionEntry *entries,
               int *argc, char ***argv, int lo, int hi)
{
    g_autofree char *usage = g_strdup_printf("%s - %s", self->arguments, self->summary);
    g_autoptr(GOptionContext) context = g_option_context_new(usage);
    g_autofree char *more = self->description ? g_strdup_printf("%s\n", self->description) : NULL;
    g_option_context_set_description(context, more);
    g_autofree char *name = g_strdup_printf("raftfsctl %s", self->name);
    g_set_prgname(name);
    if (!parse(ctl, self, context, entries, argc, argv))
        return false;
    /* "--" ends the options and is left in place. */
    if (*argc > 1 && strcmp((*argv)[1], "--") == 0) {
        (*argv)++;
        (*argc)--;
    }
    if (*argc - 1 < lo)
        return ctl_usage("%s: an argument is missing: raftfsctl %s %s", self->name, self->name,
                         self->arguments),
               false;
    if (*argc - 1 > hi)
        return ctl_usage("%s: unexpected argument \"%s\"; see raftfsctl %s --help", self->name,
                         (*argv)[hi + 1], self->name),
               false;
    return true;
}

/* --- the cluster -------------------------------------------------------------------------------
 */

struct client *ctl_connect(struct ctl *ctl, bool probe)
{
    struct client *CLEANUP(client_destroy) c = NULL;
    struct errmsg msg = {""};
    if (!ctl->conf) {
        (void)ctl_error("which cluster? Give its configuration: raftfsctl -c DIR/admin.conf ...");
        return NULL;
    }
    const struct client_options o = {.conf = ctl->conf, .name = "raftfsctl"};
    int err = client_create(&o, &c, &msg);
    if (err < 0) {
        (void)ctl_error("%s", msg.text[0] ? msg.text : err_text(err));
        return NULL;
    }
    if (probe && (err = client_probe(c, ctl->timeout_s * 1000, &msg)) < 0) {
        (void)ctl_error("no leader found: %s (raftfsctl status shows more)",
                        msg.text[0] ? msg.text : err_text(err));
        return NULL;
    }
    return TAKE(c);
}

/* --- main ------------------------------------------------------------------------------------- */

static char *list_commands(void)
{
    GString *s = g_string_new("Commands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        g_string_append_printf(s, "  %-8s %-14s %s\n", commands[i].name, commands[i].arguments,
                               commands[i].summary);
    g_string_append(s, "\nraftfsctl COMMAND --help tells more.\n");
    return g_string_free(s, FALSE);
}

static int dispatch(struct ctl *ctl, int argc, char **argv)
{
    const char *names[ARRAY_LEN(commands) + 1] = {NULL};
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[0], commands[i].name) == 0)
            return commands[i].run(ctl, &commands[i], argc, argv);
        names[i] = commands[i].name;
    }
    const char *near = ctl_nearest(argv[0], names);
    if (near)
        return ctl_usage("unknown command \"%s\": did you mean %s? See raftfsctl --help", argv[0],
                         near);
    return ctl_usage("unknown command \"%s\"; see raftfsctl --help", argv[0]);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.timeout_s = TIMEOUT_S_DEFAULT};
    gboolean version = FALSE;
    const GOptionEntry entries[] = {
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version and exit", NULL},
        {NULL},
    };
    int status = CTL_USAGE;
    signal(SIGPIPE, SIG_IGN);
    log_init("raftfsctl", LOG_ERROR);

    g_autofree char *description = list_commands();
    g_autoptr(GOptionContext) context =
        g_option_context_new("COMMAND ... - set up and look after a raftfs cluster");
    g_option_context_set_description(context, description);
    g_set_prgname("raftfsctl");
    if (!parse(&ctl, NULL, context, entries, &argc, &argv)) {
        status = CTL_USAGE;
    } else if (version) {
        printf("raftfsctl %s\n", RAFTFS_VERSION);
        status = CTL_OK;
    } else if (argc < 2) {
        status = ctl_usage("no command given; see raftfsctl --help");
    } else {
        status = dispatch(&ctl, argc - 1, argv + 1);
    }
    if (status == CTL_OK && fflush(stdout) != 0)
        status = ctl_error("standard output: write error");
    g_free(ctl.conf);
    return status;
}
