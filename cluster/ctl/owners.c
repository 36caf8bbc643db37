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

static int ask(struct client *c, unsigned type, struct bytes body, uint64_t deadline_ns,
               struct owners *ret, struct errmsg *msg)
{
    struct buf *CLEANUP(buf_unref) b = NULL;
    int err = members_get(c, type, body, MSG_config_reply, deadline_ns, &b, msg);
    if (err < 0)
        return err;
    owners_finish(ret);
    if (dec_config_reply(arena_copy(&ret->arena, buf_bytes(b)), &ret->arena, &ret->reply) < 0 ||
        ret->reply.status != 0)
        return errmsg_set(msg, -ERR_INVALID, "the leader's configuration cannot be read");
    return 0;
}

int owners_get(struct client *c, uint64_t num, uint64_t deadline_ns, struct owners *ret,
               struct errmsg *msg)
{
    struct enc e CLEANUP(enc_finish) = {0};
    const struct msg_config_get m = {num};
    enc_config_get(&e, &m);
    return ask(c, MSG_config_get, enc_view(&e), deadline_ns, ret, msg);
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

/* --- printing --------------------------------------------------------------------------------- */

static uint32_t owner(const struct owners *o, uint32_t shard)
{
    return o->reply.owners[shard].gid;
}

static unsigned count(const struct owners *o, uint32_t gid)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < o->reply.n_owners; i++)
        n += owner(o, i) == gid;
    return n;
}

/* "0-3,7": those that gid owns. */
static char *ranges(const struct owners *o, uint32_t gid)
{
    GString *s = g_string_new(NULL);
    for (uint32_t i = 0; i < o->reply.n_owners; i++) {
        uint32_t last = i;
        if (owner(o, i) != gid)
            continue;
        while (last + 1 < o->reply.n_owners && owner(o, last + 1) == gid)
            last++;
        g_string_append_printf(s, last > i ? "%s%" PRIu32 "-%" PRIu32 : "%s%" PRIu32,
                               s->len ? "," : "", i, last);
        i = last;
    }
    return g_string_free(s, FALSE);
}

static void print_group(const struct owners *o, uint32_t gid)
{
    g_autofree char *list = ranges(o, gid);
    printf("group %" PRIu32 ": %u shards%s%s\n", gid, count(o, gid), list[0] ? ": " : "", list);
}

void owners_print(const struct owners *o)
{
    const struct msg_config_reply *r = &o->reply;
    printf("configuration %" PRIu64 ": %" PRIu32 " shards, %" PRIu32 " groups have joined\n",
           r->num, r->n_owners, r->n_groups);
    if (r->n_groups == 0)
        print_group(o, 0);
    for (uint32_t i = 0; i < r->n_groups; i++)
        print_group(o, r->groups[i].gid);
    for (uint32_t i = 0; i < r->n_pending; i++)
        printf("shard %u is on its way from group %" PRIu32 " to group %" PRIu32 "\n",
               r->pending[i].shard, r->pending[i].gid, owner(o, r->pending[i].shard));
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

/* Groups of either, once each. */
static unsigned all_groups(const struct owners *a, const struct owners *b, uint32_t *ret)
{
    const struct owners *both[] = {a, b};
    unsigned n = 0;
    for (unsigned k = 0; k < 2; k++)
        for (uint32_t i = 0; i < both[k]->reply.n_owners; i++) {
            unsigned at = 0;
            while (at < n && ret[at] != owner(both[k], i))
                at++;
            if (at == n && n < GROUPS_MAX + 1)
                ret[n++] = owner(both[k], i);
        }
    return n;
}

void owners_print_moves(const struct owners *a, const struct owners *b)
{
    uint32_t gids[GROUPS_MAX + 1];
    unsigned n = all_groups(a, b, gids);
    for (unsigned from = 0; from < n; from++)
        for (unsigned to = 0; to < n; to++) {
            unsigned moving = 0;
            for (uint32_t i = 0; from != to && i < a->reply.n_owners; i++)
                moving += owner(a, i) == gids[from] && owner(b, i) == gids[to];
            if (moving > 0)
                printf("group %" PRIu32 " gives group %" PRIu32 " %u shards\n", gids[from],
                       gids[to], moving);
        }
}
