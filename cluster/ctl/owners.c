/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include "cluster/ctl/members.h"
#include "cluster/ctl/owners.h"

void owners_finish(struct owners *o)
{
    if (!o)
        return;
    arena_finish(&o->arena);
    *o = (struct owners){0};
}

/* Checked so far that owners can be looked up. */
static int take(struct buf *b, struct owners *ret, struct errmsg *msg)
{
    owners_finish(ret);
    struct msg_config_reply *r = &ret->reply;
    bool good = dec_config_reply(arena_copy(&ret->arena, buf_bytes(b)), &ret->arena, r) == 0 &&
                r->status == 0;
    for (uint32_t i = 0; good && i < r->n_pending; i++)
        good = r->pending[i].shard < r->n_owners;
    if (good)
        return 0;
    owners_finish(ret);
    return errmsg_set(msg, -ERR_INVALID, "the leader's configuration cannot be read");
}

static int ask(struct client *c, unsigned type, struct bytes body, uint64_t deadline_ns,
               struct owners *ret, struct errmsg *msg)
{
    struct buf *CLEANUP(buf_unref) b = NULL;
    int err = members_get(c, type, body, MSG_config_reply, deadline_ns, &b, msg);
    if (err < 0)
        return err;
    return take(b, ret, msg);
}

int owners_get(struct client *c, uint64_t num, uint64_t deadline_ns, struct owners *ret,
               struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    const struct msg_config_get m = {num};
    enc_config_get(&e, &m);
    return ask(c, MSG_config_get, enc_view(&e), deadline_ns, ret, msg);
}

int owners_get_node(struct client *c, uint32_t node, unsigned timeout_ms, struct owners *ret,
                    struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    struct buf *CLEANUP(buf_unref) b = NULL;
    const struct msg_config_get m = {CONFIG_LATEST};
    unsigned type = 0;
    enc_config_get(&e, &m);
    int err =
        client_ask_node_msg(c, node, MSG_config_get, enc_view(&e), timeout_ms, &type, &b, msg);
    if (err == 0 && type != MSG_config_reply)
        err = errmsg_set(msg, -ERR_INVALID, "node n%u tells no configuration", node);
    return err < 0 ? err : take(b, ret, msg);
}

int owners_preview(struct client *c, const struct msg_config_change *m, uint64_t deadline_ns,
                   struct owners *ret, struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    enc_config_change(&e, m); /* a preview has the same fields */
    return ask(c, MSG_config_preview, enc_view(&e), deadline_ns, ret, msg);
}

unsigned owners_distance(const struct owners *a, const struct owners *b)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < a->reply.n_owners && i < b->reply.n_owners; i++)
        n += a->reply.owners[i].gid != b->reply.owners[i].gid;
    return n;
}

/* --- sets of shards --------------------------------------------------------------------------- */

static uint32_t owner(const struct owners *o, uint32_t shard)
{
    return o->reply.owners[shard].gid;
}

const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

struct shard_set {
    unsigned n;
    bool in[SHARDS_MAX + 1]; /* one more, never in: it ends the last range */
};

static void add(struct shard_set *s, uint32_t shard)
{
    if (shard < SHARDS_MAX && !s->in[shard]) {
        s->in[shard] = true;
        s->n++;
    }
}

/* ": 0-3,7" */
static void print_set(const struct shard_set *s)
{
    const char *before = ": ";
    for (unsigned i = 0; i < SHARDS_MAX; i++) {
        unsigned last = i;
        if (!s->in[i])
            continue;
        while (s->in[last + 1])
            last++;
        if (last > i)
            printf("%s%u-%u", before, i, last);
        else
            printf("%s%u", before, i);
        before = ",";
        i = last;
    }
}

/* --- moves ------------------------------------------------------------------------------------ */

struct moves {
    unsigned n;
    struct {
        uint32_t shard, from, to;
    } at[SHARDS_MAX];
};

static void add_move(struct moves *m, uint32_t shard, uint32_t from, uint32_t to)
{
    m->at[m->n].shard = shard;
    m->at[m->n].from = from;
    m->at[m->n++].to = to;
}

static bool is_alike(const struct moves *m, unsigned a, unsigned b)
{
    return m->at[a].from == m->at[b].from && m->at[a].to == m->at[b].to;
}

/* A line for each pair of groups. */
static void print_moves(const struct moves *m)
{
    for (unsigned i = 0; i < m->n; i++) {
        struct shard_set s = {0};
        bool told = false;
        for (unsigned k = 0; k < i && !told; k++)
            told = is_alike(m, k, i);
        for (unsigned k = i; k < m->n && !told; k++)
            if (is_alike(m, k, i))
                add(&s, m->at[k].shard);
        if (told)
            continue;
        printf("group %" PRIu32 " gives group %" PRIu32 " %u shard%s", m->at[i].from, m->at[i].to,
               s.n, plural(s.n));
        print_set(&s);
        putchar('\n');
    }
}

void owners_print_moves(const struct owners *a, const struct owners *b)
{
    struct moves m = {0};
    for (uint32_t i = 0; i < a->reply.n_owners && i < b->reply.n_owners; i++)
        if (owner(a, i) != owner(b, i))
            add_move(&m, i, owner(a, i), owner(b, i));
    print_moves(&m);
}

static void print_pending(const struct owners *o)
{
    const struct msg_config_reply *r = &o->reply;
    struct moves m = {0};
    for (uint32_t i = 0; i < r->n_pending; i++)
        add_move(&m, r->pending[i].shard, r->pending[i].gid, owner(o, r->pending[i].shard));
    if (m.n > 0)
        printf("%u shard%s still on the way:\n", m.n, m.n == 1 ? " is" : "s are");
    print_moves(&m);
}

