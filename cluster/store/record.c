/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/record.h"

#define HEAD     sizeof(struct wal_record_head)
#define HEAD_CRC offsetof(struct wal_record_head, crc)

static size_t padded(size_t n)
{
    return (n + WAL_RECORD_ALIGN - 1) / WAL_RECORD_ALIGN * WAL_RECORD_ALIGN;
}

size_t record_bytes(size_t data)
{
    return HEAD + padded(data);
}

void record_add(struct enc *e, const struct record *r)
{
    static const uint8_t zeroes[WAL_RECORD_ALIGN];
    struct wal_record_head h = {.type = (uint8_t)r->type, .kind = r->kind};
    ASSERT(r->data.n <= UINT32_MAX - WAL_RECORD_ALIGN);
    put_le32(h.data_bytes, (uint32_t)r->data.n);
    put_le32(h.gid, r->gid);
    put_le64(h.term, r->term);
    put_le64(h.index, r->index);
    put_le64(h.time, r->time);
    put_le32(h.vote, r->vote);
    enc_raw(e, &h, sizeof(h));
    if (r->data.n > 0)
        enc_raw(e, r->data.p, r->data.n);
    if (padded(r->data.n) > r->data.n)
        enc_raw(e, zeroes, padded(r->data.n) - r->data.n);
}

uint32_t record_salt(uint64_t seq, uint64_t number)
{
    uint8_t b[16];
    put_le64(b, seq);
    put_le64(b + 8, number);
    return crc32c(0, b, sizeof(b));
}

static struct record decode(const struct wal_record_head *h)
{
    return (struct record){
        .type = (enum wal_record_type)h->type,
        .kind = h->kind,
        .gid = get_le32(h->gid),
        .vote = get_le32(h->vote),
        .term = get_le64(h->term),
        .index = get_le64(h->index),
        .time = get_le64(h->time),
        .data = bytes_of((const uint8_t *)h + HEAD, get_le32(h->data_bytes)),
    };
}

static void advance(struct bytes *rest, const struct record *r)
{
    size_t n = record_bytes(r->data.n);
    ASSERT(n <= rest->n);
    rest->p += n;
    rest->n -= n;
}

void records_seal(uint8_t *p, size_t n, uint32_t salt)
{
    while (n > 0) {
        struct wal_record_head *h = (struct wal_record_head *)p;
        size_t data = padded(get_le32(h->data_bytes));
        put_le32(h->data_crc, crc32c(salt, p + HEAD, data));
        put_le32(h->crc, crc32c(salt, h, HEAD_CRC));
        p += HEAD + data;
        n -= HEAD + data;
    }
}

static bool known_shape(const struct record *r)
{
    switch (r->type) {
    case WAL_RECORD_GROUP:
        return r->data.n == sizeof(struct wal_group_data);
    case WAL_RECORD_ENTRY:
        return true;
    case WAL_RECORD_SUSPECT:
        return r->data.n == (r->kind ? sizeof(struct wal_group_data) : 0);
    case WAL_RECORD_HARD:
    case WAL_RECORD_TRUNCATE:
    case WAL_RECORD_START:
        return r->data.n == 0;
    default:
        return false;
    }
}

const char *record_head_fault(struct bytes rest, uint32_t salt)
{
    const struct wal_record_head *h = (const struct wal_record_head *)rest.p;
    if (rest.n < HEAD)
        return "its head reaches beyond the batch";
    if (get_le32(h->crc) != crc32c(salt, h, HEAD_CRC))
        return "its head has a wrong checksum";
    if (h->reserved[0] || h->reserved[1])
        return "a reserved byte of its head is not zero";
    struct record r = decode(h);
    if (r.data.n > rest.n - HEAD || padded(r.data.n) > rest.n - HEAD)
        return "its data reaches beyond the batch";
    return known_shape(&r) ? NULL : "it is of no known type, or not as long as its type wants";
}

