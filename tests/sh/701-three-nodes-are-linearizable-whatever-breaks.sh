#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Three real nodes in network namespaces, killed, stopped, cut off, out of space, wiped and replaced,
# one thing after another, while nodes come and go: they serve again each time, nothing acknowledged
# is lost, the history is linearizable.
. "$(dirname "$0")/lib.sh"
. "$top/tests/lib/namespaces.sh"
. "$top/tests/lib/chaos.sh"
groups=0 # 703 has several; here nodes are removed without moving what they hold
chaos 3 "${RAFTFS_FAULTS:-18}"
