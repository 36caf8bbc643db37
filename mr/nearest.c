/* SPDX-License-Identifier: Apache-2.0 */
#include "mr/nearest.h"

#include <string.h>

/* Levenshtein's distance; names are short. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), row[64];
    if (strlen(a) > 60 || n > 60)
        return 99;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t up = row[j], change = corner + (a[i - 1] != b[j - 1]);
            row[j] = MIN(MIN(up, row[j - 1]) + 1, change);
            corner = up;
        }
    }
    return row[n];
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
