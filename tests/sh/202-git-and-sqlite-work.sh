#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# git init, add, commit, gc, clone; sqlite3 with concurrent writers.
. "$(dirname "$0")/lib.sh"
need_fuse
command -v git >/dev/null || skip "no git"
command -v sqlite3 >/dev/null || skip "no sqlite3"
embedded_mount "$T/mnt" || fail "mount"
export HOME="$T" GIT_CONFIG_NOSYSTEM=1
git config --global user.email t@example.org
git config --global user.name t

say "git"
mkdir mnt/repo && cd mnt/repo || exit 1
git init -q . || fail "git init"
for i in $(seq 60); do echo "content $i" >"file$i"; done
git add . && git commit -qm one || fail "git add and commit"
echo more >>file1 && git commit -qam two || fail "second commit"
git gc -q || fail "git gc"
git fsck --strict >"$T/fsck" 2>&1 || { cat "$T/fsck"; fail "git fsck"; }
git clone -q . ../clone || fail "git clone"
same "$(git -C ../clone rev-parse HEAD)" "$(git rev-parse HEAD)" "heads"
same "$(git status --porcelain | wc -l)" 0 "clean status"

say "sqlite3: two writers, no row lost"
cd "$T/mnt" || exit 1
sqlite3 db 'create table t(who, n)' || fail "create table"
writer() { for n in $(seq 30); do
    sqlite3 -cmd '.timeout 60000' db "insert into t values('$1', $n)" || return 1
done; }
writer a &
first=$!
writer b || fail "writer b"
wait $first || fail "writer a"
same "$(sqlite3 db 'select count(*) from t')" 60 "rows"
same "$(sqlite3 db 'pragma integrity_check')" ok "integrity"
cd "$T" && unmount "$T/mnt" || fail "unmount"
