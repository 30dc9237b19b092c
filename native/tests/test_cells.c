/* EVSEs whose values come out of cells: what their codes, flags and read-back registers mean in the image. Time is the test's own. */
#include "check.h"

#include "../core/cycle.h"
#include "bench_site.h"

enum { STATE = 100, BITS, POWER, FALLBACK, TIMEOUT };

static struct bench_site b;

static struct v2g_input input(uint16_t cell, uint8_t field, uint8_t use) {
    return (struct v2g_input){.cell = cell, .kind = V2G_INPUT_EVSE, .field = field, .use = use, .mul = 1, .codes = 3};
}

/* One EVSE: codes 10, 20, 21 are states A, C, C; its fallback must be 0, its time-out 1…2000. */
static void modbus_cells(struct v2g_cell_config *cells) {
    static const struct v2g_code codes[3] = {{.raw = 10, .state = V2G_STATE_A},
                                             {.raw = 20, .state = V2G_STATE_C, .flags = V2G_FLAG_EV_PRESENT},
                                             {.raw = 21, .state = V2G_STATE_C, .flags = V2G_FLAG_EV_PRESENT}};
    memset(cells, 0, sizeof *cells);
    memcpy(cells->code, codes, sizeof codes);
    cells->codes = 3;
    cells->input[0] = input(STATE, V2G_F_STATE, V2G_USE_CODE);
    cells->input[1] = input(POWER, V2G_F_POWER, V2G_USE_VALUE);
    cells->input[2] = input(POWER, V2G_F_P_L1, V2G_USE_MAGNITUDE);
    cells->input[3] = input(STATE, V2G_F_FLAGS, V2G_USE_CODE);
    cells->input[4] = input(BITS, V2G_F_FLAGS, V2G_USE_BITS);
    cells->input[4].mul = V2G_FLAG_FAULT;
    cells->input[5] = input(FALLBACK, V2G_F_FLAGS, V2G_USE_EXPECTED);
    cells->input[5].mul = V2G_FLAG_SILENCE_UNKNOWN;
    cells->input[6] = input(TIMEOUT, V2G_F_FLAGS, V2G_USE_EXPECTED);
    cells->input[6].mul = V2G_FLAG_SILENCE_UNKNOWN;
    cells->input[6].minimum = 1;
    cells->input[6].maximum = 2000;
    cells->inputs = 7;
}

static void open_site(void) {
    CHECK_EQ(bench_open(&b, 1), 0);
    b.site.link_up = false; /* nothing on the CAN bus */
    struct v2g_commit *commit = v2g_commit_back(b.arena);
    *commit = b.cycle->active.commit;
    commit->config.epoch++;
    v2g_config_seal(&commit->config);
    modbus_cells(&commit->cell);
    v2g_commit_publish(b.arena);
    b.site.config.epoch = commit->config.epoch;
    bench_step(&b);
    CHECK_EQ(b.cycle->live.config_epoch, b.site.config.epoch);
}

static void tell(uint32_t cell, int64_t value) {
    v2g_cell_write(&b.arena->cell[cell], value, b.site.now_ns);
}

static const struct v2g_evse_in *seen(void) {
    bench_step(&b);
    return &b.cycle->live.image.evse[0];
}

static bool known(const struct v2g_evse_in *in, enum v2g_field field) {
    return (in->valid >> field & 1U) != 0;
}

static void a_code_of_the_device_becomes_state_and_flags(void) {
    open_site();
    tell(STATE, 21);
    tell(BITS, 1);
    const int64_t told_ns = b.site.now_ns;
    const struct v2g_evse_in *in = seen();
    CHECK(known(in, V2G_F_STATE) && known(in, V2G_F_FLAGS));
    CHECK_EQ(in->value[V2G_F_STATE], V2G_STATE_C);
    CHECK_EQ(in->value[V2G_F_FLAGS], V2G_FLAG_EV_PRESENT | V2G_FLAG_FAULT | V2G_FLAG_SILENCE_UNKNOWN);
    CHECK_EQ(in->acquired_ns[V2G_F_FLAGS], told_ns);
    tell(BITS, 0);
    in = seen();
    CHECK_EQ(in->value[V2G_F_FLAGS] & V2G_FLAG_FAULT, 0);
    CHECK_EQ(in->acquired_ns[V2G_F_FLAGS], told_ns); /* as old as the oldest of its parts */
    bench_close(&b);
}

