/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/volume_impl.h"

#include <poll.h>
#include <sys/random.h>
#include <unistd.h>
#include "cluster/base/clock.h"

#define BUFFER_INODE_MAX MIB(4)
#define BUFFER_TOTAL_MAX MIB(32)
#define PROBE_MS         10000

/* --- running transactions --------------------------------------------------------------------- */

static __thread struct client_cancel *thread_cancel;
static __thread uint64_t thread_session; /* 0: whichever is open */
static __thread struct rng thread_rng;
static __thread bool thread_rng_seeded;

void volume_thread_cancel(struct client_cancel *x)
{
    thread_cancel = x;
}

struct client_cancel *volume_cancel(void)
{
    return thread_cancel;
}

struct client *volume_client(struct volume *v)
{
    return v->client;
}

uint64_t volume_session(struct volume *v)
{
    pthread_mutex_lock(&v->lock);
    uint64_t s = v->session;
    pthread_mutex_unlock(&v->lock);
    return s;
}

/* What belonged to the session is dropped, once; then a new one serves later operations. */
static void session_lost(struct volume *v, uint64_t session)
{
    pthread_mutex_lock(&v->session_lock);
    if (volume_session(v) == session) {
        vnode_lose_all(v);
        /* Failing that, the next operation finds its session lost and comes here again. */
        if (client_new_session(v->client) == 0) {
            pthread_mutex_lock(&v->lock);
            v->session = client_session(v->client);
            v->registered = false;
            pthread_mutex_unlock(&v->lock);
        }
    }
    pthread_mutex_unlock(&v->session_lock);
}

bool volume_session_ended(struct volume *v)
{
    uint64_t session = volume_session(v);
    if (client_session(v->client) == session)
        return false;
    session_lost(v, session);
    return true;
}

int volume_need_session(struct volume *v)
{
    (void)volume_session_ended(v);
    pthread_mutex_lock(&v->lock);
    bool registered = v->registered;
    uint64_t session = v->session;
    pthread_mutex_unlock(&v->lock);
    int rc = registered ? 0 : member_register(v);
    if (rc == 0 && !registered) {
        pthread_mutex_lock(&v->lock);
        v->registered = v->session == session;
        pthread_mutex_unlock(&v->lock);
    }
    return rc;
}

int volume_outcome(struct volume *v, int rc, uint64_t session)
{
    if (rc == 0)
        return 0;
    if (rc == -ERR_FAILED)
        return 1;
    if (rc == -ERR_NO_SESSION)
        session_lost(v, session);
    return -err_errno(rc);
}

void volume_thread_session(uint64_t session)
{
    thread_session = session;
}

int volume_start(struct volume *v, struct txn *t, uint64_t session)
{
    t->session = thread_session;
    return volume_outcome(v, txn_start(v->client, t), session);
}

int volume_run(struct volume *v, struct txn *t)
{
    uint64_t session = volume_session(v);
    t->session = thread_session;
    return volume_outcome(v, txn_run(v->client, t, 0, thread_cancel), session);
}

int volume_backoff(unsigned n)
{
    if (!thread_rng_seeded) {
        rng_seed_os(&thread_rng);
        thread_rng_seeded = true;
    }
    /* The first retry goes at once: most races are lost only once. */
    uint64_t most_us = n == 0 ? 0 : MIN(UINT64_C(200) << MIN(n, 8), 50000);
    uint64_t us = most_us ? rng_below(&thread_rng, most_us) : 0;
    struct timespec wait = {.tv_nsec = (long)(us * 1000)};
    struct pollfd cancel = {.fd = thread_cancel ? thread_cancel->fd : -1, .events = POLLIN};
    return ppoll(&cancel, 1, &wait, NULL) > 0 ? -EINTR : 0;
}

/* --- inode numbers ---------------------------------------------------------------------------- */

