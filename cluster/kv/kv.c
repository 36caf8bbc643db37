/* SPDX-License-Identifier: Apache-2.0 */
/* kv.c - life of a state machine, reads, watches. */
#include "cluster/base/buf.h"
#include "cluster/kv/state.h"

/* --- opening ---------------------------------------------------------------------------------- */

static int check_format(struct kv *kv, struct bytes v, struct errmsg *msg)
{
    if (v.n < 4)
        return errmsg_set(msg, -ERR_CORRUPT, "group %u: the format record of its state is damaged",
                          kv->gid);
    if (get_le32(v.p) > LAYOUT_FORMAT)
        return errmsg_set(msg, -ERR_FORMAT,
                          "group %u: its state has format %u, this program knows up to %d; use the "
                          "newer raftfsd",
                          kv->gid, get_le32(v.p), LAYOUT_FORMAT);
    if (get_le32(v.p) < LAYOUT_FORMAT_FIRST || v.n != 10)
        return errmsg_set(msg, -ERR_CORRUPT, "group %u: the format record of its state is damaged",
                          kv->gid);
    uint32_t gid = get_le32(v.p + 4);
    unsigned shards = v.p[8] | (unsigned)v.p[9] << 8;
    if (gid != kv->gid || shards != kv->shards)
        return errmsg_set(
            msg, -ERR_WRONG_CLUSTER,
            "this is the state of group %u in a cluster of %u shards, not of group %u "
            "in one of %u",
            gid, shards, kv->gid, kv->shards);
    kv->format = get_le32(v.p);
    return 0;
}

static int parse_applied(struct bytes v, uint64_t *ret_index, uint64_t *ret_term,
                         uint64_t *ret_time)
{
    if (v.n != 24)
        return -ERR_CORRUPT;
    *ret_index = get_le64(v.p);
    *ret_term = get_le64(v.p + 8);
    *ret_time = get_le64(v.p + 16);
    return 0;
}

/* Both records are in the first batch ever written, so a store has both or neither. */
static int load_records(struct kv *kv, struct errmsg *msg)
{
    const struct store_ops *ops = kv->store->ops;
    struct bytes format, applied;
    int no_format = ops->get(kv->store, NULL, layout_format_key(&kv->arena), &kv->arena, &format);
    int err = ops->get(kv->store, NULL, layout_applied_key(&kv->arena), &kv->arena, &applied);

    if (no_format == -ERR_NOT_FOUND && err == -ERR_NOT_FOUND)
        return 0;
    if (no_format == 0)
        no_format = check_format(kv, format, msg);
    else
        errmsg_set(msg, no_format, "group %u: no format record", kv->gid);
    if (no_format)
        return no_format == -ERR_NOT_FOUND ? -ERR_CORRUPT : no_format;
    if (err == 0)
        err = parse_applied(applied, &kv->index, &kv->term, &kv->time_ns);
    if (err)
        return errmsg_set(msg, err != -ERR_NOT_FOUND ? err : -ERR_CORRUPT,
                          "group %u: the record of what was applied cannot be read", kv->gid);
    return 0;
}

int kv_peek_applied(struct store_maker *stores, const char *dir, uint64_t *ret_index,
                    uint64_t *ret_term, uint64_t *ret_time)
{
    struct arena a = {0};
    struct bytes v;
    int err = stores->peek(stores, dir, layout_applied_key(&a), &a, &v);

    if (err == 0)
        err = parse_applied(v, ret_index, ret_term, ret_time);
    arena_finish(&a);
    return err;
}

static int load_conf(struct kv *kv, struct errmsg *msg)
{
    struct bytes v;
    int err = kv->store->ops->get(kv->store, NULL, layout_conf_key(&kv->arena), &kv->arena, &v);

    if (err == -ERR_NOT_FOUND)
        return 0;
    if (err == 0 && (v.n < 8 || get_le64(v.p) > kv->index))
        err = -ERR_CORRUPT;
    if (err)
        return errmsg_set(msg, err, "group %u: the record of its members cannot be read: %s",
                          kv->gid, err_text(err));
    kv->conf_index = get_le64(v.p);
    enc_raw(&kv->conf, v.p + 8, v.n - 8);
    return 0;
}

/* A number that is there only if it was needed. */
static int load_number(struct kv *kv, struct bytes key, uint64_t *ret)
{
    struct bytes v;
    int err = kv->store->ops->get(kv->store, NULL, key, &kv->arena, &v);

    if (err == -ERR_NOT_FOUND)
        return 0;
    if (err == 0 && v.n != 8)
        err = -ERR_CORRUPT;
    if (err == 0)
        *ret = get_le64(v.p);
    return err;
}

