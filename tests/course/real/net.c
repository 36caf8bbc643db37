/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network without names: the test's process is in a namespace with a switch, each node has one of
 * its own with a link to it, and all of them are gone when the last process is. A way is blocked by
 * a blackhole route at its sender.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/course/real/real.h"

#define NETWORK "10.77.0"

struct net {
    const struct real *c;
    unsigned n;
    int ns[REAL_NODES + 1];
    int routes[REAL_NODES + 1]; /* netlink sockets, each within its namespace */
    pthread_mutex_t lock;       /* guards what follows */
    bool blocked[REAL_NODES + 1][REAL_NODES + 1], weather[REAL_NODES + 1][REAL_NODES + 1];
    bool in_force[REAL_NODES + 1][REAL_NODES + 1];
    pthread_t thread;
    bool storm; /* atomic */
    struct rng rng;
};

static void address_of(unsigned node, char ret[20])
{
    (void)snprintf(ret, 20, NETWORK ".%u", node == 0 ? 100 : node);
}

static int open_ns(const struct real *c)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CHECK(c, fd >= 0, "network namespace: %s", strerror(errno));
    return fd;
}

/* Runs ip -batch with these lines in a namespace. */
static void ip_batch(const struct real *c, int ns, const char *lines)
{
    int fds[2], status = 0;
    CHECK(c, pipe2(fds, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        if (setns(ns, CLONE_NEWNET) < 0 || dup2(fds[0], STDIN_FILENO) < 0)
            _exit(126);
        execlp("ip", "ip", "-batch", "-", (char *)NULL);
        _exit(127);
    }
    close(fds[0]);
    size_t n = strlen(lines);
    bool written = write(fds[1], lines, n) == (ssize_t)n;
    close(fds[1]);
    CHECK(c, pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && written,
          "ip fails (%d) with\n%s", status, lines);
}

static void make_links(struct net *net, int home)
{
    GString *all = g_string_new("link set lo up\nlink add br0 type bridge\nlink set br0 up\n"
                                "addr add " NETWORK ".100/24 dev br0\n");
    for (unsigned i = 1; i <= net->n; i++)
        g_string_append_printf(all,
                               "link add p%u type veth peer name eth0 netns /proc/%d/fd/%d\n"
                               "link set p%u master br0 up\n",
                               i, (int)getpid(), net->ns[i], i);
    ip_batch(net->c, home, all->str);
    for (unsigned i = 1; i <= net->n; i++) {
        g_string_printf(
            all, "addr add " NETWORK ".%u/24 dev eth0\nlink set eth0 up\nlink set lo up\n", i);
        ip_batch(net->c, net->ns[i], all->str);
    }
    g_string_free(all, TRUE);
}

struct net *net_create(struct real *c, unsigned nodes)
{
    struct net *net = g_new0(struct net, 1);
    net->c = c;
    net->n = nodes;
    pthread_mutex_init(&net->lock, NULL);
    rng_seed(&net->rng, c->seed ^ 0x77);
    CHECK(c, unshare(CLONE_NEWNET) == 0, "network namespace: %s", strerror(errno));
    int home = open_ns(c);
    for (unsigned i = 1; i <= nodes; i++) {
        CHECK(c, unshare(CLONE_NEWNET) == 0, "network namespace: %s", strerror(errno));
        net->ns[i] = open_ns(c);
        net->routes[i] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        CHECK(c, net->routes[i] >= 0, "netlink: %s", strerror(errno));
    }
    CHECK(c, setns(home, CLONE_NEWNET) == 0, "network namespace: %s", strerror(errno));
    make_links(net, home);
    close(home);
    return net;
}

void net_enter(const struct net *net, unsigned node)
{
    if (setns(net->ns[node], CLONE_NEWNET) < 0)
        _exit(126);
}

/* --- ways ------------------------------------------------------------------------------------- */

static void set_route(struct net *net, unsigned from, unsigned to, bool on)
{
    char text[20];
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        struct rtattr attr;
        struct in_addr to;
    } ask = {
        .head = {.nlmsg_len = sizeof(ask),
                 .nlmsg_type = on ? RTM_NEWROUTE : RTM_DELROUTE,
                 .nlmsg_flags =
                     (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | (on ? NLM_F_CREATE | NLM_F_EXCL : 0))},
        .route = {.rtm_family = AF_INET,
                  .rtm_dst_len = 32,
                  .rtm_table = RT_TABLE_MAIN,
                  .rtm_protocol = RTPROT_STATIC,
                  .rtm_scope = RT_SCOPE_UNIVERSE,
                  .rtm_type = RTN_BLACKHOLE},
        .attr = {.rta_len = RTA_LENGTH(sizeof(struct in_addr)), .rta_type = RTA_DST},
    };
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer;
    address_of(to, text);
    inet_pton(AF_INET, text, &ask.to);
    bool asked = send(net->routes[from], &ask, sizeof(ask), 0) == (ssize_t)sizeof(ask) &&
                 recv(net->routes[from], &answer, sizeof(answer), 0) > 0;
    CHECK(net->c, asked && answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error == 0,
          "a route cannot be changed: %s", strerror(asked ? -answer.error.error : errno));
}

