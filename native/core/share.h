/* Sharing primitives of the cycle's side: each has one writer and one reader, none ever waits. */
#ifndef V2G_SHARE_H
#define V2G_SHARE_H

#include "v2g_runtime.h"

/* Copy whole words between private and shared memory; both ends are 8-byte aligned, `bytes` a multiple of 8. The order of
 * the accesses is what makes a seqlock right without fences: data is stored after seq turned odd, loaded before seq is
 * looked at again. */
void v2g_words_out(void *shared, const void *private_copy, size_t bytes);
void v2g_words_in(void *private_copy, const void *shared, size_t bytes);

/* Hand over the back slot; take the middle one if it is new. Both return the index of the slot now owned. */
uint32_t v2g_triple_publish(struct v2g_triple *triple);
bool v2g_triple_take(struct v2g_triple *triple);

/* Appends an event or counts it as dropped. Only the cycle calls it. */
void v2g_event_put(struct v2g_ring *ring, const struct v2g_event *event);

/* Publishes `from`: the used entries only. Only the cycle calls it. */
void v2g_snapshot_write(struct v2g_arena *arena, const struct v2g_snapshot *from);

#endif
