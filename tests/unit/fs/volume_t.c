/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fs/volume_t.h"

const struct volume_caller root = {.capable = true};
const struct volume_caller user = {.uid = 1000, .gid = 1000};
const struct volume_caller other = {.uid = 1001, .gid = 1001};

static const char *keep(char *s)
{
    static GPtrArray *kept;
    if (!kept)
        kept = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(kept, s);
    return s;
}

struct mount mount_on(struct fake_cluster *k)
{
    struct errmsg msg;
    struct mount m = {.client = fake_client_create(k)};
    struct volume_options o = {.client = m.client};
    T_OK_MSG(volume_open(&o, &m.v, &msg), &msg);
    return m;
}

void mount_end(struct mount *m)
{
    volume_close(m->v);
    client_destroy(m->client);
}

fs_ino make_file(struct volume *v, fs_ino dir, const char *name)
{
    struct volume_attr a;
    T_OK(volume_mknod(v, dir, name, &root, S_IFREG | 0644, 0, NULL, &a));
    return a.ino;
}

fs_ino make_dir(struct volume *v, fs_ino dir, const char *name)
{
    struct volume_attr a;
    T_OK(volume_mkdir(v, dir, name, &root, 0755, &a));
    return a.ino;
}

fs_ino find(struct volume *v, fs_ino dir, const char *name)
{
    struct volume_attr a;
    int rc = volume_lookup(v, dir, name, &a);
    if (rc == -ENOENT)
        return 0;
    T_OK(rc);
    return a.ino;
}

struct volume_attr attr_of(struct volume *v, fs_ino ino)
{
    struct volume_attr a;
    T_OK(volume_getattr(v, ino, &a));
    return a;
}

struct volume_file *open_file(struct volume *v, fs_ino ino, int flags)
{
    struct volume_file *f;
    T_OK(volume_file_open(v, ino, flags, &root, &f));
    return f;
}

void put(struct volume_file *f, const char *text, uint64_t off)
{
    assert_int_equal(volume_write(f, text, strlen(text), off, &root), strlen(text));
}

const char *text_of(struct volume *v, fs_ino ino)
{
    struct volume_file *f = open_file(v, ino, O_RDONLY);
    char *text = g_malloc0(MIB(1) + 1);
    T_COUNT(volume_read(f, text, MIB(1), 0));
    volume_file_close(f);
    return keep(text);
}

static bool add_name(void *arg, const char *name, fs_ino ino UNUSED, uint32_t type UNUSED,
                     uint64_t cookie UNUSED, const struct volume_attr *attr UNUSED)
{
    g_ptr_array_add(arg, g_strdup(name));
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

const char *names_in(struct volume *v, fs_ino dir)
{
    GPtrArray *names = g_ptr_array_new();
    T_OK(volume_readdir(v, dir, 0, false, add_name, names));
    g_ptr_array_sort(names, by_name);
    g_ptr_array_add(names, NULL);
    char *joined = g_strjoinv(" ", (char **)names->pdata);
    g_strfreev((char **)g_ptr_array_free(names, FALSE));
    return keep(joined);
}
