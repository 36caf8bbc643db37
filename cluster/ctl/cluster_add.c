/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/cluster_add.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/addr.h"
#include "cluster/base/conf.h"
#include "cluster/base/identity.h"
#include "cluster/ctl/cluster_files.h"

static char *file_of(const struct cluster_add *o, const char *suffix)
{
    return g_strdup_printf("%s/n%u%s", o->dir, o->node.id, suffix);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* --- what is there already -------------------------------------------------------------------- */

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    bool empty = d != NULL;
    for (const struct dirent *e; empty && (e = readdir(d)) != NULL;)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (d)
        closedir(d);
    return empty;
}

/* 1: it is this node's; 0: it is still to be made. */
static int look_at_data(const struct cluster_add *o, const char *dir, struct errmsg *msg)
{
    g_autofree char *identity = g_strdup_printf("%s/identity", dir);
    struct identity found;
    if (!is_there(dir))
        return 0;
    if (!is_there(identity))
        return is_empty(dir)
                   ? 0
                   : errmsg_set(msg, -ERR_EXISTS,
                                "directory %s is not empty and holds no identity: a new node "
                                "needs one of its own",
                                dir);
    int err = identity_read(dir, &found, msg);
    if (err == 0)
        err = identity_check(dir, &found, o->cluster, o->node.id, msg);
    return err < 0 ? err : 1;
}

static int look_at_conf(const struct cluster_add *o, const char *path, struct errmsg *msg)
{
    struct conf *conf CLEANUP(conf_free) = NULL;
    g_autofree char *want = g_strdup_printf("n%u %s", o->node.id, o->node.address);
    if (!is_there(path))
        return 0;
    int err = conf_load(path, msg, &conf);
    if (err < 0)
        return err;
    for (const struct conf_entry *e = NULL; (e = conf_next(conf, "peer", e)) != NULL;)
        if (strcmp(e->value, want) == 0)
            return 1;
    return errmsg_set(msg, -ERR_EXISTS,
                      "%s is there and does not say \"peer %s\": an id is never used twice; remove "
                      "it if it is of an attempt "
                      "with another address",
                      path, want);
}

int cluster_add_check(const struct cluster_add *o, struct errmsg *msg)
{
    g_autofree char *ca_key = g_strdup_printf("%s/ca.key", o->dir);
    g_autofree char *data = file_of(o, ""), *conf = file_of(o, ".conf");
    struct addr addr;
    int err = addr_parse(o->node.address, msg, &addr);
    if (err < 0)
        return errmsg_prefix(msg, -ERR_CONFIG, "node n%u", o->node.id);
    if (addr.local || addr.port == 0)
        return errmsg_set(msg, -ERR_CONFIG, "node n%u: %s: expected HOST:PORT, e.g. 127.0.0.1:7001",
                          o->node.id, o->node.address);
    if (access(ca_key, R_OK) != 0)
        return errmsg_set(msg, -ERR_NOT_FOUND,
                          "%s: %s: a new node's certificate is signed with it; use the admin.conf "
                          "in the directory that raftfsctl init made",
                          ca_key, strerror(errno));
    err = files_check_text("directory", o->dir, PATH_MAX, msg);
    if (err == 0)
        err = look_at_data(o, data, msg);
    if (err >= 0)
        err = look_at_conf(o, conf, msg);
    return MIN(err, 0);
}

/* --- the parts -------------------------------------------------------------------------------- */

static int make_data(const struct cluster_add *o, struct errmsg *msg)
{
    g_autofree char *dir = file_of(o, "");
    int there = look_at_data(o, dir, msg);
    if (there != 0)
        return MIN(there, 0);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return errmsg_set(msg, err_from_errno(errno), "make directory %s: %s", dir,
                          strerror(errno));
    struct rng rng;
    rng_seed_os(&rng);
    const struct identity id = {
        .cluster = o->cluster,
        .node = o->node.id,
        .incarnation = files_draw_id(&rng),
    };
    return identity_write(dir, &id, msg);
}

/* One without the other is of a call that was interrupted, and of no use. */
static int make_cert(const struct cluster_add *o, struct errmsg *msg)
{
    g_autofree char *cert = file_of(o, ".crt"), *key = file_of(o, ".key");
    if (is_there(cert) && is_there(key))
        return 0;
    (void)unlink(cert);
    (void)unlink(key);
    return files_node_cert(o->dir, o->cluster, o->node.id, cert, key, msg);
}

static int make_conf(const struct cluster_add *o, struct errmsg *msg)
{
    g_autofree char *path = file_of(o, ".conf");
    int there = look_at_conf(o, path, msg);
    if (there != 0)
        return MIN(there, 0);
    GString *s = g_string_new(NULL);
    g_string_append_printf(s,
                           "# raftfsd n%u, written by raftfsctl node add; see raftfs.conf(5).\n"
                           "node n%u\njoin yes\ndata %s/n%u\nlisten %s\nshards %u\n"
                           "cluster %016" PRIx64 "\n",
                           o->node.id, o->node.id, o->dir, o->node.id, o->node.address, o->shards,
                           o->cluster);
    for (unsigned i = 0; i < o->n_peers; i++)
        if (o->peers[i].id != o->node.id)
            g_string_append_printf(s, "peer n%u %s\n", o->peers[i].id, o->peers[i].address);
    g_string_append_printf(s, "peer n%u %s\n", o->node.id, o->node.address);
    g_string_append_printf(s, "ca %s/ca.crt\ncert %s/n%u.crt\nkey %s/n%u.key\n", o->dir, o->dir,
                           o->node.id, o->dir, o->node.id);
    int err = files_replace(path, s, msg);
    g_string_free(s, TRUE);
    return err;
}

int cluster_add(const struct cluster_add *o, struct errmsg *msg)
{
    int err = cluster_add_check(o, msg);
    if (err == 0)
        err = make_data(o, msg);
    if (err == 0)
        err = make_cert(o, msg);
    if (err == 0)
        err = make_conf(o, msg);
    return err;
}

/* --- peer lines ------------------------------------------------------------------------------- */

/* "peer n4 ..." or "peer = n4 ..." */
static bool names(const char *line, uint32_t node)
{
    char id[16];
    int n = g_snprintf(id, sizeof(id), "n%u", node);
    if (!g_str_has_prefix(line, "peer"))
        return false;
    line += strlen("peer");
    size_t gap = strspn(line, " \t=");
    line += gap;
    return gap > 0 && strncmp(line, id, (size_t)n) == 0 && (line[n] == ' ' || line[n] == '\t');
}

int cluster_conf_peer(const char *path, uint32_t node, const char *address, struct errmsg *msg)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    if (!is_there(path))
        return 0;
    if (!g_file_get_contents(path, &text, NULL, &error))
        return errmsg_set(msg, -ERR_IO, "%s", error->message);
    g_auto(GStrv) lines = g_strsplit(g_strchomp(text), "\n", -1);
    GString *s = g_string_new(NULL);
    unsigned left = 0, last = 0;
    for (unsigned i = 0; lines[i]; i++)
        if (g_str_has_prefix(lines[i], "peer"))
            last = i;
    for (unsigned i = 0; lines[i]; i++) {
        bool is_peer = g_str_has_prefix(lines[i], "peer"), drop = names(lines[i], node);
        if (!drop)
            g_string_append_printf(s, "%s\n", lines[i]);
        left += is_peer && !drop;
        if (i == last && address)
            g_string_append_printf(s, "peer n%u %s\n", node, address);
    }
    int err = left + (address != NULL) > 0 ? files_replace(path, s, msg) : 0;
    g_string_free(s, TRUE);
    return err;
}
