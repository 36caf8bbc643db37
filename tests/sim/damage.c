/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage to the files of a node that has no power: flipped bits, a sector of something else, a
 * batch that was written at another one's place, a segment that is missing, two that have changed
 * places, a log that is gone altogether; a state store that cannot be opened, or is gone. Inside
 * the bounds of what must be survived: never on more nodes than the others can do without
 * (fault.c), never in the very last whole batch of a log or the newest segment, which format.h says
 * cannot be told from torn ones.
 */
#include "cluster/store/reader.h"
#include "tests/sim/disk.h"

#define LOG_DIR   "/d/wal"
#define STATE_DIR "/d/groups/0"

struct place {
    uint64_t seq, at, n, number;
};

static void note_segment(void *arg, const char *name)
{
    uint64_t seq = segment_parse_name(name);
    if (seq > 0)
        g_array_append_val((GArray *)arg, seq);
}

static gint by_number(gconstpointer a, gconstpointer b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static GArray *segments_of(struct sim_node *sn)
{
    GArray *seqs = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    struct disk *d = &sn->disk->disk;
    d->ops->list(d, LOG_DIR, note_segment, seqs);
    g_array_sort(seqs, by_number);
    return seqs;
}

/* The whole batches of one segment. */
static void find_batches(struct sim_node *sn, uint64_t seq, GArray *places)
{
    struct reader r;
    struct batch b;
    CHECK(sn->sim, reader_init(&r, &sn->disk->disk, LOG_DIR, seq) == 0,
          "node %u: segment %" G_GUINT64_FORMAT " cannot be read", sn->id, seq);
    for (uint64_t at = 0; at < r.size; at += WAL_BLOCK) {
        if (reader_head(&r, at, &b) != BATCH_OK || !reader_whole(&r, &b))
            continue;
        const struct place p = {seq, at, batch_length(b.bytes), b.number};
        g_array_append_val(places, p);
    }
    reader_finish(&r);
}

static gint place_by_number(gconstpointer a, gconstpointer b)
{
    const struct place *x = a, *y = b;
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number)
                                  : (x->seq > y->seq) - (x->seq < y->seq);
}

/* All but those with the last number, in the order of numbers. */
static GArray *places_of(struct sim_node *sn)
{
    GArray *places = g_array_new(FALSE, FALSE, sizeof(struct place));
    GArray *seqs = segments_of(sn);
    uint64_t last = 0;
    for (guint i = 0; i < seqs->len; i++)
        find_batches(sn, g_array_index(seqs, uint64_t, i), places);
    for (guint i = 0; i < places->len; i++)
        last = MAX(last, g_array_index(places, struct place, i).number);
    for (guint i = places->len; i-- > 0;)
        if (g_array_index(places, struct place, i).number == last)
            g_array_remove_index(places, i);
    g_array_free(seqs, TRUE);
    g_array_sort(places, place_by_number);
    return places;
}

static uint8_t *bytes_at(struct sim_node *sn, const struct place *p)
{
    char *path =
        g_strdup_printf("%s/%016" G_GINT64_MODIFIER "x%s", LOG_DIR, p->seq, WAL_SEGMENT_SUFFIX);
    uint8_t *bytes = sim_disk_durable(sn->disk, path);
    g_free(path);
    CHECK(sn->sim, bytes, "node %u has lost a segment", sn->id);
    return bytes + p->at;
}

/* Most of a small batch is padding, about which nobody cares: half of the time the first one. */
static size_t some_sector(struct rng *r, size_t n)
{
    return rng_below(r, 2) ? 0 : rng_below(r, (n + SIM_SECTOR - 1) / SIM_SECTOR) * SIM_SECTOR;
}

static void flip_bits(struct rng *r, uint8_t *p, size_t n)
{
    size_t sector = some_sector(r, n), size = MIN(SIM_SECTOR, n - sector);
    for (uint64_t k = 1 + rng_below(r, 8); k > 0; k--)
        p[sector + rng_below(r, size)] ^= (uint8_t)(1u << rng_below(r, 8));
}

static void lose_sector(struct rng *r, uint8_t *p, size_t n)
{
    size_t sector = some_sector(r, n);
    for (size_t i = sector; i < MIN(sector + SIM_SECTOR, n); i++)
        p[i] = (uint8_t)rng_next(r);
}

/* What belongs at `from` went to `to`, where something older was, all of it or one block; at its
 * own place is what was there before. (The other way round it would be two faults.) */
