/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/range.h"

#include <errno.h>
#include "cluster/base/codec.h"

static struct range *at(const GArray *list, unsigned i)
{
    return &g_array_index((GArray *)list, struct range, i);
}

int ranges_decode(struct bytes value, GArray *ret)
{
    if (value.n % LOCK_RECORD != 0)
        return -EIO;
    g_array_set_size(ret, 0);
    for (size_t i = 0; i < value.n; i += LOCK_RECORD) {
        const uint8_t *p = value.p + i;
        struct range r = {
            .session = get_le64(p),
            .owner = get_le64(p + 8),
            .start = get_le64(p + 16),
            .end = get_le64(p + 24),
            .pid = get_le32(p + 32),
            .write = p[36] == 1,
            .flock = p[37] == 1,
        };
        if (r.start > r.end || p[36] > 1 || p[37] > 1)
            return -EIO;
        g_array_append_val(ret, r);
    }
    return 0;
}

void ranges_encode(const GArray *list, struct enc *e)
{
    for (unsigned i = 0; i < list->len; i++) {
        const struct range *r = at(list, i);
        enc_u64(e, r->session);
        enc_u64(e, r->owner);
        enc_u64(e, r->start);
        enc_u64(e, r->end);
        enc_u32(e, r->pid);
        enc_u8(e, r->write);
        enc_u8(e, r->flock);
        enc_u16(e, 0);
    }
}

static bool same_owner(const struct range *a, const struct range *b)
{
    return a->flock == b->flock && a->session == b->session && a->owner == b->owner;
}

const struct range *ranges_conflict(const GArray *list, const struct range *want)
{
    for (unsigned i = 0; i < list->len; i++) {
        const struct range *r = at(list, i);
        if (r->flock == want->flock && !same_owner(r, want) && (r->write || want->write) &&
            r->start <= want->end && want->start <= r->end)
            return r;
    }
    return NULL;
}

/* Whether two ranges of one owner and type become one: they overlap or touch. */
static bool joins(const struct range *a, const struct range *b)
{
    bool behind = a->end != UINT64_MAX && a->end + 1 < b->start;
    bool before = b->end != UINT64_MAX && b->end + 1 < a->start;
    return a->write == b->write && !behind && !before;
}

void ranges_set(GArray *list, const struct range *set, bool unlock)
{
    struct range merged = *set;
    GArray *out = g_array_new(FALSE, FALSE, sizeof(struct range));
    for (unsigned i = 0; i < list->len; i++) {
        struct range r = *at(list, i);
        if (!same_owner(&r, set)) {
            g_array_append_val(out, r);
            continue;
        }
        if (!unlock && joins(&r, set)) {
            merged.start = MIN(merged.start, r.start);
            merged.end = MAX(merged.end, r.end);
            continue;
        }
        if (r.start > set->end || r.end < set->start) {
            g_array_append_val(out, r);
            continue;
        }
        if (r.start < set->start) {
            struct range left = r;
            left.end = set->start - 1;
            g_array_append_val(out, left);
        }
        if (r.end > set->end) {
            struct range right = r;
            right.start = set->end + 1;
            g_array_append_val(out, right);
        }
    }
    if (!unlock)
        g_array_append_val(out, merged);
    g_array_set_size(list, 0);
    if (out->len)
        g_array_append_vals(list, out->data, out->len);
    g_array_free(out, TRUE);
}
