/* The thread of a Modbus engine: passes until it is told to end. */
#ifndef V2G_MODBUS_THREAD_H
#define V2G_MODBUS_THREAD_H

#include "../core/rt.h"

#include <stdbool.h>

struct mb_thread {
    struct rt_thread rt;
    bool running;
    atomic_bool ending;
    int wake_fd; /* an eventfd that the passes watch: ends a wait at once */
};

int mb_thread_start(struct mb_thread *thread, const struct v2g_thread *wanted, const char *name, void (*body)(void *),
                    void *context);
void mb_thread_stop(struct mb_thread *thread);
void mb_thread_wake(const struct mb_thread *thread);

static inline bool mb_thread_goes_on(const struct mb_thread *thread) {
    return !atomic_load_explicit(&thread->ending, memory_order_acquire);
}

#endif
