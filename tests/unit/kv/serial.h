/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial.h - judges transactions that append to lists and read them: is there an order of them, one
 * after another, that explains all they saw, and that no transaction which began after another's
 * answer comes before it? (As Elle does: the lists' contents are the order of their writers, so a
 * reader stands behind the last element that it saw, and before the next; a cycle is a proof.)
 *
 * A list is le64 elements; each is appended by the transaction of that number.
 */
#pragma once

#include "cluster/base/bytes.h"

struct serial;
struct serial *serial_create(void);
void serial_destroy(struct serial *s);

void serial_begin(struct serial *s, uint64_t txn, uint64_t now);
/* What it saw in a list, before its own writes. */
void serial_read(struct serial *s, uint64_t txn, unsigned list, struct bytes seen);
/* Its answer. done: it has appended; else it saw what it saw and changed nothing. */
void serial_end(struct serial *s, uint64_t txn, uint64_t now, bool done);
/* A list as it is at the end. `elements` ends with a zero. */
void serial_final(struct serial *s, unsigned list, const char *elements);
bool serial_holds(struct serial *s);
