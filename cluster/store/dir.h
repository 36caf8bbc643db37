/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir.h - whole directories of a store on the real disk: remove, replace, make durable.
 *
 * All are durable when they return 0. A crash in between leaves what was there before or after,
 * plus leftovers `<dir>.gone` and `<dir>.old` that dir_heal clears away: call it before opening
 * dir. Errors are codes of err.h.
 */
#pragma once

#include "cluster/base/bytes.h"
#include "cluster/base/err.h"

NODISCARD int dir_make(const char *dir); /* with its name; an existing one is fine */
NODISCARD int dir_heal(const char *dir);
NODISCARD int dir_remove(const char *dir); /* with all in it; absent is fine */
/* `from` gets the name `to`; what had it, if anything, gets the name `from`. */
NODISCARD int dir_replace(const char *from, const char *to);
NODISCARD int dir_sync(const char *dir);
/* Regular files in dir, sorted by name: char *, freed with the array. */
NODISCARD int dir_files(const char *dir, GPtrArray **ret);
/* A small file, written beside and renamed. */
NODISCARD int dir_write_file(const char *dir, const char *name, struct bytes text);
