/* What was asked for is one thing, what the kernel granted another: everything here is read back. */
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "rt.h"

static size_t read_text(const char *path, char *text, size_t size) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

static int32_t is_preempt_rt(void) {
    char text[8];
    read_text("/sys/kernel/realtime", text, sizeof text);
    return text[0] == '1';
}

/* A list as the kernel writes it: "1,3-5". */
static int32_t in_list(const char *list, long cpu) {
    for (const char *at = list; *at >= '0' && *at <= '9';) {
        char *end;
        const long first = strtol(at, &end, 10);
        const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        if (cpu >= first && cpu <= last)
            return 1;
        at = *end == ',' ? end + 1 : end;
    }
    return 0;
}

static int32_t only_cpu(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) != 1)
        return -1;
    for (int32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &set))
            return cpu;
    return -1;
}

static int32_t number_in(const char *path, int32_t otherwise) {
    char text[32], *end;
    read_text(path, text, sizeof text);
    const long number = strtol(text, &end, 10);
    return end == text ? otherwise : (int32_t)number;
}

/* A kernel that is itself a process says so in its own words. */
static int32_t is_user_mode_linux(void) {
    char text[256];
    read_text("/proc/cpuinfo", text, sizeof text);
    return strstr(text, "User Mode Linux") != NULL;
}

static int32_t rtprio_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_RTPRIO, &limit) != 0)
        return 0;
    return limit.rlim_cur > 99 ? 99 : (int32_t)limit.rlim_cur;
}

void rt_probe(struct v2g_rt_report *report) {
    struct sched_param param = {0};
    const int policy = sched_getscheduler(0);
    report->policy = policy & ~SCHED_RESET_ON_FORK;
    report->reset_on_fork = (policy & SCHED_RESET_ON_FORK) != 0;
    if (sched_getparam(0, &param) == 0)
        report->priority = param.sched_priority;
    report->cpu = only_cpu();
    char isolated[256];
    read_text("/sys/devices/system/cpu/isolated", isolated, sizeof isolated);
    report->cpu_isolated = report->cpu >= 0 && in_list(isolated, report->cpu);
    report->preempt_rt = is_preempt_rt();
    report->timer_slack_ns = prctl(PR_GET_TIMERSLACK);
    struct timespec resolution = {0};
    clock_getres(CLOCK_MONOTONIC, &resolution);
    report->clock_resolution_ns = (int64_t)resolution.tv_sec * 1000000000 + resolution.tv_nsec;
    report->stack_bytes = RT_STACK_BYTES;
    report->rtprio_limit = rtprio_limit();
    report->throttle_us = number_in("/proc/sys/kernel/sched_rt_runtime_us", -1);
    report->throttle_period_us = number_in("/proc/sys/kernel/sched_rt_period_us", 1000000);
    report->user_mode_linux = is_user_mode_linux();
}
