/* SPDX-License-Identifier: Apache-2.0 */
/* The test's side of fake_node.h: set-up, orders, what was seen. */
#include <arpa/inet.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "cluster/base/tlsgen.h"
#include "tests/unit/client/fake_impl.h"

/* --- life ------------------------------------------------------------------------------------- */

static void listen_unix(struct fake *f, struct fake_node *n, GString *conf)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    g_snprintf(to.sun_path, sizeof(to.sun_path), "%s/n%u", f->dir, n->id);
    n->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(n->listener, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(listen(n->listener, 512), 0);
    g_string_append_printf(conf, "peer n%u unix:%s\n", n->id, to.sun_path);
}

static void make_cert(struct fake *f, const char *name, struct tls_peer who)
{
    struct errmsg msg;
    char *cert = g_strdup_printf("%s/%s.crt", f->dir, name);
    char *key = g_strdup_printf("%s/%s.key", f->dir, name);
    T_OK_MSG(
        tls_make_cert(t_path(f->dir, "ca.crt"), t_path(f->dir, "ca.key"), &who, cert, key, &msg),
        &msg);
    g_free(cert);
    g_free(key);
}

static void listen_tls(struct fake *f, struct fake_node *n, GString *conf)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(to);
    struct errmsg msg;
    char name[8], cert[16], key[16];
    g_snprintf(name, sizeof(name), "n%u", n->id);
    g_snprintf(cert, sizeof(cert), "n%u.crt", n->id);
    g_snprintf(key, sizeof(key), "n%u.key", n->id);
    make_cert(f, name, (struct tls_peer){.role = ROLE_NODE, .node = n->id, .uid = -1});
    T_OK_MSG(tls_ctx_create(t_path(f->dir, cert), t_path(f->dir, key), t_path(f->dir, "ca.crt"),
                            &msg, &n->tls),
             &msg);
    n->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(n->listener, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(listen(n->listener, 512), 0);
    assert_int_equal(getsockname(n->listener, (struct sockaddr *)&to, &len), 0);
    g_string_append_printf(conf, "peer n%u 127.0.0.1:%u\n", n->id, ntohs(to.sin_port));
}

static struct fake *create(unsigned nodes, unsigned in_conf, bool tls)
{
    struct fake *f = g_new0(struct fake, 1);
    GString *conf = g_string_new(NULL), *unsaid = g_string_new(NULL);
    struct errmsg msg;

    pthread_mutex_init(&f->lock, NULL);
    f->dir = t_tmpdir();
    f->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->conns = g_ptr_array_new();
    f->held = g_ptr_array_new();
    f->seen = g_array_new(FALSE, FALSE, sizeof(struct fake_seen));
    f->results = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)buf_unref);
    f->leader = 1;
    f->last_session = 100;
    f->n_nodes = nodes;
    g_string_append_printf(conf, "cluster %016llx\n", (unsigned long long)FAKE_CLUSTER);
    if (tls) {
        T_OK_MSG(
            tls_make_ca(FAKE_CLUSTER, t_path(f->dir, "ca.crt"), t_path(f->dir, "ca.key"), &msg),
            &msg);
        make_cert(f, "alice", (struct tls_peer){.role = ROLE_CLIENT, .uid = -1, .name = "alice"});
        g_string_append_printf(conf, "ca %s/ca.crt\ncert %s/alice.crt\nkey %s/alice.key\n", f->dir,
                               f->dir, f->dir);
    }
    for (unsigned i = 0; i < nodes; i++) {
        f->nodes[i] = (struct fake_node){.id = i + 1,
                                         .hello_cluster = FAKE_CLUSTER,
                                         .hello_node = i + 1,
                                         .hello_protocol = HELLO_PROTOCOL};
        (tls ? listen_tls : listen_unix)(f, &f->nodes[i], i < in_conf ? conf : unsaid);
    }
    f->conf = t_path(f->dir, "client.conf");
    t_write_file(f->conf, conf->str, conf->len);
    g_string_free(conf, TRUE);
    g_string_free(unsaid, TRUE);
    f->tells = in_conf < nodes;
    assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
    return f;
}

struct fake *fake_create(unsigned nodes)
{
    return create(nodes, nodes, false);
}

struct fake *fake_create_tls(unsigned nodes)
{
    return create(nodes, nodes, true);
}

struct fake *fake_create_joined(unsigned nodes, unsigned in_conf)
{
    return create(nodes, in_conf, false);
}

static void unlock_and_wake(struct fake *f)
{
    pthread_mutex_unlock(&f->lock);
    (void)eventfd_write(f->wake, 1);
}

void fake_destroy(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    unlock_and_wake(f);
    (void)pthread_join(f->thread, NULL);
    unsigned changed = f->changed_bytes;
    for (guint i = 0; i < f->conns->len; i++)
        fake_conn_free(f, f->conns->pdata[i]);
    for (guint i = 0; i < f->held->len; i++) {
        struct held *h = f->held->pdata[i];
        buf_unref(h->body);
        buf_unref(h->rest);
        g_free(h);
    }
    for (unsigned i = 0; i < f->n_nodes; i++) {
        g_queue_clear_full(&f->nodes[i].script, g_free);
        if (f->nodes[i].listener >= 0)
            (void)close(f->nodes[i].listener);
        tls_ctx_destroy(f->nodes[i].tls);
    }
    g_ptr_array_unref(f->conns);
    g_ptr_array_unref(f->held);
    g_array_unref(f->seen);
    g_hash_table_unref(f->results);
    (void)close(f->wake);
    pthread_mutex_destroy(&f->lock);
    g_free(f);
    assert_int_equal(changed, 0); /* a request came again under its name with other bytes */
}

