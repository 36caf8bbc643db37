/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/node/request.h"

struct request *request_create(struct node *n, struct conn *c, uint64_t id, unsigned type,
                               struct bytes body)
{
    unsigned most = c && c->peer ? LINK_REQUESTS_MAX : CONN_REQUESTS_MAX;
    if (c && (c->n_requests >= most || n->request_bytes + body.n > REQUEST_BYTES_MAX))
        return NULL;
    struct request *r = g_new0(struct request, 1);
    r->node = n;
    r->token = c ? c->token : 0;
    r->id = id;
    r->type = type;
    if (body.n > 0)
        r->body = buf_copy(body);
    n->request_bytes += body.n;
    if (c)
        c->n_requests++;
    return r;
}

void request_destroy(struct request *r)
{
    if (!r)
        return;
    struct node *n = r->node;
    struct conn *c = g_hash_table_lookup(n->conns, &r->token);
    if (c)
        c->n_requests--;
    n->request_bytes -= buf_bytes(r->body).n;
    buf_unref(r->body);
    g_free(r);
}

void request_answer(struct request *r, unsigned type, struct bytes body)
{
    struct enc *e = &r->node->out;
    enc_reset(e);
    size_t at = frame_begin(e);
    enc_raw(e, body.p, body.n);
    frame_end(e, at, type, r->id);
    conn_answer(r->node, r->token, enc_view(e));
}

void request_fail(struct request *r, int err, uint32_t leader, const char *detail)
{
    conn_answer_leader(r->node, r->token, r->id, err, r->gid, leader, detail);
    request_destroy(r);
}
