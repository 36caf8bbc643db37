/* SPDX-License-Identifier: Apache-2.0 */
/* raftfsctl get, put, del, scan: raw keys as SHARD:REST. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cluster/ctl/ctl.h"
#include "cluster/ctl/key_text.h"

#define SCAN_PAGE 256

/* --- keys as text ------------------------------------------------------------------------------
 */

/* SHARD:REST to bytes. Returns CTL_OK, or CTL_USAGE after telling. */
static int parse_key(const char *text, GByteArray *out)
{
    uint64_t shard = 0;
    const char *p = text;
    for (; g_ascii_isdigit(*p) && shard < SHARDS_MAX; p++)
        shard = shard * 10 + (uint64_t)(*p - '0');
    if (p == text || *p != ':')
        return ctl_usage("key \"%s\": expected SHARD:REST, e.g. 7:hello", text);
    if (shard >= SHARDS_MAX)
        return ctl_usage("key \"%s\": shards are numbered from 0 to at most %d", text,
                         SHARDS_MAX - 1);
    uint8_t head[2];
    put_be16(head, (uint16_t)shard);
    g_byte_array_append(out, head, sizeof(head));
    if (!unescape_bytes(p + 1, out))
        return ctl_usage("key \"%s\": a backslash begins \\xNN (two hex digits) or \\\\", text);
    if (out->len > KEY_MAX)
        return ctl_usage("key: %u bytes; at most %d are allowed", out->len, KEY_MAX);
    return CTL_OK;
}

static struct bytes bytes_of_array(const GByteArray *a)
{
    return bytes_of(a->data, a->len);
}

/* The end of the range of all keys that begin with it (never empty: a shard number is in front). */
static void next_prefix(GByteArray *a)
{
    while (a->len > 0 && a->data[a->len - 1] == 0xff)
        g_byte_array_set_size(a, a->len - 1);
    if (a->len > 0)
        a->data[a->len - 1]++;
    while (a->len < 2) /* behind shard 255: 01 00 */
        g_byte_array_append(a, (const uint8_t *)"", 1);
}

/* A connection for a command on this key. CTL_OK, or what to return after telling. */
static int connect_for(struct ctl *ctl, const GByteArray *key, struct client **ret)
{
    struct client *CLEANUP(client_destroy) c = ctl_connect(ctl, true);
    if (!c)
        return CTL_FAILED;
    unsigned shards = client_shards(c), shard = get_be16(key->data);
    if (shard >= shards)
        return ctl_usage("key: no shard %u: this cluster has 0 to %u", shard, shards - 1);
    *ret = TAKE(c);
    return CTL_OK;
}

/* --- one key -----------------------------------------------------------------------------------
 */

static int run_txn(struct ctl *ctl, struct client *c, struct txn *t, const char *what)
{
    int err = txn_run(c, t, ctl->timeout_s * 1000, NULL);
    if (err == 0 || err == -ERR_FAILED)
        return err;
    (void)ctl_error("%s: %s%s", what, err_text(err),
                    err == -ERR_TIMEOUT ? " (is there a quorum? raftfsctl status tells)" : "");
    return err;
}

int cmd_get(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    struct txn CLEANUP(txn_finish) t = {0};
    gboolean bare = FALSE;
    const GOptionEntry entries[] = {
        {"no-newline", 'n', 0, G_OPTION_ARG_NONE, &bare, "No newline after the value", NULL},
        {NULL},
    };
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 1, 1))
        return CTL_USAGE;
    g_autoptr(GByteArray) key = g_byte_array_new();
    int status = parse_key(argv[1], key);
    struct client *CLEANUP(client_destroy) c = NULL;
    if (status == CTL_OK)
        status = connect_for(ctl, key, &c);
    if (status != CTL_OK)
        return status;
    txn_get(&t, bytes_of_array(key));
    if (run_txn(ctl, c, &t, "get") < 0)
        return CTL_FAILED;
    const struct kv_result *r = &t.reply.reads[0];
    if (r->version == 0)
        return ctl_error("get: key %s not found", argv[1]);
    fwrite(r->value.p, 1, r->value.n, stdout);
    if (!bare)
        putchar('\n');
    return CTL_OK;
}

static int read_stdin(GByteArray *out)
{
    uint8_t chunk[KIB(16)];
    ssize_t n;
    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ctl_error("put: standard input: %s", strerror(errno));
        if (out->len + (size_t)n > VALUE_MAX)
            return ctl_error("put: the value is larger than %u bytes", (unsigned)VALUE_MAX);
        g_byte_array_append(out, chunk, (guint)n);
    }
    return CTL_OK;
}

