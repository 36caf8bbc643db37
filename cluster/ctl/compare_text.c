/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/compare_text.h"

#include <inttypes.h>
#include "cluster/ctl/json.h"
#include "cluster/ctl/key_text.h"
#include "cluster/kv/layout.h"

#define SHOWN_ROWS_MAX 16

/* --- names ------------------------------------------------------------------------------------ */

static const char *table_name(uint8_t table)
{
    switch (table) {
    case TABLE_META:
        return "counters";
    case TABLE_RESULT:
        return "kept results";
    case TABLE_SESSION:
        return "sessions";
    case TABLE_TRACE:
        return "traces";
    case TABLE_NODE:
        return "nodes";
    case TABLE_CONFIG:
        return "configurations";
    case TABLE_SHARD:
        return "ownership";
    case TABLE_PREPARED:
        return "prepared transactions";
    case TABLE_DECISION:
        return "decisions";
    case TABLE_FENCE:
        return "fences of transactions";
    case TABLE_FENCING:
        return "sessions being fenced";
    case TABLE_TOUCHED:
        return "keys touched during a move";
    case TABLE_GROUP:
        return "groups";
    case TABLE_HOME:
        return "homes of groups";
    }
    return "another table";
}

/* An internal key: a client's as raftfsctl takes it, others with their table. */
static void row_name(GString *s, struct bytes key)
{
    struct arena CLEANUP(arena_finish) a = {0};
    if (key.n >= 3 && key.p[2] == TABLE_DATA) {
        escape_key(s, layout_client_key(&a, key));
        return;
    }
    if (key.n < 3) {
        escape_key(s, key);
        return;
    }
    if (get_be16(key.p) == GROUP_SHARD)
        g_string_append(s, "the group's ");
    else
        g_string_append_printf(s, "shard %u's ", get_be16(key.p));
    g_string_append(s, table_name(key.p[2]));
    if (key.n > 3) {
        g_string_append_c(s, ' ');
        escape_bytes(s, bytes_of(key.p + 3, key.n - 3));
    }
}

static char *shard_name(unsigned shard)
{
    return shard == GROUP_SHARD ? g_strdup("the group's own records")
                                : g_strdup_printf("shard %u", shard);
}

/* "n1, n3": the replicas that are chosen. */
static void node_names(GString *s, const struct compare *c, const bool *chosen)
{
    bool first = true;
    for (unsigned i = 0; i < c->n; i++) {
        if (!chosen[i])
            continue;
        g_string_append_printf(s, "%sn%u", first ? "" : ", ", c->replicas[i].node);
        first = false;
    }
}

/* --- lines ------------------------------------------------------------------------------------ */

/* Who differs from whom. */
static void who_text(GString *s, const struct compare *c, const bool *has, const uint64_t *hash)
{
    bool odd[NODES_MAX], checked[NODES_MAX] = {false};
    if (compare_odd(c, has, hash, odd) > 0) {
        node_names(s, c, odd);
        g_string_append(s, " differs from the others");
        return;
    }
    for (unsigned i = 0; i < c->n; i++)
        checked[i] = c->replicas[i].checked;
    node_names(s, c, checked);
    g_string_append(s, " differ, and no majority says which is right");
}

static void row_text(GString *s, const struct compare *c, const struct compare_row *row)
{
    bool odd[NODES_MAX], lacks[NODES_MAX] = {false};
    unsigned n_odd = compare_odd(c, row->has, row->hash, odd), n_lacks = 0;
    g_string_append(s, "  ");
    row_name(s, row->key);
    g_string_append(s, ": ");
    for (unsigned i = 0; i < c->n; i++) {
        lacks[i] = c->replicas[i].checked && !row->has[i];
        n_lacks += lacks[i];
    }
    if (n_odd > 0 && n_lacks == compare_checked(c) - n_odd) {
        node_names(s, c, odd);
        g_string_append(s, " has it, the others do not\n");
    } else if (n_lacks > 0) {
        node_names(s, c, lacks);
        g_string_append(s, " lacks it\n");
    } else if (n_odd > 0) {
        node_names(s, c, odd);
        g_string_append(s, " has another value or version\n");
    } else {
        g_string_append(s, "all have different values or versions\n");
    }
}

static void difference_text(GString *s, const struct compare *c, const struct compare_difference *d)
{
    g_autofree char *shard = shard_name(d->shard);
    g_string_append_printf(s, "DIFFERENCE in %s: ", shard);
    who_text(s, c, d->has, d->hash);
    g_string_append_c(s, '\n');
    if (!d->rows) {
        g_string_append(s, "  from ");
        row_name(s, d->lo);
        g_string_append(s, d->hi.n > 0 ? " up to, not with, " : " to the end");
        row_name(s, d->hi);
        g_string_append_c(s, '\n');
    }
    for (unsigned i = 0; d->rows && i < MIN(d->n_rows, SHOWN_ROWS_MAX); i++)
        row_text(s, c, &d->rows[i]);
    if (d->more || d->n_rows > SHOWN_ROWS_MAX)
        g_string_append(s, "  and more in this shard\n");
}

