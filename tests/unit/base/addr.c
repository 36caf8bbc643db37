/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <arpa/inet.h>
#include <string.h>
#include "cluster/base/addr.h"

static void round_trip(const char *text, bool local, const char *host, uint16_t port)
{
    struct errmsg msg;
    struct addr a;
    char back[ADDR_TEXT_MAX];
    T_OK_MSG(addr_parse(text, &msg, &a), &msg);
    assert_int_equal(a.local, local);
    assert_string_equal(a.host, host);
    assert_int_equal(a.port, port);
    addr_format(&a, back);
    assert_string_equal(back, text);
}

TEST(an_address_survives_parsing_and_formatting)
{
    round_trip("127.0.0.1:7001", false, "127.0.0.1", 7001);
    round_trip("[::1]:7001", false, "::1", 7001);
    round_trip("node-3.example.org:65535", false, "node-3.example.org", 65535);
    round_trip("unix:/run/raftfs/n1.sock", true, "/run/raftfs/n1.sock", 0);
}

TEST(a_wrong_address_is_refused_with_the_right_form)
{
    static const char *const wrong[] = {
        "",         "host",       ":7001",     "host:",    "host:65536",  "host:-1",
        "host:70a", "[::1]",      "[::1:7001", "::1:7001", "host:7001x",  "a b:1",
        "[]:1",     "host: 7001", "unix:rel",  "unix:",    "host:123456",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct errmsg msg;
        struct addr a;
        if (addr_parse(wrong[i], &msg, &a) != -ERR_CONFIG)
            fail_msg("\"%s\" was taken", wrong[i]);
    }
    struct errmsg msg;
    struct addr a;
    T_ERR(ERR_CONFIG, addr_parse("host", &msg, &a));
    T_CONTAINS(msg.text, "host:port");
}

TEST(a_socket_path_too_long_for_the_kernel_is_refused)
{
    char *path = g_strdup_printf("unix:/%0106d", 0);
    struct errmsg msg;
    struct addr a;
    T_OK(addr_parse(path, &msg, &a));
    char *longer = g_strdup_printf("%s0", path);
    T_ERR(ERR_CONFIG, addr_parse(longer, &msg, &a));
    T_CONTAINS(msg.text, "shorter");
    g_free(path);
    g_free(longer);
}

TEST(numeric_addresses_resolve_to_themselves)
{
    struct errmsg msg;
    struct addr a, back;
    struct addr_sock s[4];
    static const char *const texts[] = {"127.0.0.1:7001", "[::1]:7001", "unix:/run/x"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char text[ADDR_TEXT_MAX];
        T_OK(addr_parse(texts[i], &msg, &a));
        assert_int_equal(addr_resolve(&a, &msg, s, 4), 1);
        addr_of_sockaddr(&s[0].any, s[0].len, &back);
        addr_format(&back, text);
        assert_string_equal(text, texts[i]);
    }
}

TEST(an_unnamed_unix_peer_has_an_empty_path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct addr a;
    addr_of_sockaddr((const struct sockaddr *)&un, sizeof(sa_family_t), &a);
    assert_true(a.local);
    assert_string_equal(a.host, "");
}

TEST(a_path_that_fills_sockaddr_un_without_a_zero_is_not_overrun)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memset(un.sun_path, 'x', sizeof(un.sun_path));
    struct addr a;
    addr_of_sockaddr((const struct sockaddr *)&un, sizeof(un), &a);
    assert_int_equal(strlen(a.host), sizeof(un.sun_path));
}

T_MAIN(T(an_address_survives_parsing_and_formatting),
       T(a_wrong_address_is_refused_with_the_right_form),
       T(a_socket_path_too_long_for_the_kernel_is_refused),
       T(numeric_addresses_resolve_to_themselves), T(an_unnamed_unix_peer_has_an_empty_path),
       T(a_path_that_fills_sockaddr_un_without_a_zero_is_not_overrun))
