/* SPDX-License-Identifier: Apache-2.0 */
/* Names: create, lookup, link, unlink, directories, readdir. */
#include <stdio.h>
#include "tests/unit/fs/volume_t.h"

struct world {
    struct fake_cluster *k;
    struct mount a, b;
};

static struct world begin(void)
{
    struct world w = {.k = fake_cluster_create()};
    w.a = mount_on(w.k);
    w.b = mount_on(w.k);
    return w;
}

static void end(struct world *w)
{
    mount_end(&w->a);
    mount_end(&w->b);
    fake_cluster_destroy(w->k);
}

TEST(a_new_volume_has_an_empty_root)
{
    struct world w = begin();
    struct volume_attr r = attr_of(w.a.v, FS_ROOT);
    assert_true(S_ISDIR(r.mode));
    assert_int_equal(r.nlink, 2);
    assert_int_equal(r.entries, 0);
    assert_string_equal(names_in(w.b.v, FS_ROOT), "");
    end(&w);
}

TEST(a_file_made_here_is_found_there)
{
    struct world w = begin();
    fs_ino f = make_file(w.a.v, FS_ROOT, "f");
    assert_int_equal(find(w.b.v, FS_ROOT, "f"), f);
    struct volume_attr a = attr_of(w.b.v, f);
    assert_int_equal(a.mode, S_IFREG | 0644);
    assert_int_equal(a.nlink, 1);
    assert_int_equal(a.mtime_ns, a.ctime_ns);
    end(&w);
}

TEST(a_create_costs_one_request_once_its_directory_is_known)
{
    struct world w = begin();
    make_file(w.a.v, FS_ROOT, "first");
    unsigned reads = fake_reads(w.a.client), writes = fake_writes(w.a.client);
    make_file(w.a.v, FS_ROOT, "second");
    assert_int_equal(fake_reads(w.a.client), reads);
    assert_int_equal(fake_writes(w.a.client), writes + 1);
    end(&w);
}

TEST(a_name_is_made_once)
{
    struct world w = begin();
    struct volume_attr a;
    make_file(w.a.v, FS_ROOT, "f");
    T_ERRNO(EEXIST, volume_mknod(w.b.v, FS_ROOT, "f", &root, S_IFREG | 0644, 0, NULL, &a));
    T_ERRNO(EEXIST, volume_mkdir(w.b.v, FS_ROOT, "f", &root, 0755, &a));
    end(&w);
}

TEST(names_have_limits)
{
    struct world w = begin();
    struct volume_attr a;
    char name[258] = {0};
    memset(name, 'x', 255);
    make_file(w.a.v, FS_ROOT, name);
    assert_int_not_equal(find(w.b.v, FS_ROOT, name), 0);
    name[255] = 'x';
    T_ERRNO(ENAMETOOLONG, volume_mknod(w.a.v, FS_ROOT, name, &root, S_IFREG | 0644, 0, NULL, &a));
    T_ERRNO(ENAMETOOLONG, volume_lookup(w.a.v, FS_ROOT, name, &a));
    T_ERRNO(EINVAL, volume_mkdir(w.a.v, FS_ROOT, "..", &root, 0755, &a));
    end(&w);
}

TEST(directories_count_their_subdirectories_and_entries)
{
    struct world w = begin();
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d");
    make_dir(w.a.v, d, "sub");
    make_file(w.b.v, d, "f");
    struct volume_attr a = attr_of(w.b.v, d);
    assert_int_equal(a.nlink, 3);
    assert_int_equal(a.entries, 2);
    assert_int_equal(a.parent, FS_ROOT);
    T_OK(volume_rmdir(w.b.v, d, "sub", &root));
    assert_int_equal(attr_of(w.a.v, d).nlink, 2);
    assert_int_equal(attr_of(w.a.v, d).entries, 1);
    end(&w);
}

TEST(a_directory_with_entries_is_not_removed)
{
    struct world w = begin();
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d");
    make_file(w.b.v, d, "f");
    T_ERRNO(ENOTEMPTY, volume_rmdir(w.a.v, FS_ROOT, "d", &root));
    T_OK(volume_unlink(w.a.v, d, "f", &root));
    T_OK(volume_rmdir(w.b.v, FS_ROOT, "d", &root));
    assert_int_equal(find(w.a.v, FS_ROOT, "d"), 0);
    end(&w);
}

TEST(nothing_is_made_in_a_removed_directory)
{
    struct world w = begin();
    struct volume_attr a;
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d");
    make_file(w.a.v, d, "f");
    T_OK(volume_unlink(w.b.v, d, "f", &root));
    T_OK(volume_rmdir(w.b.v, FS_ROOT, "d", &root));
    T_ERRNO(ENOENT, volume_mknod(w.a.v, d, "g", &root, S_IFREG | 0644, 0, NULL, &a));
    end(&w);
}

