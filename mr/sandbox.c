/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 1024

static int refused(struct errmsg *msg, const char *step)
{
    return errmsg_set(msg, -ERR_DENIED, "sandbox: %s: %s", step, strerror(errno));
}

int sandbox_enter(const struct sandbox *s, struct errmsg *msg)
{
    struct rlimit none = {0, 0}, files = {FILES_MAX, FILES_MAX}, had;
    if (getrlimit(RLIMIT_NOFILE, &had) == 0 && had.rlim_max < FILES_MAX)
        files = (struct rlimit){had.rlim_max, had.rlim_max};
    if (setrlimit(RLIMIT_CORE, &none) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0)
        return refused(msg, "limits");
    umask(077);
    if (s->change_identity) {
        if (s->uid == 0)
            return errmsg_set(msg, -ERR_DENIED, "sandbox: tasks never run as root");
        if (setgroups(s->n_groups, s->groups) < 0)
            return refused(msg, "groups");
        if (setresgid(s->gid, s->gid, s->gid) < 0)
            return refused(msg, "group");
        if (setresuid(s->uid, s->uid, s->uid) < 0)
            return refused(msg, "user");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return refused(msg, "no_new_privs");
    /* After the change of user, which would clear it. TERM: our handler kills the command too. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return refused(msg, "parent death signal");
    return 0;
}
