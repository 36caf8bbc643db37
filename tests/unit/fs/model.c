/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on two mounts of one store against a model in memory. After each step the mount
 * that did it flushes, so that both must agree with the model; between steps of one mount what is
 * buffered must show there. A second test lets threads of both mounts run at once and then checks
 * what must hold whatever their order was.
 */
#include <linux/falloc.h>
#include <stdio.h>
#include "tests/unit/fs/volume_t.h"

#define NODES    64
#define NAMES    6
#define FILE_MAX (3 * FS_BLOCK + 1000)
#define FAR      (FS_STRIPE - 2 * FS_BLOCK) /* some files begin here: over a stripe's border */

/* --- the model -------------------------------------------------------------------------------- */

struct node { /* 0 is the root; ino 0: free */
    fs_ino ino;
    bool dir;
    int entry[NAMES]; /* directories: node behind name i, -1 none */
    int parent;
    unsigned nlink;
    uint64_t base; /* files: where the window of bytes begins */
    uint64_t size;
    uint8_t data[FILE_MAX]; /* from base; before it zeros */
    struct volume_file *open[2];
};

struct world {
    struct fake_cluster *k;
    struct mount m[2];
    struct node *nodes;
    struct rng r;
    GString *log;
};

static const char *const names[NAMES] = {"a", "b", "c", "dd", "ee", "ff"};

static int new_node(struct world *w, bool dir)
{
    for (int i = 1; i < NODES; i++) {
        struct node *n = &w->nodes[i];
        if (n->ino)
            continue;
        *n = (struct node){.dir = dir, .parent = -1};
        for (unsigned k = 0; k < NAMES; k++)
            n->entry[k] = -1;
        return i;
    }
    return -1;
}

static int count_entries(const struct node *n)
{
    int count = 0;
    for (unsigned i = 0; i < NAMES; i++)
        count += n->entry[i] >= 0;
    return count;
}

static int count_dirs(const struct world *w, const struct node *n)
{
    int count = 0;
    for (unsigned i = 0; i < NAMES; i++)
        count += n->entry[i] >= 0 && w->nodes[n->entry[i]].dir;
    return count;
}

static bool is_above(const struct world *w, int above, int node)
{
    for (; node != 0; node = w->nodes[node].parent) {
        if (node == above)
            return true;
    }
    return above == 0;
}

/* A link is gone; the last one and no handle: the node is free. */
static void forget(struct node *n)
{
    if (n->dir || (n->nlink == 0 && !n->open[0] && !n->open[1]))
        n->ino = 0;
}

static int pick_dir(struct world *w)
{
    for (;;) {
        int i = (int)rng_below(&w->r, NODES);
        if (w->nodes[i].ino && w->nodes[i].dir)
            return i;
    }
}

static int pick_file(struct world *w) /* -1: none found soon */
{
    for (unsigned tries = 0; tries < 50; tries++) {
        int i = (int)rng_below(&w->r, NODES);
        if (w->nodes[i].ino && !w->nodes[i].dir)
            return i;
    }
    return -1;
}

static void say(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct world *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_string_append_vprintf(w->log, fmt, ap);
    g_string_append_c(w->log, '\n');
    va_end(ap);
}

#define SAME(w, got, want) same((w), (long)(got), (long)(want), #got, __LINE__)
static void same(struct world *w, long got, long want, const char *what, int line)
{
    if (got == want)
        return;
    size_t from = w->log->len > 3000 ? w->log->len - 3000 : 0;
    print_error("%s: got %ld, the model has %ld (line %d); the last steps:\n%s", what, got, want,
                line, w->log->str + from);
    fail();
}

/* --- steps ------------------------------------------------------------------------------------ */

static void step_make(struct world *w, struct volume *v)
{
    int d = pick_dir(w), name = (int)rng_below(&w->r, NAMES);
    bool dir = rng_chance(&w->r, 300000);
    struct node *parent = &w->nodes[d];
    struct volume_attr a;
    say(w, "%s %d/%s", dir ? "mkdir" : "mknod", d, names[name]);
    int slot = new_node(w, dir);
    if (slot < 0)
        return;
    int rc = dir ? volume_mkdir(v, parent->ino, names[name], &root, 0755, &a)
                 : volume_mknod(v, parent->ino, names[name], &root, S_IFREG | 0644, 0, NULL, &a);
    SAME(w, rc, parent->entry[name] >= 0 ? -EEXIST : 0);
    if (rc)
        return;
    struct node *n = &w->nodes[slot];
    n->ino = a.ino;
    n->nlink = 1;
    n->parent = dir ? d : -1;
    n->base = rng_chance(&w->r, 300000) ? FAR : 0;
    parent->entry[name] = slot;
}

