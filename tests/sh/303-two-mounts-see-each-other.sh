#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What one mount closed the other sees; appends lose no line; O_EXCL, link and flock exclude.
. "$(dirname "$0")/lib.sh"
need_fuse
cluster_start 3
cluster_mount "$T/a" || fail "mount a"
cluster_mount "$T/b" || fail "mount b"

say "close-to-open, with the other side's caches warm"
for i in $(seq 20); do
    cat b/f >/dev/null 2>&1
    stat b/f >/dev/null 2>&1
    echo "$i" >a/f
    same "$(cat b/f)" "$i" "round $i"
done
rm b/f && [ ! -e a/f ] || fail "a still sees what b removed"
mkdir a/d && mv b/d b/e && [ -d a/e ] && [ ! -e a/d ] || fail "rename over mounts"

say "two mounts append to one log"
appender() { for i in $(seq 150); do echo "$1 $i" >>"$1/log" || return 1; done; }
appender a &
first=$!
appender b || fail "append on b"
wait $first || fail "append on a"
same "$(wc -l <a/log)" 300 "lines"
same "$(sort a/log | uniq -d | wc -l)" 0 "doubled lines"
cmp a/log b/log || fail "the two mounts differ"

say "O_EXCL: one winner per round"
for i in $(seq 20); do
    (set -C && : >a/lock) 2>/dev/null && wa=1 || wa=0 &
    pa=$!
    (set -C && : >b/lock) 2>/dev/null && wb=1 || wb=0
    wait $pa
    (set -C && : >a/lock) 2>/dev/null && fail "a third one won"
    rm a/lock || fail "nobody won"
done

say "flock excludes over mounts"
counter() { for i in $(seq 40); do
    flock "$1/lockfile" sh -c "n=\$(cat $1/n); echo \$((n + 1)) >$1/n" || return 1
done; }
echo 0 >a/n && : >a/lockfile
counter a &
first=$!
counter b || fail "counter b"
wait $first || fail "counter a"
same "$(cat a/n)" 80 "the count"

say "crossing renames of directories lose none"
mkdir -p a/x/c a/y/d/e
for i in $(seq 15); do
    mv a/x a/y/d/e/ 2>/dev/null &
    mv b/y/d b/x/c/ 2>/dev/null
    wait $!
    same "$(find a/x a/y -name c 2>/dev/null | wc -l) $(find a/x a/y -name e 2>/dev/null | wc -l)" \
        "1 1" "directories after crossing moves"
    [ -d a/y/d/e/x ] && mv a/y/d/e/x a/x
    [ -d a/x/c/d ] && mv a/x/c/d a/y/d
done
unmount "$T/a" && unmount "$T/b" || fail "unmount"
