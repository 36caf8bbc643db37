/* SPDX-License-Identifier: Apache-2.0 */
/* cancel.c - eventfds that end a wait. Each wait of the client is a poll that has one in it. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "cluster/client/impl.h"

int client_cancel_init(struct client_cancel *x)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return err_from_errno(errno);
    x->fd = fd;
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
    (void)eventfd_write(x->fd, 1);
}

void client_cancel_reset(struct client_cancel *x)
{
    eventfd_t n;

    (void)eventfd_read(x->fd, &n);
}

bool cancel_fired(struct client_cancel *cancel)
{
    struct pollfd p = {.fd = cancel ? cancel->fd : -1, .events = POLLIN};

    return cancel && poll(&p, 1, 0) > 0;
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
