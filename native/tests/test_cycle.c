/* The whole cycle on a bus: frames in, frames out, commits, plans, events. Time is the test's own. */
#include "check.h"

#include <linux/can/error.h>
#include <time.h>

#include "bench_site.h"

static struct bench_site b;
static struct v2g_snapshot seen;

static void open_site(uint32_t evses) {
    CHECK_EQ(bench_open(&b, evses), 0);
}

static const struct v2g_snapshot *snapshot(void) {
    CHECK_EQ(v2g_snapshot_read(b.arena, &seen), 0);
    return &seen;
}

/* The newest event of this kind, or the test fails. */
static struct v2g_event event_of(enum v2g_event_kind kind) {
    struct v2g_event event, found = {0};
    while (v2g_events_read(b.arena, &event, 1) == 1)
        if (event.kind == kind)
            found = event;
    CHECK_EQ(found.kind, kind);
    return found;
}

static void a_simulated_evse_charges(void) {
    open_site(1);
    site_wish(&b.site, 11000);
    bench_run(&b, 700);
    CHECK_EQ(b.told_w[0], 11000);
    CHECK_EQ(b.mode[0], V2G_MODE_BIDIRECTIONAL);
    CHECK_EQ(snapshot()->image.evse[0].value[V2G_F_POWER], 11000);
    CHECK_EQ(snapshot()->bus[0].bad_crc + snapshot()->bus[0].bad_counter, 0);
    bench_close(&b);
}

static void discharge_stops_in_the_cycle_in_which_the_floor_is_reached(void) {
    open_site(1);
    site_wish(&b.site, -11000);
    bench_run(&b, 700);
    CHECK_EQ(b.told_w[0], -11000);
    b.site.image.evse[0].value[V2G_F_SOC] = 3100; /* floor 30 % + margin 1 % */
    bench_step(&b);
    CHECK_EQ(b.told_w[0], 0);
    CHECK_EQ(snapshot()->set.evse[0].reason_min, V2G_ERR_V2G_LIMIT_REACHED);
    CHECK_EQ(event_of(V2G_EVENT_REASON).value[1], V2G_ERR_V2G_LIMIT_REACHED);
    CHECK(atomic_load(&b.arena->histogram[V2G_HIST_REACTION].count) > 0);
    bench_close(&b);
}

static void the_frame_that_tightens_goes_first(void) {
    open_site(8);
    site_wish(&b.site, 5000);
    bench_run(&b, 700);
    CHECK_EQ(b.commands, 8);
    b.site.image.evse[5].value[V2G_F_T_CONNECTOR] = 900;
    bench_step(&b);
    CHECK_EQ(b.first_id, 0x205);
    CHECK_EQ(b.told_w[5], 0);
    CHECK_EQ(b.told_w[4], 5000);
    bench_close(&b);
}

static void a_silent_evse_is_told_to_stop(void) {
    open_site(1);
    site_wish(&b.site, 11000);
    bench_run(&b, 700);
    b.site.link_up = false;
    bench_run(&b, 8); /* age limit 60 ms */
    CHECK(b.told_w[0] < 11000);
    CHECK_EQ(snapshot()->set.evse[0].reason_max, V2G_EVSE_LOST);
    CHECK_EQ(b.commands, 1); /* and it is told so on and on */
    bench_close(&b);
}

static void a_frame_with_a_wrong_crc_or_a_stuck_counter_renews_nothing(void) {
    open_site(1);
    bench_run(&b, 10);
    const int64_t before_ns = snapshot()->image.evse[0].acquired_ns[V2G_F_SOC];
    struct can_frame frame = {.can_id = 0x300, .len = 8, .data = {0, 0x60}};
    CHECK_EQ(send(b.far, &frame, sizeof frame, 0), sizeof frame);
    frame.data[1] = (uint8_t)(0x60U | ((b.counter + 14) % 15)); /* the counter of the last frame again */
    frame.data[0] = v2g_can_crc(0x300, frame.data, 8);
    CHECK_EQ(send(b.far, &frame, sizeof frame, 0), sizeof frame);
    v2g_cycle_step(b.cycle, b.site.now_ns + 5 * SITE_MS, 0);
    CHECK_EQ(snapshot()->image.evse[0].acquired_ns[V2G_F_SOC], before_ns);
    CHECK_EQ(snapshot()->bus[0].bad_crc, 1);
    CHECK_EQ(snapshot()->bus[0].bad_counter, 1);
    bench_close(&b);
}