/* --- a configuration -------------------------------------------------------------------------- */

static void print_group(const struct owners *o, uint32_t gid)
{
    struct shard_set s = {0};
    for (uint32_t i = 0; i < o->reply.n_owners; i++)
        if (owner(o, i) == gid)
            add(&s, i);
    printf("group %" PRIu32 ": %u shard%s", gid, s.n, plural(s.n));
    print_set(&s);
    putchar('\n');
}

void owners_print(const struct owners *o)
{
    const struct msg_config_reply *r = &o->reply;
    printf("configuration %" PRIu64 ": %" PRIu32 " shards, ", r->num, r->n_owners);
    if (r->n_groups == 0)
        printf("no group has joined\n");
    else
        printf("%" PRIu32 " group%s joined\n", r->n_groups, r->n_groups == 1 ? " has" : "s have");
    if (r->n_groups == 0)
        print_group(o, 0);
    for (uint32_t i = 0; i < r->n_groups; i++)
        print_group(o, r->groups[i].gid);
    print_pending(o);
}

void owners_json(const struct owners *o, struct json *j)
{
    const struct msg_config_reply *r = &o->reply;
    json_open(j, NULL, '{');
    json_number(j, "config", r->num);
    json_open(j, "groups", '[');
    for (uint32_t i = 0; i < r->n_groups; i++)
        json_number(j, NULL, r->groups[i].gid);
    json_close(j, ']');
    json_open(j, "owners", '[');
    for (uint32_t i = 0; i < r->n_owners; i++)
        json_number(j, NULL, owner(o, i));
    json_close(j, ']');
    json_open(j, "moving", '[');
    for (uint32_t i = 0; i < r->n_pending; i++) {
        json_open(j, NULL, '{');
        json_number(j, "shard", r->pending[i].shard);
        json_number(j, "from", r->pending[i].gid);
        json_number(j, "to", owner(o, r->pending[i].shard));
        json_close(j, '}');
    }
    json_close(j, ']');
    json_close(j, '}');
}

/* --- for status ------------------------------------------------------------------------------- */

/* What each group has now: a shard that is on its way is where it comes from. */
struct counted {
    unsigned n_groups;
    struct {
        uint32_t gid;
        unsigned shards;
    } groups[GROUPS_MAX + 1];
};

static void count_group(const struct owners *o, uint32_t gid, struct counted *ret)
{
    const struct msg_config_reply *r = &o->reply;
    unsigned n = 0;
    for (unsigned i = 0; i < ret->n_groups; i++)
        if (ret->groups[i].gid == gid)
            return;
    if (ret->n_groups == ARRAY_LEN(ret->groups))
        return;
    for (uint32_t i = 0; i < r->n_owners; i++)
        n += owner(o, i) == gid;
    for (uint32_t i = 0; i < r->n_pending; i++) {
        n -= owner(o, r->pending[i].shard) == gid;
        n += r->pending[i].gid == gid;
    }
    ret->groups[ret->n_groups].gid = gid;
    ret->groups[ret->n_groups++].shards = n;
}

/* "group 1 has 86", "groups 2-4,7 have 85 each": from the i-th on those that have as many. */
static void text_alike(const struct counted *c, unsigned from, GString *out)
{
    unsigned n = 0, shards = c->groups[from].shards;
    g_autoptr(GString) gids = g_string_new(NULL);
    for (unsigned i = from; i < c->n_groups; i++) {
        unsigned last = i;
        if (c->groups[i].shards != shards)
            continue;
        while (last + 1 < c->n_groups && c->groups[last + 1].shards == shards &&
               c->groups[last + 1].gid == c->groups[last].gid + 1)
            last++;
        g_string_append_printf(gids, "%s%" PRIu32, n ? "," : "", c->groups[i].gid);
        if (last > i)
            g_string_append_printf(gids, "-%" PRIu32, c->groups[last].gid);
        n += last - i + 1;
        i = last;
    }
    g_string_append_printf(out, "%s %s %s ", n == 1 ? "group" : "groups", gids->str,
                           n == 1 ? "has" : "have");
    if (shards == 0)
        g_string_append(out, "none");
    else
        g_string_append_printf(out, n == 1 ? "%u" : "%u each", shards);
}

void owners_text_counts(const struct owners *o, GString *out)
{
    const struct msg_config_reply *r = &o->reply;
    struct counted c = {0};
    if (r->n_groups == 0)
        count_group(o, 0, &c);
    for (uint32_t i = 0; i < r->n_groups; i++)
        count_group(o, r->groups[i].gid, &c);
    for (uint32_t i = 0; i < r->n_pending; i++)
        count_group(o, r->pending[i].gid, &c);
    g_string_append_printf(out, "%" PRIu32 " shards: ", r->n_owners);
    for (unsigned i = 0; i < c.n_groups; i++) {
        bool told = false;
        for (unsigned k = 0; k < i && !told; k++)
            told = c.groups[k].shards == c.groups[i].shards;
        if (told)
            continue;
        g_string_append(out, i ? "; " : "");
        text_alike(&c, i, out);
    }
    g_string_append_c(out, '\n');
    if (r->n_pending > 0)
        g_string_append_printf(out, "%" PRIu32 " shard%s on the way to configuration %" PRIu64 "\n",
                               r->n_pending, r->n_pending == 1 ? " is" : "s are", r->num);
}