enum record_verdict record_next(struct bytes *rest, uint32_t salt, struct record *ret)
{
    if (record_head_fault(*rest, salt))
        return RECORD_BAD_HEAD;
    const struct wal_record_head *h = (const struct wal_record_head *)rest->p;
    struct record r = decode(h);
    bool good = get_le32(h->data_crc) == crc32c(salt, r.data.p, padded(r.data.n));
    advance(rest, &r);
    *ret = r;
    return good ? RECORD_OK : RECORD_BAD_DATA;
}

void record_next_own(struct bytes *rest, struct record *ret)
{
    ASSERT(rest->n >= HEAD);
    *ret = decode((const struct wal_record_head *)rest->p);
    advance(rest, ret);
}

/* --- states ----------------------------------------------------------------------------------- */

bool state_allows(const struct wal_state *s, const struct record *r)
{
    switch (r->type) {
    case WAL_RECORD_ENTRY:
        return r->index == s->last_index + 1;
    case WAL_RECORD_TRUNCATE:
        return r->index > s->start_index && r->index <= s->last_index + 1;
    default:
        return true;
    }
}

static void apply_start(struct wal_state *s, const struct record *r)
{
    if (!r->kind && r->index < s->start_index)
        return; /* already cut further */
    s->start_index = r->index;
    s->start_term = r->term;
    s->start_time = r->time;
    if (r->kind || s->last_index < r->index)
        s->last_index = r->index;
}

static void apply_group(struct wal_state *s, const struct record *r)
{
    const struct wal_group_data *d = (const struct wal_group_data *)r->data.p;
    s->term = r->term;
    s->vote = r->vote;
    s->start_index = get_le64(d->start_index);
    s->start_term = get_le64(d->start_term);
    s->start_time = get_le64(d->start_time);
    s->last_index = get_le64(d->last_index);
}

void state_apply(struct wal_state *s, const struct record *r)
{
    switch (r->type) {
    case WAL_RECORD_GROUP:
    case WAL_RECORD_SUSPECT:
        if (r->type == WAL_RECORD_GROUP || r->kind)
            apply_group(s, r);
        s->suspect = r->kind;
        break;
    case WAL_RECORD_ENTRY:
        s->last_index = r->index;
        break;
    case WAL_RECORD_HARD:
        s->term = r->term;
        s->vote = r->vote;
        break;
    case WAL_RECORD_TRUNCATE:
        s->last_index = MIN(s->last_index, r->index - 1);
        break;
    case WAL_RECORD_START:
        apply_start(s, r);
        break;
    }
}

struct record state_record(const struct wal_state *s, struct wal_group_data *data)
{
    put_le64(data->start_index, s->start_index);
    put_le64(data->start_term, s->start_term);
    put_le64(data->start_time, s->start_time);
    put_le64(data->last_index, s->last_index);
    return (struct record){
        .type = WAL_RECORD_GROUP,
        .kind = s->suspect,
        .gid = s->gid,
        .term = s->term,
        .vote = s->vote,
        .data = bytes_of(data, sizeof(*data)),
    };
}

/* Where gid is, or would be. */
static size_t place_of(const struct wal_states *t, uint32_t gid)
{
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->all[mid].gid < gid)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct wal_state *states_find(const struct wal_states *t, uint32_t gid)
{
    size_t i = place_of(t, gid);
    return i < t->n && t->all[i].gid == gid ? &t->all[i] : NULL;
}

struct wal_state *states_get(struct wal_states *t, uint32_t gid)
{
    size_t i = place_of(t, gid);
    if (i < t->n && t->all[i].gid == gid)
        return &t->all[i];
    t->all = g_renew(struct wal_state, t->all, t->n + 1);
    memmove(&t->all[i + 1], &t->all[i], (t->n - i) * sizeof(*t->all));
    t->n++;
    t->all[i] = (struct wal_state){.gid = gid};
    return &t->all[i];
}

void states_copy(struct wal_states *to, const struct wal_states *from)
{
    states_finish(to);
    to->n = from->n;
    to->all = g_memdup2(from->all, from->n * sizeof(*from->all));
}

void states_finish(struct wal_states *t)
{
    g_free(t->all);
    *t = (struct wal_states){0};
}
