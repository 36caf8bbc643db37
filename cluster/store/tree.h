/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h - a persistent ordered map of byte strings: every version stays readable at the cost of
 * the path that changed.
 *
 * A treap whose priorities are a hash of the key, so that its shape is a function of its contents.
 * A root is a counted reference to an immutable tree (NULL: empty); tree_put and friends take the
 * caller's reference to the old root and give one to the new. Nodes that only this root holds are
 * changed in place. Not thread safe.
 */
#pragma once

#include "cluster/base/bytes.h"

struct tree; /* a node, and the root of what is below it */

struct tree *tree_ref(struct tree *t);
void tree_unref(struct tree *t);

NODISCARD struct tree *tree_put(struct tree *t, struct bytes key, struct bytes value);
NODISCARD struct tree *tree_delete(struct tree *t, struct bytes key);
NODISCARD struct tree *tree_delete_range(struct tree *t, struct bytes lo, struct bytes hi);

/* Borrowed from the tree. */
bool tree_get(const struct tree *t, struct bytes key, struct bytes *ret_value);
uint64_t tree_bytes(const struct tree *t); /* keys and values */
uint64_t tree_count(const struct tree *t);

/* In order from `lo`. The iterator borrows the root. */
struct tree_iter {
    GPtrArray *stack; /* nodes whose own key comes next, innermost last */
};
void tree_iter_init(struct tree_iter *it, const struct tree *t, struct bytes lo);
bool tree_iter_next(struct tree_iter *it, struct bytes *ret_key, struct bytes *ret_value);
void tree_iter_finish(struct tree_iter *it);
