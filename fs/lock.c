/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flock and fcntl locks over all mounts: one key per inode with the list of locks, changed by
 * compare-and-set of its version. Whoever waits, waits for the key to change. A lock belongs to a
 * session; one whose session has ended does not count and is removed by whoever meets it.
 */
#include "fs/range.h"
#include "fs/volume_impl.h"

#define WAIT_MS   5000 /* then ended sessions are looked for again */
#define LOCKS_MAX 8192

/* An owner that took a lock through this volume: who never did needs no request to unlock. It keeps
 * the vnode in use. */
struct locker {
    uint64_t owner;
    bool flock;
};

static unsigned find_locker(struct vnode *vn, const struct range *r)
{
    unsigned i = 0;
    for (; vn->lockers && i < vn->lockers->len; i++) {
        const struct locker *l = &g_array_index(vn->lockers, struct locker, i);
        if (l->owner == r->owner && l->flock == r->flock)
            break;
    }
    return i;
}

static bool has_locker(struct vnode *vn, const struct range *r)
{
    pthread_mutex_lock(&vn->lock);
    bool has = vn->lockers && find_locker(vn, r) < vn->lockers->len;
    pthread_mutex_unlock(&vn->lock);
    return has;
}

/* Each entry of lockers holds a reference on the vnode. */
static void add_locker(struct vnode *vn, const struct range *r)
{
    pthread_mutex_lock(&vn->lock);
    if (!vn->lockers)
        vn->lockers = g_array_new(FALSE, FALSE, sizeof(struct locker));
    bool fresh = find_locker(vn, r) == vn->lockers->len && !vn->lost;
    if (fresh) {
        struct locker l = {r->owner, r->flock};
        g_array_append_val(vn->lockers, l);
        pthread_mutex_lock(&vn->v->lock);
        vn->refs++;
        pthread_mutex_unlock(&vn->v->lock);
    }
    pthread_mutex_unlock(&vn->lock);
}

static void remove_locker(struct vnode *vn, const struct range *r)
{
    pthread_mutex_lock(&vn->lock);
    unsigned i = find_locker(vn, r);
    bool had = vn->lockers && i < vn->lockers->len;
    if (had)
        g_array_remove_index_fast(vn->lockers, i);
    pthread_mutex_unlock(&vn->lock);
    if (had)
        vnode_put(vn);
}

void vnode_free_locks(struct vnode *vn)
{
    if (vn->lockers)
        g_array_free(vn->lockers, TRUE);
    vn->lockers = NULL;
}

unsigned vnode_forget_lockers(struct vnode *vn)
{
    unsigned n = vn->lockers ? vn->lockers->len : 0;
    if (n)
        g_array_set_size(vn->lockers, 0);
    return n;
}

/* --- the key ---------------------------------------------------------------------------------- */

struct locks {
    GArray *list; /* struct range */
    uint64_t version;
};

static int take_list(const struct txn *t, struct locks *ret)
{
    if (t->reply.n_reads < 1)
        return -EIO;
    ret->version = t->reply.reads[0].version;
    return ranges_decode(t->reply.reads[0].value, ret->list);
}

static int read_locks(struct volume *v, fs_ino ino, struct locks *ret)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_get(&t, KEY(key_lock(ino)));
    int rc = volume_run(v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    return take_list(&t, ret);
}

/* 0; 1: changed meanwhile. */
static int write_locks(struct volume *v, fs_ino ino, const struct locks *l)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct enc e CLEANUP(enc_finish) = {0};
    struct bytes key = KEY(key_lock(ino));
    txn_version(&t, key, l->version);
    unsigned exists = l->list->len ? txn_exists(&t, KEY(key_inode(ino))) : UINT_MAX;
    ranges_encode(l->list, &e);
    if (l->list->len)
        txn_put(&t, key, enc_view(&e));
    else
        txn_delete(&t, key);
    int rc = volume_run(v, &t);
    return rc > 0 && t.reply.failed == exists ? -ESTALE : rc;
}

/* Drops locks of sessions that have ended; true if there were any. */
static int drop_dead(struct volume *v, GArray *list, bool *ret)
{
    GHashTable *live;
    int rc = live_sessions(v, &live);
    if (rc)
        return rc;
    unsigned kept = 0;
    for (unsigned i = 0; i < list->len; i++) {
        struct range r = g_array_index(list, struct range, i);
        if (g_hash_table_contains(live, &r.session))
            g_array_index(list, struct range, kept++) = r;
    }
    *ret = kept < list->len;
    g_array_set_size(list, kept);
    g_hash_table_destroy(live);
    return 0;
}