static void step_remove(struct world *w, struct volume *v)
{
    int d = pick_dir(w), name = (int)rng_below(&w->r, NAMES), at = w->nodes[d].entry[name];
    bool rmdir = rng_chance(&w->r, 400000);
    struct node *n = at >= 0 ? &w->nodes[at] : NULL;
    say(w, "%s %d/%s", rmdir ? "rmdir" : "unlink", d, names[name]);
    int want = !n                               ? -ENOENT
               : rmdir && !n->dir               ? -ENOTDIR
               : !rmdir && n->dir               ? -EISDIR
               : n->dir && count_entries(n) > 0 ? -ENOTEMPTY
                                                : 0;
    int rc = rmdir ? volume_rmdir(v, w->nodes[d].ino, names[name], &root)
                   : volume_unlink(v, w->nodes[d].ino, names[name], &root);
    SAME(w, rc, want);
    if (rc)
        return;
    w->nodes[d].entry[name] = -1;
    n->nlink--;
    forget(n);
}

static void step_link(struct world *w, struct volume *v)
{
    int f = pick_file(w), d = pick_dir(w), name = (int)rng_below(&w->r, NAMES);
    if (f < 0)
        return;
    struct node *n = &w->nodes[f];
    struct volume_attr a;
    say(w, "link %d to %d/%s", f, d, names[name]);
    int rc = volume_link(v, n->ino, w->nodes[d].ino, names[name], &root, &a);
    SAME(w, rc, n->nlink == 0 ? -ENOENT : w->nodes[d].entry[name] >= 0 ? -EEXIST : 0);
    if (rc)
        return;
    SAME(w, a.nlink, ++n->nlink);
    w->nodes[d].entry[name] = f;
}

static int rename_result(struct world *w, int d, int a, int e, int b, unsigned flags)
{
    int from = w->nodes[d].entry[a], to = w->nodes[e].entry[b];
    bool exchange = flags & RENAME_EXCHANGE;
    if (from < 0)
        return -ENOENT;
    if (to < 0 && exchange)
        return -ENOENT;
    if (to >= 0 && (flags & RENAME_NOREPLACE))
        return -EEXIST;
    bool fd = w->nodes[from].dir, td = to >= 0 && w->nodes[to].dir;
    if (to >= 0 && !exchange && fd != td)
        return fd ? -ENOTDIR : -EISDIR;
    if (from == to)
        return 0;
    if (fd && d != e && is_above(w, from, e))
        return -EINVAL;
    if (td && d != e && is_above(w, to, d))
        return exchange ? -EINVAL : -ENOTEMPTY;
    if (td && !exchange && count_entries(&w->nodes[to]) > 0)
        return -ENOTEMPTY;
    return 0;
}

static void rename_model(struct world *w, int d, int a, int e, int b, bool exchange)
{
    int from = w->nodes[d].entry[a], to = w->nodes[e].entry[b];
    if (from == to)
        return;
    w->nodes[d].entry[a] = exchange ? to : -1;
    w->nodes[e].entry[b] = from;
    if (w->nodes[from].dir)
        w->nodes[from].parent = e;
    if (exchange && w->nodes[to].dir)
        w->nodes[to].parent = d;
    if (!exchange && to >= 0) {
        w->nodes[to].nlink--;
        forget(&w->nodes[to]);
    }
}

