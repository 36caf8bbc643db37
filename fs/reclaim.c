/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unlinked inodes: when nobody has them open any more they go, with blocks, attributes and locks.
 *
 * Opens are not recorded in the cluster. Instead the mount that reclaims asks the others: it writes
 * a question (a round number and inode numbers), each mounted volume answers with those in use
 * there, and what nobody named is deleted. A mount is asked if it was registered and its session
 * alive when the question was written; it has answered or its session has ended (and is fenced)
 * before anything is deleted. A mount registered later cannot have such an inode: an open reads the
 * link count after it made itself known as a user, and 0 is refused.
 *
 * The mount that unlinked reclaims; orphans of an ended mount are found by a scan at the next
 * mount, or by whoever removes its registration.
 */
#include "fs/volume_impl.h"

#include <time.h>
#include "cluster/base/clock.h"

#define QUESTION_MAX  1024 /* inodes per round */
#define ASKING_NS     UINT64_C(100000000)
#define RECLAIM_BATCH 16 /* inodes per transaction: its reply counts so many range deletes */

/* The keeper's own state; its thread alone uses it. */
struct keeper {
    struct volume *v;
    GHashTable *answered; /* asker -> round answered last */
    GArray *asked;        /* fs_ino: of the question under way; empty: none */
    GHashTable *awaited;  /* sessions asked */
    uint64_t session;     /* that asked */
};

/* --- members ---------------------------------------------------------------------------------- */

int member_register(struct volume *v)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_put(&t, KEY(key_member(volume_session(v))), BYTES_NONE);
    int rc = volume_run(v, &t);
    return rc > 0 ? -EIO : rc;
}

int member_leave(struct volume *v)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key lo, hi;
    uint64_t session = volume_session(v);
    range_answers(session, &lo, &hi);
    txn_delete(&t, KEY(key_member(session)));
    txn_delete(&t, KEY(key_question(session)));
    txn_delete_range(&t, key_view(&lo), key_view(&hi), SESSION_WINDOW);
    int rc = txn_run(v->client, &t, 1000, NULL);
    return rc ? -err_errno(rc) : 0;
}

int live_sessions(struct volume *v, GHashTable **ret)
{
    struct arena a CLEANUP(arena_finish) = {0};
    struct counter *sessions;
    size_t n;
    int rc = client_sessions(v->client, &a, &sessions, &n);
    if (rc)
        return -err_errno(rc);
    GHashTable *live = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (size_t i = 0; i < n; i++)
        g_hash_table_add(live, g_memdup2(&sessions[i].value, sizeof(uint64_t)));
    *ret = live;
    return 0;
}

/* Whoever removes an ended mount's registration looks after its orphans. */
static int bury(struct volume *v, uint64_t session)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes key = KEY(key_member(session));
    struct key lo, hi;
    range_answers(session, &lo, &hi);
    txn_exists(&t, key);
    txn_delete(&t, key);
    txn_delete(&t, KEY(key_question(session)));
    txn_delete_range(&t, key_view(&lo), key_view(&hi), SESSION_WINDOW);
    int rc = volume_run(v, &t);
    if (rc == 0) {
        pthread_mutex_lock(&v->lock);
        v->scan_orphans = true;
        pthread_mutex_unlock(&v->lock);
    }
    return rc > 0 ? 0 : rc;
}

/* Other mounts that are alive, as a set. */
static int other_members(struct volume *v, GHashTable **ret)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key lo, hi;
    range_members(&lo, &hi);
    txn_scan(&t, key_view(&lo), key_view(&hi), SCAN_ENTRIES_MAX, true);
    int rc = volume_run(v, &t);
    if (rc || t.reply.n_reads != 1)
        return rc < 0 ? rc : -EIO;
    GHashTable *live;
    rc = live_sessions(v, &live);
    if (rc)
        return rc;
    GHashTable *others = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    uint64_t own = volume_session(v);
    for (uint32_t i = 0; i < t.reply.reads[0].n_pairs && rc == 0; i++) {
        uint64_t session;
        rc = key_parse_session(t.reply.reads[0].pairs[i].key, &session);
        if (rc || session == own)
            continue;
        if (g_hash_table_contains(live, &session))
            g_hash_table_add(others, g_memdup2(&session, sizeof(session)));
        else
            rc = bury(v, session);
    }
    g_hash_table_destroy(live);
    if (rc)
        g_hash_table_destroy(others);
    else
        *ret = others;
    return rc;
}

/* --- answering -------------------------------------------------------------------------------- */

static bool in_use(struct volume *v, fs_ino ino)
{
    pthread_mutex_lock(&v->lock);
    bool used = g_hash_table_contains(v->nodes, &ino);
    pthread_mutex_unlock(&v->lock);
    return used;
}

