/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that hold the same, and all the ways in which they may not; the nodes are played. */
#include "cluster/ctl/compare.h"

#include <string.h>
#include "cluster/ctl/compare_text.h"
#include "cluster/kv/digest.h"
#include "tests/lib/t.h"

#define INDEX 77

/* A node: a store in memory, and how it behaves when it is asked. */
struct player {
    struct store_mem_disk *disk;
    struct store *store;
    int err;            /* every question */
    unsigned status;    /* every answer, unless 0 */
    unsigned err_after; /* so many answers */
    uint64_t applied;
    unsigned busy;   /* so many more questions */
    bool gets_on;    /* while busy: applies an entry for each question */
    unsigned n_asks; /* so far */
};

struct game {
    struct player nodes[5];
    unsigned n, n_pauses;
    struct compare c;
};

static int play(void *ctx, uint32_t node, const struct msg_check_ask *m, struct arena *a,
                struct msg_check_pieces *ret, struct errmsg *msg)
{
    struct game *g = ctx;
    struct player *p = &g->nodes[node - 1];
    assert_int_equal(m->index, INDEX);
    p->n_asks++;
    if (p->err < 0 || (p->err_after > 0 && p->n_asks > p->err_after))
        return errmsg_set(msg, -ERR_UNREACHABLE, "no way to it");
    *ret = (struct msg_check_pieces){.status = (uint16_t)p->status, .applied = p->applied};
    if (p->busy > 0) {
        p->busy--;
        p->applied += p->gets_on;
        ret->status = p->applied < INDEX ? ERR_NOT_FOUND : ERR_BUSY;
    }
    if (ret->status)
        return 0;
    struct bytes bounds[DIGEST_BOUNDS_MAX];
    enum digest_cut cut = m->every ? DIGEST_EVERY : DIGEST_BOUNDS;
    assert_in_range(m->n_bounds, 0, DIGEST_BOUNDS_MAX);
    for (uint32_t i = 0; i < m->n_bounds; i++)
        bounds[i] = m->bounds[i].at;
    if (m->lo.n == 0 && m->hi.n == 0 && !m->every && !m->n_bounds)
        cut = DIGEST_SHARDS;
    struct digest *d = digest_create(m->lo, m->hi, cut, m->every, bounds, m->n_bounds);
    unsigned n;
    assert_int_equal(digest_step(d, p->store, NULL, UINT32_MAX, SIZE_MAX), 1);
    const struct digest_piece *pieces = digest_pieces(d, &n);
    ret->n_pieces = n;
    ret->pieces = arena_array(a, n + 1, sizeof(*ret->pieces));
    for (unsigned i = 0; i < n; i++)
        ret->pieces[i] = (struct check_piece){arena_copy(a, pieces[i].at), pieces[i].hash,
                                              pieces[i].rows, pieces[i].keys, pieces[i].bytes};
    digest_destroy(d);
    return 0;
}

static void on_pause(void *ctx)
{
    struct game *g = ctx;
    g->n_pauses++;
}

static void put(struct game *g, unsigned node, const char *shard, uint8_t table, const char *key,
                const char *value)
{
    uint8_t k[64] = {(uint8_t)shard[0], (uint8_t)shard[1], table};
    struct player *p = &g->nodes[node - 1];
    memcpy(k + 3, key, strlen(key));
    struct store_write w = {value ? STORE_PUT : STORE_DELETE, bytes_of(k, 3 + strlen(key)),
                            value ? bytes_str(value) : BYTES_NONE};
    T_OK(p->store->ops->write(p->store, &w, 1));
}

#define DATA 0x10

/* n nodes, each with `keys` keys in each of the shards 7 and 9. */
static void game_init(struct game *g, unsigned n, unsigned keys)
{
    uint32_t ids[] = {1, 2, 3, 4, 5};
    *g = (struct game){.n = n};
    for (unsigned node = 1; node <= n; node++) {
        struct player *p = &g->nodes[node - 1];
        p->applied = INDEX + 5;
        p->disk = store_mem_disk_create();
        T_OK(store_mem_open(p->disk, "x", &p->store));
        for (unsigned i = 0; i < keys; i++) {
            char key[20];
            g_snprintf(key, sizeof(key), "k%05u", i);
            put(g, node, "\0\7", DATA, key, "value");
            put(g, node, "\0\11", DATA, key, "value");
        }
    }
    compare_init(&g->c, ids, n);
}

static void game_finish(struct game *g)
{
    compare_finish(&g->c);
    for (unsigned i = 0; i < g->n; i++) {
        g->nodes[i].store->ops->close(g->nodes[i].store);
        store_mem_disk_destroy(g->nodes[i].disk);
    }
}

static const char *run(struct game *g)
{
    static char *text;
    const struct compare_io io = {.ask = play, .pause = on_pause, .patience = 10, .ctx = g};
    compare_run(&g->c, &io, 0, INDEX);
    g_free(text);
    text = compare_text(&g->c, INDEX);
    return text;
}

