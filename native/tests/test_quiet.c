/* The cycle's thread in a cage: the kernel kills the process at the first system call that is not on the list, and every allocation is
 * counted. A site with 8 EVSEs and a reload runs in it. */
#include "check.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "../core/cycle.h"
#include "bench_site.h"

enum { CYCLES = 300, RELOAD_AT = 100 };

static struct bench_site b;
static struct rt_thread cage;
static struct v2g_snapshot seen;
static _Atomic bool ended;
static _Atomic int allocations;
static _Thread_local volatile bool in_cage; /* volatile: the compiler thinks that malloc looks at nothing */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

static void note(void) {
    if (in_cage)
        atomic_fetch_add(&allocations, 1);
}

void *__wrap_malloc(size_t size) {
    note();
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    note();
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size) {
    note();
    return __real_realloc(block, size);
}

void __wrap_free(void *block) {
    note();
    __real_free(block);
}

#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* clock_gettime is here for machines whose clock can't be read without the kernel. */
static const struct sock_filter listed[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    ALLOW(clock_nanosleep),
    ALLOW(recvmmsg),
    ALLOW(sendmmsg),
    ALLOW(getsockopt),
    ALLOW(getrusage),
    ALLOW(clock_gettime),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

static void lock_cage(void) {
    const struct sock_fprog program = {.len = sizeof listed / sizeof listed[0],
                                       .filter = (struct sock_filter *)(uintptr_t)listed};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void run_in_cage(void *cycle) {
    lock_cage();
    in_cage = true;
    cycle_run(cycle);
    in_cage = false;
    atomic_store(&ended, true);
    for (;;) { /* even a thread's end would be a system call: it ends with the process */
        const struct timespec second = {.tv_sec = 1};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL);
    }
}

static void site_lives(uint32_t i) {
    const struct timespec period = {.tv_nsec = SITE_PERIOD_MS * SITE_MS};
    b.site.now_ns = v2g_now_ns();
    bench_measure(&b);
    if (i % 20 == 0)
        bench_plan(&b);
    if (i == RELOAD_AT) {
        b.site.config.epoch++;
        bench_commit(&b);
    }
    nanosleep(&period, NULL);
    bench_read_commands(&b);
}

static void the_cycle_makes_no_other_system_call_and_never_allocates(void) {
    const struct v2g_rt_request request = {.thread = {.cpu = -1}, .lock_memory = 1};
    CHECK_EQ(bench_prepare(&b, 8), 0);
    site_wish(&b.site, 11000);
    b.site.now_ns = v2g_now_ns();
    CHECK_EQ(bench_begin(&b), 0);
    CHECK_EQ(rt_start(&cage, &request, run_in_cage, b.cycle), 0);
    for (uint32_t i = 0; i < CYCLES; i++)
        site_lives(i);
    b.cycle->stop = true;
    while (!atomic_load(&ended))
        site_lives(1);
    CHECK_EQ(v2g_snapshot_read(b.arena, &seen), 0);
    CHECK(seen.stats.cycles > 2);
    CHECK_EQ(seen.stats.commits, 2);
    CHECK(seen.bus[0].received > 0 && seen.bus[0].sent > 0);
    CHECK_EQ(atomic_load(&allocations), 0);
}

static void an_allocation_would_be_seen(void) {
    in_cage = true;
    void *volatile block = malloc(1);
    free(block);
    in_cage = false;
    CHECK_EQ(atomic_load(&allocations), 2);
}

static void a_system_call_that_is_not_listed_would_end_the_process(void) {
    const pid_t child = fork();
    if (child == 0) {
        lock_cage();
        syscall(SYS_getppid);
        syscall(SYS_exit_group, 0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSYS);
}

CHECK_MAIN(CASE(the_cycle_makes_no_other_system_call_and_never_allocates), CASE(an_allocation_would_be_seen),
           CASE(a_system_call_that_is_not_listed_would_end_the_process))
