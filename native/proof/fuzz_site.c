/* Bytes become a site, its grid's rules, plans, wishes, inputs and times; every cycle of site control is judged by site_judge.h. */
#include "site_judge.h"

#include <stdlib.h>

struct bytes {
    const uint8_t *at;
    size_t left;
};

static uint32_t next(struct bytes *b, size_t count) {
    uint32_t value = 0;
    for (; count > 0 && b->left > 0; count--, b->left--) {
        value = value << 8 | *b->at++;
    }
    return value;
}

static int32_t power(struct bytes *b) {
    return (int32_t)(next(b, 4) % (2u * V2G_POWER_MAX_W + 1u)) - V2G_POWER_MAX_W;
}

/* One thing after the other that the fuzzer wants to be so: what an EVSE or a meter tells, what the plan or the site wishes. */
static void wish(struct bytes *b, struct run *r) {
    uint32_t what = next(b, 1), index = next(b, 1), field = next(b, 1);
    struct v2g_evse_plan *plan = &r->plan.evse[index % r->config.evses];
    if (what < 80) {
        struct v2g_evse_in *in = &r->image.evse[index % r->config.evses];
        field %= V2G_FIELDS;
        in->value[field] = (int32_t)next(b, 4);
        in->acquired_ns[field] = r->now_ns - (int64_t)(int8_t)next(b, 1) * 5000000;
        in->valid = what < 8 ? in->valid & ~(1u << field) : in->valid | 1u << field;
    } else if (what < 160) {
        struct v2g_meter_in *in = &r->image.meter[index % r->config.meters];
        field %= V2G_METER_FIELDS;
        in->value[field] = field == V2G_M_FREQUENCY ? (int32_t)next(b, 2) : (int32_t)next(b, 4);
        in->acquired_ns[field] = in->changed_ns[field] = r->now_ns - (int64_t)(int8_t)next(b, 1) * 5000000;
        in->valid = what < 88 ? in->valid & ~(1u << field) : in->valid | 1u << field;
    } else if (what < 190) {
        plan->target_w = power(b);
        plan->flag ^= field & V2G_PLAN_SITE_TARGET;
    } else if (what < 210) {
        plan->weight_charge = (uint16_t)next(b, 2);
        plan->weight_discharge = (uint16_t)next(b, 2);
    } else if (what < 240) {
        r->wish.target_w = power(b);
        r->wish.present = field & 1u;
        r->wish.damp_q32 = (field & 2u) != 0 ? next(b, 4) : 0;
    } else {
        r->image.health = field;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct run r;
    struct bytes b = {data, size};
    uint32_t seed = next(&b, 4);
    struct adversary a = {seed * UINT64_C(0x9E3779B97F4A7C15) + 1, (seed & 1) != 0};
    memset(&r, 0, sizeof r);
    if (!open_run(&r, &a, 1 + next(&b, 1) % 6)) {
        abort();
    }
    while (b.left > 0) {
        uint32_t what = next(&b, 1);
        r.now_ns += what < 250 ? r.config.period_ns : (int64_t)next(&b, 2) * 1000000;
        if (what % 8 == 0) {
            say(&a, &r);
        }
        if (what % 4 != 3) {
            adversary_image(&a, &r.config, &r.out, &r.image, r.now_ns);
            some_frequency(&a, &r);
        }
        for (uint32_t i = 0; i < what % 5; i++) {
            wish(&b, &r);
        }
        if (judged_cycle(&r, &a) != 0) {
            abort();
        }
    }
    return 0;
}