static int take_mount_number(struct volume *v, uint64_t *ret)
{
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes key = KEY(key_mounts());
    txn_exists(&t, key);
    txn_get(&t, key);
    txn_add64(&t, key, 0, 1);
    int rc = volume_run(v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (t.reply.n_reads != 1 || t.reply.reads[0].value.n != 8)
        return -EIO;
    uint64_t mount = get_le64(t.reply.reads[0].value.p);
    if (mount >= INO_MOUNTS)
        return -ENOSPC;
    *ret = mount;
    return 0;
}

int volume_new_ino(struct volume *v, unsigned shard, fs_ino *ret)
{
    for (;;) {
        pthread_mutex_lock(&v->lock);
        uint64_t mount = v->mount, counter = v->counter;
        if (counter < INO_COUNTERS)
            v->counter++;
        pthread_mutex_unlock(&v->lock);
        if (counter < INO_COUNTERS) {
            if (shard == NO_SHARD)
                shard = schema_dir_shard(mount, counter, v->shards);
            *ret = ino_make(shard, mount, counter);
            return 0;
        }
        uint64_t fresh;
        int rc = take_mount_number(v, &fresh);
        if (rc)
            return rc;
        pthread_mutex_lock(&v->lock);
        if (v->mount == mount) {
            v->mount = fresh;
            v->counter = 1;
        }
        pthread_mutex_unlock(&v->lock);
    }
}

int volume_check_name(const char *name)
{
    size_t n = strlen(name);
    if (n > FS_NAME_MAX)
        return -ENAMETOOLONG;
    if (n == 0)
        return -ENOENT;
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    return 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int make_volume(struct volume *v, struct errmsg *msg)
{
    struct superblock s = {
        .format = FS_FORMAT, .shards = (uint16_t)v->shards, .created_ns = clock_wall_ns()};
    if (getrandom(&s.name_key, sizeof(s.name_key), 0) != sizeof(s.name_key))
        return errmsg_set(msg, -EIO, "getrandom gave no key for the new volume");
    uint8_t super[SUPERBLOCK_SIZE], root[INODE_SIZE], one[8], zero[8] = {0};
    superblock_encode(&s, super);
    put_le64(one, 1);
    struct inode n = {.ino = FS_ROOT,
                      .mode = S_IFDIR | 0755,
                      .uid = geteuid(),
                      .gid = getegid(),
                      .nlink = 2,
                      .parent = FS_ROOT};
    inode_encode(&n, root);
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes key = KEY(key_inode(FS_ROOT));
    txn_absent(&t, KEY(key_super()));
    txn_put(&t, KEY(key_super()), bytes_of(super, sizeof(super)));
    txn_put(&t, KEY(key_mounts()), bytes_of(one, 8));
    txn_put(&t, KEY(key_renames()), bytes_of(zero, 8));
    txn_put(&t, key, bytes_of(root, sizeof(root)));
    txn_time64(&t, key, INODE_ATIME);
    txn_touch(&t, key);
    txn_time64(&t, key, INODE_BTIME);
    int rc = volume_run(v, &t);
    return rc < 0 ? errmsg_set(msg, rc, "make the volume: %s", g_strerror(-rc)) : 0;
}

/* -ENOENT: the store has none yet. */
static int read_superblock(struct volume *v, struct errmsg *msg)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_get(&t, KEY(key_super()));
    int rc = volume_run(v, &t);
    if (rc)
        return errmsg_set(msg, rc < 0 ? rc : -EIO, "read the superblock: %s", g_strerror(-rc));
    if (t.reply.n_reads != 1)
        return errmsg_set(msg, -EIO, "read the superblock: malformed reply");
    if (t.reply.reads[0].version == 0)
        return -ENOENT;
    struct superblock s;
    rc = superblock_decode(t.reply.reads[0].value, &s, msg);
    if (rc)
        return -err_errno(rc);
    if (v->shards && s.shards != v->shards)
        return errmsg_set(msg, -EIO, "the volume was made for %u shards, the cluster has %u",
                          s.shards, v->shards);
    v->shards = s.shards;
    v->name_key = s.name_key;
    return 0;
}

static int start_threads(struct volume *v)
{
    if (pthread_create(&v->flusher, NULL, flusher_main, v))
        return -EAGAIN;
    v->has_flusher = true;
    if (pthread_create(&v->keeper, NULL, keeper_main, v))
        return -EAGAIN;
    v->has_keeper = true;
    return 0;
}

static int start(struct volume *v, struct errmsg *msg)
{
    int rc = 0;
    v->shards = client_shards(v->client);
    if (v->shards == 0) {
        rc = client_probe(v->client, PROBE_MS, msg);
        if (rc)
            return -err_errno(rc);
        v->shards = client_shards(v->client);
    }
    rc = read_superblock(v, msg);
    if (rc == -ENOENT && v->shards == 0)
        return errmsg_set(msg, -EIO, "the cluster does not say how many shards it has");
    if (rc == -ENOENT) {
        rc = make_volume(v, msg);
        if (rc == 0)
            rc = read_superblock(v, msg);
    }
    if (rc)
        return rc;
    rc = take_mount_number(v, &v->mount);
    if (rc)
        return errmsg_set(msg, rc, "take a mount number: %s", g_strerror(-rc));
    v->session = client_session(v->client);
    rc = volume_need_session(v);
    if (rc)
        return errmsg_set(msg, rc, "register the mount: %s", g_strerror(-rc));
    rc = start_threads(v);
    return rc ? errmsg_set(msg, rc, "start threads: %s", g_strerror(-rc)) : 0;
}

static void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
}

