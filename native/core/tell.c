/* Step 9: every change once, as an event; then the snapshot. Whoever wants to know looks there, the cycle serves nobody. */
#include "cycle.h"

enum { REASON_HOLD_NS = 200000000, OVERFLOW_HOLD_NS = 1000000000 };
#define CALM_HOLD_NS INT64_C(10000000000) /* ordinary reasons that take turns are told ever less often, down to this */

void cycle_event(struct v2g_cycle *cycle, int64_t now_ns, enum v2g_event_kind kind, uint32_t index, int64_t a, int64_t b) {
    const struct v2g_event event = {.time_ns = now_ns, .kind = (uint16_t)kind, .index = (uint16_t)index, .value = {a, b}};
    v2g_event_put(&cycle->arena->ring, &event);
}

/* What binds while all is well: a full feeder, a ramp. */
static bool is_ordinary(uint8_t reason) {
    return reason == V2G_REASON_NONE || reason == V2G_RAMP || reason == V2G_DEVICE_MINIMUM ||
           (reason >= V2G_FEEDER_LIMIT && reason <= V2G_PLAN_LIMIT);
}

/* How long the next change of reason waits: not at all to speak of, unless ordinary reasons keep taking turns. */
static int64_t next_hold_ns(const struct told_evse *told, uint8_t reason, int64_t now_ns) {
    if (!is_ordinary(reason) || !is_ordinary(told->reason) || now_ns - told->told_ns > 2 * told->hold_ns)
        return REASON_HOLD_NS;
    return told->hold_ns < CALM_HOLD_NS / 2 ? 2 * told->hold_ns : CALM_HOLD_NS;
}

static void tell_evse(struct v2g_cycle *cycle, int64_t now_ns, uint32_t index) {
    const struct v2g_setpoint *s = &cycle->live.set.evse[index];
    const uint32_t latch = cycle->live.state.evse[index].latch;
    struct told_evse *told = &cycle->told.evse[index];
    if (latch != told->latch) {
        cycle_event(cycle, now_ns, V2G_EVENT_LATCH, index, told->latch, latch);
        told->latch = latch;
    }
    const int64_t hold_ns = is_ordinary(s->reason) ? told->hold_ns : REASON_HOLD_NS;
    if (s->reason == told->reason || now_ns - told->told_ns < hold_ns)
        return;
    told->hold_ns = next_hold_ns(told, s->reason, now_ns);
    const struct v2g_event event = {.time_ns = now_ns,
                                    .kind = V2G_EVENT_REASON,
                                    .index = (uint16_t)index,
                                    .value = {told->reason, s->reason, s->reason_min, s->reason_max, s->target_w,
                                              cycle->live.image.evse[index].value[V2G_F_POWER]}};
    v2g_event_put(&cycle->arena->ring, &event);
    told->reason = s->reason;
    told->told_ns = now_ns;
}

static void tell_feeder(struct v2g_cycle *cycle, int64_t now_ns, uint32_t index) {
    const bool lost = cycle->live.state.feeder[index].lost != 0;
    if (lost != cycle->told.feeder_lost[index])
        cycle_event(cycle, now_ns, lost ? V2G_EVENT_FEEDER_LOST : V2G_EVENT_FEEDER_BACK, index, 0, 0);
    cycle->told.feeder_lost[index] = lost;
}

static void tell_grid(struct v2g_cycle *cycle, int64_t now_ns) {
    const struct v2g_site_view *site = &cycle->live.site;
    struct told *told = &cycle->told;
    if (site->service == told->grid_service && site->reason == told->grid_reason)
        return;
    const struct v2g_event event = {
        .time_ns = now_ns,
        .kind = V2G_EVENT_GRID,
        .value = {told->grid_service, site->service, site->reason, site->frequency_mhz, site->low_dv, site->high_dv}};
    v2g_event_put(&cycle->arena->ring, &event);
    told->grid_service = site->service;
    told->grid_reason = site->reason;
}

static void tell_bus(struct v2g_cycle *cycle, int64_t now_ns, uint32_t index) {
    const struct v2g_bus_stats *bus = &cycle->live.bus[index];
    struct told *told = &cycle->told;
    if (bus->state != told->bus_state[index])
        cycle_event(cycle, now_ns, V2G_EVENT_BUS, index, told->bus_state[index], bus->state);
    told->bus_state[index] = bus->state;
    if (bus->overflow == told->overflow[index] || now_ns - told->overflow_ns[index] < OVERFLOW_HOLD_NS)
        return;
    cycle_event(cycle, now_ns, V2G_EVENT_OVERFLOW, index, (int64_t)bus->overflow, 0);
    told->overflow[index] = bus->overflow;
    told->overflow_ns[index] = now_ns;
}

static void tell_health(struct v2g_cycle *cycle, int64_t now_ns) {
    const uint32_t is = cycle->live.image.health, changed = is ^ cycle->told.health;
    if (changed & V2G_HEALTH_GUARD)
        cycle_event(cycle, now_ns, V2G_EVENT_GUARD, 0, (is & V2G_HEALTH_GUARD) != 0, 0);
    if (cycle->live.stats.cycles > 1 && (changed & V2G_HEALTH_ON_TIME))
        cycle_event(cycle, now_ns, (is & V2G_HEALTH_ON_TIME) ? V2G_EVENT_ON_TIME : V2G_EVENT_LATE, 0,
                    (int64_t)cycle->live.stats.overruns, 0);
    cycle->told.health = is;
    if (cycle->live.state.damaged && !cycle->told.damaged)
        cycle_event(cycle, now_ns, V2G_EVENT_DAMAGED, 0, 0, 0);
    cycle->told.damaged = cycle->live.state.damaged;
}

void cycle_tell(struct v2g_cycle *cycle, int64_t now_ns) {
    tell_health(cycle, now_ns);
    tell_grid(cycle, now_ns);
    for (uint32_t i = 0; i < cycle->live.buses; i++)
        tell_bus(cycle, now_ns, i);
    for (uint32_t i = 0; i < cycle->live.feeders; i++)
        tell_feeder(cycle, now_ns, i);
    for (uint32_t i = 0; i < cycle->live.evses; i++)
        tell_evse(cycle, now_ns, i);
    if (cycle->publish_in > 1) {
        cycle->publish_in--;
        return;
    }
    cycle->live.stats.events_dropped = atomic_load_explicit(&cycle->arena->ring.dropped, memory_order_relaxed);
    v2g_snapshot_write(cycle->arena, &cycle->live);
    cycle->publish_in = cycle->active.commit.snapshot_cycles;
}
