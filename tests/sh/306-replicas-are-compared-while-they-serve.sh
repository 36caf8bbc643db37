#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# raftfsctl check: three replicas agree; a row planted in one is found and named; a node that is down
# is named, and one that lags or was restarted is waited for.
. "$(dirname "$0")/lib.sh"
groups=0 # all keys lie in group 0, where the row is planted
plant=$bin/tests/unit/ctl/plant
[ -x "$plant" ] || skip "no $plant"
cluster_start 3
for i in $(seq 40); do ctl put "7:key$i" "value $i" || fail "put"; done
ctl put 9:other thing || fail "put"

# A node on a busy machine may take longer to answer than check waits.
agree() { ctl check >out; }

say "all agree"
wait_for 20 agree || { cat out; fail "check"; }
grep -q '^3 replicas agree at index [1-9][0-9]* ([1-9][0-9]* keys, [1-9][0-9]* bytes)$' out ||
    { cat out; fail "what check says"; }
ctl check --json | jq -e '.agree and (.replicas | length == 3)' >/dev/null || fail "json"

say "one node down: named, and the status says that not all was checked"
node_kill 2
if ctl check >out; then fail "a check of two of three counts as complete"; fi
grep -q '^n2 was NOT CHECKED: ' out || { cat out; fail "n2 is not named"; }
grep -q '^2 replicas agree at index' out || { cat out; fail "the other two"; }

say "a row planted in its store while it is down is found"
"$plant" "$T/cluster/n2/groups/0" 7 planted rotten || fail "plant"
node_start 2
up() { ctl status --json | jq -e '[.nodes[].reachable] | all'; }
wait_for 20 up || fail "n2 does not come back"
found() { ! ctl check >out && grep -q '^DIFFERENCE' out; }
wait_for 20 found || { cat out; fail "the planted row was not found"; }
grep -q '^DIFFERENCE in shard 7: n2 differs from the others$' out || { cat out; fail "no shard"; }
grep -q '^  7:planted: n2 has it, the others do not$' out || { cat out; fail "no key"; }

say "written over by everybody it is the same again"
ctl put 7:planted healed || fail "put"
ctl del 7:planted || fail "del"
wait_for 20 agree || { cat out; fail "check at the end"; }

say "only with admin.conf"
expect_fail raftfsctl -c "$T/cluster/client.conf" check -- "use admin.conf"
