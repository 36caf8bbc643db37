#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cp fails with EINVAL, last-error names file, line and what to do; nothing is started.
. "$(dirname "$0")/lib.sh"
need_fuse
embedded_mount "$T/mnt" || fail "mount"
echo text >mnt/in
refused() { # SPEC EXPECTED
    printf "$1" >bad.job
    expect_fail cp bad.job mnt/jobs/ -- "Invalid argument"
    grep -qF "$2" mnt/jobs/last-error || { cat mnt/jobs/last-error; fail "last-error lacks: $2"; }
}
refused 'input: /in\nreducer: @count\n' 'bad.job:2: reducer'
refused 'input: /in\nreducer: @count\n' 'did you mean "reduce"'
refused 'map: cat\n' 'input'
refused 'input: /in\nmap: @wrods\n' 'bad.job:2:'
refused 'input: /in\nmap: cat\nmap: cat\n' 'bad.job:3:'
[ ! -e mnt/jobs/bad/out ] || fail "a refused job has outputs"
printf 'input: /nowhere/*\nmap: cat\n' >none.job
cp none.job mnt/jobs/ 2>/dev/null && timeout 60 cat mnt/jobs/none/wait >/dev/null
cat mnt/jobs/last-error mnt/jobs/none/error 2>/dev/null | grep -q 'matches no file' ||
    fail "a glob without a match is not named"
unmount "$T/mnt" || fail "unmount"