int cmd_put(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    struct txn CLEANUP(txn_finish) t = {0};
    if (!ctl_parse(ctl, self, NULL, &argc, &argv, 2, 2))
        return CTL_USAGE;
    g_autoptr(GByteArray) key = g_byte_array_new();
    int status = parse_key(argv[1], key);
    g_autoptr(GByteArray) value = g_byte_array_new();
    struct bytes v = bytes_str(argv[2]);
    if (status == CTL_OK && strcmp(argv[2], "-") == 0) {
        status = read_stdin(value);
        v = bytes_of_array(value);
    }
    struct client *CLEANUP(client_destroy) c = NULL;
    if (status == CTL_OK)
        status = connect_for(ctl, key, &c);
    if (status != CTL_OK)
        return status;
    txn_put(&t, bytes_of_array(key), v);
    return run_txn(ctl, c, &t, "put") < 0 ? CTL_FAILED : CTL_OK;
}

int cmd_del(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    struct txn CLEANUP(txn_finish) t = {0};
    if (!ctl_parse(ctl, self, NULL, &argc, &argv, 1, 1))
        return CTL_USAGE;
    g_autoptr(GByteArray) key = g_byte_array_new();
    int status = parse_key(argv[1], key);
    struct client *CLEANUP(client_destroy) c = NULL;
    if (status == CTL_OK)
        status = connect_for(ctl, key, &c);
    if (status != CTL_OK)
        return status;
    txn_exists(&t, bytes_of_array(key));
    txn_delete(&t, bytes_of_array(key));
    int err = run_txn(ctl, c, &t, "del");
    if (err == -ERR_FAILED)
        return ctl_error("del: key %s not found", argv[1]);
    return err < 0 ? CTL_FAILED : CTL_OK;
}

/* --- scan --------------------------------------------------------------------------------------
 */

static void print_pair(const struct kv_pair *p, bool keys_only)
{
    g_autoptr(GString) line = g_string_new(NULL);
    escape_key(line, p->key);
    if (!keys_only) {
        g_string_append_c(line, ' ');
        escape_bytes(line, p->value);
    }
    puts(line->str);
}

/* All of [lo, hi), page by page; lo is moved along. */
static int scan_range(struct ctl *ctl, struct client *c, GByteArray *lo, struct bytes hi,
                      bool keys_only)
{
    for (bool more = true; more;) {
        struct txn CLEANUP(txn_finish) t = {0};
        txn_scan(&t, bytes_of_array(lo), hi, SCAN_PAGE, keys_only);
        if (run_txn(ctl, c, &t, "scan") < 0)
            return CTL_FAILED;
        const struct kv_result *r = &t.reply.reads[0];
        for (uint32_t i = 0; i < r->n_pairs; i++) {
            if (r->pairs[i].key.n < 2)
                return ctl_error("scan: the node answers a key without a shard");
            print_pair(&r->pairs[i], keys_only);
        }
        more = r->more && r->n_pairs > 0;
        if (more) {
            /* Just behind the last key. */
            struct bytes last = r->pairs[r->n_pairs - 1].key;
            g_byte_array_set_size(lo, 0);
            g_byte_array_append(lo, last.p, (guint)last.n);
            g_byte_array_append(lo, (const uint8_t *)"", 1);
        }
    }
    return CTL_OK;
}

/* The range of all keys that begin with lo, which is used up. */
static int scan_prefix(struct ctl *ctl, struct client *c, GByteArray *lo, bool keys_only)
{
    g_autoptr(GByteArray) hi = g_byte_array_new();
    g_byte_array_append(hi, lo->data, lo->len);
    next_prefix(hi);
    return scan_range(ctl, c, lo, bytes_of_array(hi), keys_only);
}

int cmd_scan(struct ctl *ctl, const struct ctl_command *self, int argc, char **argv)
{
    gboolean keys_only = FALSE;
    const GOptionEntry entries[] = {
        {"keys", 'k', 0, G_OPTION_ARG_NONE, &keys_only, "Keys only, no values", NULL},
        {NULL},
    };
    if (!ctl_parse(ctl, self, entries, &argc, &argv, 0, 1))
        return CTL_USAGE;
    g_autoptr(GByteArray) prefix = g_byte_array_new();
    if (argc > 1 && parse_key(argv[1], prefix) != CTL_OK)
        return CTL_USAGE;
    struct client *CLEANUP(client_destroy) c = NULL;
    if (argc > 1) {
        int found = connect_for(ctl, prefix, &c);
        return found == CTL_OK ? scan_prefix(ctl, c, prefix, keys_only) : found;
    }
    c = ctl_connect(ctl, true);
    if (!c)
        return CTL_FAILED;
    int status = CTL_OK;
    for (unsigned i = 0; i < client_shards(c) && status == CTL_OK; i++) {
        uint8_t shard[2];
        put_be16(shard, (uint16_t)i);
        g_byte_array_set_size(prefix, 0);
        g_byte_array_append(prefix, shard, sizeof(shard));
        status = scan_prefix(ctl, c, prefix, keys_only);
    }
    return status;
}
