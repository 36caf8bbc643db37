#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fs.sh - the file-system yardstick (fsbench.sh) on raftfs with three TLS nodes, on a FUSE daemon
# that does nothing, and on the peers that are installed, pass by pass side by side. Prints a table
# of medians, asserts nothing.
#
#   sh tests/bench/fs.sh [PASSES] [SYSTEM...]     default: 3 raftfs null moosefs
#
# SYSTEMs: raftfs, embedded (one replica), null (null FUSE, time-out 0), moosefs, gluster. The
# yardsticks lie in SHARED (default ../shared/bench beside the checkout); their variables (FILES,
# MAXSECS, FIO_MB, FIO_SECS, TREE_FILES, PARTS) are passed on. Needs root.
: "${groups=0}" # numbers are of one group, unless asked otherwise
. "$(dirname "$0")/../sh/lib.sh"
passes=${1:-3}
[ $# -eq 0 ] || shift
systems=${*:-raftfs null moosefs}
shared=${SHARED:-$top/../shared/bench}
[ -f "$shared/fsbench.sh" ] || skip "no yardsticks in $shared"
TMPDIR=$T
export TMPDIR
gcc -O2 -o metabench "$shared/metabench.c" -lpthread || fail "cannot build metabench"
# shellcheck disable=SC2046
gcc -O2 -o nullfs "$shared/nullfs.c" $(pkg-config --cflags --libs fuse3) || fail "cannot build nullfs"

up() { # SYSTEM: prints nothing, mounts it on $at
    at=$T/$1.mnt
    case $1 in
    raftfs)
        [ -d cluster ] || cluster_start 3
        cluster_mount "$at"
        ;;
    embedded) embedded_mount "$at" ;;
    null)
        mkdir -p "$at"
        ./nullfs "$at" || fail "nullfs"
        ;;
    moosefs | gluster)
        at=/var/tmp/bench/$1/mnt
        "$shared/peer_$1.sh" up "/var/tmp/bench/$1" >"$1.log" 2>&1 || fail "$1: $(tail -n 3 "$1.log")"
        ;;
    esac
}
down() {
    case $1 in
    raftfs | embedded) unmount "$at" ;;
    null) umount "$at" ;;
    moosefs | gluster) "$shared/peer_$1.sh" down "/var/tmp/bench/$1" >>"$1.log" 2>&1 ;;
    esac
}

memory() { # of raftfsd and raftfs, in MB
    for pid in $nodes $(pgrep -f "raftfs -o conf=$T/"); do
        awk -v who="$(cat "/proc/$pid/comm")" '/VmRSS/ { printf "%s RSS %.0f MB\n", who, $2 / 1024 }' \
            "/proc/$pid/status"
    done
}

for pass in $(seq "$passes"); do
    for system in $systems; do
        "$shared/quiet.sh" 30
        up "$system"
        METABENCH=$T/metabench "$shared/fsbench.sh" "$at" >"$system.$pass" || fail "$system"
        [ "$system" != raftfs ] || memory
        down "$system" || fail "$system does not go down"
    done
done
for system in $systems; do
    "$shared/fsmedian.sh" "$system".[0-9]* >"$system.median"
done
for system in $systems; do printf '\t%s' "$system"; done
echo
first=${systems%% *}
cut -f 1,3 "$first.median" | while IFS=$(printf '\t') read -r name unit; do
    printf '%s %s' "$name" "$unit"
    for system in $systems; do
        printf '\t%s' "$(awk -F '\t' -v n="$name" '$1 == n { print $2 }' "$system.median")"
    done
    echo
done
