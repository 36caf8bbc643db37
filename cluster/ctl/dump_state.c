/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a stopped node's replica: what was applied, its sessions, its shards and keys. */
#include <inttypes.h>
#include "cluster/ctl/dump.h"
#include "cluster/ctl/json.h"
#include "cluster/ctl/key_text.h"
#include "cluster/kv/layout.h"
#include "cluster/store/store.h"

#define SHOWN_VALUE_MAX 64
#define SHARD_NUMBERS   65536u

struct shard_sum {
    uint64_t counter, keys, bytes, results, others;
};

struct state_dump {
    const struct dump_options *o;
    FILE *out;
    struct store *store;
    struct arena arena;
    struct shard_sum *shards; /* by number */
    uint64_t n_sessions, n_damaged;
};

/* --- lines ------------------------------------------------------------------------------------ */

static void object_begin(struct json *j, const char *is)
{
    json_init(j);
    j->one_line = true;
    json_open(j, NULL, '{');
    json_string(j, "is", is);
}

static void object_end(const struct state_dump *d, struct json *j)
{
    json_close(j, '}');
    fprintf(d->out, "%s\n", j->text->str);
    json_finish(j);
}

static char *time_text(uint64_t ns)
{
    GString *s = g_string_new(NULL);
    append_time(s, ns);
    return g_string_free(s, FALSE);
}

static void damaged(struct state_dump *d, struct bytes key, const char *what)
{
    g_autoptr(GString) text = g_string_new(NULL);
    escape_bytes(text, key);
    d->n_damaged++;
    if (d->o->json) {
        struct json j;
        object_begin(&j, "damage");
        json_string(&j, "row", text->str);
        json_string(&j, "text", what);
        object_end(d, &j);
        return;
    }
    fprintf(d->out, "DAMAGE: row %s: %s\n", text->str, what);
}

/* --- the group's own records -------------------------------------------------------------------
 */

static int tell_head(struct state_dump *d, struct errmsg *msg)
{
    struct bytes format, applied;
    const struct store_ops *ops = d->store->ops;
    int err = ops->get(d->store, NULL, layout_format_key(&d->arena), &d->arena, &format);
    if (err == 0)
        err = ops->get(d->store, NULL, layout_applied_key(&d->arena), &d->arena, &applied);
    if (err == -ERR_NOT_FOUND) {
        fputs(d->o->json ? "" : "nothing was applied and flushed yet\n", d->out);
        return 0;
    }
    if (err < 0)
        return errmsg_set(msg, err, "read its records: %s", err_text(err));
    if (format.n >= 4 && get_le32(format.p) > LAYOUT_FORMAT)
        return errmsg_set(msg, -ERR_FORMAT,
                          "its state has format %" PRIu32 ", this version of raftfs knows up to %d",
                          get_le32(format.p), LAYOUT_FORMAT);
    if (format.n != 10 || applied.n != 24) {
        damaged(d, BYTES_NONE, "the records of format and applied index are not as they should be");
        return 0;
    }
    uint32_t gid = get_le32(format.p + 4);
    unsigned shards = format.p[8] | (unsigned)format.p[9] << 8;
    g_autofree char *time = time_text(get_le64(applied.p + 16));
    if (d->o->json) {
        struct json j;
        object_begin(&j, "state");
        json_number(&j, "format", get_le32(format.p));
        json_number(&j, "gid", gid);
        json_number(&j, "shards", shards);
        json_number(&j, "applied", get_le64(applied.p));
        json_number(&j, "term", get_le64(applied.p + 8));
        json_string(&j, "time", time);
        object_end(d, &j);
        return 0;
    }
    fprintf(d->out,
            "group %" PRIu32 " of %u shards, format %" PRIu32 "\napplied index=%" PRIu64
            " term=%" PRIu64 " time=%s\n",
            gid, shards, get_le32(format.p), get_le64(applied.p), get_le64(applied.p + 8), time);
    return 0;
}

