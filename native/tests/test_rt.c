/* The real-time thread's attributes as the kernel shows them, and the overrun rules under a simulated clock. */
#include "check.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../core/cycle.h"
#include "bench_site.h"

static struct rt_thread thread;
static struct bench_site b;
static struct v2g_snapshot seen;

/* What the thread sees of itself. */
static sigset_t blocked;
static int child_policy, slack_ns;

static void look(void *context) {
    (void)context;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    slack_ns = prctl(PR_GET_TIMERSLACK);
    const pid_t child = fork();
    if (child == 0)
        _exit(sched_getscheduler(0) == SCHED_OTHER ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    child_policy = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void start(int policy) {
    const struct v2g_rt_request request = {.thread = {.policy = policy, .priority = policy == SCHED_FIFO ? 10 : 0, .cpu = 0}};
    CHECK_EQ(rt_start(&thread, &request, look, NULL), 0);
    rt_join(&thread);
}

static void no_signal_reaches_the_thread_and_its_timers_are_not_gathered(void) {
    start(SCHED_OTHER);
    CHECK(sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGHUP) && sigismember(&blocked, SIGCHLD));
    CHECK_EQ(slack_ns, 1);
    CHECK_EQ(thread.report.cpu, 0);
}

static void a_child_does_not_inherit_the_priority(void) {
    start(SCHED_FIFO);
    CHECK(thread.report.policy == SCHED_FIFO ? thread.report.reset_on_fork == 1 : thread.report.fifo_errno != 0);
    CHECK_EQ(child_policy, 0);
}

static const struct v2g_snapshot *snapshot(void) {
    CHECK_EQ(v2g_snapshot_read(b.arena, &seen), 0);
    return &seen;
}

/* One cycle that begins at a grid point and takes this long. Returns the next grid point. */
static int64_t cycle(int64_t point_ns, int64_t takes_ns) {
    b.site.now_ns = point_ns - SITE_PERIOD_MS * SITE_MS;
    bench_step(&b);
    return cycle_next_point(b.cycle, point_ns, point_ns + takes_ns);
}

static int64_t running_site(void) {
    CHECK_EQ(bench_open(&b, 1), 0);
    site_wish(&b.site, 11000);
    bench_run(&b, 700);
    CHECK_EQ(b.told_w[0], 11000);
    return b.site.now_ns + SITE_PERIOD_MS * SITE_MS;
}

static void a_late_cycle_skips_to_the_grid_and_keeps_its_phase(void) {
    const int64_t period_ns = SITE_PERIOD_MS * SITE_MS, first_ns = running_site();
    int64_t point_ns = cycle(first_ns, period_ns / 2);
    CHECK_EQ(point_ns, first_ns + period_ns);
    point_ns = cycle(point_ns, 3 * period_ns + 1); /* over by three points and a bit */
    CHECK_EQ(point_ns, first_ns + 5 * period_ns);
    cycle(point_ns, 0);
    CHECK_EQ(snapshot()->stats.missed, 3);
    CHECK_EQ(snapshot()->stats.overruns, 1);
    CHECK_EQ(b.told_w[0], 11000); /* one overrun: ages grow, nothing else */
    bench_close(&b);
}

static void a_cycle_that_ends_on_the_next_point_is_an_overrun(void) {
    const int64_t period_ns = SITE_PERIOD_MS * SITE_MS, first_ns = running_site();
    CHECK_EQ(cycle(first_ns, period_ns), first_ns + 2 * period_ns);
    CHECK_EQ(cycle(first_ns + 2 * period_ns, period_ns - 1), first_ns + 3 * period_ns);
    CHECK_EQ(snapshot()->stats.overruns, 1);
    bench_close(&b);
}

static void three_overruns_in_a_row_are_a_fallback_and_an_event_until_the_cycle_is_on_time_again(void) {
    const int64_t period_ns = SITE_PERIOD_MS * SITE_MS;
    int64_t point_ns = running_site();
    for (int i = 0; i < V2G_OVERRUNS_LATE; i++)
        point_ns = cycle(point_ns, period_ns + 1);
    CHECK_EQ(b.told_w[0], 11000);
    point_ns = cycle(point_ns, 0);
    CHECK((snapshot()->image.health & V2G_HEALTH_ON_TIME) == 0);
    CHECK(b.told_w[0] < 11000);
    struct v2g_event event;
    uint32_t late = 0;
    while (v2g_events_read(b.arena, &event, 1) == 1)
        late += event.kind == V2G_EVENT_LATE;
    CHECK_EQ(late, 1);
    for (int i = 0; i < V2G_ON_TIME_AGAIN; i++)
        point_ns = cycle(point_ns, 0);
    cycle(point_ns, 0);
    CHECK((snapshot()->image.health & V2G_HEALTH_ON_TIME) != 0);
    bench_close(&b);
}

static void overruns_with_a_good_cycle_between_them_are_no_fallback(void) {
    int64_t point_ns = running_site();
    for (int i = 0; i < 10 * V2G_OVERRUNS_LATE; i++)
        point_ns = cycle(point_ns, i % V2G_OVERRUNS_LATE == 0 ? 0 : SITE_PERIOD_MS * SITE_MS);
    cycle(point_ns, 0);
    CHECK((snapshot()->image.health & V2G_HEALTH_ON_TIME) != 0);
    bench_close(&b);
}

CHECK_MAIN(CASE(no_signal_reaches_the_thread_and_its_timers_are_not_gathered), CASE(a_child_does_not_inherit_the_priority),
           CASE(a_late_cycle_skips_to_the_grid_and_keeps_its_phase), CASE(a_cycle_that_ends_on_the_next_point_is_an_overrun),
           CASE(three_overruns_in_a_row_are_a_fallback_and_an_event_until_the_cycle_is_on_time_again),
           CASE(overruns_with_a_good_cycle_between_them_are_no_fallback))