static int load_times(struct kv *kv)
{
    int err = load_number(kv, layout_time_key(&kv->arena), &kv->time_floor);

    return err ? err : load_number(kv, layout_sessions_as_of_key(&kv->arena), &kv->sessions_as_of);
}

static int load_fencing(struct kv *kv)
{
    struct bytes lo, hi, key, value;
    int err = 0;

    layout_table_range(&kv->arena, TABLE_FENCING, &lo, &hi);
    struct store_iter *it = kv->store->ops->iter_open(kv->store, NULL, lo, hi);
    while (!err && kv->store->ops->iter_next(it, &key, &value)) {
        struct kv_fencing f = {0};

        err = value.n == 8 ? layout_session_client(key, &f.client) : -ERR_CORRUPT;
        if (err)
            break;
        f.index = get_le64(value.p);
        g_array_append_val(kv->fencing, f);
    }
    int broken = kv->store->ops->iter_close(it);
    return err ? err : broken;
}

static guint watch_hash(const void *p)
{
    const struct watch *w = p;

    return crc32c(0, w->key.p, w->key.n);
}

static gboolean watch_equal(const void *a, const void *b)
{
    return bytes_eq(((const struct watch *)a)->key, ((const struct watch *)b)->key);
}

static void watch_free(void *p)
{
    struct watch *w = p;

    g_free((void *)w->key.p);
    g_free(w);
}

int kv_open(struct store *store, uint32_t gid, uint16_t shards, struct kv **ret, struct errmsg *msg)
{
    ASSERT(shards > 0 && shards <= SHARDS_MAX);
    struct kv *kv = g_new0(struct kv, 1);

    kv->store = store;
    kv->gid = gid;
    kv->shards = shards;
    sessions_init(&kv->sessions);
    nodes_init(&kv->nodes);
    groups_init(&kv->groups);
    met_init(&kv->met);
    kv->configs = g_new(struct configs, 1);
    configs_init(kv->configs, shards);
    shards_init(&kv->owned, shards, gid == 0);
    prepared_init(&kv->prepared, gid, shards);
    locks_init(&kv->locks);
    kv->fencing = g_array_new(false, false, sizeof(struct kv_fencing));
    round_init(&kv->round, store);
    results_init(&kv->results, &kv->round);
    overlay_init(&kv->overlay);
    overlay_init(&kv->read_overlay);
    kv->watches = g_hash_table_new_full(watch_hash, watch_equal, watch_free, NULL);
    kv->notices = g_array_new(false, false, sizeof(struct notice));
    kv->range = g_array_new(false, false, sizeof(unsigned));
    kv->counters = g_new0(struct counter_state, shards);
    for (unsigned i = 0; i < shards; i++)
        kv->counters[i].value = COUNTER_UNKNOWN;

    int err = load_records(kv, msg);
    if (err)
        goto fail;
    err = sessions_load(&kv->sessions, store, &kv->arena);
    if (err) {
        errmsg_set(msg, err, "group %u: its sessions cannot be read: %s", gid, err_text(err));
        goto fail;
    }
    err = load_conf(kv, msg);
    if (err)
        goto fail;
    err = nodes_load(&kv->nodes, store, &kv->arena);
    if (err) {
        errmsg_set(msg, err, "group %u: its nodes cannot be read: %s", gid, err_text(err));
        goto fail;
    }
    err = groups_load(&kv->groups, store, &kv->arena);
    if (err) {
        errmsg_set(msg, err, "group %u: its groups cannot be read: %s", gid, err_text(err));
        goto fail;
    }
    err = met_load(&kv->met, store, &kv->arena);
    if (err) {
        errmsg_set(msg, err, "group %u: the incarnations of nodes cannot be read: %s", gid,
                   err_text(err));
        goto fail;
    }
    err = configs_load(kv->configs, store, &kv->arena);
    if (err) {
        errmsg_set(msg, err, "group %u: its configuration of shards cannot be read: %s", gid,
                   err_text(err));
        goto fail;
    }
    err = shards_load(&kv->owned, store, &kv->arena);
    if (err) {
        errmsg_set(msg, err, "group %u: which shards it owns cannot be read: %s", gid,
                   err_text(err));
        goto fail;
    }
    err = prepared_load(&kv->prepared, &kv->locks, store, &kv->arena);
    if (err) {
        errmsg_set(msg, err, "group %u: its prepared transactions cannot be read: %s", gid,
                   err_text(err));
        goto fail;
    }
    err = load_times(kv);
    if (!err)
        err = load_fencing(kv);
    if (err) {
        errmsg_set(msg, err, "group %u: its records of times and sessions cannot be read: %s", gid,
                   err_text(err));
        goto fail;
    }
    *ret = kv;
    return 0;
fail:
    kv_close(kv);
    return err;
}

