/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cluster/base/clock.h"

#define LINE_MAX_BYTES 4096
#define LIMIT_NS       (10u * 1000000000ull)
#define LIMIT_SLOTS    64

static const char *program = "raftfs";
static enum log_level level_max = LOG_INFO;

/* One slot per `what` seen lately; when all are taken the one quiet for longest is reused. */
struct limit_slot {
    const char *what;
    uint64_t last_ns;
    uint64_t suppressed;
};
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static struct limit_slot limits[LIMIT_SLOTS];

void log_init(const char *name, enum log_level max)
{
    program = name;
    level_max = max;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARN:
        return "warn";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    }
    return "?";
}

/* A control byte: C0, DEL, or the second byte of a C1 control in UTF-8 (a terminal obeys those). */
static bool is_control(const char *s, size_t i)
{
    uint8_t c = (uint8_t)s[i];
    return c < 0x20 || c == 0x7f || (i > 0 && (uint8_t)s[i - 1] == 0xc2 && c >= 0x80 && c <= 0x9f);
}

/* Appends text with control bytes as \n or \xNN; returns the new length, which stays < cap. */
static size_t escape(char *line, size_t at, size_t cap, const char *text)
{
    for (size_t i = 0; text[i]; i++) {
        if (at + 5 >= cap)
            break;
        if (text[i] == '\n')
            at += (size_t)snprintf(line + at, cap - at, "\\n");
        else if (is_control(text, i))
            at += (size_t)snprintf(line + at, cap - at, "\\x%02x", (unsigned)(uint8_t)text[i]);
        else
            line[at++] = text[i];
    }
    return at;
}

/* One write per line, so that lines of several threads and processes do not mix. */
static void write_line(const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(STDERR_FILENO, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return; /* nowhere left to tell it */
        p += w;
        n -= (size_t)w;
    }
}

static void emit(enum log_level level, uint64_t suppressed, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void emit(enum log_level level, uint64_t suppressed, const char *fmt, va_list ap)
{
    int saved = errno;
    char text[LINE_MAX_BYTES / 2];
    char line[LINE_MAX_BYTES];
    if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
        text[0] = '\0';

    uint64_t now = clock_wall_ns();
    time_t seconds = (time_t)(now / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof(line) - n,
                          ".%03uZ %s %.64s: ", (unsigned)(now / 1000000u % 1000u),
                          level_name(level), program);
    n = escape(line, n, sizeof(line) - 64, text);
    if (suppressed)
        n += (size_t)snprintf(line + n, sizeof(line) - n, " suppressed=%llu",
                              (unsigned long long)suppressed);
    line[n++] = '\n';
    write_line(line, n);
    errno = saved;
}

void log_event(enum log_level level, const char *fmt, ...)
{
    if (level > level_max)
        return;
    va_list ap;
    va_start(ap, fmt);
    emit(level, 0, fmt, ap);
    va_end(ap);
}

/* Whether a line of `what` may pass now; if so also how many were held back before it. */
static bool limit_pass(const char *what, uint64_t *ret_suppressed)
{
    uint64_t now = clock_mono_ns();
    bool pass = false;
    pthread_mutex_lock(&limit_lock);
    struct limit_slot *slot = &limits[0];
    for (size_t i = 0; i < LIMIT_SLOTS && slot->what != what; i++)
        if (limits[i].what == what || limits[i].last_ns < slot->last_ns)
            slot = &limits[i];
    if (slot->what != what)
        *slot = (struct limit_slot){.what = what};
    if (slot->last_ns == 0 || now - slot->last_ns >= LIMIT_NS) {
        *ret_suppressed = slot->suppressed;
        slot->suppressed = 0;
        slot->last_ns = now;
        pass = true;
    } else {
        slot->suppressed++;
    }
    pthread_mutex_unlock(&limit_lock);
    return pass;
}

void log_limited(enum log_level level, const char *what, const char *fmt, ...)
{
    uint64_t suppressed;
    if (level > level_max || !limit_pass(what, &suppressed))
        return;
    va_list ap;
    va_start(ap, fmt);
    emit(level, suppressed, fmt, ap);
    va_end(ap);
}
