/* Attributes before the thread exists, memory before it runs. */
#include "rt.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Open while the thread runs: every idle core stays awake enough to answer at once (cpu-idle PM QoS). */
static void hold_latency(struct rt_thread *thread) {
    const int32_t microseconds = 0;
    thread->latency_fd = open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC);
    if (thread->latency_fd < 0 || write(thread->latency_fd, &microseconds, sizeof microseconds) != sizeof microseconds)
        thread->report.latency_errno = errno;
}

static bool holds(const struct dl_phdr_info *object, uintptr_t address) {
    for (uint16_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        const uintptr_t from = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && address >= from && address < from + part->p_memsz)
            return true;
    }
    return false;
}

/* Reads every page of the object that holds the cycle, and of the C library: the first time that rare code runs costs no page fault.
 * The address sanitizer would take its own red zones between the globals for a mistake. */
__attribute__((no_sanitize("address"))) static int touch_code(struct dl_phdr_info *object, size_t size, void *context) {
    (void)size;
    (void)context;
    if (!holds(object, (uintptr_t)&rt_start) && !holds(object, (uintptr_t)&clock_nanosleep))
        return 0;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (uint16_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_R) == 0)
            continue;
        const uintptr_t from = object->dlpi_addr + part->p_vaddr, end = from + part->p_memsz;
        for (uintptr_t at = from; at < end; at = (at & ~(page - 1)) + page)
            (void)*(const volatile char *)at;
    }
    return 0;
}

static void *enter(void *argument) {
    struct rt_thread *thread = argument;
    const struct v2g_thread *wanted = &thread->request.thread;
    prctl(PR_SET_TIMERSLACK, 1);
    if (wanted->policy == SCHED_FIFO && thread->report.fifo_errno == 0) {
        /* Children of this thread, should anybody ever make one, don't inherit its priority. */
        const struct sched_param param = {.sched_priority = wanted->priority};
        sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param);
    }
    rt_probe(&thread->report);
    sem_post(&thread->ready);
    thread->body(thread->context);
    return NULL;
}

static int create(struct rt_thread *thread, int policy) {
    const struct v2g_thread *wanted = &thread->request.thread;
    pthread_attr_t attr;
    sigset_t all;
    sigfillset(&all);
    const struct sched_param param = {.sched_priority = policy == SCHED_FIFO ? wanted->priority : 0};
    int error = pthread_attr_init(&attr);
    if (error != 0)
        return error;
    pthread_attr_setstack(&attr, thread->stack, RT_STACK_BYTES);
    pthread_attr_setsigmask_np(&attr, &all);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, policy);
    error = pthread_attr_setschedparam(&attr, &param);
    if (error == 0 && wanted->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)wanted->cpu, &set);
        error = pthread_attr_setaffinity_np(&attr, sizeof set, &set);
    }
    if (error == 0)
        error = pthread_create(&thread->id, &attr, enter, thread);
    pthread_attr_destroy(&attr);
    return error;
}

/* Pages are locked once they are touched: a Python thread's 8 MiB stack doesn't become resident because of us. */
static void lock_memory(struct v2g_rt_report *report) {
    report->memory_locked = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
    report->lock_errno = report->memory_locked ? 0 : errno;
}

static void release(struct rt_thread *thread) {
    if (thread->latency_fd >= 0)
        close(thread->latency_fd);
    munmap(thread->stack, RT_STACK_BYTES);
    sem_destroy(&thread->ready);
}

int rt_start(struct rt_thread *thread, const struct v2g_rt_request *request, void (*body)(void *), void *context) {
    memset(thread, 0, sizeof *thread);
    thread->request = *request;
    thread->body = body;
    thread->context = context;
    thread->stack = mmap(NULL, RT_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (thread->stack == MAP_FAILED)
        return -errno;
    memset(thread->stack, 0, RT_STACK_BYTES); /* in a process that locks on fault the kernel populates nothing by itself */
    thread->latency_fd = -1;
    if (request->lock_memory)
        lock_memory(&thread->report);
    dl_iterate_phdr(touch_code, NULL);
    if (request->hold_latency)
        hold_latency(thread);
    sem_init(&thread->ready, 0, 0);
    int error = create(thread, request->thread.policy);
    if (error == EPERM && request->thread.policy == SCHED_FIFO) {
        thread->report.fifo_errno = error;
        error = create(thread, SCHED_OTHER);
    }
    if (error != 0) {
        release(thread);
        return -error;
    }
    while (sem_wait(&thread->ready) != 0) {
    }
    return 0;
}

void rt_join(struct rt_thread *thread) {
    pthread_join(thread->id, NULL);
    release(thread);
}