/* --- agreement -------------------------------------------------------------------------------- */

TEST(replicas_that_hold_the_same_agree)
{
    struct game g;
    game_init(&g, 3, 10);
    assert_string_equal(run(&g), "3 replicas agree at index 77 (20 keys, 280 bytes)\n");
    assert_int_equal(g.nodes[0].n_asks, 1);
    game_finish(&g);
}

TEST(empty_replicas_agree)
{
    struct game g;
    game_init(&g, 2, 0);
    assert_string_equal(run(&g), "2 replicas agree at index 77 (0 keys, 0 bytes)\n");
    game_finish(&g);
}

TEST(a_node_that_needs_time_gets_it_as_long_as_it_gets_on)
{
    struct game g;
    game_init(&g, 3, 10);
    g.nodes[1].busy = 40;
    g.nodes[1].gets_on = true;
    g.nodes[1].applied = INDEX - 20;
    T_CONTAINS(run(&g), "3 replicas agree");
    assert_int_equal(g.n_pauses, 40);
    game_finish(&g);
}

/* A node forgets what nobody asks for. */
TEST(who_has_answered_is_reminded_while_another_one_takes_its_time)
{
    struct game g;
    game_init(&g, 3, 10);
    g.nodes[1].busy = 250;
    g.nodes[1].gets_on = true;
    g.nodes[1].applied = 0;
    T_CONTAINS(run(&g), "3 replicas agree");
    assert_in_range(g.nodes[0].n_asks, 3, 4);
    game_finish(&g);
}

/* --- differences ------------------------------------------------------------------------------ */

TEST(one_more_row_among_many_is_named_with_its_replica)
{
    struct game g;
    game_init(&g, 3, 10000);
    put(&g, 2, "\0\7", DATA, "k01234x", "rotten");
    assert_string_equal(run(&g), "DIFFERENCE in shard 7: n2 differs from the others\n"
                                 "  7:k01234x: n2 has it, the others do not\n"
                                 "3 replicas were compared at index 77: they DIFFER in 1 shards\n");
    assert_in_range(g.nodes[0].n_asks, 3, 8);
    game_finish(&g);
}

TEST(a_missing_row_and_another_value_are_told_apart)
{
    struct game g;
    game_init(&g, 3, 3000);
    put(&g, 3, "\0\7", DATA, "k02999", NULL);
    put(&g, 1, "\0\11", DATA, "k00000", "value2");
    const char *text = run(&g);
    T_CONTAINS(text,
               "DIFFERENCE in shard 7: n3 differs from the others\n  7:k02999: n3 lacks it\n");
    T_CONTAINS(text, "DIFFERENCE in shard 9: n1 differs from the others\n"
                     "  9:k00000: n1 has another value or version\n");
    T_CONTAINS(text, "DIFFER in 2 shards");
    game_finish(&g);
}

TEST(a_whole_shard_that_one_has_and_the_others_have_not_is_found)
{
    struct game g;
    game_init(&g, 3, 10);
    put(&g, 1, "\0\10", DATA, "alone", "x");
    T_CONTAINS(run(&g), "DIFFERENCE in shard 8: n1 differs from the others\n"
                        "  8:alone: n1 has it, the others do not\n");
    game_finish(&g);
}

TEST(many_rows_in_one_gap_of_the_others_are_narrowed_down)
{
    struct game g;
    game_init(&g, 3, 100);
    for (unsigned i = 0; i < 5000; i++) {
        char key[20];
        g_snprintf(key, sizeof(key), "k00050-%05u", i);
        put(&g, 2, "\0\7", DATA, key, "x");
    }
    const char *text = run(&g);
    T_CONTAINS(text, "7:k00050-00000: n2 has it, the others do not\n");
    T_CONTAINS(text, "  and more in this shard\n");
    assert_in_range(g.c.differences->len, 1, 1);
    game_finish(&g);
}

TEST(of_two_nobody_can_tell_which_is_right)
{
    struct game g;
    game_init(&g, 2, 10);
    put(&g, 2, "\0\7", DATA, "k00003", "other");
    T_CONTAINS(run(&g), "n1, n2 differ, and no majority says which is right\n"
                        "  7:k00003: all have different values or versions\n");
    game_finish(&g);
}

TEST(rows_that_are_no_keys_are_named_by_their_table)
{
    struct game g;
    game_init(&g, 3, 10);
    put(&g, 3, "\0\7", 0x01, "", "\1\1\1\1\1\1\1\1");
    put(&g, 2, "\xff\xff", 0x50, "\1\1\1\1\1\1\1\1", "session");
    const char *text = run(&g);
    T_CONTAINS(text, "shard 7's counters: n3 has it");
    T_CONTAINS(text, "DIFFERENCE in the group's own records: n2 differs");
    T_CONTAINS(text, "the group's sessions \\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01: n2 has it");
    game_finish(&g);
}

