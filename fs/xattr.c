/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes: a key each. Which names exist is Linux's rule; who may is the kernel's. */
#include <linux/limits.h>
#include <sys/xattr.h>
#include "fs/volume_impl.h"

#define CAPABILITY "security.capability"

static bool in_space(const char *name, const char *space)
{
    return g_str_has_prefix(name, space) && name[strlen(space)] != '\0';
}

static int check_name(const char *name)
{
    if (name[0] == '\0' || strlen(name) > XATTR_NAME_MAX)
        return -ERANGE;
    if (in_space(name, "user.") || in_space(name, "trusted.") || in_space(name, "security."))
        return 0;
    return -EOPNOTSUPP; /* system.posix_acl_* until there are ACLs */
}

int volume_setxattr(struct volume *v, fs_ino ino, const char *name, const void *value, size_t n,
                    int flags, const struct volume_caller *who)
{
    int rc = check_name(name);
    if (rc)
        return rc;
    if (strcmp(name, CAPABILITY) == 0)
        return -EOPNOTSUPP; /* nothing here would honour or clear it */
    if (n > XATTR_VALUE_MAX)
        return -E2BIG;
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes inode = KEY(key_inode(ino)), key = KEY(key_xattr(ino, name));
    txn_exists(&t, inode);
    if (flags & XATTR_CREATE)
        txn_absent(&t, key);
    if (flags & XATTR_REPLACE)
        txn_exists(&t, key);
    txn_put(&t, key, bytes_of(value, n));
    txn_time64(&t, inode, INODE_CTIME);
    rc = volume_run(v, &t);
    if (rc <= 0)
        return rc;
    if (t.reply.failed == 0)
        return -ESTALE;
    return flags & XATTR_CREATE ? -EEXIST : -ENODATA;
}

int64_t volume_getxattr(struct volume *v, fs_ino ino, const char *name, void *value, size_t n)
{
    int rc = check_name(name);
    if (rc)
        return rc;
    /* The kernel asks for it before each write: answered without a request. */
    if (strcmp(name, CAPABILITY) == 0)
        return -ENODATA;
    struct txn t CLEANUP(txn_finish) = {0};
    txn_get(&t, KEY(key_xattr(ino, name)));
    rc = volume_run(v, &t);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (t.reply.n_reads != 1)
        return -EIO;
    const struct kv_result *r = &t.reply.reads[0];
    if (r->version == 0)
        return -ENODATA;
    if (n > 0 && r->value.n > n)
        return -ERANGE;
    if (n > 0 && r->value.n > 0)
        memcpy(value, r->value.p, r->value.n);
    return (int64_t)r->value.n;
}

/* Names, each with its NUL. */
static int list_names(struct volume *v, fs_ino ino, GString *ret)
{
    struct key lo, hi;
    range_xattrs(ino, &lo, &hi);
    for (bool more = true; more;) {
        struct txn t CLEANUP(txn_finish) = {0};
        txn_scan(&t, key_view(&lo), key_view(&hi), SCAN_ENTRIES_MAX, true);
        int rc = volume_run(v, &t);
        if (rc)
            return rc < 0 ? rc : -EIO;
        if (t.reply.n_reads != 1)
            return -EIO;
        const struct kv_result *r = &t.reply.reads[0];
        for (uint32_t i = 0; i < r->n_pairs; i++) {
            struct bytes key = r->pairs[i].key;
            if (key.n <= KEY_XATTR_NAME || key.n >= sizeof(lo.p))
                return -EIO;
            g_string_append_len(ret, (const char *)key.p + KEY_XATTR_NAME,
                                (gssize)(key.n - KEY_XATTR_NAME));
            g_string_append_c(ret, '\0');
            memcpy(lo.p, key.p, key.n); /* goes on behind it */
            lo.p[key.n] = '\0';
            lo.n = (uint16_t)(key.n + 1);
        }
        more = r->more && r->n_pairs > 0;
        if (ret->len > XATTR_LIST_MAX)
            return -E2BIG;
    }
    return 0;
}

int64_t volume_listxattr(struct volume *v, fs_ino ino, char *list, size_t n)
{
    GString *names = g_string_new(NULL);
    int64_t rc = list_names(v, ino, names);
    if (rc == 0) {
        rc = (int64_t)names->len;
        if (n > 0 && names->len > n)
            rc = -ERANGE;
        else if (n > 0)
            memcpy(list, names->str, names->len);
    }
    g_string_free(names, TRUE);
    return rc;
}

int volume_removexattr(struct volume *v, fs_ino ino, const char *name,
                       const struct volume_caller *who)
{
    int rc = check_name(name);
    if (rc)
        return rc;
    struct txn t CLEANUP(txn_finish) = {0};
    struct bytes inode = KEY(key_inode(ino)), key = KEY(key_xattr(ino, name));
    txn_exists(&t, inode);
    txn_exists(&t, key);
    txn_delete(&t, key);
    txn_time64(&t, inode, INODE_CTIME);
    rc = volume_run(v, &t);
    if (rc <= 0)
        return rc;
    return t.reply.failed == 0 ? -ESTALE : -ENODATA;
}