static void drop_kept(struct kv *kv)
{
    for (unsigned i = 0; i < KV_KEPT_MAX; i++) {
        if (kv->kept[i].index)
            kv->store->ops->view_close(kv->store, kv->kept[i].view);
        kv->kept[i] = (struct kept_view){0};
    }
}

void kv_detach(struct kv *kv)
{
    drop_kept(kv);
    kv->broken = -ERR_CLOSED;
}

void kv_close(struct kv *kv)
{
    if (!kv)
        return;
    drop_kept(kv);
    sessions_finish(&kv->sessions);
    nodes_finish(&kv->nodes);
    groups_finish(&kv->groups);
    met_finish(&kv->met);
    g_free(kv->configs);
    shards_finish(&kv->owned);
    prepared_finish(&kv->prepared);
    locks_finish(&kv->locks);
    g_array_free(kv->fencing, true);
    enc_finish(&kv->conf);
    results_finish(&kv->results);
    overlay_finish(&kv->overlay);
    overlay_finish(&kv->read_overlay);
    g_hash_table_destroy(kv->watches);
    round_finish(&kv->round);
    g_array_free(kv->notices, true);
    g_array_free(kv->range, true);
    g_free(kv->counters);
    arena_finish(&kv->notices_arena);
    arena_finish(&kv->arena);
    enc_finish(&kv->reply);
    enc_finish(&kv->row);
    g_free(kv);
}

void kv_applied(const struct kv *kv, uint64_t *ret_index, uint64_t *ret_term, uint64_t *ret_time)
{
    *ret_index = kv->index;
    *ret_term = kv->term;
    *ret_time = kv->time_ns;
}

void kv_hold_rows(struct kv *kv, unsigned rows)
{
    kv->round.rows_max = rows;
}

int kv_settle(struct kv *kv)
{
    return kv->broken ? kv->broken : round_write(&kv->round);
}

struct buf *kv_command(enum kv_command cmd, struct bytes body)
{
    struct buf *b = buf_alloc(1 + body.n);

    b->data[0] = (uint8_t)cmd;
    if (body.n)
        memcpy(b->data + 1, body.p, body.n);
    return b;
}

/* --- reading ---------------------------------------------------------------------------------- */

int kv_check(const struct kv *kv, const struct msg_txn *t)
{
    return txn_check(t, kv->shards);
}

int kv_read(struct kv *kv, const struct msg_txn *t, struct arena *a, struct msg_txn_reply *ret)
{
    int err = t->n_writes ? -ERR_INVALID : kv_check(kv, t);
    struct bytes key;

    if (kv->broken)
        return kv->broken;
    if (!err && !kv_serves(kv, t))
        err = -ERR_WRONG_GROUP;
    if (!err && locks_conflict(&kv->locks, t, &key))
        err = -ERR_BUSY;
    if (err)
        return err;
    overlay_reset(&kv->read_overlay);
    struct txn_run run = {
        .round = &kv->round,
        .arena = a,
        .overlay = &kv->read_overlay,
        .txn = t,
    };
    return kv_txn_run(&run, ret);
}

bool kv_result(struct kv *kv, const struct msg_txn *t, struct arena *a, struct bytes *ret_body)
{
    uint16_t shards[VERSIONS_MAX + 1];
    struct bytes row, body;

    if (kv->broken || t->n_writes == 0 || kv_check(kv, t) < 0 || !kv_serves(kv, t) ||
        !sessions_find(&kv->sessions, t->client))
        return false;
    txn_shards_written(t, shards);
    if (results_get(&kv->results, shards[0], t->client, a, &row) < 0 ||
        result_find(row, t->seq, t->acked_below, &body) != RESULT_KEPT)
        return false;
    *ret_body = arena_copy(a, body);
    return true;
}

size_t kv_sessions(const struct kv *kv)
{
    return kv->sessions.live->len;
}

void kv_each_session(const struct kv *kv,
                     void (*each)(void *arg, uint64_t client, struct bytes name), void *arg)
{
    for (unsigned i = 0; i < kv->sessions.live->len; i++) {
        const struct session *s = &g_array_index(kv->sessions.live, struct session, i);

        each(arg, s->client, bytes_of(s->name, s->name_len));
    }
}

bool kv_has_session(const struct kv *kv, uint64_t client)
{
    return sessions_find(&kv->sessions, client) != NULL;
}