static int answer(struct keeper *k, uint64_t asker, struct bytes question)
{
    struct dec d = dec_of(question);
    uint64_t round = dec_u64(&d);
    const uint64_t *last = g_hash_table_lookup(k->answered, &asker);
    if (!dec_ok(&d) || (last && *last == round))
        return 0;
    struct enc e CLEANUP(enc_finish) = {0};
    enc_u64(&e, round);
    while (d.n >= 8) {
        fs_ino ino = dec_u64(&d);
        if (in_use(k->v, ino))
            enc_u64(&e, ino);
    }
    struct txn t CLEANUP(txn_finish) = {0};
    txn_exists(&t, KEY(key_question(asker)));
    txn_put(&t, KEY(key_answer(asker, volume_session(k->v))), enc_view(&e));
    int rc = volume_run(k->v, &t);
    if (rc == 0)
        g_hash_table_replace(k->answered, g_memdup2(&asker, 8), g_memdup2(&round, 8));
    return rc < 0 ? rc : 0;
}

static int answer_all(struct keeper *k)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key lo, hi;
    range_questions(&lo, &hi);
    txn_scan(&t, key_view(&lo), key_view(&hi), SCAN_ENTRIES_MAX, false);
    int rc = volume_run(k->v, &t);
    if (rc || t.reply.n_reads != 1)
        return rc < 0 ? rc : -EIO;
    uint64_t own = volume_session(k->v);
    for (uint32_t i = 0; i < t.reply.reads[0].n_pairs && rc == 0; i++) {
        uint64_t asker;
        rc = key_parse_session(t.reply.reads[0].pairs[i].key, &asker);
        if (rc == 0 && asker != own)
            rc = answer(k, asker, t.reply.reads[0].pairs[i].value);
    }
    return rc;
}

/* --- deleting --------------------------------------------------------------------------------- */

static void forget_orphan(struct volume *v, fs_ino ino)
{
    pthread_mutex_lock(&v->lock);
    g_hash_table_remove(v->orphans, &ino);
    pthread_mutex_unlock(&v->lock);
}

static void add_removal(struct txn *t, fs_ino ino)
{
    struct key lo, hi;
    unsigned shard = ino_shard(ino);
    txn_delete(t, KEY(key_inode(ino)));
    txn_delete(t, KEY(key_orphan(ino)));
    txn_delete(t, KEY(key_lock(ino)));
    for (uint32_t b = 0; b < BLOCKS_WITH_INODE; b++)
        txn_delete(t, KEY(key_block(shard, ino, b)));
    range_xattrs(ino, &lo, &hi);
    txn_delete_range(t, key_view(&lo), key_view(&hi), DELETE_STEP);
}

/* The blocks that lie elsewhere. They go first: the inode is what finds them. */
static int delete_far_blocks(struct volume *v, const struct inode *n)
{
    GArray *ranges = data_ranges(v, n->ino, BLOCKS_WITH_INODE, (n->hi + FS_BLOCK - 1) / FS_BLOCK);
    int rc = 0;
    for (unsigned i = 0; i < ranges->len && rc == 0; i++) {
        const struct block_range *r = &g_array_index(ranges, struct block_range, i);
        struct key lo, hi;
        range_blocks(r->shard, n->ino, r->from, r->to, &lo, &hi);
        rc = delete_range(v, key_view(&lo), key_view(&hi));
    }
    g_array_free(ranges, TRUE);
    return rc;
}

/* Inodes of one shard that nobody uses. */
static int reclaim_batch(struct volume *v, const fs_ino *inos, unsigned n)
{
    struct txn look CLEANUP(txn_finish) = {0}, t CLEANUP(txn_finish) = {0};
    for (unsigned i = 0; i < n; i++)
        txn_get_part(&look, KEY(key_inode(inos[i])), 0, INODE_SIZE);
    int rc = volume_run(v, &look);
    if (rc || look.reply.n_reads != n)
        return rc < 0 ? rc : -EIO;
    for (unsigned i = 0; i < n; i++) {
        struct inode inode;
        const struct kv_result *r = &look.reply.reads[i];
        rc = r->version ? inode_decode(inos[i], r->value, &inode) : 0;
        if (rc == 0 && r->version && inode.nlink == 0)
            rc = delete_far_blocks(v, &inode);
        if (rc)
            return rc;
        if (r->version == 0 || inode.nlink == 0)
            add_removal(&t, inos[i]);
    }
    if (t.m.n_writes)
        rc = volume_run(v, &t);
    for (unsigned i = 0; i < n && rc == 0; i++)
        forget_orphan(v, inos[i]);
    return rc > 0 ? -EIO : rc;
}

