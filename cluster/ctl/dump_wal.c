/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a stopped node: segments, batches, records, and where it ends or is damaged. */
#include <inttypes.h>
#include "cluster/ctl/dump.h"
#include "cluster/ctl/dump_entry.h"
#include "cluster/ctl/json.h"
#include "cluster/ctl/key_text.h"
#include "cluster/store/inspect.h"

struct wal_dump {
    const struct dump_options *o;
    FILE *out;
    struct batch batch; /* the one whose records come now */
    enum wal_batch_state state;
    bool batch_told;
};

static const char *const record_names[] = {
    [WAL_RECORD_GROUP] = "group", [WAL_RECORD_ENTRY] = "entry",
    [WAL_RECORD_HARD] = "hard",   [WAL_RECORD_TRUNCATE] = "truncate",
    [WAL_RECORD_START] = "start", [WAL_RECORD_SUSPECT] = "suspect",
};

/* --- lines ------------------------------------------------------------------------------------ */

static void object_begin(struct json *j, const char *is)
{
    json_init(j);
    j->one_line = true;
    json_open(j, NULL, '{');
    json_string(j, "is", is);
}

static void object_end(const struct wal_dump *d, struct json *j)
{
    json_close(j, '}');
    fprintf(d->out, "%s\n", j->text->str);
    json_finish(j);
}

static void json_seq(struct json *j, const char *key, uint64_t seq)
{
    json_printf_string(j, key, "%016" PRIx64, seq);
}

static void json_time(struct json *j, const char *key, uint64_t ns)
{
    g_autoptr(GString) s = g_string_new(NULL);
    append_time(s, ns);
    json_string(j, key, s->str);
}

/* --- segments --------------------------------------------------------------------------------- */

static const char *use_text(const struct wal_segment_seen *s)
{
    static const char *const text[] = {
        [SEGMENT_IN_USE] = "in use",
        [SEGMENT_READY] = "ready for use, never written",
        [SEGMENT_STALE] = "ready for use, with stale bytes of its earlier life as segment",
        [SEGMENT_TORN] = "not begun: its first batch was torn",
        [SEGMENT_SWAPPED] = "SWAPPED: it holds segment",
    };
    return text[s->use];
}

static void on_segment(void *ctx, const struct wal_segment_seen *s)
{
    struct wal_dump *d = ctx;
    if (d->o->json) {
        struct json j;
        object_begin(&j, "segment");
        json_seq(&j, "segment", s->seq);
        json_number(&j, "size", s->size);
        json_string(&j, "use", use_text(s));
        if (s->holds > 0)
            json_seq(&j, "holds", s->holds);
        object_end(d, &j);
        return;
    }
    fprintf(d->out, "segment %016" PRIx64 "%s: %" PRIu64 " bytes, %s", s->seq, WAL_SEGMENT_SUFFIX,
            s->size, use_text(s));
    if (s->use == SEGMENT_STALE || s->use == SEGMENT_SWAPPED)
        fprintf(d->out, " %016" PRIx64, s->holds);
    fputc('\n', d->out);
}

static const char *rest_text(const struct wal_rest_seen *r)
{
    static const char *const text[] = {
        [REST_NONE] = "the end of the file",
        [REST_ZEROES] = "zeroes",
        [REST_STALE] = "stale bytes of the file's earlier life as segment",
        [REST_TORN] = "a torn tail: the batch above, never acknowledged",
        [REST_OTHER] = "bytes that are no batch: a torn write, or the rest of an earlier life",
    };
    return text[r->what];
}

static void on_rest(void *ctx, const struct wal_rest_seen *r)
{
    struct wal_dump *d = ctx;
    if (d->o->json) {
        struct json j;
        object_begin(&j, r->last ? "end" : "rest");
        json_seq(&j, "segment", r->seq);
        json_number(&j, "offset", r->offset);
        json_number(&j, "bytes", r->bytes);
        json_number(&j, "next_batch", r->next);
        json_string(&j, "what", rest_text(r));
        if (r->what == REST_STALE)
            json_seq(&j, "holds", r->holds);
        object_end(d, &j);
        return;
    }
    fprintf(d->out, "  %s at offset %" PRIu64, r->last ? "the log ends" : "the segment ends",
            r->offset);
    if (r->last)
        fprintf(d->out, ", next is batch %" PRIu64, r->next);
    fprintf(d->out, "; then %s", rest_text(r));
    if (r->what == REST_STALE)
        fprintf(d->out, " %016" PRIx64, r->holds);
    if (r->bytes > 0)
        fprintf(d->out, " (%" PRIu64 " bytes)", r->bytes);
    fputc('\n', d->out);
}

