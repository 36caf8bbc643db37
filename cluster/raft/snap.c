/* SPDX-License-Identifier: Apache-2.0 */
/* snap.c - compaction, and snapshots on both sides (paper 7). The bytes are the host's business. */
#include "cluster/raft/core.h"

void raft_compact(struct raft *r, raft_index upto)
{
    ASSERT(upto <= r->applied && upto <= r->handed);
    if (upto <= r->log.base)
        return;
    raftlog_compact(&r->log, upto);
    raft_conf_compacted(r, upto);
    /* A restart now begins after upto, whatever of it the log on disk still has. */
    r->persisted = MAX(r->persisted, upto);
    if (r->role == RAFT_LEADER)
        progress_acked(raft_member(r, r->id), r->persisted);
}

bool raft_wants_snapshot(const struct raft *r, raft_index index, raft_term term)
{
    return r->role != RAFT_LEADER && index > r->commit && index <= RAFT_NUMBER_MAX && term > 0 &&
           term <= RAFT_NUMBER_MAX;
}

/* Does the entry at `index` agree, so that what follows it may stay? Paper 7: "if existing log
 * entry has same index and term as snapshot's last included entry, retain log entries following
 * it". */
static bool agrees(const struct raft *r, raft_index index, raft_term term)
{
    return index <= raftlog_last(&r->log) && raftlog_term_at(&r->log, index) == term;
}

bool raft_install(struct raft *r, raft_id from, raft_term from_term, raft_index index,
                  raft_term term, uint64_t time_ns, const struct raft_conf *conf)
{
    if (!raft_wants_snapshot(r, index, term) || quorum_check(conf) < 0 || from == r->id ||
        from_term < term || from_term > RAFT_NUMBER_MAX)
        return false;
    if (from_term == r->hard.term && r->leader != RAFT_NONE && r->leader != from)
        return false;
    if (from_term >= r->hard.term) /* it leads this term; an older snapshot is still committed */
        raft_become_follower(r, from_term, from);
    else if (r->role != RAFT_FOLLOWER) /* its election was under another configuration */
        raft_become_follower(r, r->hard.term, RAFT_NONE);

    if (agrees(r, index, term)) {
        raftlog_compact(&r->log, index);
    } else {
        raft_log_truncated(r, r->log.base + 1); /* nothing that was written counts any more */
        raftlog_reset(&r->log, index, term, time_ns);
        g_array_set_size(r->confs, 0);
    }
    raft_log_reset(r);
    r->commit = r->applied = r->applying = index;
    r->matched = MAX(r->matched, index);
    raft_conf_start(r, conf, index);
    raft_send_after(
        r, (struct raft_msg){
               .type = RAFT_APPEND_RESP, .to = from, .term = r->hard.term, .index = index});
    return true;
}

void raft_snapshot_sent(struct raft *r, raft_id to, raft_index index, bool ok)
{
    struct progress *p = raft_member(r, to);

    if (r->role != RAFT_LEADER || p == NULL || index > raftlog_last(&r->log))
        return;
    progress_snapshot_sent(p, index, ok);
}
