/* SPDX-License-Identifier: Apache-2.0 */
/* Locks and extended attributes over two mounts, and who may do what. */
#include <sys/xattr.h>
#include <unistd.h>
#include "tests/unit/fs/volume_t.h"

struct world {
    struct fake_cluster *k;
    struct mount a, b;
    fs_ino ino;
};

static struct world begin(void)
{
    struct world w = {.k = fake_cluster_create()};
    w.a = mount_on(w.k);
    w.b = mount_on(w.k);
    w.ino = make_file(w.a.v, FS_ROOT, "f");
    return w;
}

static void end(struct world *w)
{
    mount_end(&w->a);
    mount_end(&w->b);
    fake_cluster_destroy(w->k);
}

static struct volume_lock whole(int type, uint64_t owner)
{
    return (struct volume_lock){.owner = owner, .end = UINT64_MAX, .type = type, .pid = 42};
}

TEST(a_lock_excludes_the_other_mount)
{
    struct world w = begin();
    struct volume_lock l = whole(F_WRLCK, 1), un = whole(F_UNLCK, 1), seen = whole(F_RDLCK, 9);
    T_OK(volume_setlk(w.a.v, w.ino, &l, false));
    T_ERRNO(EAGAIN, volume_setlk(w.b.v, w.ino, &l, false));
    T_OK(volume_getlk(w.b.v, w.ino, &seen));
    assert_int_equal(seen.type, F_WRLCK);
    T_OK(volume_setlk(w.a.v, w.ino, &un, false));
    T_OK(volume_setlk(w.b.v, w.ino, &l, false));
    T_OK(volume_setlk(w.b.v, w.ino, &un, false));
    assert_int_equal(fake_count_keys(w.k, 'L'), 0);
    end(&w);
}

TEST(flock_and_fcntl_do_not_meet)
{
    struct world w = begin();
    struct volume_lock l = whole(F_WRLCK, 1), fl = whole(F_WRLCK, 2);
    fl.flock = true;
    T_OK(volume_setlk(w.a.v, w.ino, &l, false));
    T_OK(volume_setlk(w.b.v, w.ino, &fl, false));
    fl.owner = 3;
    T_ERRNO(EAGAIN, volume_setlk(w.a.v, w.ino, &fl, false));
    end(&w);
}

TEST(an_unlock_without_a_lock_asks_nothing)
{
    struct world w = begin();
    struct volume_lock un = whole(F_UNLCK, 1);
    unsigned reads = fake_reads(w.a.client), writes = fake_writes(w.a.client);
    T_OK(volume_setlk(w.a.v, w.ino, &un, false));
    assert_int_equal(fake_reads(w.a.client), reads);
    assert_int_equal(fake_writes(w.a.client), writes);
    end(&w);
}

TEST(an_unlock_flushes_first)
{
    struct world w = begin();
    struct volume_lock l = whole(F_WRLCK, 1), un = whole(F_UNLCK, 1);
    struct volume_file *f = open_file(w.a.v, w.ino, O_RDWR);
    struct volume_file *g = open_file(w.b.v, w.ino, O_RDWR);
    T_OK(volume_setlk(w.a.v, w.ino, &l, false));
    put(f, "one", 0);
    T_OK(volume_setlk(w.a.v, w.ino, &un, false));
    T_OK(volume_setlk(w.b.v, w.ino, &l, false));
    char text[8] = {0};
    assert_int_equal(volume_read(g, text, 8, 0), 3);
    volume_file_close(f);
    volume_file_close(g);
    end(&w);
}

TEST(the_locks_of_an_ended_mount_are_broken)
{
    struct world w = begin();
    struct volume_lock l = whole(F_WRLCK, 1);
    T_OK(volume_setlk(w.a.v, w.ino, &l, false));
    fake_expire(w.a.client);
    T_OK(volume_setlk(w.b.v, w.ino, &l, false));
    end(&w);
}

struct waiter {
    struct volume *v;
    fs_ino ino;
    struct client_cancel cancel;
    bool waiting, done;
    int rc;
};

static void *wait_for_lock(void *arg)
{
    struct waiter *t = arg;
    struct volume_lock l = whole(F_WRLCK, 7);
    volume_thread_cancel(&t->cancel);
    __atomic_store_n(&t->waiting, true, __ATOMIC_SEQ_CST);
    t->rc = volume_setlk(t->v, t->ino, &l, true);
    __atomic_store_n(&t->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

TEST(a_waiter_gets_the_lock_when_it_is_free)
{
    struct world w = begin();
    struct volume_lock l = whole(F_WRLCK, 1), un = whole(F_UNLCK, 1);
    struct waiter t = {.v = w.b.v, .ino = w.ino};
    T_OK(client_cancel_init(&t.cancel));
    T_OK(volume_setlk(w.a.v, w.ino, &l, false));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &t), 0);
    T_EVENTUALLY(__atomic_load_n(&t.waiting, __ATOMIC_SEQ_CST));
    T_OK(volume_setlk(w.a.v, w.ino, &un, false));
    pthread_join(thread, NULL);
    T_OK(t.rc);
    T_ERRNO(EAGAIN, volume_setlk(w.a.v, w.ino, &l, false));
    client_cancel_finish(&t.cancel);
    end(&w);
}

