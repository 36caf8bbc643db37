/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)
#define READ_BYTES (256 << 10)

volatile int command_group;

struct running {
    pid_t pid;
    int in, out, pid_fd; /* -1: closed or none */
    struct bytes pending;
    bool input_ended;
    uint8_t *buf;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void set_limit(int what, uint64_t value)
{
    struct rlimit r = {value, value};
    if (value)
        setrlimit((__rlimit_resource_t)what, &r);
}

/* In the child, after fork: only calls that are safe there. */
static NORETURN void become_command(const char *text, char **env, const struct command_limits *l,
                                    int in, int out)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(in, 0);
    if (out >= 0)
        dup2(out, 1);
    syscall(SYS_close_range, 3u, ~0u, 0u);
    set_limit(RLIMIT_AS, l->memory);
    set_limit(RLIMIT_CPU, l->cpu_s);
    set_limit(RLIMIT_FSIZE, l->disk);
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)text, NULL};
    execve("/bin/sh", argv, env);
    _exit(127);
}

static int start(struct running *r, const char *text, char **env, const struct command_limits *l,
                 bool own_out, struct errmsg *msg)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC) < 0 || (own_out && pipe2(out, O_CLOEXEC) < 0))
        goto fail;
    (void)fcntl(in[1], F_SETPIPE_SZ, PIPE_BYTES);
    (void)fcntl(in[1], F_SETFL, O_NONBLOCK);
    if (own_out) {
        (void)fcntl(out[0], F_SETPIPE_SZ, PIPE_BYTES);
        (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    }
    r->pid = fork();
    if (r->pid < 0)
        goto fail;
    if (r->pid == 0)
        become_command(text, env, l, in[0], out[1]);
    setpgid(r->pid, r->pid);
    command_group = r->pid;
    close(in[0]);
    close_fd(&out[1]);
    r->in = in[1];
    r->out = out[0];
    r->pid_fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    return 0;
fail:
    errmsg_set(msg, err_from_errno(errno), "starting /bin/sh: %s", strerror(errno));
    close_fd(&in[0]);
    close_fd(&in[1]);
    close_fd(&out[0]);
    close_fd(&out[1]);
    return -ERR_IO;
}

/* Writes what fits. A reader that went away ends the feeding, not the command. */
static void feed(struct running *r)
{
    ssize_t k = write(r->in, r->pending.p, r->pending.n);
    if (k >= 0) {
        r->pending.p += k;
        r->pending.n -= (size_t)k;
    } else if (errno != EAGAIN && errno != EINTR) {
        r->pending = BYTES_NONE;
        close_fd(&r->in);
    }
}

/* 1: more may come, 0: nothing now or ever, or an error of take. */
static int drain(struct running *r, const struct command_io *io)
{
    ssize_t k = read(r->out, r->buf, READ_BYTES);
    if (k > 0) {
        int rc = io->take(io->ctx, bytes_of(r->buf, (size_t)k));
        return rc < 0 ? rc : 1;
    }
    if (k == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(&r->out);
    return 0;
}

/* Input is taken even when nobody reads it any more: it comes in frames that must be passed over.
 */
static int refill(struct running *r, const struct command_io *io)
{
    while (!r->pending.n && !r->input_ended) {
        int rc = io->next(io->ctx, &r->pending);
        if (rc < 0)
            return rc;
        r->input_ended = rc == 0;
        if (r->in < 0)
            r->pending = BYTES_NONE;
    }
    if (r->input_ended && !r->pending.n)
        close_fd(&r->in);
    return 0;
}

static int pump(struct running *r, const struct command_io *io)
{
    for (;;) {
        int rc = refill(r, io);
        if (rc < 0)
            return rc;
        struct pollfd p[3] = {{r->in, POLLOUT, 0}, {r->out, POLLIN, 0}, {r->pid_fd, POLLIN, 0}};
        if (poll(p, 3, -1) < 0 && errno != EINTR)
            return err_from_errno(errno);
        bool ended = p[2].revents;
        if (r->out >= 0 && (p[1].revents || ended)) {
            while ((rc = drain(r, io)) > 0 && (ended || r->in < 0))
                ;
            if (rc < 0)
                return rc;
        }
        if (ended) {
            close_fd(&r->in);
            r->pending = BYTES_NONE;
            break;
        }
        if (r->in >= 0 && p[0].revents)
            feed(r);
    }
    int rc = 0;
    while (rc == 0 && !r->input_ended)
        rc = refill(r, io);
    return rc;
}

int command_run(const char *text, char **env, const struct command_limits *limits,
                const struct command_io *io, int *ret_status, struct errmsg *msg)
{
    struct running r = {.pid = -1, .in = -1, .out = -1, .pid_fd = -1};
    int rc = start(&r, text, env, limits, io->take != NULL, msg);
    if (rc < 0)
        return rc;
    r.buf = io->take ? g_malloc(READ_BYTES) : NULL;
    rc = pump(&r, io);
    /* Its first process has ended or is not wanted any more: so are the others. */
    kill(-r.pid, SIGKILL);
    int status = 0;
    while (waitpid(r.pid, &status, 0) < 0 && errno == EINTR)
        ;
    command_group = 0;
    close_fd(&r.in);
    close_fd(&r.out);
    close_fd(&r.pid_fd);
    g_free(r.buf);
    if (rc == 0)
        *ret_status = status;
    return rc;
}
