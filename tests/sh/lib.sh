# SPDX-License-Identifier: Apache-2.0
# lib.sh - the vocabulary of the shell tests: real daemons, real mounts, as a user would.
#
# Expects: RAFTFS_BIN, a build directory (default build/gcc of the checkout). Each test is one
# executable file that begins
#
#     . "$(dirname "$0")/lib.sh"
#
# and gets: a private directory $T (also the working directory), tools on PATH, and clean-up however
# it ends: what it mounted is unmounted, what it started is killed by pid, $T is removed (kept on
# failure when KEEP=1). Several tests may run on one machine: ports are chosen free, names are in $T.
# Exit 77 (skip REASON) = this machine lacks something.
#
# Verbs:
#   embedded_mount DIR [OPTIONS]    a private store under $T/store mounted on DIR
#   cluster_start N                 N raftfsd with TLS on loopback that have met; n1.. in $T/cluster;
#                                   with $groups groups besides group 0; if not set, as many as
#                                   raftfsctl init says: of N > 1 nodes N
#   node_start I | node_kill I [SIG] | node_end I
#   node_start_and_meet I           the same, and all others have met it
#   node_come I COMMAND...          runs the raftfsctl node command that makes node I, starts I meanwhile
#   cluster_mount DIR [OPTIONS]     that cluster on DIR
#   unmount DIR
#   leader                          prints the leading node's number (waits for one)
#   tmpfs_mount DIR SIZE            a small disk of its own (root only)
#   wait_for SECONDS CONDITION...   polls a command until it succeeds
#   expect_fail WORDS... -- TEXT    the command fails and its stderr contains TEXT
#   same A B WHAT                   compares two strings
#   say TEXT                        what is being shown now

set -u
umask 022
top=$(cd "$(dirname "$0")/../.." && pwd)
bin=${RAFTFS_BIN:-$top/build/gcc}
PATH=$bin/fs/fuse:$bin:$bin/cluster/ctl:$PATH
export PATH
[ -x "$bin/fs/fuse/raftfs" ] || {
    echo "no raftfs in $bin: build first, or set RAFTFS_BIN" >&2
    exit 1
}
T=$(mktemp -d "${TMPDIR:-/tmp}/raftfs-test.XXXXXX")
chmod 755 "$T"
cd "$T" || exit 1
mounts=
tmpfs=
nodes=
: "${groups=}"
namespaces= # of lib/namespaces.sh

say() { echo "-- $*"; }
skip() {
    echo "skipped: $*"
    exit 77
}
fail() {
    echo "FAILED: $*"
    exit 1
}
need_fuse() {
    [ -w /dev/fuse ] || skip "no /dev/fuse to write to"
    command -v fusermount3 >/dev/null || skip "no fusermount3"
}

is_mounted() { grep -q " $1 fuse.raftfs " /proc/self/mounts; }
unmount() {
    if [ "$(id -u)" = 0 ]; then umount "$1"; else fusermount3 -u "$1"; fi || return 1
    ! is_mounted "$1"
}

