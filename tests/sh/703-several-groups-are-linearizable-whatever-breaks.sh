#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As 701, with the shards in three groups, from before they have moved there on; no nodes come or go.
. "$(dirname "$0")/lib.sh"
: "${RAFTFS_KINDS=kill_leader cut_leader stop_leader kill_all cut_ways full_disk kill stop cut_link
    freeze_leader restart_leader move_leader restart}"
. "$top/tests/lib/namespaces.sh"
. "$top/tests/lib/chaos.sh"
groups=3
chaos 3 "${RAFTFS_FAULTS:-15}"
ctl config | grep -q '3 groups have joined' || fail "the shards are not in three groups: $(ctl config)"
