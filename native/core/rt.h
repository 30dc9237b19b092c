/* A real-time thread: attributes before it exists, a small stack of its own, and a report of what was granted. */
#ifndef V2G_RT_H
#define V2G_RT_H

#include <pthread.h>
#include <semaphore.h>

#include "v2g_runtime.h"

#ifdef __SANITIZE_THREAD__
enum { RT_STACK_BYTES = 2 << 20 }; /* what the sanitizer keeps per thread comes on top */
#else
enum { RT_STACK_BYTES = 256 << 10 };
#endif

struct rt_thread {
    pthread_t id;
    void *stack;
    sem_t ready;
    int latency_fd; /* open while the thread runs, -1: not held */
    struct v2g_rt_request request;
    struct v2g_rt_report report;
    void (*body)(void *context);
    void *context;
};

/* Starts `body(context)` with the attributes asked for; without SCHED_FIFO when that is refused (the report says so). Returns
 * once the thread runs and the report is complete. 0 or -errno. */
int rt_start(struct rt_thread *thread, const struct v2g_rt_request *request, void (*body)(void *), void *context);
void rt_join(struct rt_thread *thread);

/* What the kernel granted the calling thread, read back (rt_probe.c). What the creator noted in the report stays. */
void rt_probe(struct v2g_rt_report *report);

#endif
