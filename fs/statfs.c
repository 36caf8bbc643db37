/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/base/clock.h"
#include "fs/volume_impl.h"

#define ASK_MS    1000
#define FRESH_NS  UINT64_C(5000000000)
#define FILES_MAX (UINT64_C(1) << 40)

/* The fullest node decides: each keeps a replica of what its groups hold. 0: nobody answered. */
static uint64_t ask_nodes(struct client *c)
{
    uint32_t ids[NODES_MAX];
    unsigned n = client_nodes(c, ids, NODES_MAX);
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < n; i++) {
        struct enc e CLEANUP(enc_finish) = {0};
        struct msg_node_status ask = {0};
        enc_node_status(&e, &ask);
        unsigned type;
        struct buf *reply CLEANUP(buf_unref) = NULL;
        if (client_ask_node(c, ids[i], MSG_node_status, enc_view(&e), ASK_MS, &type, &reply))
            continue;
        struct arena a CLEANUP(arena_finish) = {0};
        struct msg_node_status_reply status;
        if (type == MSG_node_status_reply &&
            dec_node_status_reply(buf_bytes(reply), &a, &status) == 0 && status.status == 0)
            least = MIN(least, status.disk_free);
    }
    return least == UINT64_MAX ? 0 : least;
}

int volume_statfs(struct volume *v, struct statvfs *ret)
{
    pthread_mutex_lock(&v->lock);
    uint64_t free_bytes = v->statfs_free, asked = v->statfs_ns;
    pthread_mutex_unlock(&v->lock);
    uint64_t now = clock_mono_ns();
    if (asked == 0 || now - asked > FRESH_NS) {
        uint64_t got = ask_nodes(v->client);
        pthread_mutex_lock(&v->lock);
        if (got)
            v->statfs_free = got;
        v->statfs_ns = now;
        free_bytes = v->statfs_free;
        pthread_mutex_unlock(&v->lock);
    }
    /* How much the volume holds is counted nowhere (it would be one hot key), so that total and
     * free are the same. */
    uint64_t blocks = free_bytes / KIB(4);
    *ret = (struct statvfs){
        .f_bsize = FS_BLOCK,
        .f_frsize = KIB(4),
        .f_blocks = blocks,
        .f_bfree = blocks,
        .f_bavail = blocks,
        .f_files = FILES_MAX,
        .f_ffree = FILES_MAX,
        .f_favail = FILES_MAX,
        .f_namemax = FS_NAME_MAX,
    };
    return 0;
}
