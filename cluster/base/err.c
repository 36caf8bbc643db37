/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct err_row {
    int code;
    const char *name;
    const char *text;
    int no;
    bool retryable;
};

static const struct err_row rows[] = {
#define ERR_ROW(code, number, text, no, retryable) {number, #code, text, no, retryable},
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

void assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s:%d: ASSERT(%s) failed: this is a bug of raftfs, please report it\n", file,
            line, cond);
    abort();
}

static const struct err_row *row_of(int code)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == code || rows[i].code == -code)
            return &rows[i];
    return NULL;
}

const char *err_name(int code)
{
    const struct err_row *row = row_of(code);
    if (row)
        return row->name + strlen("ERR_");
    return code ? "UNKNOWN" : "OK";
}

const char *err_text(int code)
{
    const struct err_row *row = row_of(code);
    if (row)
        return row->text;
    return code ? "unknown error" : "success";
}

int err_errno(int code)
{
    const struct err_row *row = row_of(code);
    if (row)
        return row->no;
    return code ? EIO : 0;
}

bool err_retryable(int code)
{
    const struct err_row *row = row_of(code);
    return row && row->retryable;
}

int err_from_errno(int no)
{
    switch (no) {
    case 0:
        return 0;
    case ENOSPC:
    case EDQUOT:
        return -ERR_NO_SPACE;
    case ENOENT:
    case ENOTDIR:
        return -ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return -ERR_EXISTS;
    case ENOMEM:
        return -ERR_NO_MEMORY;
    case EAGAIN:
        return -ERR_BUSY;
    case EBUSY:
    case ETXTBSY:
        return -ERR_LOCKED;
    case EINTR:
    case ECANCELED:
        return -ERR_CANCELED;
    case EINVAL:
        return -ERR_INVALID;
    case E2BIG:
    case EFBIG:
    case EMSGSIZE:
        return -ERR_TOO_BIG;
    case ETIMEDOUT:
        return -ERR_TIMEOUT;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
        return -ERR_CLOSED;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
        return -ERR_UNREACHABLE;
    default:
        return -ERR_IO;
    }
}

int errmsg_set(struct errmsg *msg, int code, const char *fmt, ...)
{
    if (!msg)
        return code;
    va_list ap;
    va_start(ap, fmt);
    /* Through a copy: an argument may be msg->text itself. */
    struct errmsg out;
    vsnprintf(out.text, sizeof(out.text), fmt, ap);
    va_end(ap);
    *msg = out;
    return code;
}

int errmsg_prefix(struct errmsg *msg, int code, const char *fmt, ...)
{
    if (!msg)
        return code;
    struct errmsg out;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out.text, sizeof(out.text), fmt, ap);
    va_end(ap);
    g_strlcat(out.text, ": ", sizeof(out.text));
    g_strlcat(out.text, msg->text, sizeof(out.text));
    *msg = out;
    return code;
}
