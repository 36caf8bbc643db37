/* SPDX-License-Identifier: Apache-2.0 */
/* fixture.h - a client of fake nodes, and the requests that the tests make. */
#pragma once

#include "tests/unit/client/fake_node.h"

struct fixture {
    struct fake *fake;
    struct client *client;
    unsigned lost; /* atomic: calls of on_session_lost */
};

void fixture_init(struct fixture *x, struct fake *fake);
void fixture_init_any(struct fixture *x, struct fake *fake); /* read-from any */
void fixture_finish(struct fixture *x);

int put_key(struct client *c, unsigned deadline_ms, struct client_cancel *cancel);
int get_key(struct client *c, unsigned deadline_ms, struct client_cancel *cancel);
struct bytes a_key(void);
uint64_t retries(struct client *c);
/* A put in another thread. */
struct putter {
    struct client *client;
    struct client_cancel cancel;
    int rc;
    unsigned deadline_ms;
    unsigned long thread;
};
void putter_start(struct putter *p, struct client *c, unsigned deadline_ms);
int putter_join(struct putter *p);