/* --- kept states ------------------------------------------------------------------------------ */

unsigned kv_kept(const struct kv *kv, uint64_t ret_index[KV_KEPT_MAX])
{
    unsigned n = 0;

    while (n < KV_KEPT_MAX && kv->kept[n].index) {
        ret_index[n] = kv->kept[n].index;
        n++;
    }
    return n;
}

struct store_view *kv_kept_view(const struct kv *kv, uint64_t index)
{
    for (unsigned i = 0; index && i < KV_KEPT_MAX; i++) {
        if (kv->kept[i].index == index)
            return kv->kept[i].view;
    }
    return NULL;
}

void kv_kept_drop(struct kv *kv, uint64_t index)
{
    for (unsigned i = 0; index && i < KV_KEPT_MAX; i++) {
        if (kv->kept[i].index != index)
            continue;
        kv->store->ops->view_close(kv->store, kv->kept[i].view);
        memmove(&kv->kept[i], &kv->kept[i + 1], (KV_KEPT_MAX - 1 - i) * sizeof(kv->kept[0]));
        kv->kept[KV_KEPT_MAX - 1] = (struct kept_view){0};
        return;
    }
}

/* --- membership ------------------------------------------------------------------------------- */

struct bytes kv_conf(const struct kv *kv, uint64_t *ret_index)
{
    *ret_index = kv->conf_index;
    return enc_view(&kv->conf);
}

const struct kv_node *kv_node(const struct kv *kv, uint32_t id)
{
    return nodes_find(&kv->nodes, id);
}

const struct kv_node *kv_nodes(const struct kv *kv, unsigned *ret_n, uint64_t *ret_index)
{
    *ret_n = kv->nodes.all->len;
    *ret_index = kv->nodes.index;
    return (const struct kv_node *)(void *)kv->nodes.all->data;
}

int kv_node_check(const struct kv *kv, uint32_t id, enum node_state state, struct bytes address)
{
    return MIN(nodes_judge(&kv->nodes, id, state, address), 0);
}

const struct kv_met *kv_met(const struct kv *kv, uint32_t id)
{
    return met_find(&kv->met, id);
}

const struct kv_met *kv_met_all(const struct kv *kv, unsigned *ret_n, uint64_t *ret_index)
{
    *ret_n = kv->met.all->len;
    *ret_index = kv->met.index;
    return (const struct kv_met *)(void *)kv->met.all->data;
}

int kv_met_check(const struct kv *kv, uint32_t id, uint64_t incarnation)
{
    return met_judge(&kv->met, id, incarnation);
}

const struct kv_group *kv_group(const struct kv *kv, uint32_t gid)
{
    return groups_find(&kv->groups, gid);
}

const struct kv_group *kv_groups(const struct kv *kv, unsigned *ret_n, uint64_t *ret_index)
{
    *ret_n = kv->groups.all->len;
    *ret_index = kv->groups.index;
    return (const struct kv_group *)(void *)kv->groups.all->data;
}

int kv_group_check(const struct kv *kv, const struct msg_group_create *m)
{
    struct kv_group g;

    return groups_judge(&kv->groups, &kv->nodes, m, &g);
}

/* --- shards and configurations ---------------------------------------------------------------- */

static bool serves_key(const struct kv *kv, struct bytes key)
{
    return shard_served(&kv->owned.all[layout_shard(key)]);
}

bool kv_serves(const struct kv *kv, const struct msg_txn *t)
{
    if (kv->owned.unserved == 0)
        return true;
    for (uint32_t i = 0; i < t->n_compares; i++) {
        if (!serves_key(kv, t->compares[i].key))
            return false;
    }
    for (uint32_t i = 0; i < t->n_reads; i++) {
        if (!serves_key(kv, t->reads[i].key))
            return false;
    }
    for (uint32_t i = 0; i < t->n_writes; i++) {
        if (!serves_key(kv, t->writes[i].key))
            return false;
    }
    return true;
}

const struct kv_shard *kv_shard(const struct kv *kv, unsigned shard)
{
    ASSERT(shard < kv->shards);
    return &kv->owned.all[shard];
}

unsigned kv_shards_served(const struct kv *kv)
{
    return kv->shards - kv->owned.unserved;
}

const struct config *kv_config(const struct kv *kv)
{
    return &kv->configs->latest;
}

int kv_config_at(struct kv *kv, uint64_t num, struct config *ret)
{
    struct arena CLEANUP(arena_finish) a = {0};

    return kv->broken ? kv->broken : configs_at(kv->configs, num, &kv->round, &a, ret);
}