static void on_damage(void *ctx, const char *text)
{
    struct wal_dump *d = ctx;
    if (d->o->json) {
        struct json j;
        object_begin(&j, "damage");
        json_string(&j, "text", text);
        object_end(d, &j);
        return;
    }
    fprintf(d->out, "DAMAGE: %s\n", text);
}

/* --- batches and records ---------------------------------------------------------------------- */

static bool filtered(const struct dump_options *o)
{
    return o->from > 0 || o->shard >= 0;
}

static void tell_batch(struct wal_dump *d)
{
    static const char *const state[] = {
        [BATCH_WHOLE] = "whole",
        [BATCH_DAMAGED] = "DAMAGED",
        [BATCH_TORN] = "torn",
        [BATCH_SUPERSEDED] = "superseded: the next segment begins with it again",
    };
    const struct batch *b = &d->batch;
    if (d->batch_told)
        return;
    d->batch_told = true;
    if (d->o->json) {
        struct json j;
        object_begin(&j, "batch");
        json_seq(&j, "segment", b->seq);
        json_number(&j, "batch", b->number);
        json_number(&j, "offset", b->offset);
        json_number(&j, "bytes", b->bytes);
        json_number(&j, "records", b->records);
        json_bool(&j, "first", b->flags & WAL_BATCH_FIRST);
        json_string(&j, "state", state[d->state]);
        object_end(d, &j);
        return;
    }
    fprintf(d->out,
            "  batch %" PRIu64 " at offset %" PRIu64 ": %" PRIu32 " bytes, %" PRIu32 " records%s",
            b->number, b->offset, b->bytes, b->records,
            b->flags & WAL_BATCH_FIRST ? ", first of its segment" : "");
    if (d->state != BATCH_WHOLE)
        fprintf(d->out, ", %s", state[d->state]);
    fputc('\n', d->out);
}

static void on_batch(void *ctx, const struct batch *b, enum wal_batch_state state)
{
    struct wal_dump *d = ctx;
    d->batch = *b;
    d->state = state;
    d->batch_told = false;
    if (!filtered(d->o) || state != BATCH_WHOLE)
        tell_batch(d);
}

static bool wanted(const struct dump_options *o, const struct record *r)
{
    if (!r || !filtered(o))
        return true;
    return r->type == WAL_RECORD_ENTRY && r->index >= o->from &&
           (o->shard < 0 || entry_touches(r, (unsigned)o->shard));
}

/* Those that carry a group's whole state. */
static bool has_state(const struct record *r)
{
    return r->type == WAL_RECORD_GROUP || record_restates(r);
}

static bool has_index(const struct record *r)
{
    return r->type == WAL_RECORD_ENTRY || r->type == WAL_RECORD_TRUNCATE ||
           r->type == WAL_RECORD_START;
}

static void json_record(struct json *j, const struct record *r)
{
    json_string(j, "type", record_names[r->type]);
    json_number(j, "gid", r->gid);
    if (r->type != WAL_RECORD_TRUNCATE && (r->type != WAL_RECORD_SUSPECT || r->kind))
        json_number(j, "term", r->term);
    if (has_index(r))
        json_number(j, "index", r->index);
    if (r->type == WAL_RECORD_ENTRY || r->type == WAL_RECORD_START)
        json_time(j, "time", r->time);
    if (r->type == WAL_RECORD_HARD || has_state(r))
        json_number(j, "vote", r->vote);
    if (r->type == WAL_RECORD_SUSPECT || r->type == WAL_RECORD_GROUP)
        json_bool(j, "suspect", r->kind);
    if (r->type == WAL_RECORD_START)
        json_bool(j, "reset", r->kind);
}

static void json_data(struct json *j, const struct record *r)
{
    const struct wal_group_data *g = (const struct wal_group_data *)r->data.p;
    g_autoptr(GString) says = g_string_new(NULL);
    if (has_state(r)) {
        json_number(j, "start_index", get_le64(g->start_index));
        json_number(j, "start_term", get_le64(g->start_term));
        json_time(j, "start_time", get_le64(g->start_time));
        json_number(j, "last_index", get_le64(g->last_index));
    }
    if (r->type != WAL_RECORD_ENTRY)
        return;
    json_string(j, "kind", entry_kind(r));
    json_number(j, "length", r->data.n);
    entry_text(says, r);
    json_string(j, "says", says->str);
}

/* Data with a wrong checksum is not shown: it could say anything. */
static void record_json(const struct wal_dump *d, const struct record *r, const char *fault)
{
    struct json j;
    object_begin(&j, "record");
    json_number(&j, "batch", d->batch.number);
    if (r)
        json_record(&j, r);
    if (fault)
        json_string(&j, "fault", fault);
    else
        json_data(&j, r);
    object_end(d, &j);
}

