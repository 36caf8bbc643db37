/* SPDX-License-Identifier: Apache-2.0 */
/* What happened in a run or in many. */
#include <stdio.h>
#include "tests/sim/sim.h"

struct named {
    const char *name;
    size_t at;
    bool rare;
};

static const struct named counters[] = {
#define ROW(field, name)  {name, offsetof(struct sim_counters, field), false},
#define RARE(field, name) {name, offsetof(struct sim_counters, field), true},
    COUNTER_TABLE(ROW, RARE)
#undef ROW
#undef RARE
};

static uint64_t value(const struct sim_counters *c, const struct named *n)
{
    return *(const uint64_t *)(const void *)((const char *)c + n->at);
}

void count_add(struct sim_counters *to, const struct sim_counters *from)
{
    const uint64_t *f = (const uint64_t *)from;
    uint64_t *t = (uint64_t *)to;
    for (size_t i = 0; i < sizeof(*from) / sizeof(*f); i++)
        t[i] += f[i];
}

static void say(const char *name, uint64_t n, unsigned *column)
{
    int wrote = printf("%s%s %llu", *column ? ", " : "  ", name, (unsigned long long)n);
    *column += (unsigned)MAX(wrote, 0);
    if (*column > 80) {
        printf("\n");
        *column = 0;
    }
}

void count_say(const struct sim_counters *c)
{
    unsigned column = 0;
    printf("happened:\n");
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        say(counters[i].name, value(c, &counters[i]), &column);
    printf("%sfaults:\n", column ? "\n" : "");
    column = 0;
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        say(fault_names[i], c->faults[i], &column);
    if (column)
        printf("\n");
}

bool count_covers(const struct sim_counters *c)
{
    bool all = true;
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        if (!counters[i].rare && value(c, &counters[i]) == 0) {
            printf("NEVER HAPPENED: %s\n", counters[i].name);
            all = false;
        }
    for (unsigned i = 0; i < FAULT_KINDS; i++)
        if (c->faults[i] == 0) {
            printf("NEVER HAPPENED: the fault %s\n", fault_names[i]);
            all = false;
        }
    return all;
}