/* The lock that stands against `want` once those of ended sessions are gone from l; NULL: none. */
static int find_conflict(struct volume *v, struct locks *l, const struct range *want,
                         const struct range **ret)
{
    *ret = ranges_conflict(l->list, want);
    if (!*ret || (*ret)->session == want->session)
        return 0;
    bool dropped;
    int rc = drop_dead(v, l->list, &dropped);
    if (rc == 0 && dropped)
        *ret = ranges_conflict(l->list, want);
    return rc;
}

/* --- operations ------------------------------------------------------------------------------- */

static struct range range_of(struct volume *v, const struct volume_lock *lock)
{
    return (struct range){
        .session = volume_session(v),
        .owner = lock->owner,
        .start = lock->flock ? 0 : lock->start,
        .end = lock->flock ? UINT64_MAX : lock->end,
        .pid = lock->pid,
        .write = lock->type == F_WRLCK,
        .flock = lock->flock,
    };
}

static bool valid(const struct volume_lock *l)
{
    return l->start <= l->end && (l->type == F_RDLCK || l->type == F_WRLCK || l->type == F_UNLCK);
}

int volume_getlk(struct volume *v, fs_ino ino, struct volume_lock *lock)
{
    if (!valid(lock) || lock->type == F_UNLCK)
        return -EINVAL;
    struct range want = range_of(v, lock);
    struct locks l = {.list = g_array_new(FALSE, FALSE, sizeof(struct range))};
    const struct range *found = NULL;
    int rc = read_locks(v, ino, &l);
    if (rc == 0)
        rc = find_conflict(v, &l, &want, &found);
    if (rc == 0 && !found)
        lock->type = F_UNLCK;
    if (rc == 0 && found) {
        lock->type = found->write ? F_WRLCK : F_RDLCK;
        lock->start = found->start;
        lock->end = found->end;
        lock->pid = found->session == want.session ? found->pid : 0;
    }
    g_array_free(l.list, TRUE);
    return rc;
}

/* Until the key changes or it is time to look for ended sessions. */
static int wait_change(struct volume *v, fs_ino ino, uint64_t version)
{
    struct txn t CLEANUP(txn_finish) = {0};
    uint64_t session = volume_session(v);
    int rc = client_wait_key(v->client, &t, KEY(key_lock(ino)), version, WAIT_MS, volume_cancel());
    if (rc == -ERR_TIMEOUT)
        return 0;
    rc = volume_outcome(v, rc, session);
    return rc > 0 ? -EIO : rc;
}

/* 0; 1: look again; -EAGAIN: it conflicts. */
static int set_once(struct volume *v, fs_ino ino, const struct range *want, bool unlock,
                    struct locks *l)
{
    int rc = read_locks(v, ino, l);
    if (rc || (unlock && l->version == 0))
        return rc;
    const struct range *found = NULL;
    if (!unlock)
        rc = find_conflict(v, l, want, &found);
    if (rc == 0 && found)
        return -EAGAIN;
    if (rc)
        return rc;
    ranges_set(l->list, want, unlock);
    if (l->list->len > LOCKS_MAX)
        return -ENOLCK;
    return write_locks(v, ino, l);
}

static int set_lock(struct volume *v, fs_ino ino, const struct range *want, bool unlock, bool wait)
{
    struct locks l = {.list = g_array_new(FALSE, FALSE, sizeof(struct range))};
    int rc;
    for (unsigned tries = 0;;) {
        rc = set_once(v, ino, want, unlock, &l);
        if (rc == -EAGAIN && wait) {
            rc = wait_change(v, ino, l.version);
            tries = 0;
        } else if (rc > 0) {
            rc = volume_backoff(tries++);
        } else {
            break;
        }
        if (rc)
            break;
    }
    g_array_free(l.list, TRUE);
    return rc;
}

int volume_setlk(struct volume *v, fs_ino ino, const struct volume_lock *lock, bool wait)
{
    if (!valid(lock))
        return -EINVAL;
    bool unlock = lock->type == F_UNLCK;
    struct range want = range_of(v, lock);
    struct vnode *vn CLEANUP(vnode_put) = vnode_get(v, ino);
    if (unlock && !has_locker(vn, &want))
        return 0;
    /* What was written under the lock is there before the next holder reads. */
    int rc = unlock ? vnode_flush(vn) : 0;
    if (rc)
        return rc;
    /* An interrupted request may still be carried out, so count as holder before asking. */
    bool held = has_locker(vn, &want);
    if (!unlock && !held)
        add_locker(vn, &want);
    rc = set_lock(v, ino, &want, unlock, wait);
    bool whole = want.start == 0 && want.end == UINT64_MAX;
    if ((unlock && whole && rc == 0) || (!unlock && !held && rc && rc != -EINTR))
        remove_locker(vn, &want);
    /* The next reader here sees what earlier holders wrote. */
    struct inode n;
    if (rc == 0 && !unlock)
        rc = vnode_refresh(vn, &n);
    return rc;
}