TEST(a_waiter_is_interrupted)
{
    struct world w = begin();
    struct volume_lock l = whole(F_WRLCK, 1);
    struct waiter t = {.v = w.b.v, .ino = w.ino};
    T_OK(client_cancel_init(&t.cancel));
    T_OK(volume_setlk(w.a.v, w.ino, &l, false));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &t), 0);
    T_EVENTUALLY(__atomic_load_n(&t.waiting, __ATOMIC_SEQ_CST));
    assert_false(__atomic_load_n(&t.done, __ATOMIC_SEQ_CST));
    client_cancel_fire(&t.cancel);
    pthread_join(thread, NULL);
    T_ERRNO(EINTR, t.rc);
    client_cancel_finish(&t.cancel);
    end(&w);
}

/* --- attributes ------------------------------------------------------------------------------- */

TEST(attributes_are_made_replaced_listed_and_removed)
{
    struct world w = begin();
    char value[64] = {0}, list[64];
    T_ERRNO(ENODATA, volume_setxattr(w.a.v, w.ino, "user.a", "1", 1, XATTR_REPLACE, &root));
    T_OK(volume_setxattr(w.a.v, w.ino, "user.a", "1", 1, XATTR_CREATE, &root));
    T_ERRNO(EEXIST, volume_setxattr(w.b.v, w.ino, "user.a", "2", 1, XATTR_CREATE, &root));
    T_OK(volume_setxattr(w.b.v, w.ino, "user.a", "three", 5, XATTR_REPLACE, &root));
    T_OK(volume_setxattr(w.b.v, w.ino, "trusted.b", "", 0, 0, &root));
    assert_int_equal(volume_getxattr(w.a.v, w.ino, "user.a", NULL, 0), 5);
    assert_int_equal(volume_getxattr(w.a.v, w.ino, "user.a", value, 4), -ERANGE);
    assert_int_equal(volume_getxattr(w.a.v, w.ino, "user.a", value, 64), 5);
    assert_string_equal(value, "three");
    assert_int_equal(volume_getxattr(w.a.v, w.ino, "trusted.b", value, 64), 0);
    assert_int_equal(volume_listxattr(w.a.v, w.ino, NULL, 0), 17);
    assert_int_equal(volume_listxattr(w.a.v, w.ino, list, 16), -ERANGE);
    assert_int_equal(volume_listxattr(w.a.v, w.ino, list, 64), 17);
    assert_memory_equal(list, "trusted.b\0user.a\0", 17);
    T_OK(volume_removexattr(w.a.v, w.ino, "user.a", &root));
    T_ERRNO(ENODATA, volume_removexattr(w.a.v, w.ino, "user.a", &root));
    assert_int_equal(volume_getxattr(w.b.v, w.ino, "user.a", NULL, 0), -ENODATA);
    end(&w);
}

TEST(attribute_names_and_sizes_have_limits)
{
    struct world w = begin();
    char *big = g_malloc0(KIB(64) + 1);
    assert_int_equal(volume_getxattr(w.a.v, w.ino, "security.capability", big, 64), -ENODATA);
    assert_int_equal(volume_getxattr(w.a.v, w.ino, "system.posix_acl_access", big, 64),
                     -EOPNOTSUPP);
    T_ERRNO(EOPNOTSUPP, volume_setxattr(w.a.v, w.ino, "other.x", "1", 1, 0, &root));
    T_ERRNO(EOPNOTSUPP, volume_setxattr(w.a.v, w.ino, "user.", "1", 1, 0, &root));
    T_OK(volume_setxattr(w.a.v, w.ino, "user.big", big, KIB(64), 0, &root));
    assert_int_equal(volume_getxattr(w.b.v, w.ino, "user.big", big, KIB(64)), KIB(64));
    T_ERRNO(E2BIG, volume_setxattr(w.a.v, w.ino, "user.big", big, KIB(64) + 1, 0, &root));
    g_free(big);
    end(&w);
}

TEST(access_follows_owner_group_and_others)
{
    struct volume_attr a = {.mode = S_IFREG | 0640, .uid = 1000, .gid = 50};
    uint32_t groups[] = {7, 50};
    struct volume_caller member = {.uid = 5, .gid = 5, .groups = groups, .n_groups = 2};
    assert_true(volume_access(&a, &user, R_OK | W_OK));
    assert_false(volume_access(&a, &user, X_OK));
    assert_true(volume_access(&a, &member, R_OK));
    assert_false(volume_access(&a, &member, W_OK));
    assert_false(volume_access(&a, &other, R_OK));
    assert_true(volume_access(&a, &root, R_OK | W_OK));
    assert_false(volume_access(&a, &root, X_OK));
    a.mode = S_IFREG | 0077; /* the owner's own bits count, though others may more */
    assert_false(volume_access(&a, &user, R_OK));
    a.mode = S_IFDIR;
    assert_true(volume_access(&a, &root, X_OK));
}

T_MAIN(T(a_lock_excludes_the_other_mount), T(flock_and_fcntl_do_not_meet),
       T(an_unlock_without_a_lock_asks_nothing), T(an_unlock_flushes_first),
       T(the_locks_of_an_ended_mount_are_broken), T(a_waiter_gets_the_lock_when_it_is_free),
       T(a_waiter_is_interrupted), T(attributes_are_made_replaced_listed_and_removed),
       T(attribute_names_and_sizes_have_limits), T(access_follows_owner_group_and_others))