cleanup() {
    status=$?
    trap '' INT TERM
    cd / || :
    # A mount whose cluster is gone cannot be unmounted in order: end the daemons first.
    for pid in $nodes; do kill -CONT "$pid"; kill -KILL "$pid"; done 2>/dev/null
    for pid in $(pgrep -f -- "$T/" 2>/dev/null); do
        [ "$pid" = $$ ] || kill -KILL "$pid" 2>/dev/null
    done
    for m in $mounts; do
        is_mounted "$m" && { umount -l "$m" || fusermount3 -uz "$m"; } 2>/dev/null
    done
    for m in $tmpfs; do umount -l "$m"; done 2>/dev/null
    for ns in $namespaces; do ip netns del "$ns"; done 2>/dev/null
    if [ $status -ne 0 ] && [ $status -ne 77 ]; then
        for log in "$T"/*.log "$T"/*/*.log; do
            [ -s "$log" ] && { echo "== $log"; tail -n 25 "$log"; }
        done
    fi
    [ "${KEEP:-}" = 1 ] && [ $status -ne 0 ] && echo "kept: $T" && exit $status
    rm -rf "$T" 2>/dev/null
    exit $status
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Polls ten times a second; the only place where a test may let time pass.
wait_for() {
    tries=$(($1 * 10))
    shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || {
            echo "never became true: $*" >&2
            return 1
        }
        sleep 0.1
    done
}

expect_fail() {
    cmd=
    while [ "$1" != -- ]; do
        cmd="$cmd '$1'"
        shift
    done
    if eval "$cmd" >"$T/.out" 2>"$T/.err"; then
        fail "succeeded, but should have failed:$cmd"
    fi
    grep -qF -- "$2" "$T/.err" || {
        echo "stderr was:"
        cat "$T/.err"
        fail "$cmd: stderr does not say: $2"
    }
}
same() { [ "$1" = "$2" ] || fail "$3: '$1' is not '$2'"; }

embedded_mount() {
    dir=$1
    shift
    mkdir -p "$dir"
    mounts="$mounts $(realpath "$dir")"
    raftfs -o data="$T/store" "$@" "$dir"
}

tmpfs_mount() {
    [ "$(id -u)" = 0 ] || skip "run as root, to mount a small tmpfs"
    mkdir -p "$1"
    mount -t tmpfs -o "size=$2,mode=700" tmpfs "$1" 2>/dev/null || skip "cannot mount a tmpfs"
    tmpfs="$tmpfs $(realpath "$1")"
}

# A free port, below those that the kernel gives to outgoing connections: one of them could have it
# while its node is down.
free_port() {
    while :; do
        port=$(shuf -i 10000-30000 -n 1)
        grep -qi ":$(printf %04X "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null || break
    done
    echo "$port"
}

cluster_start() {
    size=$1
    members=
    for i in $(seq "$size"); do members="$members --node n$i=127.0.0.1:$(free_port)"; done
    # shellcheck disable=SC2086
    raftfsctl init "$T/cluster" $members ${groups:+--groups $groups} >"$T/init.log" || fail "raftfsctl init"
    for i in $(seq "$size"); do node_start "$i"; done
    wait_for 20 ctl status || fail "the cluster has no leader"
    for i in $(seq "$size"); do
        wait_for 20 met_again "$i" $((size - 1)) || fail "n$i is not met by all others"
    done
}
# What to put before a command so that it runs where X (n1 .., c) lives.
ns_exec() { [ -z "$namespaces" ] || echo "ip netns exec $net_tag.$1"; }
ctl() { $(ns_exec c) raftfsctl -c "$T/cluster/admin.conf" "$@"; }
node_start() {
    $(ns_exec "n$1") raftfsd -c "$T/cluster/n$1.conf" >>"$T/n$1.log" 2>&1 &
    eval "pid_$1=$!"
    nodes="$nodes $!"
}
node_pid() { eval "echo \$pid_$1"; }
node_kill() {
    kill "-${2:-KILL}" "$(node_pid "$1")" || fail "no node n$1 to kill"
    [ "${2:-KILL}" = KILL ] && wait "$(node_pid "$1")" 2>/dev/null
    return 0
}
# SIGTERM, and it ends as it should.
node_end() {
    node_kill "$1" TERM
    wait "$(node_pid "$1")" || fail "n$1 ended with status $?"
}
node_come() {
    new=$1
    shift
    ctl node "$@" >"come$new.log" 2>&1 &
    come=$!
    wait_for 30 [ -e "$T/cluster/n$new.conf" ] || fail "no n$new.conf"
    node_start "$new"
    wait $come || { cat "come$new.log"; fail "raftfsctl node $*"; }
}
leader_or_fail() { ctl status --json | jq -er '.groups[0].leader | select(. > 0)'; }
leader_is_known() { leader_or_fail >"$T/.leader"; }
leader() {
    wait_for 20 leader_is_known || fail "no leader"
    cat "$T/.leader"
}
# How often other nodes have met node I, since the test began. A majority may hang on a link that the
# leader does not see: between its followers.
times_met() { cat "$T"/n*.log | grep -c "link node=$1 "; }
met_again() { [ "$(times_met "$1")" -ge "$2" ]; }
# Starts node I and waits until all others have met it.
node_start_and_meet() {
    met=$(($(times_met "$1") + size - 1))
    node_start "$1"
    wait_for 20 met_again "$1" "$met" || fail "n$1 is not met by all others"
}
cluster_mount() {
    dir=$1
    shift
    mkdir -p "$dir"
    mounts="$mounts $(realpath "$dir")"
    raftfs -o conf="$T/cluster/client.conf" "$@" "$dir"
}
