/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/log_gate.h"

#include "tests/lib/t.h"

static struct log_gate *gate;
static uint64_t held;

static unsigned passing(unsigned lines, uint64_t now_ms, enum log_level level, const char *text)
{
    unsigned passed = 0;
    for (unsigned i = 0; i < lines; i++)
        passed += log_gate_pass(gate, now_ms, level, text, &held);
    return passed;
}

TEST(a_burst_passes_and_the_rest_is_held_back)
{
    gate = log_gate_create();
    assert_int_equal(passing(100, 5, LOG_WARN, "close peer=1"), LOG_BURST);
    log_gate_destroy(gate);
}

TEST(the_next_window_tells_how_many_were_held_back)
{
    gate = log_gate_create();
    passing(100, 5, LOG_WARN, "close peer=1");
    assert_int_equal(passing(1, 5 + LOG_WINDOW_MS, LOG_WARN, "close peer=2"), 1);
    assert_int_equal(held, 100 - LOG_BURST);
    assert_int_equal(passing(1, 5 + LOG_WINDOW_MS, LOG_WARN, "close peer=3"), 1);
    assert_int_equal(held, 0);
    log_gate_destroy(gate);
}

TEST(events_do_not_hold_back_each_other)
{
    gate = log_gate_create();
    passing(100, 5, LOG_INFO, "close peer=1");
    assert_int_equal(passing(1, 5, LOG_INFO, "closed peer=1"), 1);
    assert_int_equal(passing(1, 5, LOG_INFO, "lead"), 1);
    log_gate_destroy(gate);
}

TEST(errors_always_pass)
{
    gate = log_gate_create();
    assert_int_equal(passing(100, 5, LOG_ERROR, "close peer=1"), 100);
    log_gate_destroy(gate);
}

TEST(events_made_of_input_cannot_fill_the_memory)
{
    gate = log_gate_create();
    for (unsigned i = 0; i < 10000; i++) {
        g_autofree char *text = g_strdup_printf("event%u x", i);
        assert_int_equal(passing(1, 5, LOG_INFO, text), 1);
    }
    log_gate_destroy(gate);
}

T_MAIN(T(a_burst_passes_and_the_rest_is_held_back),
       T(the_next_window_tells_how_many_were_held_back), T(events_do_not_hold_back_each_other),
       T(errors_always_pass), T(events_made_of_input_cannot_fill_the_memory))