struct race {
    struct volume *v;
    fs_ino dir;
};

static void make_in_between(void *arg)
{
    struct race *r = arg;
    make_file(r->v, r->dir, "late");
}

TEST(rmdir_and_create_are_decided_by_one_transaction)
{
    struct world w = begin();
    struct race r = {w.b.v, make_dir(w.a.v, FS_ROOT, "d")};
    fake_before_write(w.a.client, 1, make_in_between, &r);
    T_ERRNO(ENOTEMPTY, volume_rmdir(w.a.v, FS_ROOT, "d", &root));
    assert_string_equal(names_in(w.a.v, r.dir), "late");
    end(&w);
}

TEST(unlink_and_rmdir_know_what_they_remove)
{
    struct world w = begin();
    make_file(w.a.v, FS_ROOT, "f");
    make_dir(w.a.v, FS_ROOT, "d");
    T_ERRNO(EISDIR, volume_unlink(w.a.v, FS_ROOT, "d", &root));
    T_ERRNO(ENOTDIR, volume_rmdir(w.a.v, FS_ROOT, "f", &root));
    T_ERRNO(ENOENT, volume_unlink(w.a.v, FS_ROOT, "none", &root));
    end(&w);
}

TEST(a_second_link_keeps_the_file)
{
    struct world w = begin();
    struct volume_attr a;
    fs_ino f = make_file(w.a.v, FS_ROOT, "f");
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d");
    T_OK(volume_link(w.b.v, f, d, "g", &root, &a));
    assert_int_equal(a.nlink, 2);
    T_OK(volume_unlink(w.a.v, FS_ROOT, "f", &root));
    assert_int_equal(attr_of(w.a.v, f).nlink, 1);
    assert_int_equal(find(w.b.v, d, "g"), f);
    T_ERRNO(EPERM, volume_link(w.a.v, d, FS_ROOT, "h", &root, &a));
    T_ERRNO(EEXIST, volume_link(w.a.v, f, d, "g", &root, &a));
    end(&w);
}

TEST(the_sticky_bit_protects_the_files_of_others)
{
    struct world w = begin();
    struct volume_attr a = {.mode = 01777}, got;
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d");
    T_OK(volume_setattr(w.a.v, d, &root, VOLUME_MODE, &a, &got));
    T_OK(volume_mknod(w.a.v, d, "mine", &user, S_IFREG | 0644, 0, NULL, &got));
    T_ERRNO(EPERM, volume_unlink(w.b.v, d, "mine", &other));
    T_ERRNO(EPERM, volume_rename(w.b.v, d, "mine", FS_ROOT, "x", 0, &other));
    T_OK(volume_unlink(w.b.v, d, "mine", &user));
    end(&w);
}

TEST(a_setgid_directory_gives_its_group)
{
    struct world w = begin();
    struct volume_attr a = {.mode = 02775, .gid = 77}, got;
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d");
    T_OK(volume_setattr(w.b.v, d, &root, VOLUME_GID | VOLUME_MODE, &a, &got));
    T_OK(volume_mknod(w.a.v, d, "f", &user, S_IFREG | 02755, 0, NULL, &got));
    assert_int_equal(got.gid, 77);
    assert_int_equal(got.mode & 07777, 0755); /* not a member: no setgid program */
    T_OK(volume_mkdir(w.a.v, d, "s", &user, 0755, &got));
    assert_int_equal(got.gid, 77);
    assert_int_equal(got.mode & 07777, 02755);
    end(&w);
}

TEST(a_symlink_keeps_its_target)
{
    struct world w = begin();
    struct volume_attr a;
    char long_target[FS_SYMLINK_MAX + 2] = {0}, got[FS_SYMLINK_MAX + 1];
    memset(long_target, 'y', FS_SYMLINK_MAX);
    T_OK(volume_mknod(w.a.v, FS_ROOT, "l", &user, S_IFLNK | 0777, 0, long_target, &a));
    assert_int_equal(a.size, FS_SYMLINK_MAX);
    T_OK(volume_readlink(w.b.v, a.ino, got));
    assert_string_equal(got, long_target);
    long_target[FS_SYMLINK_MAX] = 'y';
    T_ERRNO(ENAMETOOLONG, volume_mknod(w.a.v, FS_ROOT, "m", &user, S_IFLNK, 0, long_target, &a));
    end(&w);
}

