/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/nearest.h"

#include <string.h>

#define LENGTH_MAX 60

/* Insertions, deletions, changes and swaps of neighbours; names are short. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), rows[3][LENGTH_MAX + 1];
    if (strlen(a) > LENGTH_MAX || n > LENGTH_MAX)
        return 99;
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t *row = rows[i % 3], *above = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = MIN(best, above[j] + 1);
            best = MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, before[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[strlen(a) % 3][n];
}

/* The name nearest to what was written, or NULL if none is near. */
const char *nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t best_d = 99;
    for (; *names; names++) {
        size_t d = distance(word, *names);
        bool prefix =
            strlen(word) >= 3 && (g_str_has_prefix(*names, word) ||
                                  (strlen(*names) >= 3 && g_str_has_prefix(word, *names)));
        if (prefix)
            d = MIN(d, 1);
        if (d < best_d) {
            best = *names;
            best_d = d;
        }
    }
    return best_d <= MAX(1, (strlen(word) + 1) / 3) ? best : NULL;
}
