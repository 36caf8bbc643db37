/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/attempt_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cluster/base/clock.h"
#include "mr/taskio.h"

#define PIPE_BYTES (1 << 20)
#define READ_BYTES KIB(256)
#define GRACE_MS   300

enum { IN, OUT, ERR, STATUS, N_PIPES };

struct process {
    struct attempt *a;
    pid_t pid;
    int pid_fd;
    int fd[N_PIPES]; /* our ends; -1: closed */
    bool exited, timed_out;
    uint64_t killed_ms; /* when it was asked to end; 0 */
    int wait_status;
    bool told_done, told_failed; /* DONE or FAILED came */
    GByteArray *frames;          /* unfinished frame of fd 3 */
    struct output out;
    bool has_output;
    struct stderr_log log;
    uint8_t *buf;
};

static uint64_t now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- starting --------------------------------------------------------------------------------- */

static char **make_argv(const struct attempt *a)
{
    GPtrArray *v = g_ptr_array_new();
    g_ptr_array_add(v, g_strdup("raftfs-task"));
    g_ptr_array_add(v, g_strdup(a->kind == TASK_MAP ? "map" : "reduce"));
    g_ptr_array_add(v, g_strdup_printf("--partitions=%u", a->rec.reduces));
    g_ptr_array_add(v, g_strdup_printf("--directory=%s", a->scratch));
    if (a->who.change) {
        g_ptr_array_add(v, g_strdup_printf("--uid=%u", a->who.reads.uid));
        g_ptr_array_add(v, g_strdup_printf("--gid=%u", a->who.reads.gid));
        GString *groups = g_string_new("--groups=");
        for (unsigned i = 0; i < a->who.reads.n_groups; i++)
            g_string_append_printf(groups, "%u,", a->who.reads.groups[i]);
        g_ptr_array_add(v, g_string_free(groups, FALSE));
    }
    g_ptr_array_add(v, NULL);
    return (char **)g_ptr_array_free(v, FALSE);
}

