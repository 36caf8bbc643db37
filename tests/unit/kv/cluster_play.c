/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kv/cluster_play.h"
#include "cluster/kv/export.h"
#include "cluster/kv/txn.h"

uint64_t world_draw(struct world *w, uint64_t n)
{
    return rng_below(&w->rng, n);
}

/* Where a client believes the shard to be: mostly right. */
unsigned world_home(struct world *w, unsigned shard)
{
    if (!w->peace && world_draw(w, 15) == 0)
        return (unsigned)world_draw(w, GROUPS);
    for (unsigned g = 0; g < GROUPS; g++) {
        if (shard_served(kv_shard(w->c->g[g].kv, shard)))
            return g;
    }
    return (unsigned)world_draw(w, GROUPS);
}

/* --- the network ------------------------------------------------------------------------------ */

void world_post(struct world *w, struct message m, struct enc *e)
{
    m.body = arena_copy(&w->c->arena, enc_view(e));
    enc_finish(e);
    g_array_append_val(w->net, m);
}

/* --- attempts --------------------------------------------------------------------------------- */

struct attempt *attempt_find(struct world *w, const struct txid *id)
{
    for (unsigned i = 0; i < w->alive->len; i++) {
        struct attempt *a = g_ptr_array_index(w->alive, i);

        if (txid_order(&a->id, id) == 0)
            return a;
    }
    return NULL;
}

/* The lowest txid of the group that may still come to something, or that is next. */
static struct txid fence(struct world *w, unsigned g)
{
    struct txid oldest = {g, w->c->g[g].term, w->next_n[g] + 1};

    for (unsigned i = 0; i < w->alive->len; i++) {
        struct attempt *a = g_ptr_array_index(w->alive, i);

        if (a->id.gid == g && txid_order(&a->id, &oldest) < 0)
            oldest = a->id;
    }
    return kv_below(w->c->g[g].kv, &oldest);
}

static void send_outcome(struct world *w, const struct txid *id, unsigned to, bool commit,
                         uint64_t time)
{
    struct enc e = {0};
    struct txid low = fence(w, id->gid);
    struct msg_outcome m = {id->gid, id->term, id->n, low.term, low.n, commit, time};

    enc_outcome(&e, &m);
    world_post(
        w,
        (struct message){
            .to = to, .cmd = KV_CMD_OUTCOME, .context = commit ? FOR_ACK : FOR_NOBODY, .id = *id},
        &e);
}

static void send_prepare(struct world *w, const struct attempt *a, unsigned to)
{
    struct enc e = {0}, body = {0};
    struct txid low = fence(w, a->id.gid);
    struct msg_txn part;

    part_of(&a->t, a->map, (uint8_t)to, &w->c->arena, &part);
    enc_txn(&body, &part);
    struct msg_prepare m = {a->id.gid, a->id.term, a->id.n, low.term, low.n, enc_view(&body)};
    enc_prepare(&e, &m);
    enc_finish(&body);
    world_post(
        w, (struct message){.to = to, .cmd = KV_CMD_PREPARE, .context = FOR_VOTE, .id = a->id}, &e);
}

static void send_decide(struct world *w, struct attempt *a)
{
    struct enc e = {0}, whole = {0};
    struct decide_vote votes[GROUPS] = {{0}};
    struct shard_id shards[GROUPS][SHARDS];
    struct msg_txn t;
    struct msg_decide m = {.term = a->id.term, .n = a->id.n, .votes = votes};

    for (unsigned g = 0; g < GROUPS; g++) {
        if (!a->involved[g] || g == a->id.gid)
            continue;
        struct decide_vote *v = &votes[m.n_votes++];
        *v = (struct decide_vote){.gid = g, .shards = shards[g], .reply = a->votes[g]};
        for (unsigned s = 1; s <= SHARDS; s++) {
            if (a->map[s] == g)
                v->shards[v->n_shards++].shard = (uint16_t)s;
        }
    }
    part_strip_others(&a->t, a->map, (uint8_t)a->id.gid, &w->c->arena, &t);
    enc_txn(&whole, &t);
    m.txn = enc_view(&whole);
    enc_decide(&e, &m);
    enc_finish(&whole);
    a->decided = true;
    world_post(w,
               (struct message){.to = a->id.gid,
                                .cmd = KV_CMD_DECIDE,
                                .context = FOR_DECIDE,
                                .client = a->client,
                                .seq = a->t.seq,
                                .id = a->id},
               &e);
}