static void summary_text(GString *s, const struct compare *c, uint64_t index)
{
    unsigned checked = compare_checked(c);
    const struct compare_replica *any = NULL;
    for (unsigned i = 0; i < c->n && !any; i++)
        any = c->replicas[i].checked ? &c->replicas[i] : NULL;
    if (!any)
        g_string_append_printf(s, "no replica could be checked at index %" PRIu64 "\n", index);
    else if (c->differences->len > 0)
        g_string_append_printf(
            s, "%u replicas were compared at index %" PRIu64 ": they DIFFER in %u shards\n",
            checked, index, c->differences->len);
    else
        g_string_append_printf(
            s, "%u replica%s at index %" PRIu64 " (%" PRIu64 " keys, %" PRIu64 " bytes)\n", checked,
            checked == 1 ? " was read" : "s agree", index, any->keys, any->bytes);
}

char *compare_text(const struct compare *c, uint64_t index)
{
    GString *s = g_string_new(NULL);
    for (guint i = 0; i < c->differences->len; i++)
        difference_text(s, c, &g_array_index(c->differences, struct compare_difference, i));
    for (unsigned i = 0; i < c->n; i++) {
        const struct compare_replica *r = &c->replicas[i];
        if (!r->checked)
            g_string_append_printf(s, "n%u was NOT CHECKED: %s\n", r->node, r->msg.text);
        else if (r->msg.text[0])
            g_string_append_printf(s, "n%u could not be looked into: %s\n", r->node, r->msg.text);
    }
    summary_text(s, c, index);
    return g_string_free(s, FALSE);
}

/* --- for programs ------------------------------------------------------------------------------
 */

static void json_nodes(struct json *j, const char *key, const struct compare *c, const bool *chosen)
{
    json_open(j, key, '[');
    for (unsigned i = 0; i < c->n; i++)
        if (chosen[i])
            json_number(j, NULL, c->replicas[i].node);
    json_close(j, ']');
}

static void json_odd(struct json *j, const struct compare *c, const bool *has, const uint64_t *hash)
{
    bool odd[NODES_MAX] = {false};
    if (compare_odd(c, has, hash, odd) == 0)
        memset(odd, false, sizeof(odd));
    json_nodes(j, "odd", c, odd);
}

static void json_row(struct json *j, const struct compare *c, const struct compare_row *row)
{
    g_autoptr(GString) name = g_string_new(NULL);
    row_name(name, row->key);
    json_open(j, NULL, '{');
    json_string(j, "key", name->str);
    json_odd(j, c, row->has, row->hash);
    json_nodes(j, "held_by", c, row->has);
    json_close(j, '}');
}

static void json_difference(struct json *j, const struct compare *c,
                            const struct compare_difference *d)
{
    g_autoptr(GString) lo = g_string_new(NULL), hi = g_string_new(NULL);
    row_name(lo, d->lo);
    row_name(hi, d->hi);
    json_open(j, NULL, '{');
    json_number(j, "shard", d->shard);
    json_odd(j, c, d->has, d->hash);
    json_string(j, "from", lo->str);
    json_string(j, "to", hi->str);
    json_bool(j, "more", d->more);
    json_open(j, "keys", '[');
    for (unsigned i = 0; i < d->n_rows; i++)
        json_row(j, c, &d->rows[i]);
    json_close(j, ']');
    json_close(j, '}');
}

static void json_replica(struct json *j, const struct compare_replica *r)
{
    json_open(j, NULL, '{');
    json_number(j, "node", r->node);
    json_bool(j, "checked", r->checked);
    if (r->msg.text[0])
        json_string(j, "error", r->msg.text);
    if (r->checked) {
        json_number(j, "keys", r->keys);
        json_number(j, "bytes", r->bytes);
    }
    json_close(j, '}');
}

char *compare_json(const struct compare *c, uint32_t gid, uint64_t index)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_number(&j, "gid", gid);
    json_number(&j, "index", index);
    json_bool(&j, "agree", c->differences->len == 0 && compare_checked(c) == c->n);
    json_open(&j, "replicas", '[');
    for (unsigned i = 0; i < c->n; i++)
        json_replica(&j, &c->replicas[i]);
    json_close(&j, ']');
    json_open(&j, "differences", '[');
    for (guint i = 0; i < c->differences->len; i++)
        json_difference(&j, c, &g_array_index(c->differences, struct compare_difference, i));
    json_close(&j, ']');
    json_close(&j, '}');
    char *text = g_strconcat(j.text->str, "\n", NULL);
    json_finish(&j);
    return text;
}
