/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/t.h"

#include <errno.h>
#include <string.h>

TEST(a_code_of_either_sign_has_name_text_and_errno)
{
    assert_string_equal(err_name(-ERR_NOT_LEADER), "NOT_LEADER");
    assert_string_equal(err_name(ERR_NOT_LEADER), "NOT_LEADER");
    assert_string_equal(err_text(-ERR_NOT_FOUND), "not found");
    assert_int_equal(err_errno(-ERR_NO_SPACE), ENOSPC);
    assert_true(err_retryable(-ERR_WRONG_GROUP));
    assert_false(err_retryable(-ERR_FAILED));
}

TEST(an_unknown_code_reads_as_an_error_that_is_not_retried)
{
    assert_string_equal(err_text(-9999), "unknown error");
    assert_int_equal(err_errno(9999), EIO);
    assert_false(err_retryable(9999));
    assert_int_equal(err_errno(0), 0);
}

TEST(numbers_of_the_table_are_unique_because_they_travel)
{
    const int numbers[] = {
#define NUMBER(code, number, text, no, retryable) number,
        ERR_TABLE(NUMBER)
#undef NUMBER
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(numbers[i], numbers[j]);
}

TEST(a_full_disk_keeps_its_meaning_through_the_codes)
{
    assert_int_equal(err_from_errno(ENOSPC), -ERR_NO_SPACE);
    assert_int_equal(err_from_errno(EDQUOT), -ERR_NO_SPACE);
    assert_int_equal(err_errno(err_from_errno(EDQUOT)), ENOSPC);
    assert_int_equal(err_from_errno(ENOTTY), -ERR_IO);
    assert_int_equal(err_from_errno(0), 0);
}

TEST(a_message_grows_to_the_left_as_it_climbs)
{
    struct errmsg msg;
    assert_int_equal(errmsg_set(&msg, -ERR_IO, "open %s", "x"), -ERR_IO);
    assert_int_equal(errmsg_prefix(&msg, -ERR_IO, "group %d", 3), -ERR_IO);
    assert_string_equal(msg.text, "group 3: open x");
    errmsg_set(&msg, -ERR_IO, "<%s>", msg.text);
    assert_string_equal(msg.text, "<group 3: open x>");
    assert_int_equal(errmsg_set(NULL, -ERR_IO, "nobody listens"), -ERR_IO);
}

TEST(a_message_too_long_is_cut_and_ends_in_zero)
{
    struct errmsg msg;
    char *text = g_strnfill(2000, 'x');
    errmsg_set(&msg, -ERR_IO, "%s", text);
    assert_int_equal(strlen(msg.text), sizeof(msg.text) - 1);
    errmsg_prefix(&msg, -ERR_IO, "where");
    assert_int_equal(strlen(msg.text), sizeof(msg.text) - 1);
    errmsg_prefix(&msg, -ERR_IO, "%s", text);
    assert_int_equal(strlen(msg.text), sizeof(msg.text) - 1);
    g_free(text);
}

T_MAIN(T(a_code_of_either_sign_has_name_text_and_errno),
       T(an_unknown_code_reads_as_an_error_that_is_not_retried),
       T(numbers_of_the_table_are_unique_because_they_travel),
       T(a_full_disk_keeps_its_meaning_through_the_codes),
       T(a_message_grows_to_the_left_as_it_climbs), T(a_message_too_long_is_cut_and_ends_in_zero))
