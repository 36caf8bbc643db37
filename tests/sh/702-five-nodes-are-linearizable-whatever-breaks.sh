#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As 701, with five nodes, lease-reads and read-from any.
. "$(dirname "$0")/lib.sh"
. "$top/tests/lib/namespaces.sh"
. "$top/tests/lib/chaos.sh"
groups=0 # 703 has several; here nodes are removed without moving what they hold
chaos 5 "${RAFTFS_FAULTS:-18}" fast-reads