static void tell_session(struct state_dump *d, struct bytes key, struct bytes value)
{
    uint64_t client;
    if (layout_session_client(key, &client) < 0 || value.n < 16) {
        damaged(d, key, "not a session");
        return;
    }
    g_autoptr(GString) name = g_string_new(NULL);
    g_autofree char *opened = time_text(get_le64(value.p + 8));
    escape_bytes(name, bytes_of(value.p + 16, value.n - 16));
    d->n_sessions++;
    if (d->o->json) {
        struct json j;
        object_begin(&j, "session");
        json_number(&j, "client", client);
        json_string(&j, "opened", opened);
        json_string(&j, "name", name->str);
        object_end(d, &j);
        return;
    }
    fprintf(d->out, "session client=%" PRIu64 " opened=%s name=%s\n", client, opened, name->str);
}

static void tell_group(struct state_dump *d, struct bytes key, struct bytes value)
{
    uint32_t gid;
    if (layout_group_gid(key, &gid) < 0 || value.n < 9 || value.n != 9 + 4u * value.p[8]) {
        damaged(d, key, "not a group");
        return;
    }
    struct json j;
    g_autoptr(GString) names = g_string_new(NULL);
    object_begin(&j, "group");
    json_number(&j, "gid", gid);
    json_number(&j, "index", get_le64(value.p));
    json_open(&j, "first_members", '[');
    for (unsigned i = 0; i < value.p[8]; i++) {
        uint32_t id = get_le32(value.p + 9 + 4u * i);
        json_number(&j, NULL, id);
        g_string_append_printf(names, "%sn%" PRIu32, i ? "," : "", id);
    }
    json_close(&j, ']');
    if (d->o->json) {
        object_end(d, &j);
        return;
    }
    json_finish(&j);
    fprintf(d->out, "group %" PRIu32 " made index=%" PRIu64 " first_members=%s\n", gid,
            get_le64(value.p), names->str);
}

/* --- rows ------------------------------------------------------------------------------------- */

static void count_data(struct state_dump *d, struct shard_sum *s, struct bytes key,
                       struct bytes value)
{
    uint64_t version;
    struct bytes data;
    if (layout_value_decode(value, &version, &data) < 0) {
        damaged(d, key, "not a value");
        return;
    }
    s->keys++;
    s->bytes += data.n;
}

static void see_row(struct state_dump *d, struct bytes key, struct bytes value)
{
    if (key.n < 3) {
        damaged(d, key, "a key without shard and table");
        return;
    }
    unsigned shard = layout_shard(key);
    struct shard_sum *s = &d->shards[shard];
    if (key.p[2] == TABLE_DATA)
        count_data(d, s, key, value);
    else if (key.p[2] == TABLE_RESULT)
        s->results++;
    else if (key.p[2] == TABLE_META && shard != GROUP_SHARD && value.n == 8)
        s->counter = get_le64(value.p);
    else if (key.p[2] == TABLE_META && shard != GROUP_SHARD)
        damaged(d, key, "not a counter");
    else if (key.p[2] == TABLE_SESSION && shard == GROUP_SHARD)
        tell_session(d, key, value);
    else if (key.p[2] == TABLE_GROUP && shard == GROUP_SHARD)
        tell_group(d, key, value);
    else if (shard != GROUP_SHARD)
        s->others++;
}

static int see_all(struct state_dump *d, struct errmsg *msg)
{
    const struct store_ops *ops = d->store->ops;
    struct bytes key, value;
    struct store_iter *it = ops->iter_open(d->store, NULL, BYTES_NONE, BYTES_NONE);
    while (ops->iter_next(it, &key, &value))
        see_row(d, key, value);
    int err = ops->iter_close(it);
    return err < 0 ? errmsg_set(msg, err, "read its rows: %s", err_text(err)) : 0;
}

/* --- shards and keys ---------------------------------------------------------------------------
 */