static void a_commit_keeps_sessions_by_evse(void) {
    open_site(2);
    site_wish(&b.site, 11000);
    bench_run(&b, 700);
    /* The same two EVSEs in the other order, with a raised floor, under way. */
    const struct v2g_evse_config first = b.site.config.evse[0];
    b.site.config.evse[0] = b.site.config.evse[1];
    b.site.config.evse[1] = first;
    b.site.config.evse[1].soc_floor = 4000;
    b.site.config.epoch++;
    b.site.plan.epoch++;
    bench_commit(&b);
    bench_step(&b);
    CHECK_EQ(snapshot()->config_epoch, 2);
    CHECK_EQ(snapshot()->stats.commits, 2);
    CHECK_EQ(b.told_w[0], 11000); /* nobody dropped to 0 on the way */
    CHECK_EQ(b.told_w[1], 11000);
    CHECK_EQ(event_of(V2G_EVENT_COMMIT).value[0], 2);
    bench_close(&b);
}

static void a_bad_commit_changes_nothing(void) {
    open_site(1);
    site_wish(&b.site, 11000);
    bench_run(&b, 700);
    b.site.config.epoch++;
    b.site.config.evse[0].feeder = 9;
    bench_commit(&b);
    b.site.config.evse[0].feeder = 0;
    b.site.config.epoch--;
    bench_step(&b);
    CHECK_EQ(snapshot()->config_epoch, 1);
    CHECK_EQ(b.told_w[0], 11000);
    const struct v2g_event event = event_of(V2G_EVENT_COMMIT_REFUSED);
    CHECK_EQ(event.value[0], V2G_REFUSED_CONFIG);
    CHECK_EQ(event.value[1], (uint32_t)V2G_FAULT_EVSE_FEEDER << 16);
    bench_close(&b);
}

static void a_damaged_commit_or_plan_is_refused(void) {
    open_site(1);
    site_wish(&b.site, 11000);
    bench_run(&b, 700);
    b.site.config.epoch++;
    bench_commit(&b);
    b.site.config.epoch--;
    b.arena->commit[atomic_load(&b.arena->commit_index.middle) & 3U].commit.config.evse[0].soc_floor ^= 1;
    b.site.python_up = false;
    *v2g_plan_back(b.arena) = (struct v2g_plan_message){.plan = b.site.plan};
    v2g_plan_publish(b.arena);
    b.arena->plan[atomic_load(&b.arena->plan_index.middle) & 3U].message.plan.evse[0].max_w ^= 1;
    bench_step(&b);
    CHECK_EQ(snapshot()->stats.commits_refused, 1);
    CHECK_EQ(snapshot()->stats.plans_refused, 1);
    CHECK_EQ(b.told_w[0], 11000);
    CHECK_EQ(event_of(V2G_EVENT_PLAN_REFUSED).value[0], V2G_REFUSED_CRC);
    bench_close(&b);
}

static void a_plan_of_another_config_is_not_adopted(void) {
    open_site(1);
    bench_run(&b, 10);
    const uint32_t epoch = snapshot()->plan.epoch;
    b.site.python_up = false;
    struct v2g_plan_message *message = v2g_plan_back(b.arena);
    message->plan = b.site.plan;
    message->plan.epoch++;
    message->plan.config_epoch = 5;
    v2g_plan_publish(b.arena);
    bench_step(&b);
    CHECK_EQ(snapshot()->plan.epoch, epoch);
    bench_close(&b);
}

