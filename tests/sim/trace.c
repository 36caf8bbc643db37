/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/trace.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/sim/sim.h"

/* Of wall time, for one seed: far beyond any that is not hanging, with sanitizers too. */
#define HANG_SECONDS 300

static struct sim *watched;

void trace_mix(struct sim *s, uint64_t v)
{
    s->trace.hash = hash_u64(s->trace.hash, v);
}

void trace_line(struct sim *s, const char *fmt, ...)
{
    struct trace *t = &s->trace;
    char *line = t->ring[t->lines++ % TRACE_LINES];
    int n = g_snprintf(line, TRACE_WIDTH, "%10.6f ", (double)s->now / 1e9);
    va_list ap;
    va_start(ap, fmt);
    g_vsnprintf(line + n, (gulong)(TRACE_WIDTH - n), fmt, ap);
    va_end(ap);
    if (t->verbose)
        printf("%s\n", line);
}

static void report(struct sim *s)
{
    struct trace *t = &s->trace;
    if (!t->verbose) {
        uint64_t first = t->lines > TRACE_LINES ? t->lines - TRACE_LINES : 0;
        for (uint64_t i = first; i < t->lines; i++)
            printf("%s\n", t->ring[i % TRACE_LINES]);
    }
    printf("seed %" G_GUINT64_FORMAT " failed after %.3f simulated seconds\n", s->options.seed,
           (double)s->now / 1e9);
}

static void how_to_replay(const struct sim *s)
{
    if (s->options.replay) {
        printf("replay: %s   (RAFTFS_SIM_LOG=1 prints everything)\n", s->options.replay);
        fflush(stdout);
        return;
    }
    printf("replay: tests/sim/sim --seed %" G_GUINT64_FORMAT, s->options.seed);
    if (s->options.nodes > 0)
        printf(" --nodes %u", s->options.nodes);
    printf("   (RAFTFS_SIM_LOG=1 prints everything)\n");
    fflush(stdout);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    watched = NULL;
    report(s);
    printf("FAILED: ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    how_to_replay(s);
    _exit(1);
}

static void last_words(const char *what)
{
    struct sim *s = watched;
    watched = NULL;
    if (!s)
        return;
    report(s);
    printf("FAILED: %s\n", what);
    how_to_replay(s);
}

static void on_signal(int sig)
{
    last_words(sig == SIGALRM   ? "the run hangs"
               : sig == SIGABRT ? "an assertion did not hold (its text is on standard error)"
                                : "a bad memory access");
    _exit(1);
}

/* With a sanitizer in the program its end comes here, without one the symbol is absent. */
void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

static void on_sanitizer(void)
{
    last_words("a sanitizer ended the run (its text is on standard error)");
}

void trace_catch_signals(void)
{
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(on_sanitizer);
    else
        signal(SIGSEGV, on_signal);
}

void trace_watch(struct sim *s)
{
    watched = s;
    alarm(s ? HANG_SECONDS : 0);
}