const char *fake_conf(struct fake *f)
{
    return f->conf;
}

/* --- the test's orders ------------------------------------------------------------------------ */

void fake_lead(struct fake *f, uint32_t leader)
{
    pthread_mutex_lock(&f->lock);
    f->leader = leader;
    unlock_and_wake(f);
}

void fake_lead_group(struct fake *f, uint32_t gid, uint32_t leader)
{
    pthread_mutex_lock(&f->lock);
    f->led[gid] = leader;
    unlock_and_wake(f);
}

void fake_own(struct fake *f, unsigned shard, uint32_t gid)
{
    pthread_mutex_lock(&f->lock);
    f->shards[shard] = (struct fake_shard){gid, gid};
    unlock_and_wake(f);
}

void fake_freeze(struct fake *f, unsigned shard, uint32_t next)
{
    pthread_mutex_lock(&f->lock);
    f->shards[shard].next = next;
    unlock_and_wake(f);
}

void fake_lag(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    f->nodes[node - 1].lags = true;
    unlock_and_wake(f);
}

void fake_script(struct fake *f, uint32_t node, enum fake_step step, uint32_t arg)
{
    struct script *s = g_new0(struct script, 1);
    *s = (struct script){step, arg};
    pthread_mutex_lock(&f->lock);
    g_queue_push_tail(&f->nodes[node - 1].script, s);
    unlock_and_wake(f);
}

void fake_release(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->release = true;
    unlock_and_wake(f);
}

void fake_release_backwards(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->release = f->backwards = true;
    unlock_and_wake(f);
}

void fake_tell(struct fake *f, uint32_t node, uint32_t leader)
{
    pthread_mutex_lock(&f->lock);
    f->nodes[node - 1].tell = leader;
    f->nodes[node - 1].tell_set = true;
    unlock_and_wake(f);
}

void fake_identity(struct fake *f, uint32_t node, uint64_t cluster, uint32_t id, uint32_t protocol)
{
    pthread_mutex_lock(&f->lock);
    f->nodes[node - 1].hello_cluster = cluster;
    f->nodes[node - 1].hello_node = id;
    f->nodes[node - 1].hello_protocol = protocol;
    unlock_and_wake(f);
}

void fake_hang(struct fake *f, uint32_t node, bool hang)
{
    pthread_mutex_lock(&f->lock);
    f->nodes[node - 1].hang = hang;
    unlock_and_wake(f);
}

static unsigned closed(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->nodes[node - 1].closed;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void fake_restart(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    unsigned until = f->nodes[node - 1].closed;
    for (guint i = 0; i < f->conns->len; i++) {
        struct fake_conn *c = f->conns->pdata[i];
        if (c->node->id == node) {
            c->closing = true;
            until++;
        }
    }
    unlock_and_wake(f);
    T_EVENTUALLY(closed(f, node) >= until);
}

void fake_stop(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    (void)close(f->nodes[node - 1].listener);
    f->nodes[node - 1].listener = -1;
    unlock_and_wake(f);
    fake_restart(f, node);
}

void fake_expire(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->live_above = f->last_session;
    unlock_and_wake(f);
}

/* --- what was seen ---------------------------------------------------------------------------- */

static bool wanted(const struct fake_seen *s, unsigned type)
{
    return type ? s->type == type : s->type != MSG_locate;
}

unsigned fake_count(struct fake *f, unsigned type)
{
    unsigned n = 0;
    pthread_mutex_lock(&f->lock);
    for (guint i = 0; i < f->seen->len; i++)
        n += wanted(&g_array_index(f->seen, struct fake_seen, i), type);
    pthread_mutex_unlock(&f->lock);
    return n;
}

struct fake_seen fake_seen(struct fake *f, unsigned type, unsigned i)
{
    struct fake_seen found = {0};
    pthread_mutex_lock(&f->lock);
    for (guint k = 0; k < f->seen->len; k++) {
        const struct fake_seen *s = &g_array_index(f->seen, struct fake_seen, k);
        if (wanted(s, type) && i-- == 0) {
            found = *s;
            break;
        }
    }
    pthread_mutex_unlock(&f->lock);
    assert_int_not_equal(found.node, 0); /* so many have not come */
    return found;
}

unsigned fake_executed(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = g_hash_table_size(f->results);
    pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned fake_conns(struct fake *f, uint32_t node)
{
    unsigned n = 0;
    pthread_mutex_lock(&f->lock);
    for (guint i = 0; i < f->conns->len; i++)
        n += ((struct fake_conn *)f->conns->pdata[i])->node->id == node;
    pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned fake_accepted(struct fake *f, uint32_t node)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->nodes[node - 1].accepted;
    pthread_mutex_unlock(&f->lock);
    return n;
}
