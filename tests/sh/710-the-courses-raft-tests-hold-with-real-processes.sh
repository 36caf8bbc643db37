#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tests of lab 3, Raft, of MIT 6.5840 with real processes, real disks and a real network that is cut
# (tests/course/README.md).
#
# RAFTFS_COURSE: --long, and names of parts or tests in the place of all.
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2086
"$bin/tests/course/real/course-real" "$bin" "$T" ${RAFTFS_COURSE:-3A 3B 3C 3D}
status=$?
[ $status = 77 ] && skip "needs root for network namespaces"
[ $status = 0 ] || fail "exit $status"
