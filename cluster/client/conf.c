/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.c - what a client needs of a conf: the cluster, who listens where, its own certificate.
 *
 * Any conf that raftfsctl init writes will do (client.conf, admin.conf, a node's own): keys that
 * are not a client's are for others to check.
 */
#include <stdlib.h>
#include <string.h>
#include "cluster/base/addr.h"
#include "cluster/base/conf.h"
#include "cluster/client/impl.h"

/* "n2 127.0.0.1:7002" */
static int add_node(struct client *c, const struct conf_entry *e, bool *ret_tcp, struct errmsg *msg)
{
    const char *address;
    const char *digits = e->value + (e->value[0] == 'n');
    char *end;
    unsigned long id = strtoul(digits, &end, 10);
    struct addr addr;

    if (!g_ascii_isdigit(*digits) || id == 0 || id > UINT32_MAX || (*end != ' ' && *end != '\t'))
        return conf_error(e, msg, "expected `%s nID HOST:PORT`, e.g. `%s n1 127.0.0.1:7001`",
                          e->key, e->key);
    if (pool_find(c, (uint32_t)id) >= 0)
        return conf_error(e, msg, "node n%lu is named twice", id);
    if (c->n_nodes == NODES_MAX)
        return conf_error(e, msg, "more than %d nodes", NODES_MAX);
    address = end + strspn(end, " \t");
    if (addr_parse(address, msg, &addr) < 0)
        return errmsg_prefix(msg, -ERR_CONFIG, "%s:%u", e->file, e->line);
    *ret_tcp |= !addr.local;
    c->nodes[c->n_nodes++] = (struct client_node){.id = (uint32_t)id, .address = g_strdup(address)};
    return 0;
}

static int load_tls(struct client *c, const struct conf *conf, const char *path, struct errmsg *msg)
{
    const char *ca = conf_get(conf, "ca"), *cert = conf_get(conf, "cert");
    const char *key = conf_get(conf, "key");

    if (!ca || !cert || !key)
        return errmsg_set(msg, -ERR_CONFIG,
                          "%s: needs `ca`, `cert` and `key` to reach nodes over TCP", path);
    return tls_ctx_create(cert, key, ca, msg, &c->tls);
}

static int load_read_from(struct client *c, const struct conf *conf, struct errmsg *msg)
{
    const struct conf_entry *e = conf_next(conf, "read-from", NULL);

    if (!e || strcmp(e->value, "leader") == 0)
        return 0;
    if (strcmp(e->value, "any") != 0)
        return conf_error(e, msg, "read-from: expected leader or any");
    c->read_any = true;
    c->first_node = (unsigned)(clock_mono_ns() / 1000 % NODES_MAX);
    return 0;
}

int client_conf_load(struct client *c, const char *path, struct errmsg *msg)
{
    struct conf *conf CLEANUP(conf_free) = NULL;
    bool tcp = false;
    int r = conf_load(path, msg, &conf);

    if (r < 0)
        return r;
    const char *cluster = conf_get(conf, "cluster");
    char *end = NULL;
    if (cluster)
        c->cluster = strtoull(cluster, &end, 16);
    if (!cluster || !*cluster || *end)
        return errmsg_set(msg, -ERR_CONFIG,
                          "%s: needs `cluster` with the 16 hex digits that raftfsctl init wrote",
                          path);
    for (const struct conf_entry *e = NULL; (e = conf_next(conf, "peer", e));) {
        r = add_node(c, e, &tcp, msg);
        if (r < 0)
            return r;
    }
    r = load_read_from(c, conf, msg);
    if (r < 0)
        return r;
    if (c->n_nodes == 0)
        return errmsg_set(msg, -ERR_CONFIG, "%s: names no node (`peer n1 HOST:PORT`)", path);
    return tcp ? load_tls(c, conf, path, msg) : 0;
}
