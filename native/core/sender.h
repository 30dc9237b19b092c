/* The right to send, as a lock in the arena: the cycle's thread holds it as long as it lives, the guard takes it before its first frame.
 * It is a robust mutex: when its holder dies, the kernel itself marks it, while the rest of the process is still being taken apart. So
 * never two processes send (P15), and a takeover doesn't wait until a large process has given back its memory. */
#ifndef V2G_SENDER_H
#define V2G_SENDER_H

#include <stdbool.h>

#include "v2g_runtime.h"

/* Once, by the arena's maker. 0 or an errno. */
int sender_init(struct v2g_arena *arena);

/* Takes the right to send without waiting. False: its holder lives. */
bool sender_take(struct v2g_arena *arena);

/* Gives it back. */
void sender_leave(struct v2g_arena *arena);

#endif