void attempt_end(struct world *w, struct attempt *a, bool commit)
{
    g_ptr_array_remove(w->alive, a);
    for (unsigned g = 0; !commit && g < GROUPS; g++) {
        if (a->involved[g] && g != a->id.gid)
            send_outcome(w, &a->id, g, false, 0);
    }
}

void attempt_go_on(struct world *w, struct attempt *a)
{
    bool all = true;

    for (unsigned g = 0; g < GROUPS; g++) {
        if (!a->involved[g] || g == a->id.gid || a->votes[g].n)
            continue;
        all = false;
        send_prepare(w, a, g);
    }
    if (all && !a->decided)
        send_decide(w, a);
}

/* A request goes to the group of its lowest shard written, whose leader takes it from there. */
void world_send_request(struct world *w, unsigned who)
{
    struct client *c = &w->clients[who];
    struct attempt *a = arena_zalloc(&w->c->arena, sizeof(*a));
    uint16_t written[17];
    unsigned n = 0;

    txn_shards_written(&c->t, written);
    a->client = who;
    a->t = c->t;
    memset(a->map, 0xff, sizeof(a->map));
    a->map[c->a] = (uint8_t)world_home(w, c->a);
    a->map[c->b] = (uint8_t)world_home(w, c->b);
    a->involved[a->map[c->a]] = a->involved[a->map[c->b]] = true;
    for (unsigned g = 0; g < GROUPS; g++)
        n += a->involved[g];
    unsigned to = a->map[written[0]];
    if (n == 1) {
        struct enc e = {0};
        enc_txn(&e, &c->t);
        world_post(
            w,
            (struct message){
                .to = to, .cmd = KV_CMD_TXN, .context = FOR_CLIENT, .client = who, .seq = c->seq},
            &e);
        return;
    }
    a->id = (struct txid){to, w->c->g[to].term, ++w->next_n[to]};
    g_ptr_array_add(w->alive, a);
    attempt_go_on(w, a);
}

/* --- decisions -------------------------------------------------------------------------------- */

static char *name_of(const struct txid *id)
{
    return g_strdup_printf("%u/%llu/%llu", id->gid, (unsigned long long)id->term,
                           (unsigned long long)id->n);
}

unsigned decision_acks(struct world *w, const struct txid *id, unsigned more)
{
    char *name = name_of(id);
    unsigned acks = GPOINTER_TO_UINT(g_hash_table_lookup(w->acks, name)) | more;

    g_hash_table_insert(w->acks, name, GUINT_TO_POINTER(acks));
    return acks;
}

/* Tells the participants of each decision, or ends it. */
void leader_distribute(struct world *w, unsigned g)
{
    unsigned n;
    const struct kv_decision *const *all = kv_decisions(w->c->g[g].kv, &n);

    for (unsigned i = 0; i < n; i++) {
        struct txid id = all[i]->id;
        unsigned acks = decision_acks(w, &id, 0), missing = 0;
        for (unsigned k = 0; k < all[i]->n_gids; k++) {
            if (acks & 1u << all[i]->gids[k])
                continue;
            missing++;
            send_outcome(w, &id, all[i]->gids[k], true, all[i]->time);
        }
        if (missing)
            continue;
        struct enc e = {0};
        struct msg_forget m = {.gid = g, .n_ended = 1, .ended = &id};
        enc_forget(&e, &m);
        world_post(w, (struct message){.to = g, .cmd = KV_CMD_FORGET}, &e);
    }
}

/* A participant that has heard nothing asks what became of it. */
void leader_ask(struct world *w, unsigned g)
{
    unsigned n;
    const struct txn_record *const *all = kv_records(w->c->g[g].kv, &n);

    for (unsigned i = 0; i < n; i++) {
        struct txid id = all[i]->id;
        const struct kv_decision *d = kv_decision(w->c->g[id.gid].kv, &id);
        if (all[i]->fate != FATE_PREPARED || (!d && attempt_find(w, &id)))
            continue;
        send_outcome(w, &id, g, d != NULL, d ? d->time : 0);
    }
}

