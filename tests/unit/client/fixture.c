/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/client/fixture.h"

#include <pthread.h>

static void on_lost(void *ctx)
{
    struct fixture *x = ctx;
    __atomic_fetch_add(&x->lost, 1, __ATOMIC_RELAXED);
}

void fixture_init(struct fixture *x, struct fake *fake)
{
    struct client_options o = {
        .conf = fake_conf(fake), .name = "a test", .on_session_lost = on_lost, .ctx = x};
    struct errmsg msg;
    *x = (struct fixture){.fake = fake};
    T_OK_MSG(client_create(&o, &x->client, &msg), &msg);
}

void fixture_init_any(struct fixture *x, struct fake *fake)
{
    g_autofree char *text = NULL, *longer = NULL;
    assert_true(g_file_get_contents(fake_conf(fake), &text, NULL, NULL));
    longer = g_strconcat(text, "read-from any\n", NULL);
    t_write_file(fake_conf(fake), longer, strlen(longer));
    fixture_init(x, fake);
}

void fixture_finish(struct fixture *x)
{
    client_destroy(x->client);
    fake_destroy(x->fake);
}

struct bytes a_key(void)
{
    return bytes_of("\0\3key", 5);
}

int put_key(struct client *c, unsigned deadline_ms, struct client_cancel *cancel)
{
    struct txn t CLEANUP(txn_finish) = {0};
    txn_put(&t, a_key(), bytes_str("value"));
    return txn_run(c, &t, deadline_ms, cancel);
}

int get_key(struct client *c, unsigned deadline_ms, struct client_cancel *cancel)
{
    struct txn t CLEANUP(txn_finish) = {0};
    (void)txn_get(&t, a_key());
    return txn_run(c, &t, deadline_ms, cancel);
}

uint64_t retries(struct client *c)
{
    struct client_stats s;
    client_get_stats(c, &s);
    return s.retries;
}

static void *putter_main(void *arg)
{
    struct putter *p = arg;
    p->rc = put_key(p->client, p->deadline_ms, &p->cancel);
    return NULL;
}

void putter_start(struct putter *p, struct client *c, unsigned deadline_ms)
{
    pthread_t thread;
    *p = (struct putter){.client = c, .deadline_ms = deadline_ms};
    T_OK(client_cancel_init(&p->cancel));
    assert_int_equal(pthread_create(&thread, NULL, putter_main, p), 0);
    p->thread = thread;
}

int putter_join(struct putter *p)
{
    (void)pthread_join((pthread_t)p->thread, NULL);
    client_cancel_finish(&p->cancel);
    return p->rc;
}
