/* SPDX-License-Identifier: Apache-2.0 */
/* compare_text.h - the outcome of a comparison, for people and for programs. Pure. */
#pragma once

#include "cluster/ctl/compare.h"

/* Lines; to be freed with g_free. */
char *compare_text(const struct compare *c, uint64_t index);
char *compare_json(const struct compare *c, uint32_t gid, uint64_t index); /* one object */
