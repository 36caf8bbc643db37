#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is wrong, where, and what to do; non-zero exit; one line.
. "$(dirname "$0")/lib.sh"
need_fuse
one_line() { # COMMAND... -- TEXT
    expect_fail "$@"
    same "$(wc -l <"$T/.err")" 1 "lines on stderr of: $*"
}
say "raftfs"
mkdir mnt
one_line raftfs -- "no mount point"
one_line raftfs "$T/absent" -- "$T/absent"
: >file && one_line raftfs "$T/file" -- "not a directory"
one_line raftfs -o conf=/absent.conf "$T/mnt" -- "/absent.conf"
one_line raftfs -o replicas=2 "$T/mnt" -- "replicas=2"
one_line raftfs -o data="$T/mnt/inside" "$T/mnt" -- "under the mount point"
embedded_mount "$T/mnt" || fail "mount"
one_line raftfs -o data="$T/store" "$T/mnt" -- "mounted there already"
mkdir mnt2 && one_line raftfs -o data="$T/store" "$T/mnt2" -- "in use"
unmount "$T/mnt" || fail "unmount"

raftfsctl init "$T/away" --node n1=127.0.0.1:$(free_port) >/dev/null || fail "init"
one_line raftfs -o conf="$T/away/client.conf" "$T/mnt" -- "Connection refused"

say "raftfsctl"
one_line raftfsctl frobnicate -- "frobnicate"
raftfsctl init "$T/c" --node n1=127.0.0.1:$(free_port) >/dev/null || fail "init"
one_line raftfsctl init "$T/c" --node n1=127.0.0.1:1 -- "$T/c"
one_line raftfsctl init "$T/c2" --node n1=nonsense -- "nonsense"
one_line raftfsctl -c "$T/c/admin.conf" get 1:k -- "127.0.0.1"

say "raftfsd"
one_line raftfsd -- "-c"
one_line raftfsd -c "$T/absent.conf" -- "absent.conf"
sed 's/^listen/lisen/' c/n1.conf >bad.conf
one_line raftfsd -c "$T/bad.conf" -- "bad.conf:"
sed "s|^data .*|data $T|" c/n1.conf >bad.conf
one_line raftfsd -c "$T/bad.conf" -- "identity"
raftfsctl init "$T/d" --node n1=127.0.0.1:$(free_port) >/dev/null || fail "second init"
sed "s|^data .*|data $T/d/n1|" c/n1.conf >bad.conf
one_line raftfsd -c "$T/bad.conf" -- "$T/d/n1"
chmod 644 c/n1.key 2>/dev/null || chmod 644 "$(sed -n 's/^key *//p' c/n1.conf)"
one_line raftfsd -c "$T/c/n1.conf" -- "key"
