/* SPDX-License-Identifier: Apache-2.0 */
/* plant DIR SHARD KEY VALUE: writes a key into a stopped replica's store behind everybody's back.
 * For tests/sh: what raftfsctl check must find. */
#include <stdio.h>
#include <stdlib.h>
#include "cluster/kv/layout.h"
#include "cluster/store/store.h"

static void on_flushed(void *arg, int err)
{
    *(int *)arg = err;
}

int main(int argc, char **argv)
{
    struct errmsg msg = {""};
    struct store *s;
    if (argc != 5) {
        fprintf(stderr, "plant DIR SHARD KEY VALUE\n");
        return 2;
    }
    if (store_rocks_open(argv[1], &s, &msg) < 0) {
        fprintf(stderr, "plant: %s\n", msg.text);
        return 1;
    }
    struct enc CLEANUP(enc_finish) key = {0}, value = {0};
    uint8_t head[3] = {0, (uint8_t)atoi(argv[2]), TABLE_DATA};
    uint8_t value_head[VALUE_HEAD];
    enc_raw(&key, head, sizeof(head));
    enc_raw(&key, argv[3], strlen(argv[3]));
    layout_value_head(value_head, 1);
    enc_raw(&value, value_head, sizeof(value_head));
    enc_raw(&value, argv[4], strlen(argv[4]));
    struct store_write w = {STORE_PUT, enc_view(&key), enc_view(&value)};
    int err = s->ops->write(s, &w, 1);
    if (err == 0)
        s->ops->flush(s, on_flushed, &err);
    s->ops->close(s);
    return err < 0;
}
