/* Random runs of the real core against the properties: `random_run SEED EVSE_STEPS`. Prints one JSON line; exit 1 on a violation. */
#include "adversary.h"
#include "properties.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct run {
    struct v2g_config config;
    struct v2g_plan plan;
    struct v2g_image image, other_image;
    struct v2g_state before, state, same_state, other_state;
    struct v2g_setpoints out, same_out, other_out;
    uint64_t steps;  /* EVSE-steps so far */
    uint64_t digest; /* of every answer and all that is remembered: the same for each compiler and processor */
    uint64_t moving; /* of these, with a setpoint other than 0: a run that only says 0 proves nothing */
    uint64_t gentle_steps, gentle_moving; /* the same, where the adversary is gentle */
    int64_t now_ns;
};

/* P3 and P7: from where the core stands now, an input that gets hotter, or is lost, allows no more than the same input that still says
 * what it said last. */
static int compare(struct run *r, struct adversary *a) {
    bool hotter = one_in(a, 2);
    r->other_image = r->image;
    for (uint32_t i = 0; i < r->config.evses; i++) {
        struct v2g_evse_in *in = &r->other_image.evse[i];
        uint32_t sensor = (uint32_t)V2G_F_T_CONNECTOR + any(a) % 4;
        if (hotter && in->value[sensor] >= V2G_TEMP_MIN && in->value[sensor] <= V2G_TEMP_MAX) {
            in->value[sensor] += between(a, 0, 300);
        } else if (!hotter) {
            in->valid &= ~(1u << any(a) % V2G_FIELDS);
        }
    }
    r->same_state = r->state;
    r->other_state = r->state;
    v2g_enforce(&r->config, &r->plan, &r->same_state, &r->image, r->now_ns, &r->same_out);
    v2g_enforce(&r->config, &r->plan, &r->other_state, &r->other_image, r->now_ns, &r->other_out);
    for (uint32_t i = 0; i < r->config.evses; i++) {
        if (!p7_not_looser(&r->same_out, &r->other_out, i)) {
            if (getenv("RANDOM_RUN_VERBOSE") != NULL) {
                fprintf(stderr, "evse %u: %d..%d -> %d..%d (reasons %d, %d) lost bits 0x%x\n", i,
                        r->same_out.evse[i].band_min_w, r->same_out.evse[i].band_max_w, r->other_out.evse[i].band_min_w,
                        r->other_out.evse[i].band_max_w, r->same_out.evse[i].reason_min, r->same_out.evse[i].reason_max,
                        r->image.evse[i].valid ^ r->other_image.evse[i].valid);
            }
            return hotter ? 103 : 7;
        }
    }
    return 0;
}

/* P10: the same step at another time of day, all stamps moved alike, says the same. */
static void move_time(int64_t *stamp_ns, int64_t by_ns) {
    if (*stamp_ns != V2G_NEVER) {
        *stamp_ns += by_ns;
    }
}

static int elsewhen(struct run *r) {
    int64_t by_ns = INT64_C(1) << 60;
    static struct v2g_plan plan;
    plan = r->plan;
    r->other_image = r->image;
    r->other_state = r->before;
    move_time(&plan.made_ns, by_ns);
    move_time(&plan.lease_ns, by_ns);
    for (uint32_t i = 0; i < r->config.evses; i++) {
        struct v2g_evse_state *s = &r->other_state.evse[i];
        move_time(&plan.evse[i].until_ns, by_ns);
        move_time(&s->seen_ns, by_ns);
        move_time(&s->lowered_ns, by_ns);
        move_time(&s->outside_ns, by_ns);
        move_time(&s->plugged_ns, by_ns);
        for (int k = 0; k < V2G_SENSORS; k++) {
            move_time(&s->cool_ns[k], by_ns);
        }
        for (int field = 0; field < V2G_FIELDS; field++) {
            move_time(&r->other_image.evse[i].acquired_ns[field], by_ns);
            move_time(&r->other_image.evse[i].changed_ns[field], by_ns);
        }
    }
    for (uint32_t f = 0; f < r->config.feeders; f++) {
        struct v2g_feeder_state *s = &r->other_state.feeder[f];
        move_time(&plan.feeder[f].until_ns, by_ns);
        move_time(&s->seen_ns, by_ns);
        move_time(&s->sample_ns, by_ns);
        move_time(&s->run_ns, by_ns);
    }
    for (uint32_t m = 0; m < r->config.meters; m++) {
        for (int field = 0; field < V2G_METER_FIELDS; field++) {
            move_time(&r->other_image.meter[m].acquired_ns[field], by_ns);
            move_time(&r->other_image.meter[m].changed_ns[field], by_ns);
        }
    }
    v2g_enforce(&r->config, &plan, &r->other_state, &r->other_image, r->now_ns + by_ns, &r->other_out);
    for (uint32_t i = 0; i < r->config.evses; i++) {
        if (r->out.evse[i].target_w != r->other_out.evse[i].target_w || r->out.evse[i].reason != r->other_out.evse[i].reason) {
            return 10;
        }
    }
    return 0;
}

