/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/schema.h"

#include <string.h>
#include "mr/hash.h"
#include "mr/record.h"

#define LIST_MAX 100000

/* --- values ----------------------------------------------------------------------------------- */

const char *job_state_name(enum job_state s)
{
    static const char *const names[] = {"?",          "submitted", "queued", "running",
                                        "committing", "done",      "failed", "killed"};
    return s < ARRAY_LEN(names) ? names[s] : "?";
}

const char *attempt_state_name(enum attempt_state s)
{
    static const char *const names[] = {"?", "running", "won", "failed", "lost", "killed"};
    return s < ARRAY_LEN(names) ? names[s] : "?";
}

/* A count that cannot be right for what is left (each item has at least `size` bytes) is damage. */
static uint32_t dec_count(struct dec *d, size_t size)
{
    uint32_t n = dec_u32(d);
    if (n > LIST_MAX || n > d->n / size) {
        d->bad = true;
        return 0;
    }
    return n;
}

static int result_of(const struct dec *d, uint8_t version)
{
    if (version != SCHEMA_VERSION)
        return -ERR_FORMAT;
    return dec_done(d) ? 0 : -ERR_CORRUPT;
}

static void enc_counters(struct enc *e, const struct counter *c, uint32_t n)
{
    enc_u32(e, n);
    for (uint32_t i = 0; i < n; i++) {
        enc_bytes(e, c[i].name);
        enc_u64(e, c[i].value);
    }
}

static uint32_t dec_counters(struct dec *d, struct arena *a, struct counter **ret)
{
    uint32_t n = dec_count(d, 12);
    *ret = arena_array(a, n, sizeof **ret);
    for (uint32_t i = 0; i < n; i++) {
        (*ret)[i].name = dec_bytes(d);
        (*ret)[i].value = dec_u64(d);
    }
    return n;
}

void enc_job_record(struct enc *e, const struct job_record *j)
{
    static const uint8_t zero[6];
    enc_u8(e, SCHEMA_VERSION);
    enc_u8(e, (uint8_t)j->state);
    enc_raw(e, zero, sizeof zero);
    enc_u64(e, j->epoch);
    enc_u64(e, j->coordinator);
    enc_u64(e, j->submitted_ns);
    enc_u64(e, j->started_ns);
    enc_u64(e, j->ended_ns);
    enc_u32(e, j->uid);
    enc_u32(e, j->gid);
    enc_u32(e, j->n_groups);
    for (uint32_t i = 0; i < j->n_groups; i++)
        enc_u32(e, j->groups[i]);
    enc_u64(e, j->dir);
    enc_u64(e, j->work_dir);
    enc_u32(e, j->maps);
    enc_u32(e, j->reduces);
    enc_u64(e, j->input_bytes);
    enc_bytes(e, j->spec);
    enc_bytes(e, j->error);
    enc_counters(e, j->counters, j->n_counters);
}

int dec_job_record(struct bytes in, struct arena *a, struct job_record *ret)
{
    struct dec d = dec_of(in);
    struct job_record j = {0};
    uint8_t version = dec_u8(&d);
    j.state = dec_u8(&d);
    (void)dec_raw(&d, 6);
    j.epoch = dec_u64(&d);
    j.coordinator = dec_u64(&d);
    j.submitted_ns = dec_u64(&d);
    j.started_ns = dec_u64(&d);
    j.ended_ns = dec_u64(&d);
    j.uid = dec_u32(&d);
    j.gid = dec_u32(&d);
    j.n_groups = dec_count(&d, 4);
    j.groups = arena_array(a, j.n_groups, sizeof *j.groups);
    for (uint32_t i = 0; i < j.n_groups; i++)
        j.groups[i] = dec_u32(&d);
    j.dir = dec_u64(&d);
    j.work_dir = dec_u64(&d);
    j.maps = dec_u32(&d);
    j.reduces = dec_u32(&d);
    j.input_bytes = dec_u64(&d);
    j.spec = dec_bytes(&d);
    j.error = dec_bytes(&d);
    j.n_counters = dec_counters(&d, a, &j.counters);
    int rc = result_of(&d, version);
    if (rc == 0 && (j.state < JOB_SUBMITTED || j.state > JOB_KILLED || j.maps > LIST_MAX ||
                    j.reduces > PARTITIONS_MAX))
        rc = -ERR_CORRUPT;
    if (rc == 0)
        *ret = j;
    return rc;
}