static void step_rename(struct world *w, struct volume *v)
{
    static const unsigned kinds[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    int d = pick_dir(w), e = rng_chance(&w->r, 300000) ? d : pick_dir(w);
    int a = (int)rng_below(&w->r, NAMES), b = (int)rng_below(&w->r, NAMES);
    unsigned flags = kinds[rng_below(&w->r, ARRAY_LEN(kinds))];
    say(w, "rename %d/%s to %d/%s flags %u", d, names[a], e, names[b], flags);
    int want = rename_result(w, d, a, e, b, flags);
    int rc = volume_rename(v, w->nodes[d].ino, names[a], w->nodes[e].ino, names[b], flags, &root);
    SAME(w, rc, want);
    if (rc == 0)
        rename_model(w, d, a, e, b, flags & RENAME_EXCHANGE);
}

static void step_open(struct world *w, unsigned m)
{
    int f = pick_file(w);
    if (f < 0)
        return;
    struct node *n = &w->nodes[f];
    if (n->open[m]) {
        say(w, "close %d on %u", f, m);
        T_OK(volume_flush(n->open[m]));
        volume_file_close(TAKE(n->open[m]));
        forget(n);
        return;
    }
    say(w, "open %d on %u", f, m);
    int rc = volume_file_open(w->m[m].v, n->ino, O_RDWR, &root, &n->open[m]);
    SAME(w, rc, n->nlink ? 0 : -ESTALE);
}

static int pick_open(struct world *w, unsigned m)
{
    int f = pick_file(w);
    return f >= 0 && w->nodes[f].open[m] ? f : -1;
}

static void step_write(struct world *w, unsigned m)
{
    static uint8_t data[FILE_MAX];
    int f = pick_open(w, m);
    if (f < 0)
        return;
    struct node *n = &w->nodes[f];
    uint64_t off = rng_below(&w->r, FILE_MAX);
    uint64_t most = rng_chance(&w->r, 500000) ? 100 : FILE_MAX;
    uint64_t len = rng_between(&w->r, 1, MIN(FILE_MAX - off, most));
    memset(data, (int)rng_between(&w->r, 1, 255), len);
    say(w, "write %d on %u: %zu at %zu + %zu", f, m, (size_t)len, (size_t)n->base, (size_t)off);
    SAME(w, volume_write(n->open[m], data, len, n->base + off, &root), len);
    memcpy(n->data + off, data, len);
    n->size = MAX(n->size, n->base + off + len);
}

/* What a file of this size holds in its window. */
static void cut_model(struct node *n, uint64_t size)
{
    uint64_t keep = size > n->base ? size - n->base : 0;
    if (keep < FILE_MAX)
        memset(n->data + keep, 0, FILE_MAX - keep);
    n->size = size;
}

static void step_truncate(struct world *w, struct volume *v)
{
    int f = pick_file(w);
    if (f < 0)
        return;
    struct node *n = &w->nodes[f];
    uint64_t size = rng_chance(&w->r, 300000) ? 0 : n->base + rng_below(&w->r, FILE_MAX);
    struct volume_attr a = {.size = size};
    say(w, "truncate %d to %zu", f, (size_t)size);
    T_OK(volume_setattr(v, n->ino, &root, VOLUME_SIZE, &a, &a));
    SAME(w, a.size, size);
    cut_model(n, size);
}

static void step_punch(struct world *w, unsigned m)
{
    int f = pick_open(w, m);
    if (f < 0)
        return;
    struct node *n = &w->nodes[f];
    uint64_t off = rng_below(&w->r, FILE_MAX), len = rng_between(&w->r, 1, FILE_MAX - off);
    bool grow = rng_chance(&w->r, 300000);
    int mode = grow ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    say(w, "fallocate %d mode %d: %zu at %zu", f, mode, (size_t)len, (size_t)off);
    T_OK(volume_fallocate(n->open[m], mode, n->base + off, len));
    memset(n->data + off, 0, len);
    if (grow)
        n->size = MAX(n->size, n->base + off + len);
}

/* --- comparing -------------------------------------------------------------------------------- */

static void check_read(struct world *w, unsigned m, int f, uint64_t off, uint64_t len)
{
    static uint8_t got[FILE_MAX + 100];
    struct node *n = &w->nodes[f];
    uint64_t end = MIN(n->base + off + len, n->size);
    int64_t want = end > n->base + off ? (int64_t)(end - n->base - off) : 0;
    say(w, "read %d on %u: %zu at +%zu", f, m, (size_t)len, (size_t)off);
    SAME(w, volume_read(n->open[m], got, len, n->base + off), want);
    for (int64_t i = 0; i < want; i++) {
        if (got[i] != n->data[off + (uint64_t)i])
            say(w, "differs at +%zu", (size_t)off + (size_t)i);
        SAME(w, got[i], n->data[off + (uint64_t)i]);
    }
}

static void step_read(struct world *w, unsigned m)
{
    int f = pick_open(w, m);
    if (f < 0)
        return;
    uint64_t off = rng_below(&w->r, FILE_MAX);
    check_read(w, m, f, off, rng_between(&w->r, 1, FILE_MAX - off));
}

static bool count_name(void *arg, const char *name UNUSED, fs_ino ino UNUSED, uint32_t type UNUSED,
                       uint64_t cookie UNUSED, const struct volume_attr *attr UNUSED)
{
    ++*(int *)arg;
    return true;
}

static void check_dir(struct world *w, struct volume *v, int d)
{
    struct node *n = &w->nodes[d];
    struct volume_attr a = attr_of(v, n->ino);
    SAME(w, a.nlink, 2 + count_dirs(w, n));
    SAME(w, a.entries, count_entries(n));
    if (d)
        SAME(w, a.parent, w->nodes[n->parent].ino);
    int listed = 0;
    T_OK(volume_readdir(v, n->ino, 0, false, count_name, &listed));
    SAME(w, listed, count_entries(n));
    for (unsigned i = 0; i < NAMES; i++) {
        fs_ino want = n->entry[i] >= 0 ? w->nodes[n->entry[i]].ino : 0;
        SAME(w, find(v, n->ino, names[i]), want);
    }
}

static void check_all(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];
        for (unsigned m = 0; m < 2 && n->ino; m++) {
            if (n->dir) {
                check_dir(w, w->m[m].v, i);
                continue;
            }
            struct volume_attr a = attr_of(w->m[m].v, n->ino);
            SAME(w, a.size, n->size);
            SAME(w, a.nlink, n->nlink);
            if (n->open[m])
                check_read(w, m, i, 0, FILE_MAX);
        }
    }
}

