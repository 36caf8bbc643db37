#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Of three nodes one dies and is removed, others come, and nothing that was acknowledged is lost. A
# mount that was made before goes on.
. "$(dirname "$0")/lib.sh"
need_fuse
cluster_start 3
cluster_mount mnt || fail "mount"
echo before >mnt/file || fail "write"

writer() { # puts numbered keys until told to stop; acknowledged ones are listed
    n=0
    while [ ! -e stop ]; do
        n=$((n + 1))
        ctl --timeout 20 put "9:k$n" "value-$n" || return 1
        echo "$n" >>acknowledged
    done
}
: >acknowledged
writer 2>errors &
writer_pid=$!

voters() { ctl status --json | jq -er '.groups[0].voter_ids | sort | join(" ")'; }
voters_are() { [ "$(voters)" = "$1" ]; }

say "wrong words change nothing"
expect_fail ctl node ad n4=127.0.0.1:1 -- "did you mean add"
expect_fail ctl node add n4 -- "expected nID=HOST:PORT"
expect_fail ctl node remove n4=127.0.0.1:1 -- "the id of a node"
expect_fail ctl node replace n9 n4=127.0.0.1:1 -- "n9 is no member"
[ ! -e cluster/n4.conf ] || fail "files were made all the same"

say "a fourth node comes"
node_come 4 add "n4=127.0.0.1:$(free_port)"
grep -q "n4 has caught up and is a voter" come4.log || fail "what node add says"
voters_are "1 2 3 4" || fail "voters: $(voters)"
grep -q "^join yes" cluster/n4.conf || fail "n4.conf does not join"
grep -q "^peer n4 " cluster/admin.conf cluster/client.conf || fail "clients do not know n4"
ctl node add "$(sed -n 's/^peer \(n4\) /\1=/p' cluster/n4.conf)" >/dev/null || fail "the same again"

say "the first node dies and is removed"
node_kill 1
wait_for 20 leader_or_fail || fail "no leader"
ctl node remove n1 >/dev/null || fail "remove n1"
voters_are "2 3 4" || fail "voters: $(voters)"
ctl status | grep -q "^voters n2, n3, n4" || fail "status does not name the voters"
ctl node remove n1 >/dev/null || fail "the same again"

say "it is told so when it comes back, and its id is burnt"
expect_fail raftfsd -c "$T/cluster/n1.conf" -- "node n1 was removed from this cluster"
same "$(grep -c 'was removed' .err)" 1 "lines that say it"
rm -r cluster/n1 cluster/n1.*
expect_fail ctl node add "n1=127.0.0.1:$(free_port)" -- "never used twice"
[ ! -e cluster/n1.conf ] || fail "files were made all the same"

say "a fifth node comes, as a learner first"
ctl node add --learner "n5=127.0.0.1:$(free_port)" >/dev/null || fail "add n5 --learner"
ctl status | grep -q "learners n5" || fail "status does not name the learner"
expect_fail ctl --timeout 1 node promote n5 -- "n5 "
node_start 5
ctl node promote n5 >/dev/null || fail "promote n5"
voters_are "2 3 4 5" || fail "voters: $(voters)"

say "a wiped directory does not start, its node is replaced"
node_kill 2
find cluster/n2 -mindepth 1 -delete
expect_fail raftfsd -c "$T/cluster/n2.conf" -- "no identity"
node_come 6 replace n2 "n6=127.0.0.1:$(free_port)"
voters_are "3 4 5 6" || fail "voters: $(voters)"

say "what would stop the cluster is refused"
ctl node remove n6 >/dev/null || fail "remove n6"
node_kill 3
silent() { ctl status --json | jq -e '.groups[0].members[] | select(.node == 3) | .heard_ms > 1000'; }
wait_for 20 silent || fail "n3 is heard though it is dead"
expect_fail ctl node remove n4 -- "n3 would not answer"
node_start 3
voters_are "3 4 5" || fail "voters: $(voters)"

say "the mount follows a leader that its configuration does not name"
ctl leader move n5 >/dev/null || fail "move the leader to n5"
echo after >>mnt/file || fail "append"
same "$(cat mnt/file)" "before
after" "the file"
unmount "$T/mnt" || fail "unmount"

say "nothing is lost"
enough() { [ "$(wc -l <acknowledged)" -gt 20 ]; }
wait_for 60 enough || fail "few puts: $(wc -l <acknowledged)"
: >stop
wait $writer_pid || { cat errors; fail "a put failed"; }
ctl scan 9: >found || fail "scan"
while read -r n; do grep -qE "^9:k$n[[:space:]].*value-$n\$" found || fail "key $n is lost"; done <acknowledged
