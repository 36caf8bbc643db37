/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - raft messages as frames and back (msg_raft_wire). Pure.
 */
#pragma once

#include "cluster/base/msg.h"
#include "cluster/raft/raft.h"

/* Appends one frame. The list of entries is made in the arena. */
void wire_put_raft(struct enc *e, struct arena *a, uint32_t gid, const struct raft_msg *m);

/* From a decoded message. The entries are in the arena, each holds a buf: wire_release after
 * raft_step. -ERR_INVALID: an unknown type or entry type. */
NODISCARD int wire_get_raft(const struct msg_raft_wire *w, struct arena *a, struct raft_msg *ret);
/* The flags of a message as bits; false: unknown ones. */
uint8_t wire_flags(const struct raft_msg *m);
bool wire_set_flags(struct raft_msg *m, uint8_t flags);
void wire_release(struct raft_msg *m);

/* Membership as it travels in a snapshot: as in the log (raft_conf_encode). */
void wire_put_conf(struct enc *e, const struct raft_conf *conf);
NODISCARD int wire_get_conf(struct bytes in, struct raft_conf *ret);