int kv_home_check(const struct kv *kv, const struct msg_group_home *m)
{
    struct kv_group g;

    if (m->n_members > HOME_MAX)
        return -ERR_INVALID;
    return groups_judge_home(&kv->groups, &kv->nodes, m, false, &g);
}

uint64_t kv_homes_index(const struct kv *kv)
{
    return kv->groups.home_index;
}

int kv_config_check(const struct kv *kv, const struct msg_config_change *m, struct config *ret)
{
    for (uint32_t i = 0; m->op == CONFIG_JOIN && i < m->n_gids; i++) {
        if (m->gids[i].gid != 0 && !groups_find(&kv->groups, m->gids[i].gid))
            return -ERR_NOT_FOUND;
    }
    return configs_judge(kv->configs, m, ret);
}

unsigned kv_config_pending(const struct kv *kv)
{
    return kv->configs->n_pending;
}

bool kv_config_is_pending(const struct kv *kv, unsigned shard, uint32_t *ret_from)
{
    ASSERT(shard < kv->shards);
    if (!kv->configs->pending[shard])
        return false;
    *ret_from = kv->configs->from[shard];
    return true;
}

/* --- transactions over several groups --------------------------------------------------------- */

const struct txn_record *const *kv_records(const struct kv *kv, unsigned *ret_n)
{
    *ret_n = kv->prepared.records->len;
    return (const struct txn_record *const *)(void *)kv->prepared.records->pdata;
}

const struct kv_decision *const *kv_decisions(const struct kv *kv, unsigned *ret_n)
{
    *ret_n = kv->prepared.decisions->len;
    return (const struct kv_decision *const *)(void *)kv->prepared.decisions->pdata;
}

const struct kv_decision *kv_decision(const struct kv *kv, const struct txid *id)
{
    return decision_find(&kv->prepared, id);
}

unsigned kv_prepared(const struct kv *kv)
{
    return kv->prepared.n_prepared;
}

unsigned kv_prepared_on(const struct kv *kv, unsigned shard)
{
    ASSERT(shard < kv->shards);
    return kv->prepared.touching[shard];
}

struct txid kv_below(const struct kv *kv, const struct txid *oldest)
{
    unsigned n;
    const struct kv_decision *const *all = kv_decisions(kv, &n);

    return n && txid_order(&all[0]->id, oldest) < 0 ? all[0]->id : *oldest;
}

bool kv_conflict(const struct kv *kv, const struct msg_txn *t, struct txid *ret_by,
                 struct bytes *ret_key)
{
    const struct txn_record *by = locks_conflict(&kv->locks, t, ret_key);

    if (by)
        *ret_by = by->id;
    return by != NULL;
}

/* --- sessions of several groups --------------------------------------------------------------- */

void kv_session_set(const struct kv *kv, struct arena *a, struct msg_session_set *ret)
{
    unsigned n = kv->sessions.live->len;

    *ret = (struct msg_session_set){.as_of = kv->index, .n_live = n};
    ret->live = arena_array(a, n, sizeof(*ret->live));
    for (unsigned i = 0; i < n; i++)
        ret->live[i].client = g_array_index(kv->sessions.live, struct session, i).client;
}

uint64_t kv_sessions_as_of(const struct kv *kv)
{
    return kv->gid == 0 ? kv->index : kv->sessions_as_of;
}

size_t kv_fencing(const struct kv *kv, uint64_t *ret_newest)
{
    *ret_newest = 0;
    for (unsigned i = 0; i < kv->fencing->len; i++)
        *ret_newest = MAX(*ret_newest, g_array_index(kv->fencing, struct kv_fencing, i).index);
    return kv->fencing->len;
}

void kv_each_fencing(const struct kv *kv, void (*each)(void *arg, uint64_t client), void *arg)
{
    for (unsigned i = 0; i < kv->fencing->len; i++)
        each(arg, g_array_index(kv->fencing, struct kv_fencing, i).client);
}

/* --- watching --------------------------------------------------------------------------------- */

void kv_watch(struct kv *kv, struct bytes key)
{
    struct watch probe = {.key = key};
    struct watch *w = g_hash_table_lookup(kv->watches, &probe);

    if (!w) {
        w = g_new(struct watch, 1);
        *w = (struct watch){.key = bytes_of(g_memdup2(key.p, key.n), key.n)};
        g_hash_table_add(kv->watches, w);
    }
    w->count++;
}

void kv_unwatch(struct kv *kv, struct bytes key)
{
    struct watch probe = {.key = key};
    struct watch *w = g_hash_table_lookup(kv->watches, &probe);

    ASSERT(w);
    if (--w->count == 0)
        g_hash_table_remove(kv->watches, w);
}
