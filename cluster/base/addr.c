/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define UNIX_PREFIX "unix:"
#define UNIX_MAX    (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

static int parse_unix(const char *path, struct errmsg *msg, struct addr *ret)
{
    if (path[0] != '/')
        return errmsg_set(msg, -ERR_CONFIG, "\"unix:%s\": the path of a socket must begin with /",
                          path);
    if (strlen(path) > UNIX_MAX)
        return errmsg_set(msg, -ERR_CONFIG,
                          "\"unix:%s\": the path of a socket may have %zu bytes at most, use a "
                          "shorter directory",
                          path, UNIX_MAX);
    struct addr a = {.local = true};
    g_strlcpy(a.host, path, sizeof(a.host));
    *ret = a;
    return 0;
}

static bool parse_port(const char *text, uint16_t *ret)
{
    unsigned port = 0;
    size_t n = strlen(text);
    if (n == 0 || n > 5)
        return false;
    for (; *text; text++) {
        if (!g_ascii_isdigit(*text))
            return false;
        port = port * 10 + (unsigned)(*text - '0');
    }
    *ret = (uint16_t)port;
    return port <= UINT16_MAX;
}

static bool is_host(const char *p, size_t n, bool v6)
{
    if (n == 0 || n >= sizeof(((struct addr *)NULL)->host))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(p[i]) && !strchr(v6 ? ":.%-_" : ".-_", p[i]))
            return false;
    return true;
}

int addr_parse(const char *text, struct errmsg *msg, struct addr *ret)
{
    if (g_str_has_prefix(text, UNIX_PREFIX))
        return parse_unix(text + strlen(UNIX_PREFIX), msg, ret);

    bool v6 = text[0] == '[';
    const char *host = v6 ? text + 1 : text;
    const char *end = strchr(host, v6 ? ']' : ':');
    const char *port = !end ? NULL : !v6 ? end + 1 : end[1] == ':' ? end + 2 : NULL;
    struct addr a = {0};
    if (!port || !is_host(host, (size_t)(end - host), v6) || !parse_port(port, &a.port))
        return errmsg_set(msg, -ERR_CONFIG,
                          "\"%s\" is not an address; write host:port, [v6 address]:port or "
                          "unix:/path",
                          text);
    memcpy(a.host, host, (size_t)(end - host));
    *ret = a;
    return 0;
}

void addr_format(const struct addr *a, char ret[ADDR_TEXT_MAX])
{
    if (a->local)
        snprintf(ret, ADDR_TEXT_MAX, UNIX_PREFIX "%s", a->host);
    else if (strchr(a->host, ':'))
        snprintf(ret, ADDR_TEXT_MAX, "[%s]:%u", a->host, a->port);
    else
        snprintf(ret, ADDR_TEXT_MAX, "%s:%u", a->host, a->port);
}

static void sock_of_unix(const struct addr *a, struct addr_sock *ret)
{
    struct addr_sock s = {.len = sizeof(s.un), .un = {.sun_family = AF_UNIX}};
    g_strlcpy(s.un.sun_path, a->host, sizeof(s.un.sun_path));
    *ret = s;
}

int addr_resolve(const struct addr *a, struct errmsg *msg, struct addr_sock *ret, int max)
{
    ASSERT(max > 0);
    if (a->local) {
        sock_of_unix(a, ret);
        return 1;
    }
    char port[8];
    snprintf(port, sizeof(port), "%u", a->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list;
    int r = getaddrinfo(a->host, port, &hints, &list);
    if (r)
        return errmsg_set(msg, -ERR_UNREACHABLE, "look up %s: %s", a->host,
                          r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
    int n = 0;
    for (struct addrinfo *i = list; i && n < max; i = i->ai_next)
        if (i->ai_family == AF_INET || i->ai_family == AF_INET6) {
            ret[n] = (struct addr_sock){.len = i->ai_addrlen};
            memcpy(&ret[n].any, i->ai_addr, i->ai_addrlen);
            n++;
        }
    freeaddrinfo(list);
    return n ? n : errmsg_set(msg, -ERR_UNREACHABLE, "look up %s: no IP address", a->host);
}

void addr_of_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *ret)
{
    struct addr_sock s = {0};
    memcpy(&s.any, sa, MIN((size_t)len, sizeof(s.un)));
    struct addr a = {0};
    if (s.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &s.v4.sin_addr, a.host, sizeof(a.host));
        a.port = ntohs(s.v4.sin_port);
    } else if (s.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &s.v6.sin6_addr, a.host, sizeof(a.host));
        a.port = ntohs(s.v6.sin6_port);
    } else {
        a.local = true;
        /* The kernel need not end a path that fills the field. */
        memcpy(a.host, s.un.sun_path, strnlen(s.un.sun_path, sizeof(s.un.sun_path)));
    }
    *ret = a;
}