static void tell_key(struct state_dump *d, struct bytes internal, struct bytes value)
{
    uint64_t version;
    struct bytes data;
    if (layout_value_decode(value, &version, &data) < 0)
        return; /* told already */
    arena_reset(&d->arena);
    g_autoptr(GString) key = g_string_new(NULL);
    g_autoptr(GString) shown = g_string_new(NULL);
    escape_key(key, layout_client_key(&d->arena, internal));
    escape_bytes(shown, bytes_of(data.p, MIN(data.n, SHOWN_VALUE_MAX)));
    if (d->o->json) {
        struct json j;
        object_begin(&j, "key");
        json_string(&j, "key", key->str);
        json_number(&j, "version", version);
        json_number(&j, "length", data.n);
        if (d->o->values)
            json_string(&j, "value", shown->str);
        object_end(d, &j);
        return;
    }
    fprintf(d->out, "  %s version=%" PRIu64 " length=%zu", key->str, version, data.n);
    if (d->o->values)
        fprintf(d->out, " value=%s%s", shown->str, data.n > SHOWN_VALUE_MAX ? "..." : "");
    fputc('\n', d->out);
}

static int tell_keys(struct state_dump *d, unsigned shard, struct errmsg *msg)
{
    const struct store_ops *ops = d->store->ops;
    const uint8_t lo[3] = {(uint8_t)(shard >> 8), (uint8_t)shard, TABLE_DATA};
    const uint8_t hi[3] = {lo[0], lo[1], TABLE_DATA + 1};
    struct bytes key, value;
    struct store_iter *it =
        ops->iter_open(d->store, NULL, bytes_of(lo, sizeof(lo)), bytes_of(hi, sizeof(hi)));
    while (ops->iter_next(it, &key, &value))
        tell_key(d, key, value);
    int err = ops->iter_close(it);
    return err < 0 ? errmsg_set(msg, err, "read its rows: %s", err_text(err)) : 0;
}

static void tell_shard(const struct state_dump *d, unsigned shard)
{
    const struct shard_sum *s = &d->shards[shard];
    if (d->o->json) {
        struct json j;
        object_begin(&j, "shard");
        json_number(&j, "shard", shard);
        json_number(&j, "counter", s->counter);
        json_number(&j, "keys", s->keys);
        json_number(&j, "bytes", s->bytes);
        json_number(&j, "result_rows", s->results);
        json_number(&j, "other_rows", s->others);
        object_end(d, &j);
        return;
    }
    fprintf(d->out,
            "shard %u: counter=%" PRIu64 " keys=%" PRIu64 " bytes=%" PRIu64 " result_rows=%" PRIu64,
            shard, s->counter, s->keys, s->bytes, s->results);
    if (s->others > 0)
        fprintf(d->out, " other_rows=%" PRIu64, s->others);
    fputc('\n', d->out);
}

static int tell_shards(struct state_dump *d, struct errmsg *msg)
{
    int err = 0;
    for (unsigned i = 0; err == 0 && i < GROUP_SHARD; i++) {
        const struct shard_sum *s = &d->shards[i];
        bool empty = !s->counter && !s->keys && !s->results && !s->others;
        if (d->o->shard >= 0 ? (unsigned)d->o->shard != i : empty)
            continue;
        tell_shard(d, i);
        if (d->o->keys)
            err = tell_keys(d, i, msg);
    }
    return err;
}

int dump_state(const char *dir, const struct dump_options *o, FILE *out, struct errmsg *msg)
{
    struct state_dump d = {.o = o, .out = out};
    int err = store_rocks_open_read(dir, &d.store, msg);
    if (err < 0)
        return err;
    d.shards = g_new0(struct shard_sum, SHARD_NUMBERS);
    err = tell_head(&d, msg);
    if (err == 0)
        err = see_all(&d, msg);
    if (err == 0)
        err = tell_shards(&d, msg);
    if (err < 0)
        errmsg_prefix(msg, err, "state in %s", dir);
    else if (d.n_damaged > 0)
        err = errmsg_set(msg, -ERR_CORRUPT, "the state in %s is damaged: %" PRIu64 " bad rows", dir,
                         d.n_damaged);
    g_free(d.shards);
    arena_finish(&d.arena);
    d.store->ops->close(d.store);
    return err;
}
