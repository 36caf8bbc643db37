#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# raftfsctl dump: known writes are found in the log and the state of a stopped node; a damaged log is
# described; a running node and a stranger's directory are refused. Nothing is changed.
. "$(dirname "$0")/lib.sh"
cluster_start 1
ctl put 7:hello world || fail "put"
ctl put 7:tab "$(printf 'a\tb')" || fail "put"
ctl put 9:other thing || fail "put"

say "a running node is left alone"
expect_fail raftfsctl dump wal "$T/cluster/n1" -- "is in use"
expect_fail raftfsctl dump state "$T/cluster/n1/groups/0" -- "is in use"

node_kill 1
sums() { find "$T/cluster/n1" -type f -exec md5sum {} + | sort; }
sums >before

say "the log says what was written"
raftfsctl dump wal "$T/cluster/n1" >wal || fail "dump wal"
grep -q '^segment 0000000000000001.seg: .* in use' wal || { cat wal; fail "no segment"; }
grep -q 'entry .* data length=[0-9]*: txn client=.*\\x00\\x07hello.*world' wal || fail "no put"
grep -q 'entry .* time=20[0-9-]*T[0-9:.]*Z data .*session_open.*name="raftfsctl"' wal ||
    fail "no session"
grep -q 'the log ends at offset [0-9]*, next is batch [0-9]*; then zeroes' wal || fail "no end"
grep -q '^group 0: term=1 vote=1 log=(0..' wal || fail "no group"
grep -c '\\x00\\x09other' wal >/dev/null || fail "no second put"
raftfsctl dump wal --shard 9 "$T/cluster/n1/wal" >shard9 || fail "dump --shard"
grep -q other shard9 || fail "--shard 9 lacks its entry"
grep -q hello shard9 && fail "--shard 9 shows shard 7"
last=$(grep -o 'index=[0-9]*' wal | tail -n 1 | cut -d= -f2)
raftfsctl dump wal --from "$last" "$T/cluster/n1" | grep -c ' entry ' >count
same "$(cat count)" 1 "entries from the last one on"
raftfsctl dump wal --json "$T/cluster/n1" >json || fail "dump --json"
jq -se 'any(.[]; .type == "entry" and (.says | contains("hello")))' json >/dev/null || fail "json"
jq -se 'map(.is) | index("segment") != null and index("end") != null' json >/dev/null ||
    fail "json: segments and end"

say "nothing was flushed: the state is empty, and said to be"
raftfsctl dump state "$T/cluster/n1" >state || fail "dump state"
grep -q 'nothing was applied and flushed' state || { cat state; fail "state"; }
sums | cmp - before || fail "dump changed something"

say "a damaged log is described"
cp -r "$T/cluster/n1/wal" copy
place=$(sed -n '/hello/q; s/^  batch \([0-9]*\) at offset \([0-9]*\):.*/\1 \2/p' wal | tail -n 1)
batch=${place% *} at=${place#* }
printf X | dd of=copy/0000000000000001.seg bs=1 seek=$((at + 130)) conv=notrunc 2>/dev/null
expect_fail raftfsctl dump wal "$T/copy" -- "damaged: segment 0000000000000001, offset $at: batch $batch"
raftfsctl dump wal copy >damaged 2>/dev/null
grep -q "batch $batch at .* DAMAGED" damaged || { cat damaged; fail "the batch is not named"; }
grep -q 'BAD: its data has a wrong checksum' damaged || fail "the record is not named"
grep -q '^group 0: .*DAMAGED' damaged || fail "the group is not damaged"
grep -q other damaged || fail "what is behind the damage is not shown"

say "state that was flushed"
node_start 1
wait_for 20 ctl status || fail "n1 does not start"
head -c 1000000 /dev/urandom >million
for i in $(seq 18); do ctl put "7:big$i" - <million || fail "put big$i"; done
flushed() { ctl status --json | jq -e '.nodes[0].counters.flushes > 0'; }
wait_for 20 flushed || fail "no flush"
ctl put 7:last one || fail "put"
node_kill 1 TERM
stopped() { raftfsctl dump state "$T/cluster/n1" >state; }
wait_for 20 stopped || fail "dump state"
sums >before
raftfsctl dump state --values "$T/cluster/n1" >state || fail "dump state"
grep -q '^group 0 of 256 shards, format 1$' state || { head state; fail "no head"; }
grep -q '^applied index=[1-9][0-9]* term=[1-9]' state || fail "nothing applied"
grep -q '^shard 7: counter=[1-9][0-9]* keys=[1-9][0-9]* bytes=[1-9]' state || fail "no shard 7"
grep -q '^  7:hello version=1 length=5 value=world$' state || fail "no hello"
grep -qF '  7:tab version=2 length=3 value=a\x09b' state || fail "bytes are not escaped"
raftfsctl dump state --keys --json --shard 9 "$T/cluster/n1/groups/0" >json || fail "json"
jq -se '[.[] | select(.is == "key") | .key] == ["9:other"]' json >/dev/null || fail "keys of 9"
sums | cmp - before || fail "dump state changed something"

say "strangers"
mkdir empty
expect_fail raftfsctl dump wal empty -- "holds no log segments"
expect_fail raftfsctl dump state empty -- "not a store of ours"
expect_fail raftfsctl dump wal "$T/nowhere" -- "No such file"
expect_fail raftfsctl dump foo empty -- "expected wal or state"

say "and the node starts again"
node_start 1
wait_for 20 ctl status || fail "n1 does not start"
same "$(ctl get 7:hello)" world "after all this"
