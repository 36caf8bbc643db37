#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Archives, renames, git, a database and word counts on a mount of five nodes with four groups, while
# groups join and leave, shards move, a node dies and another is cut off: no error, nothing lost.
# RAFTFS_MINUTES=10: as many rounds as fit in that time; otherwise one.
. "$(dirname "$0")/lib.sh"
. "$top/tests/lib/namespaces.sh"
groups=0 # they are made here
need_fuse
command -v git >/dev/null || skip "no git"
command -v sqlite3 >/dev/null || skip "no sqlite3"
export HOME="$T" GIT_CONFIG_NOSYSTEM=1
git config --global user.email t@example.org
git config --global user.name t
until=$(($(date +%s) + ${RAFTFS_MINUTES:-0} * 60))

size=5
net_make $size
net_cluster_init
for i in $(seq $size); do node_start "$i"; done
wait_for 20 ctl status || fail "no leader"
for i in $(seq $size); do
    wait_for 20 met_again "$i" $((size - 1)) || fail "n$i is not met by all others"
done
ctl --timeout 60 group create --count 4 >said || fail "group create: $(cat said)"
# Not ip netns exec: the mount would be seen there only.
mkdir mnt
mounts="$mounts $T/mnt"
mount_it() { nsenter --net="/run/netns/$net_tag.c" raftfs -o conf="$T/cluster/client.conf" "$T/mnt"; }
mount_it || fail "mount"

say "what the load starts from"
for d in a b c d; do
    mkdir -p "tree/$d/sub" || fail "mkdir"
    for i in 1 2 3 4 5; do echo "file $i of $d" >"tree/$d/sub/$i"; done
done
head -c 700000 /dev/urandom >tree/large
(cd tree && find . -type f -exec sha256sum {} +) >sums
tar -cf tree.tar tree
seq 3000 | sed 's/.*/word and the word& again/' >words
tr -cs 'A-Za-z' '\n' <words | sed '/^$/d' | LC_ALL=C sort | LC_ALL=C uniq -c |
    awk '{ print $2 "\t" $1 }' >counts
printf 'input: /words\nmap: @words\nreduce: @count\nsplit: 16K\n' >count.job
mkdir mnt/t && cp words mnt/words && sqlite3 mnt/base 'create table t(x)' || fail "preparing"
git init -q mnt/repo && echo 0 >mnt/repo/file && git -C mnt/repo add . &&
    git -C mnt/repo commit -qm 0 || fail "git"

# One round of each; $n is its number. What the one before left is kept until this one is complete.
load_tar() {
    mkdir "mnt/t/$n" "mnt/t/$n/in" && tar -xf tree.tar -C "mnt/t/$n/in" &&
        mv "mnt/t/$n/in/tree/a/sub" "mnt/t/$n/moved" && mv "mnt/t/$n/moved" "mnt/t/$n/in/tree/a/sub" &&
        mv "mnt/t/$n/in/tree" "mnt/t/$n/tree" && rmdir "mnt/t/$n/in" &&
        (cd "mnt/t/$n/tree" && sha256sum -c --quiet) <sums &&
        tar -cf "mnt/t/$n.tar" -C "mnt/t/$n" tree && mkdir "out$n" && tar -xf "mnt/t/$n.tar" -C "out$n" &&
        diff -r tree "out$n/tree" && rm -r "out$n" &&
        { [ "$n" = 1 ] || rm -r "mnt/t/$((n - 1))" "mnt/t/$((n - 1)).tar"; }
}
load_base() { sqlite3 -cmd '.timeout 60000' mnt/base "insert into t values('$n')"; }
load_git() {
    echo "$n" >mnt/repo/file && git -C mnt/repo commit -qam "$n" && git clone -q mnt/repo mnt/clone &&
        git -C mnt/clone fsck --strict --no-progress && same "$(cat mnt/clone/file)" "$n" clone && rm -rf mnt/clone
}
load_job() {
    cp count.job "mnt/jobs/c$n.job" && timeout 120 cat "mnt/jobs/c$n/wait" >wait && grep -q done wait &&
        LC_ALL=C sort "mnt/jobs/c$n"/out/part-* | cmp - counts
}
load() { # WHAT: until told to stop; done rounds are counted
    n=0
    while [ ! -e stop ]; do
        n=$((n + 1))
        "load_$1" || { echo "round $n of $1"; return 1; }
        echo >>"done_$1"
    done
}
loads="tar base git job"
pids=
for l in $loads; do
    : >"done_$l"
    load "$l" >"errors_$l" 2>&1 &
    pids="$pids $!"
done
count() { wc -l <"done_$1"; }
got_on() { [ "$(count "$1")" -gt "$2" ]; }
progress() { # WHAT: all but the slow jobs get on
    for l in tar base git; do eval "was_$l=$(count $l)"; done
    for l in tar base git; do
        wait_for 40 got_on $l "$(eval echo \$was_$l)" || fail "$l does not get on after $1: $(cat errors_*)"
    done
}
config() { ctl config --json | jq -er "$1"; }
arrived() { [ "$(config '.moving | length')" = 0 ]; }
settled() { wait_for 60 arrived || fail "still on the way after $1: $(ctl config)"; }
step() { ctl --timeout 40 "$@" >said 2>&1 || fail "$*: $(cat said)"; }

step group join 1
round=0
while :; do
    round=$((round + 1))
    say "round $round: joins, while a leader is killed"
    step group join 2 3 --no-wait
    victim=$(leader)
    node_kill "$victim"
    settled "n$victim died"
    progress "n$victim died"
    node_start_and_meet "$victim"

    say "round $round: shards move, a group leaves, while a node is cut off"
    away=$((round % size + 1))
    cut_off n$away
    step shard move 7 3
    step shard move 8 2
    step group leave 1
    progress "n$away was cut off"
    net_heal
    step group join 4 1
    step rebalance
    settled "a rebalance"
    progress "n$away was back"
    [ "$(date +%s)" -lt $until ] || break
    step group leave 2 3 4
done

say "no error was seen"
# The count of words has had its turn, too.
wait_for 60 got_on job 0 || fail "no job ended: $(cat errors_*)"
: >stop
for pid in $pids; do wait "$pid" || fail "an error was seen: $(cat errors_*)"; done
for l in $loads; do say "$l: $(count $l) rounds"; done

say "all is there, also for a fresh mount"
unmount "$T/mnt" && mount_it || fail "remount"
(cd "mnt/t/$(count tar)/tree" && sha256sum -c --quiet) <sums || fail "checksums"
same "$(sqlite3 mnt/base 'select count(*) from t')" "$(count base)" "rows"
same "$(sqlite3 mnt/base 'pragma integrity_check')" ok "integrity"
git -C mnt/repo fsck --strict >fsck 2>&1 || fail "git fsck: $(cat fsck)"
same "$(git -C mnt/repo rev-list --count HEAD)" $(($(count git) + 1)) "commits"
unmount "$T/mnt" || fail "unmount"
checked() { ctl check >said; }
wait_for 30 checked || fail "check: $(cat said)"
settled "the end"
