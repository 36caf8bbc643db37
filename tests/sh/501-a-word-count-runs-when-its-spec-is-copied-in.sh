#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cp wc.job /jobs: status, progress, counters, outputs, logs appear as files; the counts are right.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
mkdir mnt/books
for i in 1 2 3; do
    seq $((i * 3000)) | sed 's/.*/word& and the\tword again, the end/' >"mnt/books/b$i.txt"
done
printf 'no newline at the end' >mnt/books/b4.txt
reference() {
    for f in mnt/books/*.txt; do cat "$f" && echo; done | tr -cs 'A-Za-z' '\n' | sed '/^$/d' |
        LC_ALL=C sort | LC_ALL=C uniq -c | awk '{ print $2 "\t" $1 }'
}
reference >want

say "@words and @count"
printf 'input: /books/*.txt\nmap: @words\nreduce: @count\nsplit: 64K\n' >wc.job
cp wc.job mnt/jobs/ || fail "cp"
timeout 60 cat mnt/jobs/wc/wait | grep -q done || { cat mnt/jobs/wc/error; fail "not done"; }
LC_ALL=C sort mnt/jobs/wc/out/part-* | cmp - want || fail "counts differ"
grep -q '^state *done' mnt/jobs/wc/status || fail "status"
[ -s mnt/jobs/wc/progress ] && [ -s mnt/jobs/wc/counters ] && [ ! -s mnt/jobs/wc/error ] ||
    fail "progress, counters, error"
same "$(cat mnt/jobs/wc/spec)" "$(cat wc.job)" "spec"
ls mnt/jobs/wc/tasks/*/*/stderr >/dev/null || fail "no stderr files"

say "shell commands"
cat >sh.job <<'JOB'
input:  /books/*.txt
map:    tr -cs 'A-Za-z' '\n' |
        sed '/^$/d'
reduce: uniq -c | awk '{ print $2 "\t" $1 }'
split:  64K
reduces: 3
JOB
cp sh.job mnt/jobs/ || fail "cp"
timeout 60 cat mnt/jobs/sh/wait | grep -q done || { cat mnt/jobs/sh/error; fail "not done"; }
same "$(ls mnt/jobs/sh/out | grep -c part)" 3 "parts"
LC_ALL=C sort mnt/jobs/sh/out/part-* | cmp - want || fail "counts differ"
for part in mnt/jobs/sh/out/part-*; do LC_ALL=C sort -c "$part" || fail "$part is not sorted"; done

say "grep, map only, exit 1 is fine where nothing matches"
printf 'input: /books/*.txt\nmap: grep -n "word[27]00 "\nok-exit: 0 1\n' >g.job
cp g.job mnt/jobs/ && timeout 60 cat mnt/jobs/g/wait | grep -q done || fail "grep job"
same "$(cat mnt/jobs/g/out/part-* | wc -l)" 6 "matches"

say "@sum and @identity"
printf 'a\t1\nb\t2\na\t3\n' >mnt/pairs
printf 'input: /pairs\nmap: @identity\nreduce: @sum\n' >s.job
cp s.job mnt/jobs/ && timeout 60 cat mnt/jobs/s/wait | grep -q done || fail "sum job"
same "$(LC_ALL=C sort mnt/jobs/s/out/part-*)" "$(printf 'a\t4\nb\t2')" "sums"
cp -r mnt/jobs/wc "$T/copied" && [ -s copied/status ] || fail "cp -r of a job's directory"
unmount "$T/mnt" || fail "unmount"
