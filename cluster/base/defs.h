/* SPDX-License-Identifier: Apache-2.0 */
/*
 * defs.h - the few words that every file of the tree uses.
 *
 * ASSERT guards our own invariants and stays on in release builds: a crash is safer than a wrong
 * commit. Input from disk, wire, kernel or user is never asserted; it is checked and answered.
 *
 * Life-cycle names have one meaning each:
 *   x_init / x_finish      the caller provides the memory
 *   x_create / x_destroy   a heap object with one owner
 *   x_ref / x_unref        a shared heap object
 * Every destructor takes NULL and half-built objects. Functions return 0 (or a count) or a negative
 * code of err.h; out-parameters are named ret_..., set on success only, untouched on failure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h> /* containers, strings, MIN, MAX */

#define NODISCARD          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a)  __attribute__((format(printf, f, a)))
#define NORETURN           __attribute__((noreturn))
#define UNUSED             __attribute__((unused))
#define ARRAY_LEN(a)       (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)(void *)((char *)(p) - offsetof(type, member)))

/* The local variable is handed to fn##_p(&var) when it leaves scope; DEFINE_CLEANUP makes fn##_p. */
#define CLEANUP(fn) __attribute__((cleanup(fn##_p)))
#define DEFINE_CLEANUP(type, fn)                                                                   \
    static inline UNUSED void fn##_p(type *p)                                                      \
    {                                                                                              \
        if (*p)                                                                                    \
            fn(*p);                                                                                \
    }

/* Hands the value of a cleaned-up pointer over to somebody else. */
#define TAKE(p)                                                                                    \
    ({                                                                                             \
        __typeof__(p) take_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        take_;                                                                                     \
    })

#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            assert_failed(#cond, __FILE__, __LINE__);                                              \
    } while (0)

NORETURN void assert_failed(const char *cond, const char *file, int line);

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
