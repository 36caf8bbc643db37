#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# raftfsctl init, three raftfsd, put, get, scan, status in both forms.
. "$(dirname "$0")/lib.sh"
cluster_start 3

say "keys are private, nothing else is"
same "$(stat -c %a "$T/cluster/ca.key")" 600 "mode of ca.key"
same "$(find "$T/cluster" -name '*.key' ! -perm 600 | wc -l)" 0 "keys that others may read"

say "raw keys"
ctl put 7:hello world || fail "put"
same "$(ctl get 7:hello)" world "get"
ctl put 7:help me && ctl scan 7:hel | grep -q help || fail "scan"
ctl del 7:hello && expect_fail ctl get 7:hello -- "not found"

say "status"
ctl status >status || fail "status"
grep -q "n$(leader).*leader" status || { cat status; fail "the leader is not marked"; }
ctl status --json | jq -e '.groups[0] | .term > 0 and .commit > 0 and .applied > 0' >/dev/null ||
    fail "status --json"
caught_up() { ctl status --json | jq -e '[.groups[0].members[].lag] | max == 0' >/dev/null; }
wait_for 10 caught_up || fail "a follower lags"

say "one node stopped: still served, and said"
victim=$(leader)
node_kill "$victim"
ctl put 7:again yes && same "$(ctl get 7:again)" yes "after the leader's death"
ctl status | grep -qi "n$victim.*unreachable" || { ctl status; fail "status does not say so"; }
node_start "$victim"
wait_for 20 caught_up || fail "n$victim does not catch up"
