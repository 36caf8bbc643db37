#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# groups.sh - what it costs to spread the shards over 1, 2, 4 and 8 groups on three nodes: puts of 256
# bytes and creates of small files per second, CPU, log syncs and frames of all nodes for each, and a
# rename between directories of different groups against one within a directory. Prints, asserts
# nothing. Two cores: the sum is bounded by the machine, so look at the costs.
#
#   sh tests/bench/groups.sh [CLIENTS] [SECONDS]    default 64 4
. "$(dirname "$0")/../sh/lib.sh"
groups=0 # they are made here
clients=${1:-64}
seconds=${2:-4}
shared=${SHARED:-$top/../shared/bench}
PATH=$bin/tests/bench:$PATH
gcc -O2 -o metabench "$shared/metabench.c" -lpthread || fail "cannot build metabench"
cluster_start 3
cluster_mount m

cpu_ticks() { for pid in $nodes; do cut -d ' ' -f 14,15 "/proc/$pid/stat"; done | awk '{ n += $1 + $2 } END { print n }'; }
sum() { ctl status --json | jq "[.nodes[].counters | to_entries[] | select(.key | test(\"$1\")) | .value] | add"; }
note() { c0=$(cpu_ticks) s0=$(sum '^log_syncs$') f0=$(sum '^sent_|^beats_sent$'); }
cost() { # OPS: per operation, of all nodes together
    awk -v n="$1" -v c="$(($(cpu_ticks) - c0))" -v s="$(($(sum '^log_syncs$') - s0))" \
        -v f="$(($(sum '^sent_|^beats_sent$') - f0))" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.1f us CPU, %.3f syncs, %.3f raft frames for each\n", c * 1e6 / hz / n, s / n, f / n }'
}

made=0
for groups in 1 2 4 8; do
    ctl --timeout 60 group create --count $((groups - made)) >/dev/null || fail "group create"
    # shellcheck disable=SC2046
    ctl --timeout 120 group join $(seq $((made + 1)) "$groups") >joined || fail "group join: $(cat joined)"
    made=$groups
    note
    kvbench "$T/cluster/client.conf" put "$clients" "$seconds" 256 8 >out
    printf '%s groups: puts/s %s, p50 %s us, p99 %s us; ' "$groups" "$(cut -f 2 out)" "$(cut -f 3 out)" "$(cut -f 4 out)"
    cost "$(cut -f 8 out)"
    note
    ./metabench m --threads 4 --files 4000 --only mkdir,create,rename,rename_xdir,unlink >meta
    cost "$(awk '{ n += $4 } END { print n }' meta)" >meta_cost
    awk -v g="$groups" -F '\t' '{ rate[$1] = $6; p50[$1] = $7 } END {
        printf "%s groups: creates/s %s, rename %s us, between directories %s us (%.2f times); ", g,
            rate["create"], p50["rename"], p50["rename_xdir"], p50["rename_xdir"] / p50["rename"] }' meta
    cat meta_cost
done
