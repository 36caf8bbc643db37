/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl config, shard and rebalance: which group owns which shard, and changes of that. */
#include <stdio.h>
#include <string.h>
#include "cluster/base/clock.h"
#include "cluster/ctl/change.h"
#include "cluster/ctl/owners.h"

static int show(struct ctl *ctl, uint64_t num, bool as_json)
{
    struct client *CLEANUP(client_destroy) c = ctl_connect(ctl, false);
    struct owners CLEANUP(owners_finish) o = {0};
    struct errmsg msg = {""};
    if (!c)
        return CTL_FAILED;
    int err = owners_get(c, num, clock_mono_ns() + ctl->timeout_s * UINT64_C(1000000000), &o, &msg);
    if (err < 0)
        return ctl_error("config: %s", msg.text[0] ? msg.text : err_text(err));
    if (!as_json) {
        owners_print(&o);
        return CTL_OK;
    }
    struct json j;
    json_init(&j);
    owners_json(&o, &j);
    puts(j.text->str);
    json_finish(&j);
    return CTL_OK;
}

int cmd_config(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    gboolean as_json = FALSE;
    guint64 num = CONFIG_LATEST;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &as_json, "One JSON object, for programs", NULL},
        {NULL},
    };
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 0, 1))
        return CTL_USAGE;
    if (argc > 1 && !g_ascii_string_to_unsigned(argv[1], 10, 0, UINT64_MAX - 1, &num, NULL))
        return ctl_usage("config: \"%s\" is no number of a configuration", argv[1]);
    return show(ctl, num, as_json);
}

int cmd_shard(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    struct change_options o = {false, false};
    struct group_id to;
    guint64 shard;
    const GOptionEntry entries[] = {CHANGE_OPTIONS(o), {NULL}};
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 1, 3))
        return CTL_USAGE;
    if (strcmp(argv[1], "move") != 0)
        return ctl_usage("shard: unknown action \"%s\"; the one there is is move", argv[1]);
    if (argc != 4)
        return ctl_usage(
            "shard move: which shard, and to which group? e.g. raftfsctl shard move 7 2");
    if (!g_ascii_string_to_unsigned(argv[2], 10, 0, SHARDS_MAX - 1, &shard, NULL))
        return ctl_usage("shard move: \"%s\" is no shard; one is a number of 0 to %d", argv[2],
                         SHARDS_MAX - 1);
    if (!change_parse_gid("shard move", argv[3], &to.gid))
        return CTL_USAGE;
    struct msg_config_change m = {
        .op = CONFIG_MOVE, .shard = (uint16_t)shard, .n_gids = 1, .gids = &to};
    return change_run(ctl, "shard move", &m, &o);
}

int cmd_rebalance(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    struct change_options o = {false, false};
    const GOptionEntry entries[] = {CHANGE_OPTIONS(o), {NULL}};
    struct msg_config_change m = {.op = CONFIG_REBALANCE};
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 0, 0))
        return CTL_USAGE;
    return change_run(ctl, "rebalance", &m, &o);
}
