/* SPDX-License-Identifier: Apache-2.0 */
/* nearest.h - "did you mean": the name nearest to a mistyped word. Pure. */
#pragma once

#include "cluster/base/defs.h"

/* One of the NULL-terminated names, or NULL if none is near. */
const char *nearest(const char *word, const char *const *names);
