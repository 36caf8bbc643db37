/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl dump wal|state DIR. */
#include <stdlib.h>
#include <string.h>
#include "cluster/base/limits.h"
#include "cluster/ctl/ctl.h"
#include "cluster/ctl/dump.h"

struct given {
    gboolean json, keys, values;
    int shard;
    char *from;
};

static int take_options(const struct given *g, enum dump_what what, struct dump_options *ret)
{
    if (g->shard < -1 || g->shard >= SHARDS_MAX)
        return ctl_usage("--shard %d: shards are numbered from 0 to at most %d", g->shard,
                         SHARDS_MAX - 1);
    if (what == DUMP_WAL && (g->keys || g->values))
        return ctl_usage("--keys and --values go with dump state");
    if (what == DUMP_STATE && g->from)
        return ctl_usage("--from goes with dump wal");
    *ret = (struct dump_options){
        .json = g->json,
        .keys = g->keys || g->values,
        .values = g->values,
        .shard = g->shard,
    };
    if (g->from && !g_ascii_string_to_unsigned(g->from, 10, 0, UINT64_MAX, &ret->from, NULL))
        return ctl_usage("--from %s: expected the index of an entry", g->from);
    return CTL_OK;
}

static int dump(const char *dir, enum dump_what what, const struct dump_options *o)
{
    struct dump_place place;
    struct errmsg msg = {""};
    int err = dump_place_open(dir, what, &place, &msg);
    if (err < 0)
        return ctl_error("dump: %s", msg.text);
    if (what == DUMP_WAL)
        err = dump_wal(place.dir, o, stdout, &msg);
    else
        err = dump_state(place.dir, o, stdout, &msg);
    dump_place_close(&place);
    fflush(stdout); /* the verdict comes last */
    return err < 0 ? ctl_error("dump: %s", msg.text) : CTL_OK;
}

int cmd_dump(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    struct given g = {.shard = -1};
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &g.json, "One JSON object a line, for programs", NULL},
        {"shard", 0, 0, G_OPTION_ARG_INT, &g.shard, "Only what concerns this shard", "N"},
        {"from", 0, 0, G_OPTION_ARG_STRING, &g.from, "wal: only entries from this index on",
         "INDEX"},
        {"keys", 'k', 0, G_OPTION_ARG_NONE, &g.keys, "state: list the keys", NULL},
        {"values", 'v', 0, G_OPTION_ARG_NONE, &g.values,
         "state: and the first bytes of their values", NULL},
        {NULL},
    };
    struct dump_options o;
    int status = CTL_USAGE;
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 2, 2))
        goto out;
    if (strcmp(argv[1], "wal") != 0 && strcmp(argv[1], "state") != 0) {
        status = ctl_usage("dump %s: expected wal or state", argv[1]);
        goto out;
    }
    enum dump_what what = strcmp(argv[1], "wal") == 0 ? DUMP_WAL : DUMP_STATE;
    status = take_options(&g, what, &o);
    if (status == CTL_OK)
        status = dump(argv[2], what, &o);
out:
    g_free(g.from);
    return status;
}
