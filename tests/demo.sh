#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# demo.sh - from nothing to a word count on a mounted, replicated directory.
#
# Installs missing packages, builds, makes a cluster of three nodes with mutual TLS, mounts it, copies
# at least 20 MB of this machine's real text in, counts its words with a MapReduce job, kills the
# leading node in the middle of it, and compares the result with tr | sort | uniq -c over the same
# files. Ends with "identical" and exit 0, or fails. Cleans up after itself. Environment:
# RAFTFS_BUILD as for run.sh.
set -u
. "$(dirname "$0")/lib/prepare.sh"
build=${RAFTFS_BUILD:-$top/build}
echo "== building"
install_packages || exit 1
build_into "$build/gcc" || exit 1
RAFTFS_BIN=$build/gcc
. "$top/tests/sh/lib.sh"
need_fuse

# Shows a command as a user would type it, then runs it.
show() {
    printf '\n$ %s\n' "$*" | sed "s|$T/||g"
    eval "$@"
}

# Real text, deterministic in order: fortunes, licences, manual pages, then other documentation until
# there are 20 MB.
gather_text() {
    mkdir books
    cat /usr/share/games/fortunes/* 2>/dev/null | tr -d '\000' >books/fortunes.txt
    cat /usr/share/common-licenses/* >books/licences.txt
    for section in 1 2 3 4 5 7 8; do
        find /usr/share/man/man$section -name '*.gz' -type f 2>/dev/null | LC_ALL=C sort |
            xargs -r zcat 2>/dev/null >books/man$section.txt
    done
    for more in /usr/share/doc /usr/include /usr/share/perl /usr/lib/python3 /usr/lib; do
        [ "$(du -sb books | cut -f 1)" -ge 21000000 ] && break
        find "$more" -type f -size -2000k \( -name '*.h' -o -name '*.txt' -o -name 'copyright' \
            -o -name '*.pm' -o -name '*.py' -o -name '*.html' \) 2>/dev/null | LC_ALL=C sort |
            xargs -r cat 2>/dev/null | head -c 24000000 >"books/more$(basename "$more").txt"
    done
    find books -size 0 -delete
    sed -i -e '$a\' books/*.txt # a last line has its newline, or cat would join two files' words
    [ "$(du -sb books | cut -f 1)" -ge 20000000 ] || fail "less than 20 MB of text on this machine"
}

began=$(date +%s)
echo "== gathering text"
gather_text
du -sh --apparent-size books | sed 's/^/   /'

echo "== a cluster of three nodes, mutual TLS 1.3 on loopback"
cluster_start 3
show "raftfsctl -c $T/cluster/admin.conf status"

echo
echo "== mounted"
mkdir mnt
show "raftfs -o conf=$T/cluster/client.conf $T/mnt"
mounts="$mounts $T/mnt"
show "cp -r books mnt/ && ls -l mnt/books"
show "df -h mnt"
(cd books && sha256sum ./*) >sums
(cd mnt/books && sha256sum --quiet -c "$T/sums") || fail "what was copied reads back differently"
echo "checksums agree"

echo
echo "== a word count; the leader dies in the middle of it"
cat >wc.job <<'JOB'
# count words
input:   /books/*.txt
map:     tr -cs 'A-Za-z' '\n' | sed '/^$/d'
reduce:  @count
split:   1M
JOB
show cat wc.job
show cp wc.job mnt/jobs/
wait_for 30 grep -q '^map  *[1-9]\|map [1-9]' mnt/jobs/wc/progress || fail "the job does not move"
show cat mnt/jobs/wc/progress
victim=$(leader)
echo
echo "! kill -9 of n$victim, which leads"
node_kill "$victim"
show cat mnt/jobs/wc/wait
show "cat mnt/jobs/wc/status"
show "ls -l mnt/jobs/wc/out"
show "raftfsctl -c $T/cluster/admin.conf status || :"

echo
echo "== the same by tr | sort | uniq -c"
LC_ALL=C sort mnt/jobs/wc/out/part-* >ours
cat books/*.txt | tr -cs 'A-Za-z' '\n' | sed '/^$/d' | LC_ALL=C sort | LC_ALL=C uniq -c |
    awk '{ print $2 "\t" $1 }' | LC_ALL=C sort >theirs
show "sort -k2,2nr -t '	' ours | head -n 5"
cmp ours theirs || {
    diff ours theirs | head
    fail "the job's output differs"
}
echo
echo "identical: $(wc -l <ours) distinct words, $(awk -F '\t' '{ n += $2 } END { print n }' ours) in all"

echo
echo "== the dead node comes back and catches up"
node_start "$victim"
caught_up() { ctl status >/dev/null && ! ctl status | grep -qi unreachable; }
wait_for 30 caught_up || fail "n$victim does not come back"
show "raftfsctl -c $T/cluster/admin.conf status"
show umount mnt || fusermount3 -u mnt
echo
echo "demo: all good after $(($(date +%s) - began)) s"