TEST(paths_follow_symlinks_and_dots)
{
    struct world w = begin();
    struct volume_attr a;
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d");
    fs_ino f = make_file(w.a.v, d, "f");
    T_OK(volume_mknod(w.a.v, FS_ROOT, "abs", &root, S_IFLNK, 0, "/d/../d", &a));
    T_OK(volume_mknod(w.a.v, d, "rel", &root, S_IFLNK, 0, "../abs/f", &a));
    T_OK(volume_mknod(w.a.v, d, "loop", &root, S_IFLNK, 0, "loop", &a));
    T_OK(volume_resolve(w.b.v, "/d/rel", false, &a));
    assert_int_equal(a.ino, f);
    T_OK(volume_resolve(w.b.v, "d//./rel", true, &a));
    assert_true(S_ISLNK(a.mode));
    T_ERRNO(ELOOP, volume_resolve(w.b.v, "/d/loop", false, &a));
    T_ERRNO(ENOTDIR, volume_resolve(w.b.v, "/d/f/", false, &a));
    T_ERRNO(ENOENT, volume_resolve(w.b.v, "/d/none/x", false, &a));
    end(&w);
}

/* --- readdir ---------------------------------------------------------------------------------- */

struct listing {
    GHashTable *seen;
    unsigned stop_after;
    uint64_t cookie;
    bool attrs;
};

static bool list_one(void *arg, const char *name, fs_ino ino, uint32_t type, uint64_t cookie,
                     const struct volume_attr *attr)
{
    struct listing *l = arg;
    assert_false(g_hash_table_contains(l->seen, name));
    assert_true(cookie > l->cookie);
    assert_int_equal(attr != NULL, l->attrs);
    if (attr) {
        assert_int_equal(attr->ino, ino);
        assert_int_equal(attr->mode & S_IFMT, type);
    }
    g_hash_table_add(l->seen, g_strdup(name));
    l->cookie = cookie;
    return --l->stop_after > 0;
}

TEST(readdir_gives_each_entry_once_from_any_cookie)
{
    struct world w = begin();
    char name[16];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        if (i % 10)
            make_file(w.a.v, FS_ROOT, name);
        else
            make_dir(w.a.v, FS_ROOT, name);
    }
    for (unsigned attrs = 0; attrs < 2; attrs++) {
        struct listing l = {.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                            .attrs = attrs};
        for (uint64_t before = 1; l.cookie != before;) {
            before = l.cookie;
            l.stop_after = 7;
            T_OK(volume_readdir(w.b.v, FS_ROOT, l.cookie, attrs, list_one, &l));
        }
        assert_int_equal(g_hash_table_size(l.seen), 300);
        g_hash_table_destroy(l.seen);
    }
    end(&w);
}

/* --- rename ----------------------------------------------------------------------------------- */

TEST(a_rename_replaces_at_once)
{
    struct world w = begin();
    fs_ino f = make_file(w.a.v, FS_ROOT, "f"), g = make_file(w.a.v, FS_ROOT, "g");
    T_OK(volume_rename(w.b.v, FS_ROOT, "f", FS_ROOT, "g", 0, &root));
    assert_string_equal(names_in(w.a.v, FS_ROOT), "g");
    assert_int_equal(find(w.a.v, FS_ROOT, "g"), f);
    assert_int_equal(attr_of(w.a.v, FS_ROOT).entries, 1);
    struct volume_attr a;
    T_EVENTUALLY(volume_getattr(w.a.v, g, &a) == -ESTALE);
    end(&w);
}

TEST(a_rename_keeps_the_rules_of_types)
{
    struct world w = begin();
    make_file(w.a.v, FS_ROOT, "f");
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d"), e = make_dir(w.a.v, FS_ROOT, "e");
    make_file(w.a.v, e, "x");
    T_ERRNO(EISDIR, volume_rename(w.a.v, FS_ROOT, "f", FS_ROOT, "d", 0, &root));
    T_ERRNO(ENOTDIR, volume_rename(w.a.v, FS_ROOT, "d", FS_ROOT, "f", 0, &root));
    T_ERRNO(ENOTEMPTY, volume_rename(w.a.v, FS_ROOT, "d", FS_ROOT, "e", 0, &root));
    T_ERRNO(EEXIST, volume_rename(w.a.v, FS_ROOT, "f", FS_ROOT, "d", 1, &root));
    T_ERRNO(ENOENT, volume_rename(w.a.v, FS_ROOT, "f", FS_ROOT, "none", 2, &root));
    T_ERRNO(EINVAL, volume_rename(w.a.v, FS_ROOT, "f", FS_ROOT, "none", 4, &root));
    T_OK(volume_rename(w.a.v, FS_ROOT, "e", FS_ROOT, "d", 0, &root));
    assert_int_equal(find(w.b.v, FS_ROOT, "d"), e);
    assert_int_equal(attr_of(w.b.v, FS_ROOT).nlink, 3);
    struct volume_attr a;
    T_ERRNO(ESTALE, volume_getattr(w.b.v, d, &a));
    end(&w);
}