/* An engine on another core writes while the cycle already runs. */
static void what_arrives_while_the_cycle_runs_belongs_to_the_next_one(void) {
    open_site();
    tell(STATE, 20);
    tell(BITS, 0);
    tell(POWER, 7000);
    const struct v2g_evse_in *in = seen();
    const int64_t first_ns = in->acquired_ns[V2G_F_POWER];
    const int64_t later_ns = b.site.now_ns + SITE_PERIOD_MS * SITE_MS + 1; /* 1 ns after the next cycle begins */
    v2g_cell_write(&b.arena->cell[STATE], 10, later_ns);
    v2g_cell_write(&b.arena->cell[BITS], 1, later_ns);
    v2g_cell_write(&b.arena->cell[POWER], 3000, later_ns);
    in = seen();
    CHECK_EQ(b.cycle->live.now_ns, later_ns - 1);
    CHECK_EQ(in->value[V2G_F_STATE], V2G_STATE_C);
    CHECK_EQ(in->value[V2G_F_POWER], 7000);
    CHECK_EQ(in->value[V2G_F_FLAGS] & V2G_FLAG_FAULT, 0);
    CHECK(known(in, V2G_F_STATE) && known(in, V2G_F_POWER) && known(in, V2G_F_FLAGS));
    CHECK_EQ(in->acquired_ns[V2G_F_POWER], first_ns);
    in = seen();
    CHECK_EQ(in->value[V2G_F_STATE], V2G_STATE_A);
    CHECK_EQ(in->value[V2G_F_POWER], 3000);
    CHECK(in->value[V2G_F_FLAGS] & V2G_FLAG_FAULT);
    CHECK_EQ(in->acquired_ns[V2G_F_POWER], later_ns);
    bench_close(&b);
}

static void a_code_that_nobody_knows_is_no_value(void) {
    open_site();
    tell(STATE, 20);
    tell(BITS, 0);
    CHECK(known(seen(), V2G_F_STATE));
    tell(STATE, 99);
    CHECK(!known(seen(), V2G_F_STATE));
    CHECK(!known(seen(), V2G_F_FLAGS));
    bench_close(&b);
}

static void flags_are_not_known_before_each_part_has_come(void) {
    open_site();
    tell(STATE, 20);
    CHECK(!known(seen(), V2G_F_FLAGS));
    tell(BITS, 0);
    CHECK(known(seen(), V2G_F_FLAGS));
    bench_close(&b);
}

static void a_phase_carries_a_magnitude(void) {
    open_site();
    tell(POWER, -7000);
    CHECK_EQ(seen()->value[V2G_F_POWER], -7000);
    CHECK_EQ(seen()->value[V2G_F_P_L1], 7000);
    bench_close(&b);
}

static void silence_is_known_only_while_both_registers_hold_what_is_wanted(void) {
    open_site();
    tell(STATE, 20);
    tell(BITS, 0);
    CHECK(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN);
    tell(FALLBACK, 0);
    CHECK(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN);
    tell(TIMEOUT, 2000);
    CHECK_EQ(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN, 0);
    tell(TIMEOUT, 2001);
    CHECK(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN);
    tell(TIMEOUT, 1000);
    tell(FALLBACK, 6000);
    CHECK(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN);
    tell(FALLBACK, 0);
    CHECK_EQ(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN, 0);
    v2g_cell_mark(&b.arena->cell[FALLBACK], V2G_QUALITY_STALE_DEVICE); /* silent: what it said before holds */
    CHECK_EQ(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN, 0);
    v2g_cell_mark(&b.arena->cell[FALLBACK], V2G_QUALITY_EXCEPTION); /* refused: nobody knows */
    CHECK(seen()->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN);
    bench_close(&b);
}

static uint32_t refused(uint32_t at, struct v2g_input changed) {
    static struct v2g_cell_config cells;
    modbus_cells(&cells);
    cells.input[at] = changed;
    return v2g_cell_check(&cells, &b.site.config);
}

static void inputs_that_make_no_sense_are_refused(void) {
    open_site();
    const struct v2g_input good = input(STATE, V2G_F_STATE, V2G_USE_CODE);
    CHECK_EQ(refused(0, good), 0);
    struct v2g_input bad[8] = {good, good, good, good, good, good, good, good};
    bad[0].codes = 0;
    bad[1].codes = V2G_MAX_CODES_EACH + 1;
    bad[2].code = 1; /* its last code is beyond the table */
    bad[3].field = V2G_F_POWER;
    bad[4].kind = V2G_INPUT_METER;
    bad[5].use = V2G_USE_BITS; /* only flags are bits */
    bad[6].use = V2G_INPUT_USES;
    bad[7] = input(POWER, V2G_F_FLAGS, V2G_USE_VALUE); /* flags have no value of their own */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(refused(0, bad[i]), V2G_CELL_FAULT_INPUT + 1);
    static struct v2g_cell_config cells;
    modbus_cells(&cells);
    cells.code[2].state = V2G_STATE_TRANSFER + 1;
    CHECK_EQ(v2g_cell_check(&cells, &b.site.config), V2G_CELL_FAULT_CODE + 3);
    bench_close(&b);
}

CHECK_MAIN(CASE(a_code_of_the_device_becomes_state_and_flags), CASE(what_arrives_while_the_cycle_runs_belongs_to_the_next_one),
           CASE(a_code_that_nobody_knows_is_no_value), CASE(flags_are_not_known_before_each_part_has_come),
           CASE(a_phase_carries_a_magnitude), CASE(silence_is_known_only_while_both_registers_hold_what_is_wanted),
           CASE(inputs_that_make_no_sense_are_refused))