static int by_value(const void *a, const void *b)
{
    fs_ino x = *(const fs_ino *)a, y = *(const fs_ino *)b;
    return (x > y) - (x < y); /* the shard comes first in an inode number */
}

static int reclaim(struct volume *v, GArray *inos)
{
    g_array_sort(inos, by_value);
    int rc = 0;
    for (unsigned i = 0; i < inos->len && rc == 0;) {
        const fs_ino *first = &g_array_index(inos, fs_ino, i);
        unsigned n = 1;
        while (i + n < inos->len && n < RECLAIM_BATCH && ino_shard(first[n]) == ino_shard(*first))
            n++;
        rc = reclaim_batch(v, first, n);
        i += n;
    }
    return rc;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Orphans not in use here, at most QUESTION_MAX. */
static void collect(struct volume *v, GArray *ret)
{
    GHashTableIter it;
    void *key;
    pthread_mutex_lock(&v->lock);
    g_hash_table_iter_init(&it, v->orphans);
    while (ret->len < QUESTION_MAX && g_hash_table_iter_next(&it, &key, NULL)) {
        if (!g_hash_table_contains(v->nodes, key))
            g_array_append_vals(ret, key, 1);
    }
    pthread_mutex_unlock(&v->lock);
}

static int ask(struct keeper *k, GHashTable *others)
{
    struct volume *v = k->v;
    struct enc e CLEANUP(enc_finish) = {0};
    enc_u64(&e, ++v->round);
    for (unsigned i = 0; i < k->asked->len; i++)
        enc_u64(&e, g_array_index(k->asked, fs_ino, i));
    struct txn t CLEANUP(txn_finish) = {0};
    k->session = volume_session(v);
    txn_put(&t, KEY(key_question(k->session)), enc_view(&e));
    int rc = volume_run(v, &t);
    if (rc) {
        g_hash_table_destroy(others);
        return rc < 0 ? rc : -EIO;
    }
    k->awaited = others;
    return 0;
}

static void end_question(struct keeper *k)
{
    g_array_set_size(k->asked, 0);
    if (k->awaited)
        g_hash_table_destroy(k->awaited);
    k->awaited = NULL;
}

static int begin_question(struct keeper *k)
{
    GHashTable *others;
    collect(k->v, k->asked);
    if (k->asked->len == 0)
        return 0;
    int rc = other_members(k->v, &others);
    if (rc == 0 && g_hash_table_size(others) == 0) {
        g_hash_table_destroy(others);
        rc = reclaim(k->v, k->asked);
        end_question(k);
        return rc;
    }
    if (rc == 0)
        rc = ask(k, others);
    if (rc)
        end_question(k);
    return rc;
}

/* Takes the answers that are there: those who gave one are not awaited any more, and what they hold
 * is not asked any more. */
static int take_answers(struct keeper *k, GHashTable *held)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key lo, hi;
    range_answers(k->session, &lo, &hi);
    txn_scan(&t, key_view(&lo), key_view(&hi), SCAN_ENTRIES_MAX, false);
    int rc = volume_run(k->v, &t);
    if (rc || t.reply.n_reads != 1)
        return rc < 0 ? rc : -EIO;
    for (uint32_t i = 0; i < t.reply.reads[0].n_pairs; i++) {
        const struct kv_pair *p = &t.reply.reads[0].pairs[i];
        struct dec d = dec_of(p->value);
        uint64_t session;
        if (key_parse_session(p->key, &session) || dec_u64(&d) != k->v->round)
            continue;
        while (d.n >= 8) {
            fs_ino ino = dec_u64(&d);
            g_hash_table_add(held, g_memdup2(&ino, sizeof(ino)));
        }
        g_hash_table_remove(k->awaited, &session);
    }
    return 0;
}

static int clear_question(struct keeper *k)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct key lo, hi;
    range_answers(k->session, &lo, &hi);
    txn_delete(&t, KEY(key_question(k->session)));
    txn_delete_range(&t, key_view(&lo), key_view(&hi), DELETE_STEP);
    int rc = volume_run(k->v, &t);
    return rc > 0 ? -EIO : rc;
}

static gboolean has_ended(void *session, void *value UNUSED, void *live)
{
    return !g_hash_table_contains(live, session);
}

