#include "modbus_thread.h"

#include <errno.h>
#include <unistd.h>

/* 0; 1 when SCHED_FIFO was refused and the thread runs without it; -errno when nothing runs. */
int mb_thread_start(struct mb_thread *thread, const struct v2g_thread *wanted, const char *name, void (*body)(void *),
                    void *context) {
    const struct v2g_rt_request request = {.thread = *wanted};
    if (thread->running) {
        return -EBUSY;
    }
    atomic_store(&thread->ending, false);
    const int error = rt_start(&thread->rt, &request, body, context);
    if (error != 0) {
        return error;
    }
    thread->running = true;
    (void)pthread_setname_np(thread->rt.id, name);
    return thread->rt.report.fifo_errno != 0 ? 1 : 0;
}

void mb_thread_wake(const struct mb_thread *thread) {
    const uint64_t one = 1;
    (void)!write(thread->wake_fd, &one, sizeof one);
}

void mb_thread_stop(struct mb_thread *thread) {
    if (!thread->running) {
        return;
    }
    atomic_store_explicit(&thread->ending, true, memory_order_release);
    mb_thread_wake(thread);
    rt_join(&thread->rt);
    thread->running = false;
}
