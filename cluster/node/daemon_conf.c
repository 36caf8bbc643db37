/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/daemon_conf.h"

#include <string.h>
#include "cluster/base/addr.h"
#include "cluster/base/identity.h"

static const char *const known_keys[] = {
    "cluster",       "node",        "data",     "listen+",     "peer+",        "ca",
    "cert",          "key",         "shards",   "election-ms", "heartbeat-ms", "lease-reads",
    "read-from",     "clock-drift", "job-user", "job-slots",   "log-level",    "join",
    "snapshot-rate", "groups",      NULL,
};

/* Percent. Twice as fast as chronyd ever slews a clock (8.3 %), and some. */
#define CLOCK_DRIFT_DEFAULT 20

/* "n3" at *at; stands behind it afterwards. 0 if it is not. */
static uint32_t take_node(const char **at)
{
    const char *p = *at;
    uint64_t id = 0;
    if (*p++ != 'n')
        return 0;
    for (; g_ascii_isdigit(*p) && id <= NODE_ID_MAX; p++)
        id = id * 10 + (uint64_t)(*p - '0');
    *at = p;
    return id <= NODE_ID_MAX ? (uint32_t)id : 0;
}

static int need(const struct conf *conf, const char *path, const char *key,
                const struct conf_entry **ret, struct errmsg *msg)
{
    *ret = conf_next(conf, key, NULL);
    if (*ret)
        return 0;
    return errmsg_set(msg, -ERR_CONFIG, "%s: \"%s\" is missing (raftfsctl init writes it)", path,
                      key);
}

static int parse_who(struct daemon_conf *c, const char *path, struct errmsg *msg)
{
    const struct conf_entry *e;
    int err = need(c->conf, path, "cluster", &e, msg);
    if (err < 0)
        return err;
    char *end;
    c->cluster = g_ascii_strtoull(e->value, &end, 16);
    if (strlen(e->value) != 16 || *end || c->cluster == 0)
        return conf_error(e, msg, "cluster: expected 16 hex digits, as raftfsctl init wrote them");
    err = need(c->conf, path, "node", &e, msg);
    if (err < 0)
        return err;
    const char *at = e->value;
    c->node = take_node(&at);
    if (c->node == 0 || *at)
        return conf_error(e, msg, "node: expected n and a number from 1, e.g. n1");
    return 0;
}

static int parse_path(struct daemon_conf *c, const char *key, const char **ret, struct errmsg *msg)
{
    const struct conf_entry *e = conf_next(c->conf, key, NULL);
    if (e && e->value[0] != '/')
        return conf_error(e, msg, "%s: the path must be absolute, it begins with /", key);
    if (e)
        *ret = e->value;
    return 0;
}

static int parse_files(struct daemon_conf *c, const char *path, struct errmsg *msg)
{
    const struct conf_entry *e;
    int err = need(c->conf, path, "data", &e, msg);
    if (err == 0)
        err = parse_path(c, "data", &c->data, msg);
    if (err == 0)
        err = parse_path(c, "ca", &c->ca, msg);
    if (err == 0)
        err = parse_path(c, "cert", &c->cert, msg);
    if (err == 0)
        err = parse_path(c, "key", &c->key, msg);
    if (err < 0)
        return err;
    if ((c->ca || c->cert || c->key) && !(c->ca && c->cert && c->key))
        return errmsg_set(msg, -ERR_CONFIG,
                          "%s: \"ca\", \"cert\" and \"key\" go together; \"%s\" is "
                          "missing",
                          path,
                          !c->ca     ? "ca"
                          : !c->cert ? "cert"
                                     : "key");
    return 0;
}

static int check_address(struct daemon_conf *c, const struct conf_entry *e, const char *text,
                         struct errmsg *msg)
{
    struct addr addr;
    if (addr_parse(text, msg, &addr) < 0)
        return errmsg_prefix(msg, -ERR_CONFIG, "%s:%u: %s", e->file, e->line, e->key);
    if (!addr.local && !c->ca)
        return conf_error(e, msg,
                          "%s: a TCP address needs TLS: give \"ca\", \"cert\" and \"key\" "
                          "(raftfsctl init makes them)",
                          e->key);
    return 0;
}

static int parse_listen(struct daemon_conf *c, const char *path, struct errmsg *msg)
{
    const struct conf_entry *e;
    int err = need(c->conf, path, "listen", &e, msg);
    if (err < 0)
        return err;
    for (; e; e = conf_next(c->conf, "listen", e)) {
        if (c->n_listen == LISTEN_MAX)
            return conf_error(e, msg, "listen: more than %d addresses", LISTEN_MAX);
        err = check_address(c, e, e->value, msg);
        if (err < 0)
            return err;
        c->listen[c->n_listen++] = e->value;
    }
    return 0;
}

/* "n2 127.0.0.1:7002" */
static int parse_peer(struct daemon_conf *c, const struct conf_entry *e, struct errmsg *msg)
{
    const char *at = e->value;
    uint32_t id = take_node(&at);
    size_t blanks = strspn(at, " \t");
    if (id == 0 || blanks == 0)
        return conf_error(e, msg, "peer: expected nID and an address, e.g. peer n2 127.0.0.1:7002");
    if (c->n_peers == NODES_MAX)
        return conf_error(e, msg, "peer: more than %d members", NODES_MAX);
    for (unsigned i = 0; i < c->n_peers; i++)
        if (c->peers[i].id == id)
            return conf_error(e, msg, "peer: n%u is named twice", id);
    at += blanks;
    int err = check_address(c, e, at, msg);
    if (err < 0)
        return err;
    c->peers[c->n_peers++] = (struct node_peer_config){.id = id, .address = at};
    return 0;
}

