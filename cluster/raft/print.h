/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print.h - the canonical text of messages, entries and readies: what traces compare and logs show.
 *
 * One line each, without a newline; only fields that mean something for the type are shown. Payload
 * is shown escaped and cut at 16 bytes. Pure.
 */
#pragma once

#include "cluster/raft/raft.h"

void raft_print_entry(GString *s, const struct raft_entry *e); /* 5/2 "x" */
void raft_print_conf(GString *s, const struct raft_conf *c);   /* voters=1,2 outgoing=1 learners= */
void raft_print_msg(GString *s, const struct raft_msg *m);     /* 1->2 APPEND t=2 prev=4/1 ... */
void raft_print_persist(GString *s, const struct raft_persist *p);
void raft_print_status(GString *s, const struct raft_status *st);
