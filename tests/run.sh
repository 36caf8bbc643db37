#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh - installs what is missing, builds, and runs every test. The last line counts them.
#
#   sh tests/run.sh            everything, as CI does
#   sh tests/run.sh PATTERN    only tests whose name contains PATTERN
#
# Environment: RAFTFS_BUILD (where to build, default build/ in the checkout), RAFTFS_SEED (replays a
# seeded test). A test that needs what this machine lacks exits 77 and is counted as skipped.
set -u
. "$(dirname "$0")/lib/prepare.sh"
pattern=${1:-}
build=${RAFTFS_BUILD:-$top/build}
passed=0 failed=0 skipped=0
under= # a command that meson test runs under
failures=

count() { # NAME STATUS
    case $2 in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        failed=$((failed + 1))
        failures="$failures $1"
        ;;
    esac
}

# The tests of a build directory, by suite; one line for each that did not pass.
meson_tests() { # LABEL DIR SUITE...
    label=$1 dir=$2
    shift 2
    suites=
    for suite; do suites="$suites --suite $suite"; done
    # shellcheck disable=SC2086
    $under meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes 2 --timeout-multiplier 3 \
        $suites >"$dir.test.log" 2>&1
    while IFS='|' read -r name result; do
        case $name in *"$pattern"*) ;; *) continue ;; esac
        case $result in
        OK | EXPECTEDFAIL) count "$label:$name" 0 ;;
        SKIP) count "$label:$name" 77 ;;
        *)
            count "$label:$name" 1
            echo "FAIL $label:$name ($result)"
            ;;
        esac
    done <<END
$(jq -r '[.name, .result] | join("|")' "$dir/meson-logs/testlog.json" 2>/dev/null)
END
    [ -s "$dir/meson-logs/testlog.json" ] || count "$label:meson" 1
    grep -q '^Fail: *[1-9]\|^Timeout: *[1-9]' "$dir.test.log" && tail -n 80 "$dir.test.log"
}

# The programs with threads of our own, under ThreadSanitizer: only these are built. Its memory map
# wants little randomness, which some containers do not let us take away.
thread_tests() { # DIR
    dir=$1
    if [ ! -f "$dir/build.ninja" ] &&
        ! meson setup "$dir" "$top" -Db_sanitize=thread -Db_lundef=false >"$dir.log" 2>&1; then
        tail -n 20 "$dir.log"
        return 1
    fi
    # shellcheck disable=SC2046
    if ! ninja -C "$dir" $(jq -r --arg dir "$dir/" '.[] | select(.suite | index("raftfs:threads"))
        | .cmd[0] | ltrimstr($dir)' "$dir/meson-info/intro-tests.json" | sort -u) >"$dir.log" 2>&1; then
        grep -E -A5 'error|FAILED' "$dir.log" | head -n 60
        return 1
    fi
    setarch -R true 2>/dev/null && under='setarch -R'
    if $under "$dir/tests/unit/client/test_client_txn" 2>&1 | grep 'unexpected memory mapping'; then
        count tsan 77
    else
        # GLib's own allocator hands memory from thread to thread unseen.
        G_SLICE=always-malloc TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
            meson_tests tsan "$dir" threads
    fi
    under=
}

shell_test() { # FILE
    name=$(basename "$1" .sh)
    case $name in *"$pattern"*) ;; *) return ;; esac
    log=$build/sh/$name.log
    mkdir -p "$build/sh"
    began=$(date +%s)
    RAFTFS_BIN=$build/gcc timeout -k 20 "${RAFTFS_SH_TIMEOUT:-240}" sh "$1" >"$log" 2>&1
    status=$?
    count "sh:$name" $status
    case $status in
    0) echo "ok   sh:$name ($(($(date +%s) - began)) s)" ;;
    77) echo "skip sh:$name: $(tail -n 1 "$log")" ;;
    *)
        echo "FAIL sh:$name (exit $status); its output ends:"
        tail -n 40 "$log" | sed 's/^/    /'
        ;;
    esac
}

install_packages || exit 1
build_into "$build/gcc" -Dwerror=true || exit 1
CC=clang build_into "$build/clang" -Dwerror=true || exit 1
build_into "$build/asan" -Db_sanitize=address,undefined -Db_lundef=false || exit 1

sh "$top/tests/tidy.sh"
count tidy $?
meson_tests unit "$build/gcc" unit trace sim man
ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    meson_tests asan "$build/asan" unit trace sim
thread_tests "$build/tsan" || count tsan:build 1
for test in "$top"/tests/sh/*.sh; do
    case $test in */lib.sh) continue ;; esac
    shell_test "$test"
done

[ -z "$failures" ] || echo "failed:$failures"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