static int parse_peers(struct daemon_conf *c, const char *path, struct errmsg *msg)
{
    bool self = false;
    int err = conf_bool(c->conf, "join", msg, &c->join);
    if (err < 0)
        return err;
    for (const struct conf_entry *e = NULL; (e = conf_next(c->conf, "peer", e)) != NULL;) {
        err = parse_peer(c, e, msg);
        if (err < 0)
            return err;
        self |= c->peers[c->n_peers - 1].id == c->node;
    }
    if (!self)
        return errmsg_set(msg, -ERR_CONFIG,
                          "%s: no \"peer n%u ...\": every member is listed, this node too", path,
                          c->node);
    if (c->join && c->n_peers == 1)
        return errmsg_set(msg, -ERR_CONFIG,
                          "%s: \"join\" needs a \"peer\" line of a member to join", path);
    if (c->n_peers - c->join > VOTERS_MAX)
        return errmsg_set(msg, -ERR_CONFIG, "%s: more than %d peers", path, VOTERS_MAX);
    return 0;
}

static int parse_times(struct daemon_conf *c, struct errmsg *msg)
{
    uint64_t election = ELECTION_TICKS * TICK_MS, heartbeat = HEARTBEAT_TICKS * TICK_MS;
    int err = conf_number(c->conf, "heartbeat-ms", TICK_MS, 10000, msg, &heartbeat);
    if (err == 0)
        err = conf_number(c->conf, "election-ms", 4 * TICK_MS, 60000, msg, &election);
    if (err < 0)
        return err;
    if (election <= 3 * heartbeat) {
        const struct conf_entry *e = conf_next(c->conf, "election-ms", NULL);
        if (!e)
            e = conf_next(c->conf, "heartbeat-ms", NULL);
        return conf_error(e, msg,
                          "election-ms (%" G_GUINT64_FORMAT ") must be more than three times "
                          "heartbeat-ms (%" G_GUINT64_FORMAT ")",
                          election, heartbeat);
    }
    c->election_ticks = (unsigned)(election / TICK_MS);
    c->heartbeat_ticks = (unsigned)(heartbeat / TICK_MS);
    return 0;
}

/* clock-drift: by how many percent one node's clock may run faster than another's. */
static int parse_lease(struct daemon_conf *c, struct errmsg *msg)
{
    uint64_t percent = CLOCK_DRIFT_DEFAULT;
    int err = conf_bool(c->conf, "lease-reads", msg, &c->lease_reads);
    if (err == 0)
        err = conf_number(c->conf, "clock-drift", 1, 50, msg, &percent);
    if (err < 0)
        return err;
    c->lease_drift_ticks = (unsigned)((c->election_ticks * percent + 99) / 100);
    /* One tick is lost to rounding (cluster/raft/lease.c). */
    if (!c->lease_reads || c->election_ticks > c->lease_drift_ticks + 1 + c->heartbeat_ticks)
        return 0;
    return conf_error(conf_next(c->conf, "lease-reads", NULL), msg,
                      "lease-reads: with this election-ms, less clock-drift, a lease would end "
                      "before the next heartbeat: lower heartbeat-ms or clock-drift");
}

static int parse_rest(struct daemon_conf *c, struct errmsg *msg)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    uint64_t shards = SHARDS_DEFAULT, slots = 0, rate = 0, groups = 0;
    int err = conf_number(c->conf, "shards", 1, SHARDS_MAX, msg, &shards);
    if (err == 0)
        err = conf_number(c->conf, "groups", 0, GROUPS_MAX, msg, &groups);
    if (err == 0)
        err = conf_number(c->conf, "job-slots", 1, 1024, msg, &slots);
    if (err == 0)
        err = conf_number(c->conf, "snapshot-rate", 1, 1000, msg, &rate);
    if (err < 0)
        return err;
    c->shards = (uint16_t)shards;
    c->groups = (unsigned)groups;
    c->job_slots = (unsigned)slots;
    c->snapshot_tick_bytes = (unsigned)(MIB(rate) * TICK_MS / 1000);
    c->job_user = conf_get(c->conf, "job-user");
    const struct conf_entry *from = conf_next(c->conf, "read-from", NULL); /* of its tasks */
    if (from && strcmp(from->value, "leader") != 0 && strcmp(from->value, "any") != 0)
        return conf_error(from, msg, "read-from: expected leader or any");
    c->log_level = LOG_INFO;
    const struct conf_entry *e = conf_next(c->conf, "log-level", NULL);
    if (!e)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(e->value, levels[i]) == 0) {
            c->log_level = (enum log_level)i;
            return 0;
        }
    return conf_error(e, msg, "log-level: expected error, warn, info or debug");
}

int daemon_conf_load(const char *path, struct daemon_conf *ret, struct errmsg *msg)
{
    struct daemon_conf c = {0};
    int err = conf_load(path, msg, &c.conf);
    if (err == 0)
        err = conf_check_known(c.conf, known_keys, msg);
    if (err == 0)
        err = parse_who(&c, path, msg);
    if (err == 0)
        err = parse_files(&c, path, msg);
    if (err == 0)
        err = parse_listen(&c, path, msg);
    if (err == 0)
        err = parse_peers(&c, path, msg);
    if (err == 0)
        err = parse_times(&c, msg);
    if (err == 0)
        err = parse_lease(&c, msg);
    if (err == 0)
        err = parse_rest(&c, msg);
    if (err < 0) {
        daemon_conf_finish(&c);
        return err;
    }
    *ret = c;
    return 0;
}

void daemon_conf_finish(struct daemon_conf *c)
{
    conf_free(c->conf);
    *c = (struct daemon_conf){0};
}