static void without_the_guard_that_the_config_requires_nothing_flows(void) {
    open_site(1);
    b.site.config.option = V2G_CONFIG_GUARD_REQUIRED;
    b.site.config.epoch++;
    bench_commit(&b);
    site_wish(&b.site, 11000);
    bench_run(&b, 700);
    CHECK_EQ(b.told_w[0], 0);
    CHECK_EQ(snapshot()->set.evse[0].reason_max, V2G_GUARD_LOST);
    atomic_store(&b.arena->guard.timeout_ns, 100 * SITE_MS);
    atomic_store(&b.arena->guard.config_epoch, b.site.config.epoch);
    for (int i = 0; i < 700; i++) {
        atomic_store(&b.arena->guard.seen_ns, b.site.now_ns);
        bench_step(&b);
    }
    CHECK_EQ(b.told_w[0], 11000);
    const int64_t next_ns = b.site.now_ns + SITE_PERIOD_MS * SITE_MS;
    atomic_store(&b.arena->guard.seen_ns, next_ns + 1); /* the guard looks while the cycle already runs: it is alive */
    bench_step(&b);
    CHECK_EQ(b.told_w[0], 11000);
    atomic_store(&b.arena->guard.seen_ns, next_ns + 200 * SITE_MS); /* no guard can have looked there */
    bench_step(&b);
    CHECK_EQ(b.told_w[0], 0);
    bench_close(&b);
}

static void the_heartbeat_counts_cycles_whose_frames_went_out(void) {
    open_site(1);
    bench_run(&b, 25);
    CHECK_EQ(atomic_load(&b.arena->heartbeat.beats), 25);
    bench_close(&b);
}

static void nothing_is_put_behind_setpoints_that_still_wait(void) {
    open_site(2);
    bench_run(&b, 5);
    const uint64_t sent = snapshot()->bus[0].sent;
    for (int i = 0; i < 50; i++) /* nobody reads: the bus takes nothing off the queue */
        v2g_cycle_step(b.cycle, b.site.now_ns += SITE_PERIOD_MS * SITE_MS, 0);
    CHECK_EQ(snapshot()->bus[0].sent, sent + 2);
    CHECK_EQ(snapshot()->bus[0].unsent, 2 * 49);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_BLOCKED);
    CHECK_EQ(event_of(V2G_EVENT_BUS).value[1], V2G_BUS_BLOCKED);
    bench_read_commands(&b);
    CHECK_EQ(b.commands, 2);
    v2g_cycle_step(b.cycle, b.site.now_ns += SITE_PERIOD_MS * SITE_MS, 0);
    bench_read_commands(&b);
    CHECK_EQ(b.commands, 2); /* the newest, at once */
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_UP);
    bench_close(&b);
}

static void send_error(uint32_t class, uint8_t controller) {
    const struct can_frame frame = {.can_id = CAN_ERR_FLAG | class, .len = CAN_ERR_DLC, .data = {0, controller}};
    CHECK_EQ(send(b.far, &frame, sizeof frame, 0), sizeof frame);
}

static void a_controller_that_is_off_is_handed_nothing_until_it_has_restarted(void) {
    open_site(1);
    bench_run(&b, 5);
    send_error(CAN_ERR_CRTL, CAN_ERR_CRTL_TX_WARNING);
    bench_step(&b);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_WARNING);
    send_error(CAN_ERR_CRTL, CAN_ERR_CRTL_TX_PASSIVE);
    bench_step(&b);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_PASSIVE);
    CHECK_EQ(b.commands, 1);
    b.site.link_up = false;
    send_error(CAN_ERR_BUSOFF, 0);
    bench_run(&b, 30);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_OFF);
    CHECK_EQ(b.commands, 0);
    CHECK_EQ(snapshot()->set.evse[0].reason_max, V2G_EVSE_LOST);
    send_error(CAN_ERR_RESTARTED, 0);
    bench_step(&b);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_UP);
    CHECK_EQ(b.commands, 1);
    CHECK_EQ(b.told_w[0], 0); /* fresh: it is told to stop, not what it was told before */
    send_error(CAN_ERR_BUSOFF, 0);
    bench_run(&b, 2);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_OFF);
    b.site.link_up = true; /* the restart was not announced, but it hears */
    bench_run(&b, 2);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_UP);
    bench_close(&b);
}

