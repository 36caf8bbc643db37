#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Three nodes; the leader is killed in the middle of a job, another time a follower: same result.
. "$(dirname "$0")/lib.sh"
need_fuse
cluster_start 3
cluster_mount "$T/mnt" || fail "mount"
mkdir mnt/in
for i in 1 2 3 4; do seq $((i * 1000)) $((i * 1000 + 9999)) | sed 's/.*/k&/' >mnt/in/f$i; done
cat mnt/in/* | LC_ALL=C sort | LC_ALL=C uniq -c | awk '{ print $2 "\t" $1 }' >want

# Each map attempt takes a while, so that the kill meets some of them under way.
cat >slow.job <<'JOB'
input:  /in/*
map:    cat; timeout 1 tail -f /dev/null || :
reduce: @count
split:  8K
reduces: 2
JOB
for who in leader follower; do
    cp slow.job "mnt/jobs/$who.job" || fail "cp"
    moves() { ls -d "mnt/jobs/$who"/tasks/m-*/1 >/dev/null 2>&1; }
    wait_for 30 moves || fail "no attempt started"
    victim=$(leader)
    [ $who = follower ] && victim=$((victim % 3 + 1))
    say "killing n$victim, a $who"
    node_kill "$victim"
    timeout 150 cat "mnt/jobs/$who/wait" | grep -q done ||
        { cat "mnt/jobs/$who/status" "mnt/jobs/$who/error"; fail "the job did not end well"; }
    LC_ALL=C sort "mnt/jobs/$who"/out/part-* | cmp - want || fail "the result differs"
    node_start "$victim"
    wait_for 20 ctl status || fail "no leader"
done
unmount "$T/mnt" || fail "unmount"
