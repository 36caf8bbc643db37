/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/json.h"
#include "tests/lib/t.h"

static void same(struct json *j, const char *want)
{
    assert_string_equal(j->text->str, want);
    json_finish(j);
}

TEST(an_object_holds_its_members_in_order)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_number(&j, "a", UINT64_MAX);
    json_bool(&j, "b", true);
    json_null(&j, "c");
    json_close(&j, '}');
    same(&j, "{\n  \"a\": 18446744073709551615,\n  \"b\": true,\n  \"c\": null\n}");
}

TEST(an_array_follows_a_member)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_open(&j, "a", '[');
    json_open(&j, NULL, '{');
    json_close(&j, '}');
    json_number(&j, NULL, 1);
    json_close(&j, ']');
    json_open(&j, "b", '[');
    json_close(&j, ']');
    json_close(&j, '}');
    same(&j, "{\n  \"a\": [\n    {},\n    1\n  ],\n  \"b\": []\n}");
}

TEST(quotes_backslashes_and_control_bytes_are_escaped)
{
    struct json j;
    json_init(&j);
    json_string(&j, NULL, "a\"b\\c\n\x7f\xc3\xa4");
    same(&j, "\"a\\\"b\\\\c\\u000a\\u007f\xc3\xa4\"");
}

TEST(bytes_that_are_no_text_are_replaced)
{
    struct json j;
    json_init(&j);
    json_bytes(&j, NULL, bytes_of("a\xff", 2));
    same(&j, "\"a\xef\xbf\xbd\"");
}

T_MAIN(T(an_object_holds_its_members_in_order), T(an_array_follows_a_member),
       T(quotes_backslashes_and_control_bytes_are_escaped), T(bytes_that_are_no_text_are_replaced))
