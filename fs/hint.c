/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/hint.h"

void hints_init(struct hints *h)
{
    pthread_mutex_init(&h->lock, NULL);
    h->names = g_new0(struct hint_name, HINT_NAMES);
    h->dirs = g_new0(struct inode, HINT_DIRS);
}

void hints_finish(struct hints *h)
{
    if (!h->names)
        return;
    pthread_mutex_destroy(&h->lock);
    g_free(h->names);
    g_free(h->dirs);
    *h = (struct hints){0};
}

static struct hint_name *name_place(struct hints *h, fs_ino dir, uint64_t hash)
{
    return &h->names[(hash ^ dir * UINT64_C(0x9e3779b97f4a7c15)) % HINT_NAMES];
}

static struct inode *dir_place(struct hints *h, fs_ino dir)
{
    return &h->dirs[(dir * UINT64_C(0x9e3779b97f4a7c15) >> 40) % HINT_DIRS];
}

fs_ino hint_name(struct hints *h, fs_ino dir, uint64_t hash)
{
    pthread_mutex_lock(&h->lock);
    const struct hint_name *n = name_place(h, dir, hash);
    fs_ino ino = n->dir == dir && n->hash == hash ? n->ino : 0;
    pthread_mutex_unlock(&h->lock);
    return ino;
}

void hint_set_name(struct hints *h, fs_ino dir, uint64_t hash, fs_ino ino)
{
    pthread_mutex_lock(&h->lock);
    struct hint_name *n = name_place(h, dir, hash);
    if (ino)
        *n = (struct hint_name){dir, hash, ino};
    else if (n->dir == dir && n->hash == hash)
        *n = (struct hint_name){0};
    pthread_mutex_unlock(&h->lock);
}

bool hint_dir(struct hints *h, fs_ino dir, struct inode *ret)
{
    pthread_mutex_lock(&h->lock);
    const struct inode *n = dir_place(h, dir);
    bool has = n->ino == dir;
    if (has)
        *ret = *n;
    pthread_mutex_unlock(&h->lock);
    return has;
}

void hint_set_dir(struct hints *h, const struct inode *n)
{
    pthread_mutex_lock(&h->lock);
    struct inode *place = dir_place(h, n->ino);
    *place = *n;
    place->target = BYTES_NONE;
    pthread_mutex_unlock(&h->lock);
}

void hint_drop_dir(struct hints *h, fs_ino dir)
{
    pthread_mutex_lock(&h->lock);
    if (dir_place(h, dir)->ino == dir)
        dir_place(h, dir)->ino = 0;
    pthread_mutex_unlock(&h->lock);
}
