#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A node whose log is damaged in the middle, whose state cannot be read, or whose log is gone says so,
# repairs itself from the others, and counts again: then another one may die. A lone node refuses.
. "$(dirname "$0")/lib.sh"
groups=0 # what is damaged is group 0
cluster_start 3
head -c 1000000 /dev/urandom >million
n=0
put_some() { # MORE
    for i in $(seq "$1"); do
        n=$((n + 1))
        ctl put "7:k$n" "value $n" || fail "put k$n"
    done
}
all_there() {
    for i in $(seq "$n"); do same "$(ctl get "7:k$i")" "value $i" "k$i"; done
    ctl get 7:million | head -c 1000000 | cmp - million || fail "the large value"
}
member() { ctl status --json | jq -e ".groups[0].members[] | select(.node == $1) | $2"; }
whole() { member "$1" '.reachable and (.suspect | not)' && [ -z "$(note "$1")" ]; }
note() { ctl status --json | jq -r ".nodes[] | select(.node == $1) | .note"; }
says() { grep -q -- "$2" "n$1.log"; }
expect_says() { says "$1" "$2" || fail "n$1 does not say: $2"; }
has_note() { note "$1" | grep -q "$2"; }

# A byte in the middle of the log in directory $1, in the data of a record.
spoil_log() {
    raftfsctl dump wal "$1" >wal || fail "dump wal"
    at=$(sed -n 's/^  batch [0-9]* at offset \([0-9]*\):.*/\1/p' wal | sed -n 8p)
    printf X | dd of="$1/wal/0000000000000001.seg" bs=1 seek=$((at + 130)) conv=notrunc 2>/dev/null
}

# N is repaired, and a full member: all is there, and goes on, when another one dies.
expect_repaired() {
    wait_for 60 whole "$1" || { ctl status; fail "n$1 is not repaired"; }
    expect_says "$1" 'repaired gid=0'
    dead=$(leader)
    [ "$dead" = "$1" ] && dead=$((dead % 3 + 1))
    node_kill "$dead"
    wait_for 30 ctl status || fail "no leader without n$dead"
    all_there
    put_some 3
    node_start "$dead"
    wait_for 30 whole "$dead" || fail "n$dead is not back"
    : >"n$1.log"
}

put_some 30
ctl put 7:million - <million || fail "put"
victim=$(($(leader) % 3 + 1))
other=$((victim % 3 + 1)) third=$(((victim + 1) % 3 + 1))

say "a flipped byte in the middle of the log"
for i in 1 2 3; do node_kill $i; done
spoil_log "$T/cluster/n$victim"
node_start $victim
wait_for 20 has_note $victim 'damaged: waits for a leader' || { ctl status; fail "no note"; }
expect_says $victim 'damaged gid=0: its log is damaged (segment 0000000000000001, offset [0-9]*: batch'
node_start $other
wait_for 20 member $other .reachable || fail "n$other does not start"
ctl status >status && fail "one of three, and a damaged one, have a quorum"
grep -q '1 of them is damaged and cannot vote' status || { cat status; fail "status"; }
same "$(member $victim .suspect)" true "suspect"
node_start $third
expect_repaired $victim

say "a state that cannot be opened"
for i in $(seq 18); do ctl put 7:million - <million || fail "put"; done # so that it is flushed
put_some 3
flushed() { ls "$T/cluster/n$victim/groups/0/"*.sst; }
wait_for 30 flushed || fail "nothing was flushed"
node_kill $victim
for f in "$T/cluster/n$victim/groups/0/MANIFEST-"*; do echo rubbish >"$f"; done
node_start $victim
expect_repaired $victim
[ -e "$T/cluster/n$victim/groups/0.damaged" ] && fail "what was put aside is still there"

say "a state in which something cannot be read"
wait_for 30 flushed || fail "nothing was flushed"
node_kill $victim
for f in "$T/cluster/n$victim/groups/0/"*.blob; do
    printf XXXX | dd of="$f" bs=1 seek=500000 conv=notrunc 2>/dev/null
done
node_start $victim
wait_for 20 member $victim .reachable || fail "n$victim does not start"
gone() { ! kill -0 "$(node_pid $victim)"; }
reads_all() { ctl check; gone; }
wait_for 30 reads_all || fail "n$victim did not read what is damaged"
node_start $victim
wait_for 20 says $victim 'a part of its state store could not be read' || fail "it forgot that"
expect_repaired $victim

say "no log at all"
node_kill $victim
rm -r "$T/cluster/n$victim/wal"
node_start $victim
wait_for 20 says $victim 'damaged gid=0' || fail "it does not say it"
expect_repaired $victim
ctl check >check || { cat check; fail "the replicas differ"; }

say "a lone node refuses, and changes nothing"
for i in 1 2 3; do node_kill $i; done
raftfsctl init "$T/lone" --node n1=127.0.0.1:"$(free_port)" >init.log || fail "init"
raftfsd -c "$T/lone/n1.conf" >lone.log 2>&1 &
pid=$!
nodes="$nodes $pid"
lone() { raftfsctl -c "$T/lone/admin.conf" "$@"; }
wait_for 20 lone status || fail "no leader"
for i in $(seq 10); do lone put "7:k$i" "value $i" || fail "put"; done
kill -KILL $pid
wait $pid 2>/dev/null
spoil_log "$T/lone/n1"
md5sum "$T/lone/n1/wal/0000000000000001.seg" >sums
expect_fail raftfsd -c "$T/lone/n1.conf" -- "it is the only replica"
md5sum -c --quiet sums || fail "its log was changed"