static void a_bus_that_went_away_is_down_until_it_takes_frames_again(void) {
    open_site(1);
    bench_run(&b, 5);
    close(b.far);
    v2g_cycle_step(b.cycle, b.site.now_ns += SITE_PERIOD_MS * SITE_MS, 0);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_DOWN);
    CHECK_EQ(event_of(V2G_EVENT_BUS).value[1], V2G_BUS_DOWN);
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    CHECK_EQ(dup2(pair[0], b.near), b.near);
    close(pair[0]);
    b.far = pair[1];
    v2g_cycle_step(b.cycle, b.site.now_ns += SITE_PERIOD_MS * SITE_MS, 0);
    CHECK_EQ(snapshot()->bus[0].state, V2G_BUS_UP);
    bench_close(&b);
}

static void evses_that_follow_the_site_share_its_wish_equally(void) {
    open_site(4);
    site_wish(&b.site, 0);
    for (int i = 0; i < 3; i++)
        b.site.plan.evse[i].flag = V2G_PLAN_SITE_TARGET;
    b.site.plan.evse[3].target_w = 4000;
    b.site.base_w = 5000;
    b.wish = (struct v2g_site_plan){.target_w = 27000, .present = 1};
    bench_run(&b, 1500);
    for (int i = 0; i < 3; i++) /* (27000 - 5000 - 4000) / 3 */
        CHECK(b.told_w[i] > 5900 && b.told_w[i] < 6100);
    bench_close(&b);
}

static void the_thread_keeps_the_grid_and_says_what_it_was_granted(void) {
    open_site(1);
    const struct v2g_rt_request request = {.thread = {.policy = 0, .priority = 0, .cpu = -1}};
    struct v2g_rt_report report;
    CHECK_EQ(v2g_cycle_start(b.cycle, &request, &report), 0);
    CHECK_EQ(report.policy, 0);
    CHECK_EQ(report.memory_locked, 0);
    CHECK(report.stack_bytes > 0);
    const struct timespec pause = {.tv_nsec = 200000000};
    nanosleep(&pause, NULL);
    v2g_cycle_stop(b.cycle);
    CHECK(snapshot()->stats.cycles > 0);
    CHECK_EQ(atomic_load(&b.arena->histogram[V2G_HIST_LATENESS].count), atomic_load(&b.arena->heartbeat.beats));
    CHECK_EQ(event_of(V2G_EVENT_STOP).kind, V2G_EVENT_STOP);
    bench_close(&b);
}

CHECK_MAIN(CASE(a_simulated_evse_charges), CASE(discharge_stops_in_the_cycle_in_which_the_floor_is_reached),
           CASE(the_frame_that_tightens_goes_first), CASE(a_silent_evse_is_told_to_stop),
           CASE(a_frame_with_a_wrong_crc_or_a_stuck_counter_renews_nothing), CASE(a_commit_keeps_sessions_by_evse),
           CASE(a_bad_commit_changes_nothing), CASE(a_damaged_commit_or_plan_is_refused),
           CASE(a_plan_of_another_config_is_not_adopted), CASE(without_the_guard_that_the_config_requires_nothing_flows),
           CASE(the_heartbeat_counts_cycles_whose_frames_went_out), CASE(nothing_is_put_behind_setpoints_that_still_wait),
           CASE(a_controller_that_is_off_is_handed_nothing_until_it_has_restarted),
           CASE(a_bus_that_went_away_is_down_until_it_takes_frames_again),
           CASE(evses_that_follow_the_site_share_its_wish_equally),
           CASE(the_thread_keeps_the_grid_and_says_what_it_was_granted))
