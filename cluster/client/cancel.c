/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel.c - what ends a wait. A thread that polls has the cancel's eventfd in the poll. A thread
 * that sleeps until another one has news for it naps on a word of memory; with a cancel, on the
 * cancel's, so that either can end it.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "cluster/client/impl.h"

int client_cancel_init(struct client_cancel *x)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return err_from_errno(errno);
    *x = (struct client_cancel){.fd = fd};
    return 0;
}

void client_cancel_finish(struct client_cancel *x)
{
    if (x->fd >= 0)
        (void)close(x->fd);
    x->fd = -1;
}

void client_cancel_fire(struct client_cancel *x)
{
    __atomic_store_n(&x->fired, 1, __ATOMIC_RELEASE);
    (void)eventfd_write(x->fd, 1);
    nap_step(&x->events);
    nap_wake(&x->events);
}

void client_cancel_reset(struct client_cancel *x)
{
    eventfd_t n;

    __atomic_store_n(&x->fired, 0, __ATOMIC_RELEASE);
    (void)eventfd_read(x->fd, &n);
}

bool cancel_fired(const struct client_cancel *cancel)
{
    return cancel && __atomic_load_n(&cancel->fired, __ATOMIC_ACQUIRE);
}

int cancel_sleep(struct client_cancel *cancel, unsigned ms, uint64_t deadline_ns)
{
    struct pollfd p = {.fd = cancel ? cancel->fd : -1, .events = POLLIN};

    if (deadline_ns) {
        uint64_t now = clock_mono_ns();
        if (now >= deadline_ns)
            return -ERR_TIMEOUT;
        ms = (unsigned)MIN(ms, (deadline_ns - now) / 1000000u + 1);
    }
    return poll(&p, 1, (int)ms) > 0 ? -ERR_CANCELED : 0;
}

int nap(uint32_t *word, uint32_t seen, uint64_t deadline_ns, const struct client_cancel *cancel)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};

    if (cancel_fired(cancel))
        return -ERR_CANCELED;
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen,
                     deadline_ns ? &until : NULL, NULL, FUTEX_BITSET_MATCH_ANY);
    return r < 0 && errno == ETIMEDOUT ? -ERR_TIMEOUT : 0;
}

void nap_step(uint32_t *word)
{
    __atomic_add_fetch(word, 1, __ATOMIC_RELEASE);
}

/* All: threads may share a cancel, though each is better off with its own. */
void nap_wake(uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}
