#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As 701, with five nodes.
. "$(dirname "$0")/lib.sh"
. "$top/tests/lib/namespaces.sh"
. "$top/tests/lib/chaos.sh"
chaos 5 "${RAFTFS_FAULTS:-18}"