static char **make_env(const struct attempt *a)
{
    GPtrArray *v = g_ptr_array_new();
    g_ptr_array_add(v,
                    g_strdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    g_ptr_array_add(v, g_strdup("LC_ALL=C"));
    g_ptr_array_add(v, g_strdup_printf("MR_JOB=%s", a->job));
    g_ptr_array_add(v, g_strdup_printf("MR_TASK=%s", a->name));
    g_ptr_array_add(v, g_strdup_printf("MR_ATTEMPT=%u", a->number));
    g_ptr_array_add(v, g_strdup_printf("MR_PHASE=%s", a->kind == TASK_MAP ? "map" : "reduce"));
    g_ptr_array_add(v, g_strdup_printf("MR_REDUCES=%u", a->rec.reduces));
    if (a->kind == TASK_REDUCE)
        g_ptr_array_add(v, g_strdup_printf("MR_PARTITION=%u", a->task));
    g_ptr_array_add(v, NULL);
    return (char **)g_ptr_array_free(v, FALSE);
}

/* In the child of a threaded process: only calls that are safe there. */
static NORETURN void become_task(const char *path, char **argv, char **env, const int *theirs,
                                 int file_fd)
{
    int fds[5] = {theirs[IN], theirs[OUT], theirs[ERR], theirs[STATUS], file_fd};
    sigset_t none;
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* First out of the way of 0..4, then to their places. */
    for (int i = 0; i < 5; i++)
        if (fds[i] >= 0)
            fds[i] = fcntl(fds[i], F_DUPFD, 10);
    for (int i = 0; i < 5; i++) {
        if (fds[i] >= 0)
            dup2(fds[i], i);
        else
            close(i);
    }
    syscall(SYS_close_range, 5u, ~0u, 0u);
    execve(path, argv, env);
    _exit(126);
}

static int make_pipes(struct process *p, int *theirs)
{
    for (int i = 0; i < N_PIPES; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
            return -errno;
        int ours = i == IN ? 1 : 0;
        p->fd[i] = ends[ours];
        theirs[i] = ends[!ours];
        if (i == IN || i == OUT)
            (void)fcntl(p->fd[i], F_SETPIPE_SZ, PIPE_BYTES);
        if (i != IN)
            (void)fcntl(p->fd[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

static int spawn(struct process *p)
{
    struct attempt *a = p->a;
    int theirs[N_PIPES] = {-1, -1, -1, -1};
    int no = make_pipes(p, theirs);
    if (no == 0) {
        char **argv = make_argv(a), **env = make_env(a);
        p->pid = fork();
        if (p->pid == 0)
            become_task(a->s->o.task_path, argv, env, theirs, a->file_fd);
        no = p->pid < 0 ? -errno : 0;
        g_strfreev(argv);
        g_strfreev(env);
    }
    for (int i = 0; i < N_PIPES; i++)
        close_fd(&theirs[i]);
    if (no < 0)
        return errmsg_set(&a->msg, err_from_errno(-no), "starting raftfs-task: %s", strerror(-no));
    p->pid_fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    return 0;
}

/* --- what it says ----------------------------------------------------------------------------- */

static void take_failure(struct process *p, struct bytes b)
{
    struct attempt *a = p->a;
    struct dec d = dec_of(b);
    a->end.exit_code = (int32_t)dec_u32(&d);
    a->end.signal = (int32_t)dec_u32(&d);
    a->end.fatal = dec_u8(&d) != 0;
    if (!dec_ok(&d))
        return;
    p->told_failed = true;
    errmsg_set(&a->msg, -ERR_FAILED, "%.*s", (int)MIN(d.n, 500), (const char *)d.p);
}

static void take_frame(struct process *p, enum task_frame type, struct bytes b)
{
    struct attempt *a = p->a;
    if (type == TASK_PROGRESS && b.n == 16) {
        uint64_t in = get_le64(b.p), out = get_le64(b.p + 8);
        if (in != a->records_in || out != a->records_out)
            attempt_touch(a);
        a->records_in = in;
        a->records_out = out;
    } else if (type == TASK_COUNTER && b.n > 8) {
        attempt_count(a, bytes_of(b.p + 8, b.n - 8), get_le64(b.p), false);
    } else if (type == TASK_DONE && b.n == 8) {
        p->told_done = true;
        a->end.digest = get_le64(b.p);
    } else if (type == TASK_FAILED) {
        take_failure(p, b);
    }
}

static void take_status(struct process *p, const uint8_t *b, size_t n)
{
    size_t at = 0;
    g_byte_array_append(p->frames, b, (guint)n);
    while (p->frames->len - at >= TASK_FRAME_HEAD) {
        const uint8_t *f = p->frames->data + at;
        uint32_t len = get_le32(f + 1);
        if (len > 4096 || p->frames->len - at - TASK_FRAME_HEAD < len)
            break;
        take_frame(p, (enum task_frame)f[0], bytes_of(f + TASK_FRAME_HEAD, len));
        at += TASK_FRAME_HEAD + len;
    }
    if (at)
        g_byte_array_remove_range(p->frames, 0, (guint)at);
    if (p->frames->len > 8192) /* no frame of ours: it will not be believed */
        g_byte_array_set_size(p->frames, 0);
}

/* Reads what is there. True: there may be more. */
static bool drain(struct process *p, int which)
{
    ssize_t k = read(p->fd[which], p->buf, READ_BYTES);
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (k <= 0) {
        close_fd(&p->fd[which]);
        return false;
    }
    if (which == OUT) {
        attempt_touch(p->a);
        if (p->has_output)
            output_add(&p->out, p->buf, (size_t)k);
    } else if (which == ERR) {
        stderr_log_add(&p->log, p->buf, (size_t)k);
    } else {
        take_status(p, p->buf, (size_t)k);
    }
    return true;
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* TERM first: raftfs-task then kills the user's command, which is in a group of its own. */
static void ask_to_end(struct process *p)
{
    if (!p->killed_ms) {
        p->killed_ms = now_ms();
        kill(p->pid, SIGTERM);
        kill(p->pid, SIGCONT);
    } else if (now_ms() - p->killed_ms > GRACE_MS) {
        kill(-p->pid, SIGKILL);
        kill(p->pid, SIGKILL);
    }
}

static void check_stuck(struct process *p)
{
    struct attempt *a = p->a;
    uint64_t idle = now_ms() - a->progress_ms;
    if (p->killed_ms || idle < a->spec->timeout_ms)
        return;
    p->timed_out = true;
    ask_to_end(p);
}

static void wait_for_end(struct process *p)
{
    while (!p->exited) {
        struct pollfd f[5] = {
            {p->fd[OUT], POLLIN, 0},    {p->fd[ERR], POLLIN, 0},
            {p->fd[STATUS], POLLIN, 0}, {p->a->canceled ? -1 : p->a->cancel.fd, POLLIN, 0},
            {p->pid_fd, POLLIN, 0},
        };
        poll(f, 5, p->killed_ms ? 50 : (int)MIN(p->a->spec->timeout_ms / 4 + 1, 250));
        for (int i = OUT; i <= STATUS; i++)
            if (p->fd[i] >= 0 && f[i - OUT].revents)
                (void)drain(p, i);
        if (p->a->canceled || p->out.error)
            ask_to_end(p);
        else
            check_stuck(p);
        if (p->killed_ms)
            ask_to_end(p);
        if (waitpid(p->pid, &p->wait_status, WNOHANG) == p->pid)
            p->exited = true;
    }
    /* What is still in the pipes; somebody else may hold them open, so not until their end. */
    for (int i = OUT; i <= STATUS; i++)
        while (p->fd[i] >= 0 && drain(p, i))
            ;
    kill(-p->pid, SIGKILL); /* left behind in the session */
}

/* --- the outcome ------------------------------------------------------------------------------ */

static int failed(struct attempt *a, const char *what)
{
    a->end.state = ATTEMPT_FAILED;
    return errmsg_set(&a->msg, -ERR_FAILED, "%s", what);
}

static int judge(struct process *p, const struct feeder *f)
{
    struct attempt *a = p->a;
    if (p->timed_out) {
        char *t = g_strdup_printf("no progress for %llu s (timeout)",
                                  (unsigned long long)(a->spec->timeout_ms / 1000));
        int rc = failed(a, t);
        g_free(t);
        return rc;
    }
    if (f->error) { /* what the task says of its input ending early is only the echo */
        a->end.fatal = f->changed;
        return failed(a, f->msg.text);
    }
    if (p->out.error) {
        char *t = g_strdup_printf("writing the output: %s", strerror(-p->out.error));
        int rc = failed(a, t);
        g_free(t);
        return rc;
    }
    if (p->told_failed) {
        a->end.state = ATTEMPT_FAILED;
        return -ERR_FAILED;
    }
    if (p->told_done && WIFEXITED(p->wait_status) && WEXITSTATUS(p->wait_status) == 0)
        return 0;
    if (WIFSIGNALED(p->wait_status)) {
        a->end.signal = WTERMSIG(p->wait_status);
        char *t = g_strdup_printf("the task was killed by signal %d", a->end.signal);
        int rc = failed(a, t);
        g_free(t);
        return rc;
    }
    return failed(a, WEXITSTATUS(p->wait_status) == 126 ? "raftfs-task cannot be run"
                                                        : "the task ended without a result");
}

static void record_text(struct process *p)
{
    struct attempt *a = p->a;
    GString *t = g_string_new(a->msg.text);
    if (p->log.last->len)
        g_string_append_printf(t, "\n%s", p->log.last->str);
    g_string_truncate(t, MIN(t->len, ATTEMPT_TEXT_MAX));
    a->end.text = arena_copy(&a->arena, bytes_of(t->str, t->len));
    g_string_free(t, TRUE);
}

static int run(struct process *p, struct feeder *f)
{
    int rc = spawn(p);
    if (rc < 0)
        return failed(p->a, p->a->msg.text);
    f->fd = p->fd[IN];
    p->fd[IN] = -1; /* the feeder closes it */
    rc = feeder_start(f);
    bool feeding = rc == 0;
    if (!feeding)
        ask_to_end(p);
    wait_for_end(p);
    if (feeding)
        feeder_join(f);
    if (p->has_output && p->out.file) {
        int no = output_close(&p->out);
        p->out.error = no;
    }
    return feeding ? judge(p, f) : failed(p->a, "no thread to feed the task");
}

int attempt_process(struct attempt *a, const struct split_record *splits, uint32_t n_splits,
                    GArray *runs)
{
    struct process p = {.a = a, .pid_fd = -1, .fd = {-1, -1, -1, -1}};
    struct feeder f = {.a = a, .splits = splits, .n_splits = n_splits, .runs = runs};
    int rc = 0;
    p.has_output = a->kind == TASK_REDUCE || a->rec.reduces == 0;
    p.frames = g_byte_array_new();
    p.buf = g_malloc(READ_BYTES);
    stderr_log_init(&p.log, a);
    int no = p.has_output ? output_open(&p.out, a) : 0;
    if (no < 0) {
        char *t = g_strdup_printf("creating the output: %s", strerror(-no));
        rc = failed(a, t);
        g_free(t);
    } else {
        rc = run(&p, &f);
    }
    (void)!output_close(&p.out);
    a->end.out_bytes = p.out.off;
    a->end.records_in = a->records_in;
    a->end.records_out = p.has_output ? p.out.lines : a->records_out;
    if (rc == 0 && p.has_output) {
        const char *group =
            a->kind == TASK_MAP ? "raftfs\tmap-output-records" : "raftfs\treduce-output-records";
        attempt_count(a, bytes_str(group), p.out.lines, false);
        attempt_count(a, bytes_str("raftfs\toutput-bytes"), p.out.off, false);
    }
    stderr_log_finish(&p.log);
    if (rc < 0)
        record_text(&p);
    g_string_free(p.log.last, TRUE);
    for (int i = 0; i < N_PIPES; i++)
        close_fd(&p.fd[i]);
    close_fd(&p.pid_fd);
    g_byte_array_unref(p.frames);
    g_free(p.buf);
    return rc;
}