static void enc_attempt(struct enc *e, const struct attempt_record *t)
{
    enc_u32(e, t->number);
    enc_u32(e, t->node);
    enc_u64(e, t->incarnation);
    enc_u8(e, (uint8_t)t->state);
    enc_u64(e, t->started_ns);
    enc_u64(e, t->ended_ns);
    enc_u32(e, (uint32_t)t->exit_code);
    enc_u32(e, (uint32_t)t->signal);
    enc_u8(e, t->fatal);
    enc_u64(e, t->records_in);
    enc_u64(e, t->records_out);
    enc_bytes(e, t->text);
}

static void dec_attempt(struct dec *d, struct attempt_record *t)
{
    t->number = dec_u32(d);
    t->node = dec_u32(d);
    t->incarnation = dec_u64(d);
    t->state = dec_u8(d);
    t->started_ns = dec_u64(d);
    t->ended_ns = dec_u64(d);
    t->exit_code = (int32_t)dec_u32(d);
    t->signal = (int32_t)dec_u32(d);
    t->fatal = dec_u8(d) != 0;
    t->records_in = dec_u64(d);
    t->records_out = dec_u64(d);
    t->text = dec_bytes(d);
}

void enc_task_record(struct enc *e, const struct task_record *t)
{
    enc_u8(e, SCHEMA_VERSION);
    enc_u8(e, (uint8_t)t->kind);
    enc_u32(e, t->index);
    enc_u32(e, t->winner);
    enc_u32(e, t->failures);
    enc_u32(e, t->started);
    enc_u32(e, t->blames);
    enc_u64(e, t->input_bytes);
    enc_bytes(e, t->input);
    enc_u32(e, t->n_attempts);
    for (uint32_t i = 0; i < t->n_attempts; i++)
        enc_attempt(e, &t->attempts[i]);
    enc_u64(e, t->digest);
    enc_u64(e, t->out_ino);
    enc_u64(e, t->out_bytes);
    enc_counters(e, t->counters, t->n_counters);
}

int dec_task_record(struct bytes in, struct arena *a, struct task_record *ret)
{
    struct dec d = dec_of(in);
    struct task_record t = {0};
    uint8_t version = dec_u8(&d);
    t.kind = dec_u8(&d);
    t.index = dec_u32(&d);
    t.winner = dec_u32(&d);
    t.failures = dec_u32(&d);
    t.started = dec_u32(&d);
    t.blames = dec_u32(&d);
    t.input_bytes = dec_u64(&d);
    t.input = dec_bytes(&d);
    t.n_attempts = dec_u32(&d);
    if (t.n_attempts > ATTEMPTS_KEPT)
        return -ERR_CORRUPT;
    for (uint32_t i = 0; i < t.n_attempts; i++)
        dec_attempt(&d, &t.attempts[i]);
    t.digest = dec_u64(&d);
    t.out_ino = dec_u64(&d);
    t.out_bytes = dec_u64(&d);
    t.n_counters = dec_counters(&d, a, &t.counters);
    int rc = result_of(&d, version);
    if (rc == 0 && t.kind != TASK_MAP && t.kind != TASK_REDUCE)
        rc = -ERR_CORRUPT;
    if (rc == 0)
        *ret = t;
    return rc;
}