/* FNV-1a, eight bytes at a time. */
static void digest(struct run *r, const void *data, size_t size) {
    for (size_t i = 0; i + sizeof(uint64_t) <= size; i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, (const char *)data + i, sizeof word);
        r->digest = (r->digest ^ word) * UINT64_C(0x100000001B3);
    }
}

static void digest_step(struct run *r) {
    digest(r, r->out.evse, r->config.evses * sizeof r->out.evse[0]);
    digest(r, r->state.evse, r->config.evses * sizeof r->state.evse[0]);
    digest(r, r->state.estimate, r->config.evses * sizeof r->state.estimate[0]);
    digest(r, r->state.feeder, r->config.feeders * sizeof r->state.feeder[0]);
    digest(r, r->image.estimate, r->config.evses * sizeof r->image.estimate[0]);
}

static int step(struct run *r, struct adversary *a) {
    r->now_ns = adversary_time(a, r->now_ns);
    if (one_in(a, 5)) {
        adversary_plan(a, &r->config, &r->plan, r->now_ns);
        if (v2g_plan_check(&r->plan, &r->config, r->now_ns) != 0) {
            return 99; /* the adversary made a plan that would have been refused */
        }
    }
    adversary_image(a, &r->config, &r->out, &r->image, r->now_ns);
    if (one_in(a, 2)) { /* the real estimate, of wild inputs */
        v2g_estimate(&r->config, &r->state, &r->image, r->now_ns);
    }
    r->before = r->state;
    v2g_enforce(&r->config, &r->plan, &r->state, &r->image, r->now_ns, &r->out);
    digest_step(r);
    if (r->out.safe != 0) {
        return 98; /* the core found an invariant of its own broken */
    }
    struct v2g_step s = {&r->config, &r->plan, &r->image, &r->before, &r->state, &r->out, r->now_ns};
    int violated = v2g_step_violates(&s);
    if (violated == 0 && one_in(a, 4)) {
        violated = compare(r, a);
    }
    if (violated == 0 && one_in(a, 16)) {
        violated = elsewhen(r);
    }
    uint32_t moving = 0;
    for (uint32_t i = 0; i < r->config.evses; i++) {
        moving += r->out.evse[i].target_w != 0;
    }
    r->steps += r->config.evses;
    r->moving += moving;
    r->gentle_steps += a->gentle ? r->config.evses : 0;
    r->gentle_moving += a->gentle ? moving : 0;
    return violated;
}

/* P14: with every input gone, nothing is told to anybody after the link age and two cycles. */
static int silence(struct run *r) {
    int64_t longest_ns = 0;
    for (uint32_t i = 0; i < r->config.evses; i++) {
        longest_ns = p_max(longest_ns, r->config.evse[i].link_age_ns);
        for (int field = 0; field < V2G_FIELDS; field++) {
            r->image.evse[i].acquired_ns[field] = p_min(r->image.evse[i].acquired_ns[field], r->now_ns);
        }
    }
    for (int64_t t = 0; t <= longest_ns + 2 * r->config.period_ns; t += r->config.period_ns) {
        r->now_ns += r->config.period_ns;
        v2g_enforce(&r->config, &r->plan, &r->state, &r->image, r->now_ns, &r->out);
    }
    for (uint32_t i = 0; i < r->config.evses; i++) {
        if (r->out.evse[i].target_w != 0) {
            return 14;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: random_run SEED EVSE_STEPS\n");
        return 64;
    }
    uint64_t seed = strtoull(argv[1], NULL, 0), wanted = strtoull(argv[2], NULL, 0);
    struct adversary a = {.seed = seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
    static struct run r;
    int violated = 0;
    while (r.steps < wanted && violated == 0) {
        a.gentle = !a.gentle; /* every other site */
        uint32_t sizes[] = {1, 1, 2, 3, 8, 16, 64, V2G_MAX_EVSES};
        adversary_config(&a, &r.config, sizes[any(&a) % 8]);
        if (v2g_config_check(&r.config) != 0) {
            fprintf(stderr, "random_run: the adversary made a config that is refused: 0x%x\n", v2g_config_check(&r.config));
            return 2;
        }
        v2g_state_init(&r.state);
        v2g_image_init(&r.image);
        v2g_plan_safe(&r.plan, &r.config);
        memset(&r.out, 0, sizeof r.out);
        r.now_ns = some_ms(&a, 1, 1000000);
        for (int i = 0; i < 1000 && violated == 0; i++) {
            violated = step(&r, &a);
        }
        violated = violated != 0 ? violated : silence(&r);
    }
    printf("{\"seed\": %" PRIu64 ", \"evse_steps\": %" PRIu64 ", \"moving\": %" PRIu64 ", \"gentle_steps\": %" PRIu64
           ", \"gentle_moving\": %" PRIu64 ", \"digest\": \"%016" PRIx64 "\", \"violated\": %d}\n",
           seed, r.steps, r.moving, r.gentle_steps, r.gentle_moving, r.digest, violated);
    return violated != 0;
}