/* Step 4: a newer commit or plan is copied, checked, and only then in force. A bad one is refused and the old one runs on. */
#include <string.h>

#include "cycle.h"

static uint64_t refusal(enum v2g_refusal why, uint32_t fault) {
    return (uint64_t)why << 32 | fault;
}

static bool input_fits(const struct v2g_cell_config *cell, const struct v2g_config *config, const struct v2g_input *in) {
    const bool meter = in->kind == V2G_INPUT_METER;
    const uint32_t indices = meter ? config->meters : config->evses;
    const uint32_t fields = meter ? (uint32_t)V2G_METER_FIELDS : (uint32_t)V2G_FIELDS;
    const bool flags = !meter && in->field == V2G_F_FLAGS;
    if (in->cell >= V2G_MAX_CELLS || in->kind > V2G_INPUT_EVSE || in->index >= indices || in->field >= fields ||
        in->shift > V2G_CAN_MAX_SHIFT || in->mul == 0)
        return false;
    switch (in->use) {
    case V2G_USE_VALUE:
    case V2G_USE_MAGNITUDE:
        return !flags && (!meter || in->use == V2G_USE_VALUE);
    case V2G_USE_CODE:
        return (flags || (!meter && in->field == V2G_F_STATE)) && in->codes >= 1 && in->codes <= V2G_MAX_CODES_EACH &&
               (uint32_t)in->code + in->codes <= cell->codes;
    default:
        return flags && in->use < V2G_INPUT_USES;
    }
}

uint32_t v2g_cell_check(const struct v2g_cell_config *cell, const struct v2g_config *config) {
    if (cell->inputs > V2G_MAX_INPUTS || cell->outputs > V2G_MAX_OUTPUTS || cell->codes > V2G_MAX_CODES)
        return V2G_CELL_FAULT_COUNT + 1;
    for (uint32_t i = 0; i < cell->codes; i++)
        if (cell->code[i].state > V2G_STATE_TRANSFER)
            return V2G_CELL_FAULT_CODE + 1 + i;
    for (uint32_t i = 0; i < cell->inputs; i++)
        if (!input_fits(cell, config, &cell->input[i]))
            return V2G_CELL_FAULT_INPUT + 1 + i;
    for (uint32_t i = 0; i < cell->outputs; i++) {
        const struct v2g_output *out = &cell->output[i];
        if (out->write_cell >= V2G_MAX_WRITE_CELLS || out->evse >= config->evses || out->source >= V2G_CAN_SOURCES)
            return V2G_CELL_FAULT_OUTPUT + 1 + i;
    }
    return 0;
}

uint64_t v2g_commit_check(const struct v2g_commit *commit, int64_t now_ns) {
    uint32_t fault = v2g_config_check(&commit->config);
    if (fault != 0)
        return refusal(V2G_REFUSED_CONFIG, fault);
    const int64_t publish_ns = commit->snapshot_cycles * commit->config.period_ns;
    if (commit->snapshot_cycles < 1 || (commit->snapshot_cycles > 1 && publish_ns > V2G_SNAPSHOT_NS))
        return refusal(V2G_REFUSED_CONFIG, (uint32_t)V2G_FAULT_PERIOD << 16);
    fault = v2g_can_check(&commit->can, &commit->config);
    if (fault != 0)
        return refusal(V2G_REFUSED_CAN, fault);
    fault = v2g_cell_check(&commit->cell, &commit->config);
    if (fault != 0)
        return refusal(V2G_REFUSED_CELL, fault);
    fault = v2g_site_check(&commit->site, &commit->config);
    if (fault != 0)
        return refusal(V2G_REFUSED_SITE, fault);
    if (commit->first.plan.epoch != 0)
        fault = v2g_plan_check(&commit->first.plan, &commit->config, now_ns);
    return fault == 0 ? 0 : refusal(V2G_REFUSED_PLAN, fault);
}

static uint64_t judge_commit(const struct v2g_cycle *cycle, int64_t now_ns) {
    const struct v2g_commit_slot *slot = &cycle->incoming;
    if (slot->boot_id != cycle->arena->boot_id || slot->commit.config.boot_id != slot->boot_id)
        return refusal(V2G_REFUSED_BOOT, 0);
    if (slot->commit.config.epoch <= cycle->live.config_epoch)
        return refusal(V2G_REFUSED_EPOCH, slot->commit.config.epoch);
    return v2g_commit_check(&slot->commit, now_ns);
}

/* What was known of an EVSE follows it to its new index (by key); so does what it was last sent and told. */
static void migrate(struct v2g_cycle *cycle, const struct v2g_config *from, const struct v2g_config *to) {
    struct v2g_snapshot *live = &cycle->live;
    struct told_evse told[V2G_MAX_EVSES];
    v2g_state_migrate(from, &live->state, to, &cycle->migrated_state);
    v2g_image_migrate(from, &live->image, to, &cycle->migrated_image);
    memset(told, 0, sizeof told);
    memset(&cycle->before, 0, sizeof cycle->before);
    for (uint32_t i = 0; i < to->evses; i++)
        for (uint32_t j = 0; j < from->evses; j++)
            if (to->evse[i].key == from->evse[j].key) {
                cycle->before.evse[i] = live->set.evse[j];
                told[i] = cycle->told.evse[j];
            }
    live->state = cycle->migrated_state;
    live->image = cycle->migrated_image;
    live->set = cycle->before;
    memcpy(cycle->told.evse, told, sizeof told);
}

