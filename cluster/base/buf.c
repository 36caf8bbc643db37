/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/buf.h"

struct buf *buf_alloc(size_t len)
{
    ASSERT(len <= SIZE_MAX - sizeof(struct buf));
    struct buf *b = g_malloc(sizeof(*b) + len);
    b->refs = 1;
    b->len = len;
    return b;
}

struct buf *buf_copy(struct bytes b)
{
    struct buf *copy = buf_alloc(b.n);
    if (b.n)
        memcpy(copy->data, b.p, b.n);
    return copy;
}

struct buf *buf_ref(struct buf *b)
{
    if (b) {
        unsigned before = __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
        ASSERT(before > 0 && before < UINT32_MAX);
    }
    return b;
}

void buf_unref(struct buf *b)
{
    if (!b)
        return;
    /* Release: our reads are over before another thread frees; acquire: we free after theirs. */
    unsigned before = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);
    ASSERT(before > 0);
    if (before == 1)
        g_free(b);
}
