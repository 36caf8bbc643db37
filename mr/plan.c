/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/plan.h"

#include <string.h>

static void add_split(struct plan *p, const struct plan_file *f, uint64_t start, uint64_t end)
{
    struct split_record s = {bytes_str(f->path), f->ino, f->data_version, f->size, start, end};
    g_array_append_val(p->splits, s);
    p->bytes += end - start;
}

static void add_task(struct plan *p, uint32_t first, uint64_t bytes)
{
    struct plan_task t = {first, p->splits->len - first, bytes};
    if (t.n)
        g_array_append_val(p->tasks, t);
}

static void cut_file(struct plan *p, const struct plan_file *f, uint64_t split)
{
    for (uint64_t at = 0, end; at < f->size; at = end) {
        uint64_t left = f->size - at;
        end = split && left > split + split / 4 ? at + split : f->size;
        uint32_t first = p->splits->len;
        add_split(p, f, at, end);
        add_task(p, first, end - at);
    }
}

int plan_maps(const struct plan_file *files, size_t n, uint64_t split, struct plan *ret)
{
    struct plan p = {
        .splits = g_array_new(FALSE, FALSE, sizeof(struct split_record)),
        .tasks = g_array_new(FALSE, FALSE, sizeof(struct plan_task)),
    };
    for (size_t i = 0; i < n;) {
        if (!split || files[i].size > split / 2) {
            cut_file(&p, &files[i++], split);
            continue;
        }
        uint32_t first = p.splits->len;
        uint64_t bytes = 0;
        for (; i < n && files[i].size <= split / 2 && bytes + files[i].size <= split &&
               p.splits->len - first < PLAN_PACK_MAX;
             i++) {
            if (files[i].size)
                add_split(&p, &files[i], 0, files[i].size);
            bytes += files[i].size;
        }
        add_task(&p, first, bytes);
    }
    if (p.tasks->len > PLAN_MAPS_MAX) {
        plan_finish(&p);
        return -ERR_TOO_BIG;
    }
    *ret = p;
    return 0;
}

void plan_finish(struct plan *p)
{
    if (p->splits)
        g_array_unref(p->splits);
    if (p->tasks)
        g_array_unref(p->tasks);
    *p = (struct plan){0};
}

unsigned plan_reduces(uint64_t bytes, unsigned slots)
{
    uint64_t want = (bytes + MIB(64) - 1) / MIB(64);
    return (unsigned)MAX(MIN(want, 2 * (uint64_t)slots), 1);
}
