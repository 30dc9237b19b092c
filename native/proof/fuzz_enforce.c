/* Bytes become a site, plans, inputs and times; every step of the real core is judged by properties.h. */
#include "properties.h"

#include "adversary.h"

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

struct run {
    struct v2g_config config;
    struct v2g_plan plan;
    struct v2g_image image;
    struct v2g_state before, state;
    struct v2g_setpoints out;
};

/* One thing after the other that the fuzzer wants to be so: any value of any field of any EVSE or meter, lost, old or from the future. */
static void input(struct bytes *b, struct run *r, int64_t now_ns) {
    uint32_t what = next(b, 1), index = next(b, 1), field = next(b, 1);
    int32_t value = (int32_t)next(b, 4);
    int64_t stamp_ns = now_ns - (int64_t)(int8_t)next(b, 1) * 5000000;
    if (what < 160) {
        struct v2g_evse_in *in = &r->image.evse[index % r->config.evses];
        field %= V2G_FIELDS;
        in->value[field] = value;
        in->acquired_ns[field] = stamp_ns;
        in->valid = what < 16 ? in->valid & ~(1u << field) : in->valid | 1u << field;
    } else if (what < 220) {
        struct v2g_meter_in *in = &r->image.meter[index % r->config.meters];
        field %= V2G_METER_FIELDS;
        in->value[field] = value;
        in->acquired_ns[field] = stamp_ns;
        in->changed_ns[field] = stamp_ns;
        in->valid = what < 166 ? in->valid & ~(1u << field) : in->valid | 1u << field;
    } else if (what < 240) {
        r->image.health = field;
        r->image.proposal[index % r->config.evses].target_w = value;
        r->image.proposal[index % r->config.evses].grid_discharge = (uint16_t)(field & 3);
    } else {
        r->image.estimate[index % r->config.evses].predicted[field % V2G_SENSORS] = value;
        r->image.estimate[index % r->config.evses].flag = field;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct run r;
    struct bytes b = {data, size};
    uint32_t seed = next(&b, 4);
    struct adversary a = {seed * UINT64_C(0x9E3779B97F4A7C15) + 1, (seed & 1) != 0};
    memset(&r, 0, sizeof r);
    adversary_config(&a, &r.config, 1 + next(&b, 1) % 6);
    v2g_state_init(&r.state);
    v2g_image_init(&r.image);
    v2g_plan_safe(&r.plan, &r.config);
    int64_t now_ns = 1000000000;
    while (b.left > 0) {
        uint32_t what = next(&b, 1);
        now_ns += what < 250 ? r.config.period_ns : (int64_t)next(&b, 2) * 1000000;
        if (what % 8 == 0) {
            adversary_plan(&a, &r.config, &r.plan, now_ns);
        }
        if (what % 4 != 3) {
            adversary_image(&a, &r.config, &r.out, &r.image, now_ns);
        }
        for (uint32_t i = 0; i < what % 5; i++) {
            input(&b, &r, now_ns);
        }
        if (what % 2 == 0) {
            v2g_estimate(&r.config, &r.state, &r.image, now_ns);
        }
        r.before = r.state;
        v2g_enforce(&r.config, &r.plan, &r.state, &r.image, now_ns, &r.out);
        struct v2g_step s = {&r.config, &r.plan, &r.image, &r.before, &r.state, &r.out, now_ns};
        if (r.out.safe != 0 || v2g_step_violates(&s) != 0) {
            abort();
        }
    }
    return 0;
}
