/* SPDX-License-Identifier: Apache-2.0 */
/* The real disk: plain system calls; sync completes before it returns. */
#include "cluster/base/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "cluster/base/err.h"

#define IOV_BATCH 64

struct posix_file {
    struct disk_file file;
    int fd;
};

static int fd_of(const struct disk_file *f)
{
    return container_of(f, const struct posix_file, file)->fd;
}

/* disk.h names the few errors that a caller can act on; all else is an I/O error. */
static int disk_err(int no)
{
    switch (no) {
    case ENOSPC:
    case EDQUOT:
        return -ERR_NO_SPACE;
    case ENOENT:
        return -ERR_NOT_FOUND;
    case EEXIST:
        return -ERR_EXISTS;
    case ENOMEM:
        return -ERR_NO_MEMORY;
    default:
        return -ERR_IO;
    }
}

static int posix_open(struct disk *d, const char *path, int flags, struct disk_file **ret)
{
    int how = O_CLOEXEC | O_NOFOLLOW;
    how |= flags & DISK_READ ? O_RDONLY : O_RDWR;
    how |= flags & DISK_CREATE ? O_CREAT : 0;
    how |= flags & DISK_EXCL ? O_EXCL : 0;
    int fd;
    do
        fd = open(path, how, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return disk_err(errno);

    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -ERR_IO;
    }
    struct posix_file *f = g_new(struct posix_file, 1);
    *f = (struct posix_file){.file = {.disk = d}, .fd = fd};
    *ret = &f->file;
    return 0;
}

static void posix_close(struct disk_file *f)
{
    if (!f)
        return;
    /* What matters was synced; what close could still report was never promised. */
    close(fd_of(f));
    g_free(container_of(f, struct posix_file, file));
}

static int64_t posix_read(struct disk_file *f, void *p, size_t n, uint64_t off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = pread(fd_of(f), (uint8_t *)p + done, n - done, (off_t)(off + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return disk_err(errno);
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (int64_t)done;
}

/* Copies what of iov is left after the first `skip` bytes of iov[0] into batch; returns how many.
 */
static int batch_of(struct iovec *batch, const struct iovec *iov, int n, size_t skip)
{
    int k = MIN(n, IOV_BATCH);
    memcpy(batch, iov, (size_t)k * sizeof(*iov));
    batch[0].iov_base = (uint8_t *)batch[0].iov_base + skip;
    batch[0].iov_len -= skip;
    return k;
}

static int posix_write(struct disk_file *f, const struct iovec *iov, int n, uint64_t off)
{
    size_t skip = 0; /* bytes from iov[0] on that are written */
    for (;;) {
        while (n > 0 && skip >= iov->iov_len) {
            skip -= iov->iov_len;
            iov++;
            n--;
        }
        if (n <= 0)
            return 0;
        struct iovec batch[IOV_BATCH];
        int k = batch_of(batch, iov, n, skip);
        ssize_t w = pwritev(fd_of(f), batch, k, (off_t)off);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return disk_err(errno);
        if (w == 0)
            return -ERR_IO; /* a regular file never answers so; do not spin */
        off += (uint64_t)w;
        skip += (size_t)w;
    }
}

static int posix_allocate(struct disk_file *f, uint64_t size)
{
    int no;
    do
        no = posix_fallocate(fd_of(f), 0, (off_t)size);
    while (no == EINTR);
    return no ? disk_err(no) : 0;
}

static int posix_size(struct disk_file *f, uint64_t *ret)
{
    struct stat st;
    if (fstat(fd_of(f), &st) < 0)
        return disk_err(errno);
    *ret = (uint64_t)st.st_size;
    return 0;
}

static void posix_sync(struct disk_file *f, disk_done_fn *done, void *arg)
{
    int r;
    do
        r = fdatasync(fd_of(f));
    while (r < 0 && errno == EINTR);
    done(arg, r < 0 ? disk_err(errno) : 0);
}

static int posix_rename(struct disk *d, const char *from, const char *to)
{
    return rename(from, to) < 0 ? disk_err(errno) : 0;
}

static int posix_remove(struct disk *d, const char *path)
{
    return remove(path) < 0 ? disk_err(errno) : 0;
}

static int posix_make_dir(struct disk *d, const char *path)
{
    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return disk_err(errno);
    struct stat st;
    if (stat(path, &st) < 0)
        return disk_err(errno);
    return S_ISDIR(st.st_mode) ? 0 : -ERR_EXISTS;
}

static int posix_sync_dir(struct disk *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return disk_err(errno);
    int r;
    do
        r = fsync(fd);
    while (r < 0 && errno == EINTR);
    int err = r < 0 ? disk_err(errno) : 0;
    close(fd);
    return err;
}

static int posix_list(struct disk *d, const char *path, disk_name_fn *each, void *arg)
{
    DIR *dir = opendir(path);
    if (!dir)
        return disk_err(errno);
    int err = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e) {
            err = errno ? disk_err(errno) : 0;
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            each(arg, e->d_name);
    }
    closedir(dir);
    return err;
}

static int posix_free_bytes(struct disk *d, const char *path, uint64_t *ret)
{
    struct statvfs v;
    int r;
    do
        r = statvfs(path, &v);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return disk_err(errno);
    *ret = (uint64_t)v.f_bavail * v.f_frsize;
    return 0;
}

struct disk *disk_posix_create(void)
{
    static const struct disk_ops ops = {
        .open = posix_open,
        .close = posix_close,
        .read = posix_read,
        .write = posix_write,
        .allocate = posix_allocate,
        .size = posix_size,
        .sync = posix_sync,
        .rename = posix_rename,
        .remove = posix_remove,
        .make_dir = posix_make_dir,
        .sync_dir = posix_sync_dir,
        .list = posix_list,
        .free_bytes = posix_free_bytes,
    };
    struct disk *d = g_new(struct disk, 1);
    d->ops = &ops;
    return d;
}

void disk_posix_destroy(struct disk *d)
{
    g_free(d);
}