static void flush_all(struct world *w, unsigned m)
{
    for (int i = 0; i < NODES; i++) {
        if (w->nodes[i].ino && w->nodes[i].open[m])
            T_OK(volume_flush(w->nodes[i].open[m]));
    }
}

static void random_step(struct world *w, unsigned m)
{
    struct volume *v = w->m[m].v;
    switch (rng_below(&w->r, 16)) {
    case 0:
    case 1:
    case 2:
        step_make(w, v);
        break;
    case 3:
        step_remove(w, v);
        break;
    case 4:
        step_link(w, v);
        break;
    case 5:
    case 6:
        step_rename(w, v);
        break;
    case 7:
    case 8:
        step_open(w, m);
        break;
    case 9:
        step_truncate(w, v);
        break;
    case 10:
        step_punch(w, m);
        break;
    case 11:
    case 12:
        step_read(w, m);
        break;
    default:
        step_write(w, m);
    }
}

static struct world *begin(void)
{
    struct world *w = g_new0(struct world, 1);
    w->k = fake_cluster_create();
    w->m[0] = mount_on(w->k);
    w->m[1] = mount_on(w->k);
    w->nodes = g_new0(struct node, NODES);
    w->r = t_rng();
    w->log = g_string_new(NULL);
    w->nodes[0] = (struct node){.ino = FS_ROOT, .dir = true};
    for (unsigned i = 0; i < NAMES; i++)
        w->nodes[0].entry[i] = -1;
    return w;
}

static void end(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        for (unsigned m = 0; m < 2; m++)
            volume_file_close(w->nodes[i].open[m]);
    }
    mount_end(&w->m[0]);
    mount_end(&w->m[1]);
    fake_cluster_destroy(w->k);
    g_string_free(w->log, TRUE);
    g_free(w->nodes);
    g_free(w);
}

TEST(random_operations_match_the_model)
{
    struct world *w = begin();
    for (unsigned turn = 0; turn < 250; turn++) {
        unsigned m = (unsigned)rng_below(&w->r, 2);
        unsigned steps = (unsigned)rng_between(&w->r, 1, 20);
        say(w, "--- mount %u", m);
        for (unsigned i = 0; i < steps; i++)
            random_step(w, m);
        flush_all(w, m);
        check_all(w);
    }
    end(w);
}

