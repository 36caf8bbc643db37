/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/cluster_init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cluster/base/addr.h"
#include "cluster/base/identity.h"
#include "cluster/base/rng.h"
#include "cluster/base/tlsgen.h"
#include "cluster/ctl/cluster_files.h"

#define NAME_MAX_BYTES 64

struct maker {
    const struct cluster_init *o;
    const char *name;
    char *dir; /* absolute */
    uint64_t cluster;
    unsigned shards;
    struct rng rng;
    struct cluster_init_node nodes[VOTERS_MAX];
    unsigned n_nodes;
    GPtrArray *addresses; /* owns those of an embedded cluster */
    GPtrArray *made;      /* paths, to be removed in reverse order if we fail */
};

/* --- what is asked for -------------------------------------------------------------------------
 */

int cluster_init_parse_node(char *text, struct cluster_init_node *ret, struct errmsg *msg)
{
    char *end = text;
    uint64_t id = 0;
    if (text[0] == 'n')
        for (end = text + 1; g_ascii_isdigit(*end) && id <= NODE_ID_MAX; end++)
            id = id * 10 + (uint64_t)(*end - '0');
    if (id == 0 || id > NODE_ID_MAX || *end != '=')
        return errmsg_set(msg, -ERR_CONFIG,
                          "node \"%s\": expected nID=HOST:PORT, e.g. n1=127.0.0.1:7001", text);
    *ret = (struct cluster_init_node){.id = (uint32_t)id, .address = end + 1};
    return 0;
}

static int check_node(const struct maker *m, unsigned at, struct errmsg *msg)
{
    const struct cluster_init_node *node = &m->nodes[at];
    struct addr addr;
    int err = addr_parse(node->address, msg, &addr);
    if (err < 0)
        return errmsg_prefix(msg, -ERR_CONFIG, "node n%u", node->id);
    if (!addr.local && addr.port == 0)
        return errmsg_set(msg, -ERR_CONFIG, "node n%u: %s has no port, e.g. 127.0.0.1:7001",
                          node->id, node->address);
    for (unsigned i = 0; i < at; i++) {
        if (m->nodes[i].id == node->id)
            return errmsg_set(msg, -ERR_CONFIG, "node n%u is given twice", node->id);
        if (strcmp(m->nodes[i].address, node->address) == 0)
            return errmsg_set(msg, -ERR_CONFIG, "nodes n%u and n%u have the same address %s",
                              m->nodes[i].id, node->id, node->address);
    }
    return 0;
}

static int take_nodes(struct maker *m, struct errmsg *msg)
{
    const struct cluster_init *o = m->o;
    m->n_nodes = o->embedded ? o->embedded : o->n_nodes;
    if (m->n_nodes == 0 || m->n_nodes > VOTERS_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "%u nodes: a cluster has 1 to %d (3 or 5 are usual)",
                          m->n_nodes, VOTERS_MAX);
    for (unsigned i = 0; i < m->n_nodes; i++) {
        if (o->embedded) {
            char *address = g_strdup_printf("unix:%s/n%u.sock", m->dir, i + 1);
            g_ptr_array_add(m->addresses, address);
            m->nodes[i] = (struct cluster_init_node){.id = i + 1, .address = address};
        } else {
            m->nodes[i] = o->nodes[i];
        }
        int err = check_node(m, i, msg);
        if (err < 0)
            return err;
    }
    return 0;
}

/* --- files ------------------------------------------------------------------------------------ */

