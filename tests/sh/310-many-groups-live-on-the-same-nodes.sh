#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Sixteen groups on three nodes: made, led by all of them, and led again when a node dies; the node
# comes back and all its replicas catch up.
. "$(dirname "$0")/lib.sh"
groups=0 # they are made here
cluster_start 3
json() { ctl status --json | jq -er "$1"; }

say "sixteen groups are made"
ctl --timeout 60 group create --count 16 >made || fail "group create: $(cat made)"
same "$(wc -l <made)" 16 "groups that were made"
[ "$(awk '{ print $NF }' made | sort -u | wc -l)" -ge 2 ] || fail "one node leads all: $(cat made)"
same "$(json '.groups | length')" 17 "groups that status lists"
ctl status >said || fail "status: $(cat said)"
grep -q "^16 groups besides group 0" said || fail "status does not count them: $(cat said)"
grep -q "^n[1-3] leads [1-9]" said || fail "status does not tell who leads: $(cat said)"

say "what cannot be is refused"
expect_fail ctl group create --gid 5 --members n1,n2 -- "gid 5 is in use: group 5 was made with n1, n2, n3"
expect_fail ctl group create --gid 50 --members n1,n2,n9 -- "n9 is no node of this cluster"
expect_fail ctl group create --members "" -- "not enough members"
expect_fail ctl group create --members n1,x -- '"x" is no node'
expect_fail ctl group create --count 100 -- "1 to 64"
expect_fail ctl group create --count 60 -- "there are 64 groups besides group 0"
expect_fail raftfsctl -c "$T/cluster/client.conf" group create -- "may not do this"
ctl group create --gid 5 --members n3,n2,n1 >said || fail "the same group again: $(cat said)"
moved() { ctl leader move --group 5 n2 >said; }
wait_for 20 moved || fail "leader move: $(cat said)"
same "$(json '.groups[] | select(.gid == 5) | .leader')" 2 "leader of group 5"

say "all replicas hold the same"
ctl check >said || fail "check: $(cat said)"
same "$(grep -c '^group [0-9]*: 3 replicas agree' said)" 64 "groups that were compared"

say "n2 is killed: every group is led by another one"
node_kill 2
led() { json 'all(.groups[]; .leader != null and .leader != 2 and .quorum) | select(.)'; }
wait_for 30 led || fail "without a leader: $(ctl status)"

say "n2 comes back: all its replicas catch up"
node_start 2
caught_up() { json 'all(.groups[]; (.members | length) == 3 and all(.members[]; .lag == 0)) | select(.)'; }
wait_for 30 caught_up || fail "behind: $(ctl status)"

say "all nodes are killed and started"
for i in 1 2 3; do node_kill $i; done
for i in 1 2 3; do node_start $i; done
wait_for 30 caught_up || fail "not all are back: $(ctl status)"
ctl check >said || fail "check: $(cat said)"

say "a node that ends hands over all that it leads"
node_kill 1 TERM
wait "$(node_pid 1)" || fail "n1 ended with status $?"
led() { json 'all(.groups[]; .leader != null and .leader != 1 and .quorum) | select(.)'; }
wait_for 30 led || fail "without a leader: $(ctl status)"