void leader_send_fence(struct world *w, unsigned g, unsigned to)
{
    struct enc e = {0};
    struct txid low = fence(w, g);
    struct msg_forget m = {g, low.term, low.n, 0, NULL};

    if (g == to)
        return;
    enc_forget(&e, &m);
    world_post(w, (struct message){.to = to, .cmd = KV_CMD_FORGET}, &e);
}

/* --- moves ------------------------------------------------------------------------------------ */

static void send_step(struct world *w, unsigned shard, enum kv_command cmd)
{
    struct enc e = {0};
    struct msg_shard_move m = {(uint16_t)shard, w->moves[shard].num, w->moves[shard].to};

    enc_shard_move(&e, &m);
    world_post(w, (struct message){.to = w->moves[shard].from, .cmd = cmd}, &e);
}

static void send_install(struct world *w, unsigned shard)
{
    struct enc e = {0};
    struct msg_shard_install m = {(uint16_t)shard, w->moves[shard].num, 0, 0};

    enc_shard_install(&e, &m);
    world_post(w, (struct message){.to = w->moves[shard].to, .cmd = KV_CMD_MOVE_INSTALL}, &e);
}

static void send_piece(struct world *w, unsigned shard)
{
    uint64_t num = w->moves[shard].num;
    const struct kv_shard *s = kv_shard(w->c->g[w->moves[shard].to].kv, shard);
    bool begun = s->num == num;
    struct msg_shard_piece p;
    struct enc e = {0};

    if (kv_export(w->c->g[w->moves[shard].from].kv, shard, num, begun ? s->cursor : BYTES_NONE,
                  SHARD_PIECE_LEAST + world_draw(w, 60), &w->c->arena, &p) < 0)
        return;
    struct msg_shard_stage m = {.shard = (uint16_t)shard,
                                .num = num,
                                .peer = w->moves[shard].from,
                                .seq = begun ? s->staged : 0,
                                .next = p.next,
                                .n_rows = p.n_rows,
                                .rows = p.rows};
    enc_shard_stage(&e, &m);
    world_post(w, (struct message){.to = w->moves[shard].to, .cmd = KV_CMD_MOVE_STAGE}, &e);
}

/* The controller remembers nothing but the configuration: both groups' states say what is next. */
static void drive_move(struct world *w, unsigned shard)
{
    const struct kv_shard *from = kv_shard(w->c->g[w->moves[shard].from].kv, shard);
    const struct kv_shard *to = kv_shard(w->c->g[w->moves[shard].to].kv, shard);
    uint64_t num = w->moves[shard].num;

    if (from->num != num) {
        send_step(w, shard, KV_CMD_MOVE_BEGIN);
    } else if (from->state == SHARD_FOREIGN) {
        w->moves[shard].num = 0;
    } else if (to->num == num && to->state == SHARD_OWNED) {
        send_step(w, shard, KV_CMD_MOVE_DELETE);
    } else if (to->num == num && to->state == SHARD_STAGING && to->cursor.n == 0) {
        send_install(w, shard);
    } else if (from->state == SHARD_MOVING && to->num == num && world_draw(w, 4) == 0) {
        send_step(w, shard, KV_CMD_MOVE_CLOSE);
    } else if (from->state == SHARD_CLOSING && world_draw(w, 2)) {
        send_step(w, shard, KV_CMD_MOVE_FREEZE);
    } else {
        send_piece(w, shard);
    }
}

void controller_step(struct world *w)
{
    unsigned shard = (unsigned)world_draw(w, SHARDS) + 1;

    if (w->moves[shard].num) {
        drive_move(w, shard);
        return;
    }
    if (w->peace)
        return;
    w->moves[shard].num = ++w->num;
    w->moves[shard].from = (unsigned)kvc_owner(w->c, shard);
    w->moves[shard].to = (w->moves[shard].from + 1 + (unsigned)world_draw(w, GROUPS - 1)) % GROUPS;
}