/* lock is held. */
static void enforce(struct net *net, unsigned a, unsigned b)
{
    bool want = net->blocked[a][b] || net->weather[a][b];
    if (a == 0 || a == b || want == net->in_force[a][b])
        return;
    set_route(net, a, b, want);
    net->in_force[a][b] = want;
}

void net_block(struct net *net, unsigned a, unsigned b, bool on)
{
    pthread_mutex_lock(&net->lock);
    net->blocked[a][b] = on;
    enforce(net, a, b);
    pthread_mutex_unlock(&net->lock);
}

/* --- weather ---------------------------------------------------------------------------------- */

#define BAD_WAYS 3

static void set_weather(struct net *net, unsigned a, unsigned b, bool on)
{
    pthread_mutex_lock(&net->lock);
    net->weather[a][b] = on;
    enforce(net, a, b);
    pthread_mutex_unlock(&net->lock);
}

/* All connections of a with b end with a reset. Where the kernel cannot, nothing happens. */
static void break_connections(const struct net *net, unsigned a, unsigned b)
{
    char text[20];
    address_of(b, text);
    pid_t pid = fork();
    if (pid == 0) {
        net_enter(net, a);
        if (freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr))
            execlp("ss", "ss", "-K", "dst", text, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}

static void *weather(void *arg)
{
    struct net *net = arg;
    struct pollfd none = {.fd = -1};
    while (__atomic_load_n(&net->storm, __ATOMIC_RELAXED)) {
        unsigned from[BAD_WAYS], to[BAD_WAYS];
        for (unsigned i = 0; i < BAD_WAYS; i++) {
            from[i] = 1 + (unsigned)rng_below(&net->rng, net->n);
            to[i] = (unsigned)rng_below(&net->rng, net->n + 1);
            set_weather(net, from[i], to[i], true);
        }
        (void)poll(&none, 1, 5 + (int)rng_below(&net->rng, 100));
        for (unsigned i = 0; i < BAD_WAYS; i++)
            set_weather(net, from[i], to[i], false);
        if (rng_below(&net->rng, 3) == 0)
            break_connections(net, from[0], to[1]);
        (void)poll(&none, 1, 5 + (int)rng_below(&net->rng, 50));
    }
    return NULL;
}

void net_weather(struct net *net, bool on)
{
    if (on == net->storm)
        return;
    __atomic_store_n(&net->storm, on, __ATOMIC_RELAXED);
    if (on)
        CHECK(net->c, pthread_create(&net->thread, NULL, weather, net) == 0, "no thread");
    else
        pthread_join(net->thread, NULL);
}

/* --- counting --------------------------------------------------------------------------------- */

/* What the switch received from them. */
uint64_t net_bytes_sent(const struct net *net)
{
    char line[512];
    uint64_t sum = 0, bytes;
    unsigned port;
    FILE *f = fopen("/proc/thread-self/net/dev", "r");
    CHECK(net->c, f, "/proc/thread-self/net/dev: %s", strerror(errno));
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, " p%u: %" G_GUINT64_FORMAT, &port, &bytes) == 2)
            sum += bytes;
    (void)fclose(f);
    return sum;
}