static void put_in_force(struct v2g_cycle *cycle) {
    const struct v2g_commit *next = &cycle->incoming.commit;
    struct v2g_snapshot *live = &cycle->live;
    if (live->config_epoch != 0)
        migrate(cycle, &cycle->active.commit.config, &next->config);
    cycle->active = cycle->incoming;
    if (next->first.plan.epoch != 0)
        live->plan = next->first.plan;
    else
        v2g_plan_safe(&live->plan, &next->config);
    cycle->site = next->first.site;
    live->config_epoch = next->config.epoch;
    live->evses = next->config.evses;
    live->feeders = next->config.feeders;
    live->meters = next->config.meters;
    live->buses = next->can.buses;
    for (uint32_t i = 0; i < V2G_CAN_MAX_RX; i++)
        cycle->watch[i] = (struct v2g_can_watch){.counter = V2G_CAN_UNSYNCED};
    memset(live->bad_frames, 0, sizeof live->bad_frames);
    memset(cycle->unsent, 0, sizeof cycle->unsent);
    memset(cycle->newest_ns, 0, sizeof cycle->newest_ns);
    for (uint32_t i = 0; i < live->evses; i++)
        cycle->told.evse[i].latch = live->state.evse[i].latch;
    for (uint32_t i = 0; i < live->feeders; i++)
        cycle->told.feeder_lost[i] = live->state.feeder[i].lost != 0;
    cycle->publish_in = 0;
}

uint64_t cycle_adopt_commit(struct v2g_cycle *cycle, int64_t now_ns) {
    const int32_t taken = v2g_commit_take(cycle->arena, &cycle->incoming);
    if (taken == 0)
        return 0;
    const uint64_t why = taken < 0 ? refusal(V2G_REFUSED_CRC, 0) : judge_commit(cycle, now_ns);
    if (why != 0) {
        cycle->live.stats.commits_refused++;
        cycle_event(cycle, now_ns, V2G_EVENT_COMMIT_REFUSED, 0, (int64_t)(why >> 32), (int64_t)(why & UINT32_MAX));
        return why;
    }
    put_in_force(cycle);
    cycle->live.stats.commits++;
    cycle_event(cycle, now_ns, V2G_EVENT_COMMIT, 0, cycle->live.config_epoch, 0);
    return 0;
}

static uint64_t judge_plan(const struct v2g_cycle *cycle, int64_t now_ns) {
    const struct v2g_plan_slot *slot = &cycle->incoming_plan;
    const struct v2g_plan *plan = &slot->message.plan;
    if (slot->boot_id != cycle->arena->boot_id)
        return refusal(V2G_REFUSED_BOOT, 0);
    if (plan->config_epoch != cycle->live.config_epoch || plan->epoch <= cycle->live.plan.epoch)
        return refusal(V2G_REFUSED_EPOCH, plan->epoch);
    const uint32_t fault = v2g_plan_check(plan, &cycle->active.commit.config, now_ns);
    return fault == 0 ? 0 : refusal(V2G_REFUSED_PLAN, fault);
}

void cycle_adopt_plan(struct v2g_cycle *cycle, int64_t now_ns) {
    const int32_t taken = v2g_plan_take(cycle->arena, &cycle->incoming_plan);
    if (taken == 0)
        return;
    const uint64_t why = taken < 0 ? refusal(V2G_REFUSED_CRC, 0) : judge_plan(cycle, now_ns);
    if (why != 0) {
        cycle->live.stats.plans_refused++;
        if (!cycle->told.plan_refused)
            cycle_event(cycle, now_ns, V2G_EVENT_PLAN_REFUSED, 0, (int64_t)(why >> 32), (int64_t)(why & UINT32_MAX));
        cycle->told.plan_refused = true;
        return;
    }
    const struct v2g_plan *plan = &cycle->incoming_plan.message.plan;
    if (plan->limits_epoch != cycle->live.plan.limits_epoch) {
        v2g_histogram_add(&cycle->arena->histogram[V2G_HIST_COMMAND_AGE], now_ns - plan->made_ns);
        cycle_event(cycle, now_ns, V2G_EVENT_PLAN_TAKEN, 0, plan->limits_epoch, plan->made_ns);
        cycle->publish_in = 0; /* whoever gave the command wants to see it at once */
    }
    cycle->live.plan = *plan;
    cycle->site = cycle->incoming_plan.message.site;
    cycle->live.stats.plans++;
    cycle->told.plan_refused = false;
}
