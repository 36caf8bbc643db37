#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh - plants known bugs, one at a time, in a copy of the tree, and demands that the tests find
# each. Never run by tests/run.sh: it takes minutes.
#
#   sh tests/mutate/run.sh            all of tests/mutate/bugs, and prints the table of tests/README.md
#   sh tests/mutate/run.sh WORD...    those whose text contains one of the words
#
# A record of `bugs` is
#
#   bug:  what is wrong now
#   file: where
#   edit: a perl substitution over the whole file, which must change it
#   by:   the tests that may find it, in this order: names of meson tests, sim:N for N seeds,
#         groups:N for N seeds with several groups, or sh:NAME for a shell test whose file begins so
#
# RAFTFS_BY: tests to be tried in the place of those, say "sh:701".
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
T=$(mktemp -d "${TMPDIR:-/tmp}/raftfs-mutate.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT TERM
(cd "$top" && git ls-files -z | xargs -0 tar cf - 2>/dev/null) | tar xf - -C "$T" || exit 1
cd "$T" || exit 1
meson setup build >setup.log 2>&1 && ninja -C build >build.log 2>&1 || {
    tail -n 20 setup.log build.log
    exit 1
}
meson test -C build --list 2>/dev/null | sed 's|.* / ||' >tests.list
planted=0 found=0 missed=

finds() { # TEST: it fails, as it should
    case $1 in
    sim:*) ! timeout 300 build/tests/sim/sim --seed 1000 --seeds "${1#sim:}" >test.log 2>&1 ;;
    groups:*) # bit 40
        ! timeout 300 build/tests/sim/sim --seed $((1 << 40)) --seeds "${1#groups:}" >test.log 2>&1
        ;;
    sh:*)
        RAFTFS_BIN=$T/build timeout 300 sh tests/sh/"${1#sh:}"-*.sh >test.log 2>&1
        status=$?
        [ $status = 77 ] && echo "$1 was skipped" >&2
        [ $status != 0 ] && [ $status != 77 ]
        ;;
    *)
        grep -qx -- "$1" tests.list || {
            echo "no test $1" >&2
            return 1
        }
        ! timeout 300 meson test -C build --no-rebuild "$1" >test.log 2>&1
        ;;
    esac
}

plant() {
    planted=$((planted + 1))
    cp "$file" original
    perl -0777 -pi -e "$edit" "$file"
    if cmp -s original "$file"; then
        echo "| $bug | the edit does not fit $file any more |"
        missed="$missed; $bug"
        return
    fi
    who=
    if ! ninja -C build >build.log 2>&1; then
        who="does not compile: $(grep -m 1 'error' build.log)"
        missed="$missed; $bug"
    else
        for test in $by; do
            finds "$test" || continue
            who=$test
            found=$((found + 1))
            break
        done
        [ -n "$who" ] || missed="$missed; $bug"
    fi
    echo "| $bug | ${who:-NOT FOUND by $by} |"
    cp original "$file"
}

wanted() {
    [ $# -gt 0 ] || return 0
    for word; do case $bug in *"$word"*) return 0 ;; esac done
    return 1
}

echo "| planted | found by |"
echo "|---|---|"
bug= file= edit= by=
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    'bug: '*) bug=${line#bug: } ;;
    'file: '*) file=${line#file: } ;;
    'edit: '*) edit=${line#edit: } ;;
    'by: '*)
        by=${RAFTFS_BY:-${line#by: }}
        wanted "$@" && plant
        ;;
    esac
done <"$top/tests/mutate/bugs"
echo "$found of $planted found${missed:+; missed$missed}"
[ "$found" = "$planted" ]