static void misdirect(struct sim_node *sn, const struct place *from, const struct place *to)
{
    if (place_by_number(from, to) < 0) {
        const struct place *older = from;
        from = to;
        to = older;
    }
    struct rng *r = &sn->sim->disk_rng;
    uint8_t *source = bytes_at(sn, from), *there = bytes_at(sn, to);
    uint64_t n = MIN(from->n, to->n), at = 0;
    if (source == there)
        return;
    if (n > WAL_BLOCK && rng_below(r, 2)) {
        at = rng_below(r, n / WAL_BLOCK) * WAL_BLOCK;
        n = WAL_BLOCK;
    }
    memcpy(there + at, source + at, n);
    memset(source + at, 0, n);
}

/* Half of them near the end, where a log might take it for torn. */
static const struct place *some_place(struct rng *r, const GArray *places)
{
    guint n = places->len, near = rng_below(r, 2) ? MIN(n, 5) : n;
    return &g_array_index(places, struct place, n - 1 - (guint)rng_below(r, near));
}

static void damage_bytes(struct sim_node *sn, const GArray *places)
{
    static const char *const names[] = {"bits flip", "a sector is rubbish",
                                        "a write went elsewhere"};
    struct rng *r = &sn->sim->disk_rng;
    const struct place *p = some_place(r, places), *to = some_place(r, places);
    uint64_t kind = rng_below(r, ARRAY_LEN(names));
    if (kind == 0)
        flip_bits(r, bytes_at(sn, p), p->n);
    else if (kind == 1)
        lose_sector(r, bytes_at(sn, p), p->n);
    else
        misdirect(sn, p, to);
    sim_disk_forget_cache(sn->disk);
    trace_line(sn->sim,
               "FAULT n%u: %s in segment %" G_GINT64_MODIFIER "x at %" G_GUINT64_FORMAT
               ", batch %" G_GUINT64_FORMAT,
               sn->id, names[kind], p->seq, p->at, p->number);
}

/* One that is missing, or two that have changed places; of those with batches, but the newest. */
static void damage_names(struct sim_node *sn, const GArray *places)
{
    struct rng *r = &sn->sim->disk_rng;
    uint64_t newest = g_array_index(places, struct place, places->len - 1).seq;
    uint64_t a = some_place(r, places)->seq, b = some_place(r, places)->seq;
    char *path_a = segment_path(LOG_DIR, a), *path_b = segment_path(LOG_DIR, b);
    if (a != newest && b != newest) {
        if (a == b)
            sim_disk_lose(sn->disk, path_a);
        else
            sim_disk_swap(sn->disk, path_a, path_b);
        trace_line(sn->sim,
                   "FAULT n%u: segments %" G_GINT64_MODIFIER "x and %" G_GINT64_MODIFIER "x %s",
                   sn->id, a, b, a == b ? "are missing" : "have changed places");
    }
    g_free(path_a);
    g_free(path_b);
}

/* A node that has met others knows that it had one. */
static bool lose_log(struct sim_node *sn)
{
    GArray *seqs = segments_of(sn);
    bool met = sim_disk_durable(sn->disk, "/d/members") != NULL;
    for (guint i = 0; met && i < seqs->len; i++) {
        char *path = segment_path(LOG_DIR, g_array_index(seqs, uint64_t, i));
        sim_disk_lose(sn->disk, path);
        g_free(path);
    }
    g_array_free(seqs, TRUE);
    if (met)
        trace_line(sn->sim, "FAULT n%u: the log is gone", sn->id);
    return met;
}

bool damage_log(struct sim_node *sn)
{
    struct rng *r = &sn->sim->disk_rng;
    if (rng_below(r, 10) == 0)
        return lose_log(sn);
    GArray *places = places_of(sn);
    bool any = places->len > 1;
    if (any && rng_below(r, 5) == 0)
        damage_names(sn, places);
    else if (any)
        damage_bytes(sn, places);
    g_array_free(places, TRUE);
    return any;
}

void damage_state(struct sim_node *sn)
{
    struct store_maker *stores = sn->mem_stores;
    sn->state_bad = rng_below(&sn->sim->disk_rng, 2);
    if (!sn->state_bad)
        (void)!stores->destroy(stores, STATE_DIR);
    trace_line(sn->sim, "FAULT n%u: the state store is %s", sn->id,
               sn->state_bad ? "not readable" : "gone");
}
