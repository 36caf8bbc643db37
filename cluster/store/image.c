/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/store/image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/codec.h"
#include "cluster/store/dir.h"

#define HEAD_FIXED 20 /* up to and with the number of files */
#define CRC        4
#define TAG_FILE   ".tag"
#define TAG_MAGIC  "raftfsIT"
#define HEAD_FILE  ".head"

#define WRITEBACK_BLOCKS 8

struct image_file {
    char *name;
    uint64_t size;
    uint64_t at; /* in the stream */
};

struct store_image {
    char *dir;
    int err;
    struct enc head;
    GArray *files; /* struct image_file */
    uint64_t size; /* of the whole stream */

    /* The open file, and one block of it with its checksum. */
    int fd;
    guint file;
    uint64_t block;
    uint8_t *p;
    size_t n; /* reading: bytes in p, 0 if none; writing: bytes taken so far */
};

static struct image_file *file_at(const struct store_image *i, guint k)
{
    return &g_array_index(i->files, struct image_file, k);
}

static uint64_t blocks_of(uint64_t size)
{
    return (size + IMAGE_BLOCK - 1) / IMAGE_BLOCK;
}

static size_t block_bytes(const struct image_file *f, uint64_t block)
{
    return (size_t)MIN(f->size - block * IMAGE_BLOCK, IMAGE_BLOCK);
}

static uint32_t block_crc(guint file, uint64_t block, const void *p, size_t n)
{
    uint8_t salt[8];
    put_le32(salt, file);
    put_le32(salt + 4, (uint32_t)block);
    return crc32c(crc32c(0, salt, sizeof(salt)), p, n);
}

static void free_file(gpointer p)
{
    g_free(((struct image_file *)p)->name);
}

static struct store_image *image_new(const char *dir)
{
    struct store_image *i = g_new0(struct store_image, 1);
    i->dir = g_strdup(dir);
    i->fd = -1;
    i->files = g_array_new(FALSE, FALSE, sizeof(struct image_file));
    g_array_set_clear_func(i->files, free_file);
    i->p = g_malloc(IMAGE_BLOCK + CRC);
    return i;
}

static void close_fd(struct store_image *i)
{
    if (i->fd >= 0)
        close(i->fd);
    i->fd = -1;
}

void image_close(struct store_image *i)
{
    if (!i)
        return;
    close_fd(i);
    enc_finish(&i->head);
    g_array_free(i->files, TRUE);
    g_free(i->p);
    g_free(i->dir);
    g_free(i);
}

/* Where each file begins, once the head's length is known. */
static void lay_out(struct store_image *i, uint64_t head)
{
    uint64_t at = head;
    for (guint k = 0; k < i->files->len; k++) {
        struct image_file *f = file_at(i, k);
        f->at = at;
        at += f->size + blocks_of(f->size) * CRC;
    }
    i->size = at;
}

/* --- reading ---------------------------------------------------------------------------------- */

static char *path_of(const struct store_image *i, const struct image_file *f)
{
    return g_strdup_printf("%s/%s", i->dir, f->name);
}

/* RocksDB's lock and its log for people are of no use elsewhere. */
static bool wanted(const char *name)
{
    return strcmp(name, "LOCK") != 0 && !g_str_has_prefix(name, "LOG");
}

static int add_files(struct store_image *i, const GPtrArray *names)
{
    for (guint k = 0; k < names->len; k++) {
        struct image_file f = {.name = names->pdata[k]};
        if (!wanted(f.name))
            continue;
        char *path = path_of(i, &f);
        struct stat st;
        int r = stat(path, &st);
        g_free(path);
        if (r < 0)
            return err_from_errno(errno);
        f.size = (uint64_t)st.st_size;
        f.name = g_strdup(f.name);
        g_array_append_val(i->files, f);
    }
    return 0;
}

static void make_head(struct store_image *i)
{
    enc_raw(&i->head, IMAGE_MAGIC, strlen(IMAGE_MAGIC));
    enc_u32(&i->head, IMAGE_VERSION);
    enc_u32(&i->head, 0);
    enc_u32(&i->head, i->files->len);
    for (guint k = 0; k < i->files->len; k++) {
        enc_bytes(&i->head, bytes_str(file_at(i, k)->name));
        enc_u64(&i->head, file_at(i, k)->size);
    }
    put_le32(i->head.p + 12, (uint32_t)i->head.n + CRC);
    enc_u32(&i->head, crc32c(0, i->head.p, i->head.n));
}