/* --- threads ---------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  150

struct worker {
    struct volume *v;
    fs_ino dirs[3];
    struct rng r;
    unsigned appended;
    fs_ino log;
    pthread_t thread;
};

static void *churn(void *arg)
{
    struct worker *t = arg;
    struct volume_attr a;
    struct volume_file *f;
    T_OK(volume_file_open(t->v, t->log, O_WRONLY | O_APPEND, &root, &f));
    for (unsigned i = 0; i < ROUNDS; i++) {
        fs_ino d = t->dirs[rng_below(&t->r, 3)], e = t->dirs[rng_below(&t->r, 3)];
        const char *x = names[rng_below(&t->r, NAMES)], *y = names[rng_below(&t->r, NAMES)];
        switch (rng_below(&t->r, 6)) {
        case 0:
            (void)!volume_mkdir(t->v, d, x, &root, 0755, &a);
            break;
        case 1:
            (void)!volume_mknod(t->v, d, x, &root, S_IFREG | 0644, 0, NULL, &a);
            break;
        case 2:
            (void)!volume_unlink(t->v, d, x, &root);
            break;
        case 3:
            (void)!volume_rmdir(t->v, d, x, &root);
            break;
        case 4:
            (void)!volume_rename(t->v, d, x, e, y, 0, &root);
            break;
        default:
            t->appended += volume_write(f, "x", 1, 0, &root) == 1;
        }
    }
    volume_file_close(f);
    return NULL;
}

TEST(threads_of_two_mounts_keep_every_count_right)
{
    struct world *w = begin();
    struct worker t[THREADS];
    fs_ino dirs[3] = {make_dir(w->m[0].v, FS_ROOT, "d0"), make_dir(w->m[0].v, FS_ROOT, "d1"),
                      make_dir(w->m[0].v, FS_ROOT, "d2")};
    fs_ino log = make_file(w->m[0].v, FS_ROOT, "log");
    fake_shuffle(w->k, true);
    for (unsigned i = 0; i < THREADS; i++) {
        t[i] = (struct worker){.v = w->m[i % 2].v, .log = log};
        memcpy(t[i].dirs, dirs, sizeof(dirs));
        rng_seed(&t[i].r, rng_next(&w->r));
        assert_int_equal(pthread_create(&t[i].thread, NULL, churn, &t[i]), 0);
    }
    unsigned appended = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(t[i].thread, NULL);
        appended += t[i].appended;
    }
    assert_int_equal(attr_of(w->m[1].v, log).size, appended);
    unsigned inodes = 5; /* root, three directories, the log */
    for (unsigned d = 0; d < 3; d++) {
        struct volume_attr a = attr_of(w->m[1].v, dirs[d]);
        unsigned subdirs = 0, entries = 0;
        for (unsigned i = 0; i < NAMES; i++) {
            fs_ino ino = find(w->m[0].v, dirs[d], names[i]);
            entries += ino != 0;
            if (ino && S_ISDIR(attr_of(w->m[0].v, ino).mode)) {
                assert_int_equal(attr_of(w->m[0].v, ino).parent, dirs[d]);
                subdirs++;
            }
        }
        assert_int_equal(a.entries, entries);
        assert_int_equal(a.nlink, 2 + subdirs);
        inodes += entries;
    }
    T_EVENTUALLY(fake_count_keys(w->k, 'O') == 0);
    assert_int_equal(fake_count_keys(w->k, 'I'), inodes);
    end(w);
}

struct counting {
    struct volume *v;
    fs_ino ino;
    bool stop;
    unsigned checks;
    bool backwards;
};

/* The number in the file only grows: a reader that mixed what was flushed with what was not yet
 * would see it go back. */
static void *watch(void *arg)
{
    struct counting *c = arg;
    struct volume_file *f = open_file(c->v, c->ino, O_RDONLY);
    uint64_t last = 0, size = 0;
    while (!__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST)) {
        uint64_t got[2] = {0};
        int64_t n = volume_read(f, got, sizeof(got), FS_BLOCK - 8);
        struct volume_attr a = attr_of(c->v, c->ino);
        if (n != sizeof(got) || got[0] < last || got[1] < got[0] || a.size < size)
            __atomic_store_n(&c->backwards, true, __ATOMIC_SEQ_CST);
        last = got[0];
        size = a.size;
        __atomic_add_fetch(&c->checks, 1, __ATOMIC_SEQ_CST);
    }
    volume_file_close(f);
    return NULL;
}

TEST(a_reader_never_goes_back_while_flushes_run)
{
    struct world *w = begin();
    struct counting c = {.v = w->m[0].v, .ino = make_file(w->m[0].v, FS_ROOT, "n")};
    struct volume_file *f = open_file(c.v, c.ino, O_RDWR);
    uint64_t n = 1;
    assert_int_equal(volume_write(f, &n, 8, FS_BLOCK, &root), 8);
    assert_int_equal(volume_write(f, &n, 8, FS_BLOCK - 8, &root), 8);
    fake_shuffle(w->k, true);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch, &c), 0);
    while (__atomic_load_n(&c.checks, __ATOMIC_SEQ_CST) < 1500 &&
           !__atomic_load_n(&c.backwards, __ATOMIC_SEQ_CST)) {
        n++; /* the second half first: it is never behind */
        assert_int_equal(volume_write(f, &n, 8, FS_BLOCK, &root), 8);
        assert_int_equal(volume_write(f, &n, 8, FS_BLOCK - 8, &root), 8);
        assert_int_equal(volume_write(f, "x", 1, 2 * FS_BLOCK + n, &root), 1); /* grows, too */
        T_OK(volume_flush(f));
    }
    __atomic_store_n(&c.stop, true, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    assert_false(c.backwards);
    volume_file_close(f);
    end(w);
}

T_MAIN(T(a_reader_never_goes_back_while_flushes_run), T(random_operations_match_the_model),
       T(threads_of_two_mounts_keep_every_count_right))
