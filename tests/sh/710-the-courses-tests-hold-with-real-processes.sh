#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tests of MIT 6.5840 with real processes, real disks and a real network that is cut
# (tests/course/README.md).
#
# RAFTFS_COURSE: --long, or names of parts or tests; default: all, with fewer rounds.
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2086
"$bin/tests/course/real/course-real" "$bin" "$T" ${RAFTFS_COURSE:-}
status=$?
[ $status = 77 ] && skip "needs root for network namespaces"
[ $status = 0 ] || fail "exit $status"