/* All who were asked have answered or ended: what nobody holds goes. */
static int check_answers(struct keeper *k)
{
    GHashTable *held = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL), *live;
    int rc = live_sessions(k->v, &live);
    if (rc == 0) {
        g_hash_table_foreach_remove(k->awaited, has_ended, live);
        g_hash_table_destroy(live);
        rc = take_answers(k, held);
    }
    if (rc == 0 && g_hash_table_size(k->awaited) == 0) {
        unsigned kept = 0;
        for (unsigned i = 0; i < k->asked->len; i++) {
            fs_ino ino = g_array_index(k->asked, fs_ino, i);
            if (!g_hash_table_contains(held, &ino) && !in_use(k->v, ino))
                g_array_index(k->asked, fs_ino, kept++) = ino;
        }
        g_array_set_size(k->asked, kept);
        rc = clear_question(k);
        if (rc == 0)
            rc = reclaim(k->v, k->asked);
        end_question(k);
    }
    g_hash_table_destroy(held);
    return rc;
}

/* --- the keeper ------------------------------------------------------------------------------- */

void orphan_add(struct volume *v, fs_ino ino)
{
    pthread_mutex_lock(&v->lock);
    if (g_hash_table_size(v->orphans) == 0)
        pthread_cond_signal(&v->keeper_wake);
    g_hash_table_add(v->orphans, g_memdup2(&ino, sizeof(ino)));
    struct vnode *vn = g_hash_table_lookup(v->nodes, &ino);
    if (vn)
        vn->unlinked = true;
    pthread_mutex_unlock(&v->lock);
}

static int scan_shard(struct volume *v, unsigned shard)
{
    struct key lo, hi;
    range_orphans(shard, &lo, &hi);
    for (bool more = true; more;) {
        struct txn t CLEANUP(txn_finish) = {0};
        txn_scan(&t, key_view(&lo), key_view(&hi), SCAN_ENTRIES_MAX, true);
        int rc = volume_run(v, &t);
        if (rc || t.reply.n_reads != 1)
            return rc < 0 ? rc : -EIO;
        const struct kv_result *r = &t.reply.reads[0];
        for (uint32_t i = 0; i < r->n_pairs; i++) {
            fs_ino ino;
            if (key_parse_ino(r->pairs[i].key, 'O', &ino))
                return -EIO;
            orphan_add(v, ino);
            lo = key_orphan(ino + 1);
        }
        more = r->more && r->n_pairs > 0;
    }
    return 0;
}

static int scan_all(struct volume *v)
{
    int rc = 0;
    for (unsigned shard = 0; shard < v->shards && rc == 0; shard++)
        rc = scan_shard(v, shard);
    return rc;
}

static void wait_until(struct volume *v, uint64_t due)
{
    struct timespec until = {.tv_sec = (time_t)(due / 1000000000),
                             .tv_nsec = (long)(due % 1000000000)};
    pthread_cond_timedwait(&v->keeper_wake, &v->lock, &until);
}

/* Until it is time for the next step, or something was unlinked or let go; false: stop. */
static bool keeper_sleep(struct volume *v, uint64_t ns)
{
    uint64_t now = clock_mono_ns();
    pthread_mutex_lock(&v->lock);
    if (!v->stopping)
        wait_until(v, now + ns);
    /* More may follow: they are reclaimed together. */
    uint64_t batch = clock_mono_ns() + ASKING_NS;
    while (!v->stopping && g_hash_table_size(v->orphans) && clock_mono_ns() < batch)
        wait_until(v, batch);
    bool go = !v->stopping;
    pthread_mutex_unlock(&v->lock);
    return go;
}

static void keeper_step(struct keeper *k)
{
    struct volume *v = k->v;
    pthread_mutex_lock(&v->lock);
    bool scan = v->scan_orphans;
    v->scan_orphans = false;
    pthread_mutex_unlock(&v->lock);
    /* An error is the cluster's or the session's: the next step tries again. */
    if (scan && scan_all(v)) {
        pthread_mutex_lock(&v->lock);
        v->scan_orphans = true;
        pthread_mutex_unlock(&v->lock);
    }
    (void)!volume_need_session(v);
    (void)!answer_all(k);
    if (k->awaited && k->session != volume_session(v))
        end_question(k); /* asked by a session that ended */
    if (k->awaited)
        (void)!check_answers(k);
    else
        (void)!begin_question(k);
}

void *keeper_main(void *arg)
{
    struct volume *v = arg;
    struct keeper k = {
        .v = v,
        .answered = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free),
        .asked = g_array_new(FALSE, FALSE, sizeof(fs_ino)),
    };
    volume_thread_cancel(&v->keeper_cancel);
    do {
        keeper_step(&k);
    } while (keeper_sleep(v, k.awaited ? ASKING_NS : KEEPER_NS));
    end_question(&k);
    g_array_free(k.asked, TRUE);
    g_hash_table_destroy(k.answered);
    return NULL;
}
