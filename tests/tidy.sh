#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tidy.sh - the written rules that a machine can check. Each says what it protects.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
complain() {
    echo "tidy: $*"
    bad=1
}
code() { sed 's|/\*.*||; s|^ \*.*||' "$1"; } # without comments
sources() { git ls-files "$@" 2>/dev/null || find "$@" -type f; }

# Data flows one way (DESIGN 2): which folder may include which.
allowed() {
    case $1 in
    cluster/base) echo "cluster/base" ;;
    cluster/raft | cluster/store | cluster/client) echo "cluster/base $1" ;;
    cluster/kv) echo "cluster/base cluster/store cluster/kv" ;;
    cluster/node) echo "cluster/base cluster/raft cluster/store cluster/kv cluster/node" ;;
    # store and kv: the files of a stopped node (dump).
    cluster/ctl) echo "cluster/base cluster/client cluster/store cluster/kv cluster/ctl" ;;
    fs) echo "cluster/base cluster/client fs" ;;
    fs/fuse) echo "cluster/base cluster/client cluster/ctl fs fs/fuse" ;;
    mr) echo "cluster/base cluster/client mr fs" ;;
    esac
}
for file in $(sources cluster fs mr | grep '\.[ch]$'); do
    dir=$(dirname "$file")
    case $file in fs/fuse/main.c | cluster/node/main.c | cluster/node/job_service.*) continue ;; esac # they wire things together
    for included in $(sed -n 's/^#include "\(.*\)"/\1/p' "$file"); do
        case " $(allowed "$dir") " in
        *" $(dirname "$included") "*) ;;
        *) complain "$file may not include $included" ;;
        esac
    done
    # mr/ sees the volume and the synthetic files, not the inside of fs/.
    [ "$dir" = mr ] && grep -H '^#include "fs/' "$file" | grep -v 'fs/volume.h\|fs/synth.h' &&
        complain "$file: mr/ includes only fs/volume.h and fs/synth.h"
done

for file in $(sources cluster fs mr tests man | grep '\.\([ch]\|sh\)$'); do
    head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' ||
        complain "$file: no SPDX line"
done

# Functions that overflow, hide chance or read the clock behind the simulator's back.
banned='\b(strcpy|strcat|sprintf|vsprintf|gets|rand|srand|random|gettimeofday)\('
for file in $(sources cluster fs mr | grep '\.[ch]$'); do
    code "$file" | grep -E "$banned" && complain "$file: a banned function"
done
for file in $(sources cluster/raft cluster/kv cluster/node | grep '\.[ch]$' |
    grep -v 'node/main.c\|_uv'); do
    code "$file" | grep -E '\b(time|clock_gettime|getrandom|clock_mono_ns|clock_wall_ns)\(' |
        grep -v '\(->\|\.\)\(clock\|mono\|wall\)' &&
        complain "$file: time or chance not through the node's environment"
done

# Tests wait for conditions. (A job's command may sleep; a kill at a random moment is no wait.)
for file in $(sources tests/sh tests/unit tests/sim | grep '\.\(sh\|c\)$' | grep -v 'sh/lib.sh'); do
    grep -nE '^[^"]*(^|[^_a-z"])(sleep|usleep|nanosleep) *[0-9(]' "$file" /dev/null |
        grep -v 'this is no wait' &&
        complain "$file: sleeps"
done

# A file is read in one sitting.
for file in $(sources cluster fs mr tests | grep '\.[ch]$'); do
    lines=$(wc -l <"$file")
    [ "$lines" -le 700 ] || complain "$file: $lines lines"
done

for entry in $(git ls-tree --name-only HEAD 2>/dev/null); do
    case $entry in
    .* | meson.build | README.md | fs | cluster | mr | tests | man) ;;
    *) complain "$entry does not belong at the top" ;;
    esac
done
[ $bad -eq 0 ] && echo "tidy: ok"
exit $bad
