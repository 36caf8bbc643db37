#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A command that fails at times is tried again; one that always fails ends the job with its reason;
# `echo kill > ctl` ends a job at once.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
seq 1000 >mnt/in

say "fails on the first attempts, done in the end"
cat >flaky.job <<'JOB'
input:  /in
map:    [ "$MR_ATTEMPT" -ge 3 ] || { echo "not yet" >&2; exit 3; }
        cat
reduce: @count
JOB
cp flaky.job mnt/jobs/ && timeout 60 cat mnt/jobs/flaky/wait | grep -q done ||
    { cat mnt/jobs/flaky/error; fail "flaky job"; }
same "$(cat mnt/jobs/flaky/out/part-* | wc -l)" 1000 "lines"
grep -q "not yet" mnt/jobs/flaky/tasks/*/1/stderr || fail "stderr of the failed attempt"

say "always fails"
printf 'input: /in\nmap: echo broken glass >&2; exit 7\ntries: 2\n' >hopeless.job
cp hopeless.job mnt/jobs/ && timeout 60 cat mnt/jobs/hopeless/wait | grep -q failed || fail "wait"
for text in "exit status 7" "broken glass" "/in"; do
    grep -q "$text" mnt/jobs/hopeless/error || { cat mnt/jobs/hopeless/error; fail "no '$text'"; }
done
[ ! -e mnt/jobs/hopeless/out ] || fail "a failed job has outputs"

say "killed"
: >endless # a name of this test's own, to find the command by
printf 'input: /in\nmap: cat; exec tail -f %s/endless\n' "$T" >endless.job
cp endless.job mnt/jobs/ || fail "cp"
wait_for 20 grep -q running mnt/jobs/endless/status || fail "not running"
expect_fail bash -c 'echo explode >mnt/jobs/endless/ctl' -- "Invalid argument"
echo kill >mnt/jobs/endless/ctl || fail "kill"
grep -q '^state *killed' mnt/jobs/endless/status || fail "not killed when the write returned"
timeout 20 cat mnt/jobs/endless/wait | grep -q killed || fail "wait"
gone() { ! pgrep -f "tail -f $T/endless" >/dev/null; }
wait_for 20 gone || fail "its commands still run"
unmount "$T/mnt" || fail "unmount"