static void group_data_text(GString *s, const struct record *r)
{
    const struct wal_group_data *g = (const struct wal_group_data *)r->data.p;
    g_string_append_printf(s, " log=(%" PRIu64 "..%" PRIu64 "] start_term=%" PRIu64 " start_time=",
                           get_le64(g->start_index), get_le64(g->last_index),
                           get_le64(g->start_term));
    append_time(s, get_le64(g->start_time));
}

static void record_text(GString *s, const struct record *r)
{
    g_string_append_printf(s, "%-8s gid=%" PRIu32, record_names[r->type], r->gid);
    switch (r->type) {
    case WAL_RECORD_GROUP:
    case WAL_RECORD_HARD:
        g_string_append_printf(s, " term=%" PRIu64 " vote=%" PRIu32, r->term, r->vote);
        break;
    case WAL_RECORD_ENTRY:
        g_string_append_printf(s, " index=%" PRIu64 " term=%" PRIu64 " time=", r->index, r->term);
        append_time(s, r->time);
        g_string_append_printf(s, " %s length=%zu", entry_kind(r), r->data.n);
        break;
    case WAL_RECORD_TRUNCATE:
        g_string_append_printf(s, " from index=%" PRIu64, r->index);
        break;
    case WAL_RECORD_START:
        g_string_append_printf(s, " index=%" PRIu64 " term=%" PRIu64 " time=", r->index, r->term);
        append_time(s, r->time);
        g_string_append(s, r->kind ? " reset" : "");
        break;
    case WAL_RECORD_SUSPECT:
        if (r->kind)
            g_string_append_printf(s, " term=%" PRIu64 " vote=%" PRIu32, r->term, r->vote);
        else
            g_string_append(s, " no longer");
        break;
    }
}

static void on_record(void *ctx, const struct record *r, const char *fault)
{
    struct wal_dump *d = ctx;
    if (!wanted(d->o, fault ? NULL : r))
        return;
    tell_batch(d);
    if (d->o->json) {
        record_json(d, r, fault);
        return;
    }
    g_autoptr(GString) s = g_string_new("    ");
    if (r)
        record_text(s, r);
    else
        g_string_append(s, "record");
    if (fault) {
        g_string_append_printf(s, " BAD: %s", fault);
    } else if (has_state(r)) {
        group_data_text(s, r);
        if (r->type == WAL_RECORD_GROUP && r->kind)
            g_string_append(s, " suspect");
    } else if (r->type == WAL_RECORD_ENTRY && r->data.n > 0) {
        g_string_append(s, ": ");
        entry_text(s, r);
    }
    fprintf(d->out, "%s\n", s->str);
}

/* --- the whole -------------------------------------------------------------------------------- */

static void tell_group(const struct wal_dump *d, const struct wal_group *g)
{
    uint64_t last = g->start_index + g->n_entries;
    if (d->o->json) {
        struct json j;
        object_begin(&j, "group");
        json_number(&j, "gid", g->gid);
        json_number(&j, "term", g->term);
        json_number(&j, "vote", g->vote);
        json_number(&j, "start_index", g->start_index);
        json_number(&j, "start_term", g->start_term);
        json_number(&j, "last_index", last);
        json_bool(&j, "damaged", g->damaged);
        json_bool(&j, "suspect", g->suspect);
        object_end(d, &j);
        return;
    }
    fprintf(d->out,
            "group %" PRIu32 ": term=%" PRIu64 " vote=%" PRIu32 " log=(%" PRIu64 "..%" PRIu64
            "]%s\n",
            g->gid, g->term, g->vote, g->start_index, last,
            g->damaged   ? ", DAMAGED: it may have forgotten what it promised"
            : g->suspect ? ", suspect: was damaged, and is not repaired yet"
                         : "");
}

int dump_wal(const char *dir, const struct dump_options *o, FILE *out, struct errmsg *msg)
{
    struct wal_dump d = {.o = o, .out = out};
    const struct wal_observer observer = {
        .segment = on_segment,
        .batch = on_batch,
        .record = on_record,
        .damage = on_damage,
        .rest = on_rest,
        .ctx = &d,
    };
    struct wal_recovery found = {0};
    struct disk *disk = disk_posix_create();
    int err = wal_inspect(disk, dir, &observer, &found, msg);
    disk_posix_destroy(disk);
    if (err < 0)
        return err;
    for (size_t i = 0; i < found.n_groups; i++)
        tell_group(&d, &found.groups[i]);
    if (found.damaged)
        err = errmsg_set(msg, -ERR_CORRUPT, "the log in %s is damaged: %s", dir, found.text);
    wal_recovery_finish(&found);
    return err;
}