TEST(two_names_of_one_file_rename_to_nothing)
{
    struct world w = begin();
    struct volume_attr a;
    fs_ino f = make_file(w.a.v, FS_ROOT, "f");
    T_OK(volume_link(w.a.v, f, FS_ROOT, "g", &root, &a));
    T_OK(volume_rename(w.a.v, FS_ROOT, "f", FS_ROOT, "g", 0, &root));
    assert_string_equal(names_in(w.b.v, FS_ROOT), "f g");
    end(&w);
}

TEST(an_exchange_swaps_a_file_and_a_directory)
{
    struct world w = begin();
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d"), sub = make_dir(w.a.v, d, "sub");
    fs_ino f = make_file(w.a.v, FS_ROOT, "f");
    T_OK(volume_rename(w.b.v, FS_ROOT, "f", d, "sub", 2, &root));
    assert_int_equal(find(w.a.v, FS_ROOT, "f"), sub);
    assert_int_equal(find(w.a.v, d, "sub"), f);
    assert_int_equal(attr_of(w.a.v, d).nlink, 2);
    assert_int_equal(attr_of(w.a.v, FS_ROOT).nlink, 4);
    assert_int_equal(attr_of(w.a.v, sub).parent, FS_ROOT);
    end(&w);
}

TEST(a_directory_does_not_move_into_itself)
{
    struct world w = begin();
    fs_ino d = make_dir(w.a.v, FS_ROOT, "d"), e = make_dir(w.a.v, d, "e");
    T_ERRNO(EINVAL, volume_rename(w.b.v, FS_ROOT, "d", e, "x", 0, &root));
    T_ERRNO(EINVAL, volume_rename(w.b.v, FS_ROOT, "d", d, "x", 0, &root));
    T_ERRNO(ENOTEMPTY, volume_rename(w.b.v, d, "e", FS_ROOT, "d", 0, &root));
    T_ERRNO(EINVAL, volume_rename(w.b.v, d, "e", FS_ROOT, "d", 2, &root));
    end(&w);
}

static void move_other_way(void *arg)
{
    struct race *r = arg; /* mv b/d a/c, while mv a b/d/e is under way */
    fs_ino b = find(r->v, FS_ROOT, "b"), c = find(r->v, find(r->v, FS_ROOT, "a"), "c");
    T_OK(volume_rename(r->v, b, "d", c, "d", 0, &root));
}

TEST(two_moves_never_make_a_loop)
{
    struct world w = begin();
    fs_ino a = make_dir(w.a.v, FS_ROOT, "a"), b = make_dir(w.a.v, FS_ROOT, "b");
    make_dir(w.a.v, a, "c");
    fs_ino e = make_dir(w.a.v, make_dir(w.a.v, b, "d"), "e");
    struct race r = {.v = w.b.v};
    fake_before_write(w.a.client, 1, move_other_way, &r);
    T_ERRNO(EINVAL, volume_rename(w.a.v, FS_ROOT, "a", e, "a", 0, &root));
    assert_string_equal(names_in(w.a.v, FS_ROOT), "a b");
    end(&w);
}

T_MAIN(T(a_new_volume_has_an_empty_root), T(a_file_made_here_is_found_there),
       T(a_create_costs_one_request_once_its_directory_is_known), T(a_name_is_made_once),
       T(names_have_limits), T(directories_count_their_subdirectories_and_entries),
       T(a_directory_with_entries_is_not_removed), T(nothing_is_made_in_a_removed_directory),
       T(rmdir_and_create_are_decided_by_one_transaction),
       T(unlink_and_rmdir_know_what_they_remove), T(a_second_link_keeps_the_file),
       T(the_sticky_bit_protects_the_files_of_others), T(a_setgid_directory_gives_its_group),
       T(a_symlink_keeps_its_target), T(paths_follow_symlinks_and_dots),
       T(readdir_gives_each_entry_once_from_any_cookie), T(a_rename_replaces_at_once),
       T(a_rename_keeps_the_rules_of_types), T(two_names_of_one_file_rename_to_nothing),
       T(an_exchange_swaps_a_file_and_a_directory), T(a_directory_does_not_move_into_itself),
       T(two_moves_never_make_a_loop))