static const char *path_of(struct maker *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A path in DIR that is ours from now on. */
static const char *path_of(struct maker *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *name = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    char *path = g_strdup_printf("%s/%s", m->dir, name);
    g_ptr_array_add(m->made, path);
    return path;
}

static int make_dir(struct maker *m, const char *dir, struct errmsg *msg)
{
    bool made = mkdir(dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return errmsg_set(msg, err_from_errno(errno), "make directory %s: %s", dir,
                          strerror(errno));
    m->dir = realpath(dir, NULL);
    if (!m->dir)
        return errmsg_set(msg, err_from_errno(errno), "directory %s: %s", dir, strerror(errno));
    if (made) {
        g_ptr_array_add(m->made, g_strdup(m->dir));
        return 0;
    }
    DIR *d = opendir(m->dir);
    if (!d)
        return errmsg_set(msg, err_from_errno(errno), "directory %s: %s", dir, strerror(errno));
    bool empty = true;
    for (const struct dirent *e; empty && (e = readdir(d)) != NULL;)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    if (!empty)
        return errmsg_set(msg, -ERR_EXISTS,
                          "directory %s is not empty: a new cluster needs a directory of its own",
                          m->dir);
    return 0;
}

/* --- the parts -------------------------------------------------------------------------------- */

static int make_data_dirs(struct maker *m, struct errmsg *msg)
{
    for (unsigned i = 0; i < m->n_nodes; i++) {
        const struct identity id = {
            .cluster = m->cluster,
            .node = m->nodes[i].id,
            .incarnation = files_draw_id(&m->rng),
        };
        const char *dir = path_of(m, "n%u", id.node);
        if (mkdir(dir, 0700) < 0)
            return errmsg_set(msg, err_from_errno(errno), "make directory %s: %s", dir,
                              strerror(errno));
        (void)path_of(m, "n%u/identity", id.node);
        int err = identity_write(dir, &id, msg);
        if (err < 0)
            return err;
    }
    return 0;
}

static int make_cert(struct maker *m, const struct tls_peer *who, const char *file,
                     struct errmsg *msg)
{
    g_autofree char *ca_cert = g_strdup_printf("%s/ca.crt", m->dir);
    g_autofree char *ca_key = g_strdup_printf("%s/ca.key", m->dir);
    const char *cert = path_of(m, "%s.crt", file), *key = path_of(m, "%s.key", file);
    return tls_make_cert(ca_cert, ca_key, who, cert, key, msg);
}

static int make_certs(struct maker *m, struct errmsg *msg)
{
    if (m->o->embedded)
        return 0;
    const char *ca_cert = path_of(m, "ca.crt"), *ca_key = path_of(m, "ca.key");
    int err = tls_make_ca(m->cluster, ca_cert, ca_key, msg);
    for (unsigned i = 0; i < m->n_nodes && err == 0; i++) {
        uint32_t id = m->nodes[i].id;
        const char *cert = path_of(m, "n%u.crt", id), *key = path_of(m, "n%u.key", id);
        err = files_node_cert(m->dir, m->cluster, id, cert, key, msg);
    }
    const struct tls_peer others[] = {
        {.cluster = m->cluster, .role = ROLE_CLIENT, .uid = -1, .name = "client"},
        {.cluster = m->cluster, .role = ROLE_ADMIN, .uid = -1, .name = "admin"},
    };
    for (size_t i = 0; i < ARRAY_LEN(others) && err == 0; i++)
        err = make_cert(m, &others[i], others[i].name, msg);
    return err;
}

static void add_common(const struct maker *m, GString *s, const char *file)
{
    g_string_append_printf(s, "cluster %016" PRIx64 "\n", m->cluster);
    for (unsigned i = 0; i < m->n_nodes; i++)
        g_string_append_printf(s, "peer n%u %s\n", m->nodes[i].id, m->nodes[i].address);
    if (!m->o->embedded)
        g_string_append_printf(s, "ca %s/ca.crt\ncert %s/%s.crt\nkey %s/%s.key\n", m->dir, m->dir,
                               file, m->dir, file);
}

static int make_node_conf(struct maker *m, const struct cluster_init_node *node, struct errmsg *msg)
{
    g_autofree char *file = g_strdup_printf("n%u", node->id);
    GString *s = g_string_new(NULL);
    g_string_append_printf(s,
                           "# raftfsd %s of cluster %s, written by raftfsctl init; see "
                           "raftfs.conf(5).\n",
                           file, m->name);
    g_string_append_printf(s, "node %s\ndata %s/%s\nlisten %s\nshards %u\n", file, m->dir, file,
                           node->address, m->shards);
    if (m->o->groups > 0)
        g_string_append_printf(s, "groups %u\n", m->o->groups);
    add_common(m, s, file);
    int err = files_write(path_of(m, "%s.conf", file), s, msg);
    g_string_free(s, TRUE);
    return err;
}

static int make_client_conf(struct maker *m, const char *file, const char *program,
                            struct errmsg *msg)
{
    GString *s = g_string_new(NULL);
    g_string_append_printf(s,
                           "# For %s on cluster %s, written by raftfsctl init; see "
                           "raftfs.conf(5).\n",
                           program, m->name);
    add_common(m, s, file);
    int err = files_write(path_of(m, "%s.conf", file), s, msg);
    g_string_free(s, TRUE);
    return err;
}

static int make_all(struct maker *m, struct errmsg *msg)
{
    int err = make_data_dirs(m, msg);
    if (err == 0)
        err = make_certs(m, msg);
    for (unsigned i = 0; i < m->n_nodes && err == 0; i++)
        err = make_node_conf(m, &m->nodes[i], msg);
    if (err == 0)
        err = make_client_conf(m, "admin", "raftfsctl", msg);
    if (err == 0)
        err = files_sync(m->dir, msg);
    if (err == 0)
        err = make_client_conf(m, "client", "raftfs", msg);
    if (err == 0)
        err = files_sync(m->dir, msg);
    if (err < 0)
        return err;
    g_autofree char *parent = g_path_get_dirname(m->dir);
    return files_sync(parent, msg);
}

unsigned cluster_init_groups(unsigned n_nodes, unsigned shards)
{
    return n_nodes > 1 ? MIN(n_nodes, shards) : 0;
}

int cluster_init(const struct cluster_init *o, struct errmsg *msg)
{
    struct maker m = {.o = o, .shards = o->shards ? o->shards : SHARDS_DEFAULT};
    if (m.shards > SHARDS_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "%u shards: there may be 1 to %d", m.shards,
                          SHARDS_MAX);
    if (o->groups > MIN(m.shards, GROUPS_MAX))
        return errmsg_set(msg, -ERR_CONFIG,
                          "%u groups: there may be 0 to %u, and no more than the %u shards",
                          o->groups, (unsigned)GROUPS_MAX, m.shards);
    m.addresses = g_ptr_array_new_with_free_func(g_free);
    m.made = g_ptr_array_new_with_free_func(g_free);
    rng_seed_os(&m.rng);
    m.cluster = files_draw_id(&m.rng);

    int err = make_dir(&m, o->dir, msg);
    if (err == 0) {
        m.name = o->name ? o->name : strrchr(m.dir, '/') + 1;
        err = files_check_text("directory", m.dir, PATH_MAX, msg);
    }
    if (err == 0 && o->name)
        err = files_check_text("name", o->name, NAME_MAX_BYTES, msg);
    if (err == 0)
        err = take_nodes(&m, msg);
    if (err == 0)
        err = make_all(&m, msg);
    for (guint i = m.made->len; err < 0 && i > 0; i--)
        (void)remove(g_ptr_array_index(m.made, i - 1));

    g_ptr_array_free(m.made, TRUE);
    g_ptr_array_free(m.addresses, TRUE);
    free(m.dir);
    return err;
}