struct store_image *image_open(const char *dir)
{
    GPtrArray *names = NULL;
    if (dir_files(dir, &names) < 0)
        return NULL;
    struct store_image *i = image_new(dir);
    int err = add_files(i, names);
    g_ptr_array_free(names, TRUE);
    if (err < 0) {
        image_close(i);
        return NULL;
    }
    make_head(i);
    lay_out(i, i->head.n);
    return i;
}

uint64_t image_size(struct store_image *i)
{
    return i->size;
}

static int open_to_read(struct store_image *i, guint file)
{
    if (i->fd >= 0 && i->file == file)
        return 0;
    close_fd(i);
    char *path = path_of(i, file_at(i, file));
    i->fd = open(path, O_RDONLY | O_CLOEXEC);
    g_free(path);
    i->file = file;
    i->n = 0;
    return i->fd < 0 ? err_from_errno(errno) : 0;
}

static int load_block(struct store_image *i, guint file, uint64_t block)
{
    int err = open_to_read(i, file);
    if (err < 0 || (i->n > 0 && i->block == block))
        return err;
    size_t n = block_bytes(file_at(i, file), block), done = 0;
    while (done < n) {
        ssize_t r = pread(i->fd, i->p + done, n - done, (off_t)(block * IMAGE_BLOCK + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? err_from_errno(errno) : -ERR_CORRUPT; /* it became shorter */
        done += (size_t)r;
    }
    put_le32(i->p + n, block_crc(file, block, i->p, n));
    i->block = block;
    i->n = n + CRC;
    return 0;
}

/* The last file that begins at or before `off` and is not empty. */
static guint file_of(const struct store_image *i, uint64_t off)
{
    guint lo = 0, hi = i->files->len;
    while (hi - lo > 1) {
        guint mid = lo + (hi - lo) / 2;
        if (file_at(i, mid)->at <= off)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Bytes from one place, up to the end of head or block; or an error. */
static int64_t read_piece(struct store_image *i, uint8_t *p, size_t n, uint64_t off)
{
    if (off < i->head.n) {
        n = MIN(n, i->head.n - (size_t)off);
        memcpy(p, i->head.p + off, n);
        return (int64_t)n;
    }
    guint file = file_of(i, off);
    uint64_t in_file = off - file_at(i, file)->at;
    int err = load_block(i, file, in_file / (IMAGE_BLOCK + CRC));
    if (err < 0)
        return err;
    size_t in_block = (size_t)(in_file % (IMAGE_BLOCK + CRC));
    n = MIN(n, i->n - in_block);
    memcpy(p, i->p + in_block, n);
    return (int64_t)n;
}

int64_t image_read(struct store_image *i, void *p, size_t n, uint64_t off)
{
    size_t done = 0;
    while (done < n && off + done < i->size) {
        int64_t r = read_piece(i, (uint8_t *)p + done, n - done, off + done);
        if (r < 0)
            return r;
        done += (size_t)r;
    }
    return (int64_t)done;
}

/* --- writing ---------------------------------------------------------------------------------- */

static int write_tag(const char *dir, struct bytes tag)
{
    struct enc e = {0};
    enc_raw(&e, TAG_MAGIC, strlen(TAG_MAGIC));
    enc_bytes(&e, tag);
    enc_u32(&e, crc32c(0, e.p, e.n));
    int err = dir_write_file(dir, TAG_FILE, enc_view(&e));
    enc_finish(&e);
    return err;
}

int image_create(const char *dir, struct bytes tag, struct store_image **ret)
{
    ASSERT(tag.n <= IMAGE_TAG_MAX);
    int err = dir_remove(dir);
    if (err < 0)
        return err;
    if (mkdir(dir, 0700) < 0)
        return err_from_errno(errno);
    err = write_tag(dir, tag);
    if (err == 0)
        *ret = image_new(dir);
    return err;
}

static bool name_ok(struct bytes name)
{
    if (name.n == 0 || name.n > 255 || name.p[0] == '.')
        return false;
    for (size_t k = 0; k < name.n; k++)
        if (name.p[k] <= ' ' || name.p[k] == '/' || name.p[k] >= 127)
            return false;
    return true;
}

static int parse_files(struct store_image *i, uint32_t n)
{
    struct dec d = dec_of(bytes_of(i->head.p + HEAD_FIXED, i->head.n - HEAD_FIXED - CRC));
    struct bytes last = BYTES_NONE;
    for (uint32_t k = 0; k < n; k++) {
        struct bytes name = dec_bytes(&d);
        struct image_file f = {.size = dec_u64(&d)};
        /* Sorted, so none comes twice; sizes that sum up far below an overflow. */
        if (!dec_ok(&d) || !name_ok(name) || bytes_cmp(last, name) >= 0 || f.size > (1ull << 48))
            return -ERR_CORRUPT;
        last = name;
        f.name = g_strndup((const char *)name.p, name.n);
        g_array_append_val(i->files, f);
    }
    return dec_done(&d) ? 0 : -ERR_CORRUPT;
}

static int parse_head(struct store_image *i)
{
    size_t n = i->head.n - CRC;
    if (get_le32(i->head.p + n) != crc32c(0, i->head.p, n))
        return -ERR_CORRUPT;
    int err = parse_files(i, get_le32(i->head.p + 16));
    if (err == 0)
        lay_out(i, i->head.n);
    return err;
}

/* Length of the head once it can be told; 0 before. */
static int head_length(const struct store_image *i, size_t *ret)
{
    *ret = 0;
    if (i->head.n < HEAD_FIXED)
        return 0;
    if (memcmp(i->head.p, IMAGE_MAGIC, strlen(IMAGE_MAGIC)) != 0)
        return -ERR_CORRUPT;
    if (get_le32(i->head.p + 8) != IMAGE_VERSION)
        return -ERR_FORMAT;
    *ret = get_le32(i->head.p + 12);
    return *ret < HEAD_FIXED + CRC || *ret > IMAGE_HEAD_MAX ? -ERR_CORRUPT : 0;
}

static int take_head(struct store_image *i, const uint8_t **p, size_t *n)
{
    size_t length = 0;
    int err = head_length(i, &length);
    if (err < 0)
        return err;
    size_t want = (length > 0 ? length : HEAD_FIXED) - i->head.n;
    size_t take = MIN(want, *n);
    enc_raw(&i->head, *p, take);
    *p += take;
    *n -= take;
    err = head_length(i, &length);
    if (err < 0 || length == 0 || i->head.n < length)
        return err;
    err = parse_head(i);
    return err < 0 ? err : dir_write_file(i->dir, HEAD_FILE, enc_view(&i->head));
}

static int close_synced(struct store_image *i)
{
    int err = fsync(i->fd) < 0 ? err_from_errno(errno) : 0;
    close_fd(i);
    return err;
}

static int open_to_write(struct store_image *i)
{
    char *path = path_of(i, file_at(i, i->file));
    i->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    g_free(path);
    return i->fd < 0 ? err_from_errno(errno) : 0;
}

/* Makes the files that need no more bytes, up to the first that does. */
static int skip_done(struct store_image *i)
{
    int err = 0;
    while (err == 0 && i->file < i->files->len) {
        if (i->fd < 0)
            err = open_to_write(i);
        if (err < 0 || i->block < blocks_of(file_at(i, i->file)->size))
            break;
        err = close_synced(i);
        i->file++;
        i->block = 0;
    }
    return err;
}

/* The disk gets it bit by bit, not all with the sync at the file's end, under which everybody
 * else's syncs would wait. Only a hint. */
static void start_writeback(const struct store_image *i)
{
    if (i->block % WRITEBACK_BLOCKS != 0)
        return;
    uint64_t from = (i->block - WRITEBACK_BLOCKS) * IMAGE_BLOCK;
    (void)sync_file_range(i->fd, (off_t)from, (off_t)WRITEBACK_BLOCKS * IMAGE_BLOCK,
                          SYNC_FILE_RANGE_WRITE);
}

static int write_block(struct store_image *i)
{
    size_t n = i->n - CRC, done = 0;
    if (get_le32(i->p + n) != block_crc(i->file, i->block, i->p, n))
        return -ERR_CORRUPT;
    while (done < n) {
        ssize_t w = write(i->fd, i->p + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return err_from_errno(errno);
        done += (size_t)w;
    }
    i->block++;
    i->n = 0;
    start_writeback(i);
    return skip_done(i);
}

static int take_blocks(struct store_image *i, const uint8_t *p, size_t n)
{
    int err = 0;
    while (err == 0 && n > 0) {
        if (i->file >= i->files->len)
            return -ERR_CORRUPT; /* bytes after the end */
        size_t want = block_bytes(file_at(i, i->file), i->block) + CRC;
        size_t take = MIN(want - i->n, n);
        memcpy(i->p + i->n, p, take);
        i->n += take;
        p += take;
        n -= take;
        if (i->n == want)
            err = write_block(i);
    }
    return err;
}

int image_write(struct store_image *i, const void *p, size_t n)
{
    const uint8_t *at = p;
    while (i->err == 0 && i->size == 0 && n > 0) {
        i->err = take_head(i, &at, &n);
        if (i->err == 0 && i->size > 0)
            i->err = skip_done(i);
    }
    if (i->err == 0)
        i->err = take_blocks(i, at, n);
    return i->err;
}

static int remove_own_files(const char *dir)
{
    int err = 0;
    static const char *const own[] = {TAG_FILE, HEAD_FILE};
    for (size_t k = 0; k < ARRAY_LEN(own); k++) {
        char *path = g_strdup_printf("%s/%s", dir, own[k]);
        if (unlink(path) < 0)
            err = err_from_errno(errno);
        g_free(path);
    }
    return err;
}

int image_finish(struct store_image *i)
{
    int err = i->err;
    if (err == 0 && (i->size == 0 || i->file < i->files->len))
        err = -ERR_CORRUPT; /* it ends early */
    if (err == 0)
        err = remove_own_files(i->dir);
    if (err == 0)
        err = dir_sync(i->dir);
    if (err == 0)
        err = dir_make(i->dir); /* is there; makes its name durable */
    if (err < 0) {
        int removed = dir_remove(i->dir);
        err = removed < 0 && err == -ERR_CORRUPT ? removed : err;
    }
    image_close(i);
    return err;
}

/* --- resuming --------------------------------------------------------------------------------- */

static int read_own_file(const char *dir, const char *name, struct arena *a, struct bytes *ret)
{
    char *path = g_strdup_printf("%s/%s", dir, name);
    char *text = NULL;
    gsize n = 0;
    bool there = g_file_get_contents(path, &text, &n, NULL);
    if (there)
        *ret = arena_copy(a, bytes_of(text, n));
    g_free(text);
    g_free(path);
    return there ? 0 : -ERR_NOT_FOUND;
}

static int read_tag(const char *dir, struct arena *a, struct bytes *ret)
{
    struct bytes file;
    const size_t magic = strlen(TAG_MAGIC);
    int err = read_own_file(dir, TAG_FILE, a, &file);
    if (err < 0)
        return err;
    if (file.n < magic + CRC || memcmp(file.p, TAG_MAGIC, magic) != 0 ||
        get_le32(file.p + file.n - CRC) != crc32c(0, file.p, file.n - CRC))
        return -ERR_NOT_FOUND;
    struct dec d = dec_of(bytes_of(file.p + magic, file.n - magic - CRC));
    *ret = dec_bytes(&d);
    return dec_done(&d) ? 0 : -ERR_NOT_FOUND;
}

static bool file_there(const struct store_image *i, guint k, uint64_t *ret_size)
{
    char *path = path_of(i, file_at(i, k));
    struct stat st;
    int r = stat(path, &st);
    g_free(path);
    if (r == 0)
        *ret_size = (uint64_t)st.st_size;
    return r == 0;
}

/* The last file that exists is written anew; those before it were synced before it was made. */
static int find_place(struct store_image *i)
{
    uint64_t size;
    for (guint k = 1; k < i->files->len && file_there(i, k, &size); k++) {
        if (!file_there(i, k - 1, &size) || size != file_at(i, k - 1)->size)
            return -ERR_NOT_FOUND;
        i->file = k;
    }
    if (i->file < i->files->len) {
        char *path = path_of(i, file_at(i, i->file));
        int r = unlink(path);
        g_free(path);
        if (r < 0 && errno != ENOENT)
            return err_from_errno(errno);
    }
    return skip_done(i);
}

int image_resume(const char *dir, struct arena *a, struct bytes *ret_tag, uint64_t *ret_offset,
                 struct store_image **ret)
{
    struct bytes head, tag;
    size_t length;
    int err = read_tag(dir, a, &tag);
    if (err == 0)
        err = read_own_file(dir, HEAD_FILE, a, &head);
    if (err < 0)
        return err;
    struct store_image *i = image_new(dir);
    enc_raw(&i->head, head.p, head.n);
    if (head_length(i, &length) < 0 || length != head.n || parse_head(i) < 0)
        err = -ERR_NOT_FOUND;
    if (err == 0)
        err = find_place(i);
    if (err < 0) {
        image_close(i);
        return err;
    }
    *ret_tag = tag;
    *ret_offset = i->file < i->files->len ? file_at(i, i->file)->at : i->size;
    *ret = i;
    return 0;
}
