/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kv/serial.h"

#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include "cluster/base/codec.h"

#define LISTS 16

struct seen {
    unsigned list, n; /* so many elements of it */
    uint64_t last;    /* 0: it was empty */
};

struct txn {
    uint64_t number, began, ended;
    bool answered, done;
    unsigned n_seen;
    struct seen seen[2];
    /* Of the search. */
    enum { NEW, OPEN, CLOSED } mark;
};

struct serial {
    GArray *txns;         /* struct txn, by number: 1, 2 ... */
    GArray *lists[LISTS]; /* the elements at the end */
};

struct serial *serial_create(void)
{
    struct serial *s = g_new0(struct serial, 1);

    s->txns = g_array_new(false, false, sizeof(struct txn));
    for (unsigned i = 0; i < LISTS; i++)
        s->lists[i] = g_array_new(false, false, sizeof(uint64_t));
    return s;
}

void serial_destroy(struct serial *s)
{
    for (unsigned i = 0; i < LISTS; i++)
        g_array_free(s->lists[i], true);
    g_array_free(s->txns, true);
    g_free(s);
}

static struct txn *at(struct serial *s, uint64_t number)
{
    ASSERT(number > 0 && number <= s->txns->len);
    return &g_array_index(s->txns, struct txn, number - 1);
}

void serial_begin(struct serial *s, uint64_t txn, uint64_t now)
{
    struct txn t = {.number = txn, .began = now};

    ASSERT(txn == s->txns->len + 1);
    g_array_append_val(s->txns, t);
}

void serial_read(struct serial *s, uint64_t txn, unsigned list, struct bytes seen)
{
    struct txn *t = at(s, txn);

    t->seen[t->n_seen++] = (struct seen){
        .list = list,
        .n = (unsigned)(seen.n / 8),
        .last = seen.n ? get_le64(seen.p + seen.n - 8) : 0,
    };
}

void serial_end(struct serial *s, uint64_t txn, uint64_t now, bool done)
{
    struct txn *t = at(s, txn);

    t->ended = now;
    t->answered = true;
    t->done = done;
}

void serial_final(struct serial *s, unsigned list, const char *elements)
{
    const uint8_t *p = (const uint8_t *)elements;

    for (; get_le64(p); p += 8) {
        uint64_t n = get_le64(p);
        g_array_append_val(s->lists[list], n);
    }
}

/* --- judging ---------------------------------------------------------------------------------- */

static unsigned count(struct serial *s, uint64_t number)
{
    unsigned n = 0;

    for (unsigned l = 0; l < LISTS; l++) {
        for (unsigned i = 0; i < s->lists[l]->len; i++)
            n += g_array_index(s->lists[l], uint64_t, i) == number;
    }
    return n;
}

/* Everybody appended once who said so, and saw what the list then was. */
static bool lists_agree(struct serial *s)
{
    for (unsigned i = 0; i < s->txns->len; i++) {
        struct txn *t = at(s, i + 1);
        unsigned n = count(s, t->number);

        if (n > 1 || (t->answered && n != t->done)) {
            fprintf(stderr, "transaction %" PRIu64 " is in the lists %u times\n", t->number, n);
            return false;
        }
        for (unsigned k = 0; k < t->n_seen; k++) {
            const GArray *list = s->lists[t->seen[k].list];
            unsigned len = t->seen[k].n;

            if (len > list->len ||
                (len && g_array_index(list, uint64_t, len - 1) != t->seen[k].last)) {
                fprintf(stderr, "transaction %" PRIu64 " saw %u elements of list %u\n", t->number,
                        len, t->seen[k].list);
                return false;
            }
        }
    }
    return true;
}

static bool cycle_from(struct serial *s, struct txn *t);

static bool cycle_through(struct serial *s, uint64_t next)
{
    struct txn *t = at(s, next);

    return t->mark == OPEN || (t->mark == NEW && cycle_from(s, t));
}

/* Whom t must precede: the next writer of what it read or wrote; the readers of what it wrote; all
 * who began when it was over. */
static bool precedes(struct serial *s, const struct txn *t, const struct txn *u)
{
    if (t == u)
        return false;
    if (t->answered && t->ended < u->began)
        return true;
    for (unsigned k = 0; k < t->n_seen; k++) {
        const GArray *list = s->lists[t->seen[k].list];
        unsigned n = t->seen[k].n;
        uint64_t next = n < list->len ? g_array_index(list, uint64_t, n) : 0;

        if (next == t->number) /* its own: then the one after that */
            next = n + 1 < list->len ? g_array_index(list, uint64_t, n + 1) : 0;
        if (next == u->number)
            return true;
    }
    for (unsigned k = 0; k < u->n_seen; k++) {
        if (u->seen[k].last == t->number)
            return true;
    }
    return false;
}

static bool cycle_from(struct serial *s, struct txn *t)
{
    bool found = false;

    t->mark = OPEN;
    for (uint64_t i = 1; !found && i <= s->txns->len; i++)
        found = precedes(s, t, at(s, i)) && cycle_through(s, i);
    if (found)
        fprintf(stderr, "in a cycle: transaction %" PRIu64 ", from %" PRIu64 " to %" PRIu64 "\n",
                t->number, t->began, t->ended);
    t->mark = CLOSED;
    return found;
}

bool serial_holds(struct serial *s)
{
    bool holds = lists_agree(s);

    for (uint64_t i = 1; holds && i <= s->txns->len; i++)
        holds = at(s, i)->mark != NEW || !cycle_from(s, at(s, i));
    return holds;
}