static void stop_threads(struct volume *v)
{
    pthread_mutex_lock(&v->lock);
    v->stopping = true;
    pthread_cond_broadcast(&v->flusher_wake);
    pthread_cond_broadcast(&v->keeper_wake);
    pthread_mutex_unlock(&v->lock);
    client_cancel_fire(&v->keeper_cancel);
    if (v->has_flusher)
        pthread_join(v->flusher, NULL);
    if (v->has_keeper)
        pthread_join(v->keeper, NULL);
    struct vnode *vn;
    while ((vn = g_queue_pop_head(&v->dirty))) {
        vn->queued = false;
        (void)!vnode_flush(vn);
        vnode_put(vn);
    }
    vnode_lose_all(v); /* locks still held end with the session */
}

static void destroy(struct volume *v)
{
    ASSERT(g_hash_table_size(v->nodes) == 0); /* the caller closed its files */
    g_hash_table_destroy(v->nodes);
    g_hash_table_destroy(v->orphans);
    client_cancel_finish(&v->keeper_cancel);
    hints_finish(&v->hints);
    pthread_cond_destroy(&v->flusher_wake);
    pthread_cond_destroy(&v->keeper_wake);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&v->session_lock);
    g_free(v);
}

int volume_open(const struct volume_options *o, struct volume **ret, struct errmsg *msg)
{
    struct client_cancel keeper_cancel;
    int rc = client_cancel_init(&keeper_cancel);
    if (rc)
        return errmsg_set(msg, -err_errno(rc), "eventfd: %s", err_text(rc));
    struct volume *v = g_new0(struct volume, 1);
    v->client = o->client;
    v->keeper_cancel = keeper_cancel;
    v->buffer_inode_max = o->buffer_inode_max ? o->buffer_inode_max : BUFFER_INODE_MAX;
    v->buffer_total_max = o->buffer_total_max ? o->buffer_total_max : BUFFER_TOTAL_MAX;
    v->nodes = g_hash_table_new(g_int64_hash, g_int64_equal);
    v->orphans = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    v->counter = 1;
    v->scan_orphans = true;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->session_lock, NULL);
    cond_init(&v->flusher_wake);
    cond_init(&v->keeper_wake);
    hints_init(&v->hints);
    rc = start(v, msg);
    if (rc) {
        stop_threads(v);
        destroy(v);
        return rc;
    }
    *ret = v;
    return 0;
}

void volume_close(struct volume *v)
{
    if (!v)
        return;
    stop_threads(v);
    (void)!member_leave(v); /* or others find out when the session ends */
    destroy(v);
}
