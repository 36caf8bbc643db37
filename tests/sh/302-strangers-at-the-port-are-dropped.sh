#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Plain HTTP, noise, wrong certificates, a thousand idle connections: dropped, and served on.
. "$(dirname "$0")/lib.sh"
command -v curl >/dev/null || skip "no curl"
command -v openssl >/dev/null || skip "no openssl"
cluster_start 1
port=$(sed -n 's/^listen.*:\([0-9]*\)$/\1/p' "$T/cluster/n1.conf")
serves() { ctl put 1:k v && [ "$(ctl get 1:k)" = v ]; }

say "HTTP"
curl -s -m 5 "http://127.0.0.1:$port/" >/dev/null 2>&1 && fail "HTTP was answered"
serves || fail "after HTTP"

say "noise"
for n in 1 7 1000 100000; do
    head -c $n /dev/urandom | timeout 5 bash -c "cat >/dev/tcp/127.0.0.1/$port" 2>/dev/null
done
serves || fail "after noise"

say "no certificate; another cluster's"
echo x | timeout 5 openssl s_client -quiet -connect "127.0.0.1:$port" >/dev/null 2>&1
raftfsctl init "$T/other" --node "n1=127.0.0.1:$port" >/dev/null || fail "init of another"
raftfsctl -c "$T/other/admin.conf" get 1:k >out 2>&1 && fail "another cluster's admin was served"
serves || fail "after wrong certificates"

say "a thousand idle connections"
command -v python3 >/dev/null && {
    python3 - "$port" <<'PY' || fail "cannot connect"
import socket, subprocess, sys
idle = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(1000)]
sys.exit(subprocess.call(["raftfsctl", "-c", "cluster/admin.conf", "get", "1:k"]))
PY
}
serves || fail "after idle connections"

say "the log names the strangers, a few times only"
grep -q 127.0.0.1 n1.log || fail "nothing logged"
[ "$(wc -l <n1.log)" -lt 200 ] || fail "$(wc -l <n1.log) lines logged"
