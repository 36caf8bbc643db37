/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/log_gate.h"

#include <string.h>

/* Events are words in our source; more than this means that somebody formats one from input. */
#define EVENTS_MAX 256

struct event {
    uint64_t since_ms;
    unsigned passed;
    uint64_t held;
};

struct log_gate {
    GHashTable *events; /* word -> struct event */
};

struct log_gate *log_gate_create(void)
{
    struct log_gate *g = g_new0(struct log_gate, 1);
    g->events = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return g;
}

void log_gate_destroy(struct log_gate *g)
{
    if (!g)
        return;
    g_hash_table_unref(g->events);
    g_free(g);
}

static struct event *find(struct log_gate *g, const char *text)
{
    g_autofree char *word = g_strndup(text, strcspn(text, " "));
    struct event *e = g_hash_table_lookup(g->events, word);
    if (e)
        return e;
    if (g_hash_table_size(g->events) >= EVENTS_MAX)
        g_hash_table_remove_all(g->events);
    e = g_new0(struct event, 1);
    g_hash_table_insert(g->events, TAKE(word), e);
    return e;
}

bool log_gate_pass(struct log_gate *g, uint64_t now_ms, enum log_level level, const char *text,
                   uint64_t *ret_held)
{
    *ret_held = 0;
    if (level == LOG_ERROR)
        return true;
    struct event *e = find(g, text);
    if (e->passed == 0 || now_ms - e->since_ms >= LOG_WINDOW_MS) {
        *ret_held = e->held;
        *e = (struct event){.since_ms = now_ms};
    }
    if (e->passed == LOG_BURST) {
        e->held++;
        return false;
    }
    e->passed++;
    return true;
}
