#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Groups join and leave and single shards move while small files, a database and a git repository are
# written: no error, nothing lost; and what cannot be is refused without a change.
. "$(dirname "$0")/lib.sh"
groups=0 # they are made here
need_fuse
command -v git >/dev/null || skip "no git"
command -v sqlite3 >/dev/null || skip "no sqlite3"
export HOME="$T" GIT_CONFIG_NOSYSTEM=1
git config --global user.email t@example.org
git config --global user.name t

cluster_start 3
ctl --timeout 60 group create --count 2 >said || fail "group create: $(cat said)"
cluster_mount "$T/mnt" || fail "mount"
config() { ctl config --json | jq -er "$1"; }
number() { config .config; }
owned() { config "[.owners[] | select(. == $1)] | length"; }

say "files that stay as they are"
for d in a b c d e f; do
    mkdir -p "mnt/tree/$d/sub" || fail "mkdir"
    for i in $(seq 8); do echo "file $i of $d" >"mnt/tree/$d/sub/$i" || fail "write"; done
done
head -c 3000000 /dev/urandom >mnt/tree/large || fail "a large file"
(cd mnt/tree && find . -type f -exec sha256sum {} +) >sums || fail "sha256sum"
intact() { (cd mnt/tree && sha256sum -c --quiet) <sums >damage 2>&1 || fail "after $1: $(cat damage)"; }

say "and writers that go on"
files_writer() { # acknowledged ones are listed
    n=0
    while [ ! -e stop ]; do
        n=$((n + 1))
        mkdir -p "mnt/w/$((n % 7))" && echo "content of $n" >"mnt/w/f$n" &&
            mv "mnt/w/f$n" "mnt/w/$((n % 7))/g$n" || return 1
        echo "$n" >>files_done
    done
}
base_writer() {
    while [ ! -e stop ]; do
        sqlite3 -cmd '.timeout 60000' mnt/base "insert into t values('x')" || return 1
        echo >>base_done
    done
}
git_writer() {
    n=0
    while [ ! -e stop ]; do
        n=$((n + 1))
        echo "change $n" >"mnt/repo/file$((n % 5))" && git -C mnt/repo add . &&
            git -C mnt/repo commit -qm "change $n" || return 1
        echo >>git_done
    done
}
git init -q mnt/repo && mkdir mnt/w && sqlite3 mnt/base 'create table t(x)' || fail "preparing"
: >files_done >base_done >git_done
writers=
for w in files base git; do
    ${w}_writer >$w.errors 2>&1 &
    writers="$writers $!"
done
count() { wc -l <"$1"; }
farther() { [ "$(count files_done)" -ge "$1" ] && [ "$(count base_done)" -ge "$2" ] && [ "$(count git_done)" -ge "$3" ]; }
progress() { # all three still get on, and what was there is the same
    wait_for 20 farther $(($(count files_done) + 5)) $(($(count base_done) + 1)) $(($(count git_done) + 1)) ||
        fail "no progress after $1: $(cat ./*.errors)"
    intact "$1"
}
step() { # COMMAND...: changes the configuration and waits
    before=$(number)
    ctl --timeout 20 "$@" >said 2>&1 || fail "$*: $(cat said)"
    same "$(number)" $((before + 1)) "number of the configuration after $*"
    same "$(config '.moving | length')" 0 "shards on their way after $*"
    progress "$*"
}
progress "the beginning"
same "$(owned 0)" 256 "shards of group 0 before anybody joins"

say "groups join"
step group join 1
same "$(owned 1)" 256 "shards of group 1"
step group join 2
same "$(owned 1) $(owned 2)" "128 128" "shards of both groups"
ctl status >said || fail "status: $(cat said)"
grep -qx "256 shards: groups 1-2 have 128 each" said || fail "status does not tell the shards: $(cat said)"
same "$(ctl status --json | jq -c '[.config, .shards, .shards_moving], [.groups[].shards]' | tr -d '\n')" \
    "[2,256,0][0,128,128]" "numbers in status --json"

say "configurations by number"
ctl config >said || fail "config: $(cat said)"
grep -q "^configuration 2: 256 shards" said || fail "the latest is not told: $(cat said)"
ctl config 1 >said || fail "config 1: $(cat said)"
grep -q "^group 1: 256 shards: 0-255" said || fail "number 1 is not told: $(cat said)"

say "single shards move"
step shard move 3 2
same "$(config '.owners[3]')" 2 "owner of shard 3"
for i in 1 2 3; do
    shard=$(config '.owners | index(2)')
    step shard move "$shard" 1
done
same "$(owned 1) $(owned 2)" "130 126" "shards after the moves"

say "rebalance says what it does, and does it"
before=$(number)
ctl rebalance --dry-run >said || fail "rebalance --dry-run: $(cat said)"
grep -q "group 1.* group 2.* 2 shards" said || fail "it does not tell the moves: $(cat said)"
same "$(number) $(owned 1)" "$before 130" "configuration after --dry-run"
step rebalance
same "$(owned 1) $(owned 2)" "128 128" "shards after a rebalance"

say "what cannot be is refused, in one line, and nothing changes"
refused() {
    before=$(number)
    expect_fail "$@"
    same "$(wc -l <.err)" 1 "lines on stderr of $*"
    same "$(number)" "$before" "configuration after $*"
}
refused ctl group join 9 -- "there is no group 9"
refused ctl group join 1 -- "group 1 has joined already"
refused ctl group join one -- '"one" is no group'
refused ctl group leave 9 -- "there is no group 9"
refused ctl group leave 0 -- "group 0 has not joined"
refused ctl group leave 1 2 -- "no group would be left"
refused ctl shard move 256 1 -- "there is no shard 256"
refused ctl shard move 5 9 -- "there is no group 9"
refused ctl config 99 -- "no configuration 99 yet"
refused raftfsctl -c "$T/cluster/client.conf" group leave 1 -- "may not do this"
refused ctl group create --dry-run -- "dry-run"

say "a group leaves"
step group leave 1
same "$(owned 2)" 256 "shards of group 2"
refused ctl group leave 2 -- "let another one join first"

say "a node dies while shards move"
victim=$(ctl status --json | jq -er '.groups[] | select(.gid == 1) | .leader')
ctl group join 1 --no-wait >said || fail "group join --no-wait: $(cat said)"
node_kill "$victim"
arrived() { [ "$(config '.moving | length')" = 0 ]; }
wait_for 20 arrived || fail "not arrived: $(ctl config)"
same "$(owned 1) $(owned 2)" "128 128" "shards of both groups"
progress "n$victim died"
node_start_and_meet "$victim"

say "no writer saw an error, and all is there, also for a fresh mount"
: >stop
for pid in $writers; do wait "$pid" || fail "a writer saw an error: $(cat ./*.errors)"; done
unmount "$T/mnt" && cluster_mount "$T/mnt" || fail "remount"
intact "a remount"
while read -r n; do
    same "$(cat "mnt/w/$((n % 7))/g$n")" "content of $n" "file $n"
done <files_done
same "$(sqlite3 mnt/base 'select count(*) from t')" "$(count base_done)" "rows"
same "$(sqlite3 mnt/base 'pragma integrity_check')" ok "integrity"
same "$(git -C mnt/repo rev-list --count HEAD)" "$(count git_done)" "commits"
git -C mnt/repo fsck --strict >fsck 2>&1 || fail "git fsck: $(cat fsck)"
unmount "$T/mnt" || fail "unmount"
checked() { ctl check >said; }
wait_for 20 checked || fail "check: $(cat said)"