/* Whatever few rows are changed in one replica: each of them, or the first and "more". */
TEST(any_planted_difference_is_found)
{
    struct rng rng = t_rng();
    for (unsigned round = 0; round < 30; round++) {
        struct game g;
        char key[20], want[60];
        unsigned node = (unsigned)rng_between(&rng, 1, 3);
        game_init(&g, 3, (unsigned)rng_between(&rng, 1, 700));
        g_snprintf(key, sizeof(key), "k%05u%s", (unsigned)rng_below(&rng, 700),
                   rng_below(&rng, 2) ? "x" : "");
        put(&g, node, "\0\11", DATA, key, "planted");
        g_snprintf(want, sizeof(want), "\n  9:%s: n%u has ", key, node);
        T_CONTAINS(run(&g), want);
        assert_int_equal(g.c.differences->len, 1);
        game_finish(&g);
    }
}

/* --- nodes that do not answer ------------------------------------------------------------------
 */

TEST(a_node_that_cannot_be_asked_is_named_and_the_others_are_compared)
{
    struct game g;
    game_init(&g, 3, 10);
    g.nodes[1].err = -1;
    assert_string_equal(run(&g), "n2 was NOT CHECKED: no way to it\n"
                                 "2 replicas agree at index 77 (20 keys, 280 bytes)\n");
    assert_int_equal(compare_checked(&g.c), 2);
    game_finish(&g);
}

TEST(a_restarted_node_is_named)
{
    struct game g;
    game_init(&g, 3, 10);
    g.nodes[2].status = ERR_NOT_FOUND;
    T_CONTAINS(run(&g), "n3 was NOT CHECKED: it no longer has that state: it was restarted");
    game_finish(&g);
}

TEST(a_state_that_cannot_be_read_is_named)
{
    struct game g;
    game_init(&g, 3, 10);
    g.nodes[2].status = ERR_CORRUPT;
    T_CONTAINS(run(&g), "n3 was NOT CHECKED: its state cannot be read: stored data is damaged\n");
    game_finish(&g);
}

TEST(a_node_that_does_not_get_on_is_given_up)
{
    struct game g;
    game_init(&g, 3, 10);
    g.nodes[0].busy = 1000;
    g.nodes[0].applied = INDEX - 3;
    T_CONTAINS(run(&g), "n1 was NOT CHECKED: it lags: the entry is not applied there\n");
    assert_in_range(g.n_pauses, 10, 12);
    game_finish(&g);
}

TEST(nobody_at_all_is_no_agreement)
{
    struct game g;
    game_init(&g, 2, 10);
    g.nodes[0].err = g.nodes[1].err = -1;
    T_CONTAINS(run(&g), "no replica could be checked at index 77\n");
    game_finish(&g);
}

TEST(a_node_that_goes_away_in_between_leaves_the_range_named)
{
    struct game g;
    game_init(&g, 3, 3000);
    put(&g, 2, "\0\7", DATA, "k01234", "rotten");
    put(&g, 2, "\0\11", DATA, "k01234", "rotten");
    g.nodes[2].err_after = 2;
    const char *text = run(&g);
    T_CONTAINS(text, "DIFFERENCE in shard 7: n2 differs from the others\n  from 7:");
    T_CONTAINS(text, "DIFFERENCE in shard 9: n2 differs from the others\n");
    T_CONTAINS(text, "n3 could not be looked into: no way to it\n");
    game_finish(&g);
}

TEST(programs_get_the_same_as_one_object)
{
    struct game g;
    game_init(&g, 3, 100);
    put(&g, 2, "\0\7", DATA, "k00050", NULL);
    run(&g);
    g_autofree char *text = compare_json(&g.c, 0, INDEX);
    T_CONTAINS(text, "\"agree\": false");
    T_CONTAINS(text, "\"key\": \"7:k00050\",\n          \"odd\": [\n            2\n          ]");
    game_finish(&g);
}

T_MAIN(T(replicas_that_hold_the_same_agree), T(empty_replicas_agree),
       T(a_node_that_needs_time_gets_it_as_long_as_it_gets_on),
       T(who_has_answered_is_reminded_while_another_one_takes_its_time),
       T(one_more_row_among_many_is_named_with_its_replica),
       T(a_missing_row_and_another_value_are_told_apart),
       T(a_whole_shard_that_one_has_and_the_others_have_not_is_found),
       T(many_rows_in_one_gap_of_the_others_are_narrowed_down),
       T(of_two_nobody_can_tell_which_is_right), T(rows_that_are_no_keys_are_named_by_their_table),
       T(any_planted_difference_is_found),
       T(a_node_that_cannot_be_asked_is_named_and_the_others_are_compared),
       T(a_restarted_node_is_named), T(a_state_that_cannot_be_read_is_named),
       T(a_node_that_does_not_get_on_is_given_up), T(nobody_at_all_is_no_agreement),
       T(a_node_that_goes_away_in_between_leaves_the_range_named),
       T(programs_get_the_same_as_one_object))
