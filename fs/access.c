/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>
#include "fs/volume.h"

bool volume_access(const struct volume_attr *a, const struct volume_caller *who, int mask)
{
    if (who->capable) /* everything, but executes only what somebody may */
        return !(mask & X_OK) || S_ISDIR(a->mode) || (a->mode & 0111);
    unsigned shift = 0;
    if (who->uid == a->uid) {
        shift = 6;
    } else {
        bool member = who->gid == a->gid;
        for (unsigned i = 0; !member && who->groups && i < who->n_groups; i++)
            member = who->groups[i] == a->gid;
        shift = member ? 3 : 0;
    }
    unsigned wanted = (unsigned)mask & 7; /* R_OK, W_OK, X_OK are 4, 2, 1 as in a mode */
    return ((a->mode >> shift) & wanted) == wanted;
}
