#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sweep.sh - puts and gets by number of clients and by size of value, beside the machine's floor,
# and beside etcd where it is installed. Prints tables, asserts nothing.
#
#   sh tests/bench/sweep.sh [SECONDS]         default 3, of each measurement
#
# Three nodes on loopback. etcd likewise, but without TLS, on the same disk, afterwards. Columns:
#   x1       times the puts of one client
#   x8       puts/s where each thread of kvbench plays 8 of the clients
#   cpu      us of CPU that a put takes, in the three raftfsd and in kvbench
#   floor    as in put.sh, with a sync of so many bytes
#   x_etcd   times etcd's puts
: "${groups=0}" # numbers are of one group, unless asked otherwise
. "$(dirname "$0")/../sh/lib.sh"
seconds=${1:-3}
shared=${SHARED:-$top/../shared/bench}
[ -f "$shared/netping.c" ] || skip "no yardsticks in $shared"
PATH=$bin/tests/bench:$PATH
gcc -O2 -o netping "$shared/netping.c" -lssl -lcrypto && gcc -O2 -o fsyncbench "$shared/fsyncbench.c" ||
    fail "cannot build the yardsticks"
mkdir sync
all_clients="1 4 16 64 256"
all_bytes="64 1024 16384 131072 1048576"

ticks() { for pid in $nodes; do cat "/proc/$pid/stat"; done | awk '{ n += $14 + $15 } END { print n }'; }
# OP CLIENTS BYTES [PER_THREAD]: prints puts/s, p50, p99, us of CPU in nodes and client
measure() {
    before=$(ticks)
    kvbench "$T/cluster/client.conf" "$1" "$2" "$seconds" "$3" ${4:+"$4"} >line || fail "kvbench $*"
    awk -v ticks=$(($(ticks) - before)) -v hz="$(getconf CLK_TCK)" '
        $6 { printf "-- %s: %d errors\n", $1, $6 >"/dev/stderr" }
        { printf "%s %s %s %.1f %s\n", $2, $3, $4, ticks * 1e6 / hz / $8, $7 }' line
}
# Results lie in files named by what was measured: OP.CLIENTS.BYTES.
cell() { [ -s "$1" ] && cut -d ' ' -f "$2" "$1" || echo -; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f\n", a / b; else print "-" }'; }

rtt=$(./netping tls 2 | awk -F '\t' '/rtt64_p50/ { print $2 }')
for bytes in 256 $all_bytes; do
    size=$(((bytes + 200 + 4095) / 4096 * 4096))
    ./fsyncbench sync 1 3 $size overwrite |
        awk -F '\t' -v rtt="$rtt" '{ printf "%.0f\n", 2 * rtt + $3 }' >floor."$bytes"
done

cluster_start 3
for clients in $all_clients; do
    measure put "$clients" 256 >put."$clients".256
    measure get "$clients" 256 >get."$clients".256
    [ "$clients" -lt 8 ] || measure put "$clients" 256 8 >put8."$clients".256
done
for bytes in $all_bytes; do
    for clients in 1 16; do
        measure put $clients "$bytes" >put.$clients."$bytes"
        measure get $clients "$bytes" >get.$clients."$bytes"
    done
done
for pid in $nodes; do
    awk '/VmHWM/ { printf "raftfsd took up to %.0f MB\n", $2 / 1024 }' "/proc/$pid/status"
    kill "$pid"
    wait "$pid"
done

if command -v etcd >/dev/null && gcc -O2 -o etcdload "$shared/etcdload.c" -lpthread; then
    at=127.0.0.1:23791,127.0.0.1:23792,127.0.0.1:23793
    bash "$shared/peer_etcd.sh" up "$T/etcd" >/dev/null 2>&1
    nodes="$nodes $(cat "$T/etcd/pids")"
    wait_for 30 ./etcdload $at put 1 0.1 256
    etcd() { ./etcdload $at put "$1" "$seconds" "$2" | cut -f 2-4 | tr '\t' ' ' >etcd."$1"."$2"; }
    for clients in $all_clients; do etcd "$clients" 256; done
    for bytes in $all_bytes; do
        for clients in 1 16; do etcd $clients "$bytes"; done
    done
fi

echo "round trip of TLS on loopback: $rtt us"
echo
echo "256 bytes, floor $(cat floor.256) us"
{
    echo "clients puts/s p50_us p99_us x1 cpu_nodes cpu_client x8_puts/s gets/s" \
        "etcd_puts/s etcd_p50_us etcd_p99_us x_etcd"
    for clients in $all_clients; do
        put=put.$clients.256
        echo "$clients $(cut -d ' ' -f 1-3 "$put")" \
            "$(ratio "$(cell "$put" 1)" "$(cell put.1.256 1)") $(cut -d ' ' -f 4,5 "$put")" \
            "$(cell put8."$clients".256 1) $(cell get."$clients".256 1)" \
            "$(cell etcd."$clients".256 1) $(cell etcd."$clients".256 2)" \
            "$(cell etcd."$clients".256 3)" \
            "$(ratio "$(cell "$put" 1)" "$(cell etcd."$clients".256 1)")"
    done
} | column -t
for clients in 1 16; do
    echo
    echo "by size of value, $clients clients at a time"
    {
        echo "bytes floor_us p50_us x_floor p99_us puts/s MB/s cpu_nodes cpu_client gets/s" \
            "etcd_puts/s etcd_p50_us etcd_p99_us x_etcd"
        for bytes in $all_bytes; do
            put=put.$clients.$bytes
            echo "$bytes $(cat floor."$bytes") $(cell "$put" 2)" \
                "$(ratio "$(cell "$put" 2)" "$(cat floor."$bytes")") $(cell "$put" 3)" \
                "$(cell "$put" 1) $(awk -v b="$bytes" '{ printf "%.1f", $1 * b / 1e6 }' "$put")" \
                "$(cut -d ' ' -f 4,5 "$put") $(cell get."$clients"."$bytes" 1)" \
                "$(cell etcd."$clients"."$bytes" 1) $(cell etcd."$clients"."$bytes" 2)" \
                "$(cell etcd."$clients"."$bytes" 3)" \
                "$(ratio "$(cell "$put" 1)" "$(cell etcd."$clients"."$bytes" 1)")"
        done
    } | column -t
done