void enc_splits(struct enc *e, const struct split_record *s, uint32_t n)
{
    enc_u8(e, SCHEMA_VERSION);
    enc_u32(e, n);
    for (uint32_t i = 0; i < n; i++, s++) {
        enc_bytes(e, s->path);
        enc_u64(e, s->ino);
        enc_u64(e, s->data_version);
        enc_u64(e, s->size);
        enc_u64(e, s->start);
        enc_u64(e, s->end);
    }
}

int dec_splits(struct bytes in, struct arena *a, struct split_record **ret, uint32_t *ret_n)
{
    struct dec d = dec_of(in);
    uint8_t version = dec_u8(&d);
    uint32_t n = dec_count(&d, 44);
    struct split_record *s = arena_array(a, n, sizeof *s);
    for (uint32_t i = 0; i < n; i++) {
        s[i].path = dec_bytes(&d);
        s[i].ino = dec_u64(&d);
        s[i].data_version = dec_u64(&d);
        s[i].size = dec_u64(&d);
        s[i].start = dec_u64(&d);
        s[i].end = dec_u64(&d);
    }
    int rc = result_of(&d, version);
    if (rc == 0) {
        *ret = s;
        *ret_n = n;
    }
    return rc;
}

static void enc_running(struct enc *e, const struct running_record *r, uint32_t n)
{
    enc_u32(e, n);
    for (uint32_t i = 0; i < n; i++, r++) {
        enc_bytes(e, r->job);
        enc_u64(e, r->epoch);
        enc_u8(e, (uint8_t)r->kind);
        enc_u32(e, r->task);
        enc_u32(e, r->attempt);
        enc_u64(e, r->bytes_in);
        enc_u64(e, r->bytes_total);
        enc_bytes(e, r->status);
    }
}

static uint32_t dec_running(struct dec *d, struct arena *a, struct running_record **ret)
{
    uint32_t n = dec_count(d, 41);
    struct running_record *r = arena_array(a, n, sizeof *r);
    *ret = r;
    for (uint32_t i = 0; i < n; i++, r++) {
        r->job = dec_bytes(d);
        r->epoch = dec_u64(d);
        r->kind = dec_u8(d);
        r->task = dec_u32(d);
        r->attempt = dec_u32(d);
        r->bytes_in = dec_u64(d);
        r->bytes_total = dec_u64(d);
        r->status = dec_bytes(d);
    }
    return n;
}

void enc_worker_record(struct enc *e, const struct worker_record *w)
{
    enc_u8(e, SCHEMA_VERSION);
    enc_u64(e, w->incarnation);
    enc_u64(e, w->beat);
    enc_u32(e, w->slots);
    enc_u8(e, w->stopped);
    enc_running(e, w->running, w->n_running);
}

int dec_worker_record(struct bytes in, struct arena *a, struct worker_record *ret)
{
    struct dec d = dec_of(in);
    struct worker_record w = {0};
    uint8_t version = dec_u8(&d);
    w.incarnation = dec_u64(&d);
    w.beat = dec_u64(&d);
    w.slots = dec_u32(&d);
    w.stopped = dec_u8(&d) != 0;
    w.n_running = dec_running(&d, a, &w.running);
    int rc = result_of(&d, version);
    if (rc == 0)
        *ret = w;
    return rc;
}

void enc_inbox_record(struct enc *e, const struct inbox_record *x)
{
    static const uint8_t zero[7];
    enc_u8(e, SCHEMA_VERSION);
    enc_raw(e, zero, sizeof zero);
    enc_u64(e, x->coordinator);
    enc_u64(e, x->incarnation);
    enc_u8(e, x->awake);
    enc_running(e, x->jobs, x->n_jobs);
    enc_running(e, x->attempts, x->n_attempts);
}

int dec_inbox_record(struct bytes in, struct arena *a, struct inbox_record *ret)
{
    struct dec d = dec_of(in);
    struct inbox_record x = {0};
    uint8_t version = dec_u8(&d);
    (void)dec_raw(&d, 7);
    x.coordinator = dec_u64(&d);
    x.incarnation = dec_u64(&d);
    x.awake = dec_u8(&d) != 0;
    x.n_jobs = dec_running(&d, a, &x.jobs);
    x.n_attempts = dec_running(&d, a, &x.attempts);
    int rc = result_of(&d, version);
    if (rc == 0)
        *ret = x;
    return rc;
}

/* --- keys ------------------------------------------------------------------------------------- */

static struct bytes make_key(struct arena *a, uint16_t shard, char kind, struct bytes rest)
{
    uint8_t *p = arena_alloc(a, KEY_REGISTRY_HEAD + rest.n);
    put_be16(p, shard);
    p[2] = 'J';
    p[3] = (uint8_t)kind;
    if (rest.n)
        memcpy(p + KEY_REGISTRY_HEAD, rest.p, rest.n);
    return bytes_of(p, KEY_REGISTRY_HEAD + rest.n);
}

struct bytes key_bell(struct arena *a)
{
    return make_key(a, 0, 'b', BYTES_NONE);
}

struct bytes key_coordinator(struct arena *a)
{
    return make_key(a, 0, 'c', BYTES_NONE);
}

struct bytes key_last_error(struct arena *a)
{
    return make_key(a, 0, 'e', BYTES_NONE);
}

struct bytes key_worker(struct arena *a, uint32_t node)
{
    uint8_t p[4];
    put_be32(p, node);
    return make_key(a, 0, 'h', bytes_of(p, 4));
}

struct bytes key_inbox(struct arena *a, uint32_t node)
{
    uint8_t p[4];
    put_be32(p, node);
    return make_key(a, 0, 'i', bytes_of(p, 4));
}

struct bytes key_active(struct arena *a, struct bytes name)
{
    return make_key(a, 0, 'l', name);
}

struct bytes key_dir(struct arena *a, uint64_t ino)
{
    uint8_t p[8];
    put_be64(p, ino);
    return make_key(a, 0, 'd', bytes_of(p, 8));
}

void key_registry_range(struct arena *a, char kind, struct bytes *ret_lo, struct bytes *ret_hi)
{
    *ret_lo = make_key(a, 0, kind, BYTES_NONE);
    *ret_hi = make_key(a, 0, (char)(kind + 1), BYTES_NONE);
}

static uint16_t shard_of(uint16_t shards, struct bytes name)
{
    return (uint16_t)(mr_hash(name.p, name.n) % MAX(shards, 1));
}

struct bytes key_job(struct arena *a, uint16_t shards, struct bytes name)
{
    return make_key(a, shard_of(shards, name), 'j', name);
}

/* name 0 epoch [kind [task]]; n counts the bytes after the name. */
static struct bytes run_key(struct arena *a, uint16_t shards, char table, struct bytes name,
                            uint64_t epoch, uint8_t kind, uint32_t task, size_t n)
{
    uint8_t *p = arena_alloc(a, name.n + 14);
    memcpy(p, name.p, name.n);
    p[name.n] = 0;
    put_be64(p + name.n + 1, epoch);
    p[name.n + 9] = kind;
    put_be32(p + name.n + 10, task);
    return make_key(a, shard_of(shards, name), table, bytes_of(p, name.n + n));
}

struct bytes key_task(struct arena *a, uint16_t shards, struct bytes name, uint64_t epoch,
                      enum task_kind kind, uint32_t task)
{
    return run_key(a, shards, 't', name, epoch, (uint8_t)kind, task, 14);
}

struct bytes key_splits(struct arena *a, uint16_t shards, struct bytes name, uint64_t epoch,
                        uint32_t task)
{
    return run_key(a, shards, 's', name, epoch, TASK_MAP, task, 14);
}

void key_tasks_range(struct arena *a, uint16_t shards, char table, struct bytes name,
                     uint64_t epoch, struct bytes *ret_lo, struct bytes *ret_hi)
{
    *ret_lo = run_key(a, shards, table, name, epoch, 0, 0, 9);
    *ret_hi = run_key(a, shards, table, name, epoch + 1, 0, 0, 9);
}
