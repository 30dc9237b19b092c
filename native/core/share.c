/* Triple buffer, seqlock and ring: how the arena is shared. P11: no torn read, the newest is not lost, bounded steps. */
#include "share.h"

/* ---- Triple buffer ------------------------------------------------------------------------------------------------------- */

uint32_t v2g_triple_publish(struct v2g_triple *triple) {
    const uint32_t was = atomic_exchange_explicit(&triple->middle, triple->back | V2G_TRIPLE_NEW, memory_order_acq_rel);
    triple->back = was & 3U;
    return triple->back;
}

bool v2g_triple_take(struct v2g_triple *triple) {
    if ((atomic_load_explicit(&triple->middle, memory_order_relaxed) & V2G_TRIPLE_NEW) == 0)
        return false;
    const uint32_t was = atomic_exchange_explicit(&triple->middle, triple->front, memory_order_acq_rel);
    triple->front = was & 3U;
    return true;
}

/* An index that memory damage made impossible must not lead out of the array. */
static uint32_t slot(uint32_t index) {
    return index < V2G_TRIPLE_SLOTS ? index : 0;
}

static uint32_t slot_crc(const void *after_crc, size_t bytes) {
    return v2g_crc32c(0, after_crc, bytes);
}

struct v2g_commit *v2g_commit_back(struct v2g_arena *arena) {
    return &arena->commit[slot(arena->commit_index.back)].commit;
}

struct v2g_plan_message *v2g_plan_back(struct v2g_arena *arena) {
    return &arena->plan[slot(arena->plan_index.back)].message;
}

void v2g_commit_publish(struct v2g_arena *arena) {
    struct v2g_commit_slot *s = &arena->commit[slot(arena->commit_index.back)];
    s->boot_id = arena->boot_id;
    s->crc = slot_crc(&s->reserved, sizeof *s - offsetof(struct v2g_commit_slot, reserved));
    v2g_triple_publish(&arena->commit_index);
}

void v2g_plan_publish(struct v2g_arena *arena) {
    struct v2g_plan_slot *s = &arena->plan[slot(arena->plan_index.back)];
    s->boot_id = arena->boot_id;
    s->crc = slot_crc(&s->reserved, sizeof *s - offsetof(struct v2g_plan_slot, reserved));
    v2g_triple_publish(&arena->plan_index);
}

int32_t v2g_commit_take(struct v2g_arena *arena, struct v2g_commit_slot *copy) {
    if (!v2g_triple_take(&arena->commit_index))
        return 0;
    *copy = arena->commit[slot(arena->commit_index.front)];
    return slot_crc(&copy->reserved, sizeof *copy - offsetof(struct v2g_commit_slot, reserved)) == copy->crc ? 1 : -1;
}

int32_t v2g_plan_take(struct v2g_arena *arena, struct v2g_plan_slot *copy) {
    if (!v2g_triple_take(&arena->plan_index))
        return 0;
    *copy = arena->plan[slot(arena->plan_index.front)];
    return slot_crc(&copy->reserved, sizeof *copy - offsetof(struct v2g_plan_slot, reserved)) == copy->crc ? 1 : -1;
}

/* ---- Seqlock --------------------------------------------------------------------------------------------------------------- */

void v2g_words_out(void *shared, const void *private_copy, size_t bytes) {
    V2G_ATOMIC(uint64_t) *to = shared;
    const uint64_t *from = private_copy;
    for (size_t i = 0; i < bytes / 8; i++)
        atomic_store_explicit(&to[i], from[i], memory_order_release);
}

void v2g_words_in(void *private_copy, const void *shared, size_t bytes) {
    uint64_t *to = private_copy;
    const V2G_ATOMIC(uint64_t) *from = shared;
    for (size_t i = 0; i < bytes / 8; i++)
        to[i] = atomic_load_explicit(&from[i], memory_order_acquire);
}

typedef void copy_words(void *to, const void *from, size_t bytes);

enum { HEAD_WORDS = offsetof(struct v2g_snapshot, plan) / 8 };

_Static_assert(offsetof(struct v2g_snapshot, plan) % 8 == 0, "copied in words");
_Static_assert(sizeof(struct v2g_setpoint) % 8 == 0 && sizeof(struct v2g_evse_plan) % 8 == 0, "copied in words");
_Static_assert(sizeof(struct v2g_evse_state) % 8 == 0 && sizeof(struct v2g_feeder_state) % 8 == 0, "copied in words");
_Static_assert(sizeof(struct v2g_estimate) % 8 == 0 && sizeof(struct v2g_estimate_state) % 8 == 0, "copied in words");
_Static_assert(sizeof(struct v2g_evse_in) % 8 == 0 && sizeof(struct v2g_meter_in) % 8 == 0, "copied in words");

static uint32_t at_most(uint32_t count, uint32_t max) {
    return count < max ? count : max;
}

/* Everything behind the head, as far as it is used. */
static void copy_body(struct v2g_snapshot *to, const struct v2g_snapshot *from, uint32_t evses, uint32_t feeders,
                      uint32_t meters, copy_words *copy) {
    const size_t e = at_most(evses, V2G_MAX_EVSES), f = at_most(feeders, V2G_MAX_FEEDERS), m = at_most(meters, V2G_MAX_METERS);
    copy(&to->plan, &from->plan, offsetof(struct v2g_plan, evse) + e * sizeof(struct v2g_evse_plan));
    copy(to->plan.feeder, from->plan.feeder, f * sizeof(struct v2g_feeder_plan));
    copy(&to->image, &from->image, offsetof(struct v2g_image, evse) + e * sizeof(struct v2g_evse_in));
    copy(to->image.meter, from->image.meter, m * sizeof(struct v2g_meter_in));
    copy(to->image.estimate, from->image.estimate, e * sizeof(struct v2g_estimate));
    copy(to->image.proposal, from->image.proposal, e * sizeof(struct v2g_proposal));
    copy(&to->state, &from->state, offsetof(struct v2g_state, evse) + e * sizeof(struct v2g_evse_state));
    copy(to->state.estimate, from->state.estimate, e * sizeof(struct v2g_estimate_state));
    copy(to->state.feeder, from->state.feeder, f * sizeof(struct v2g_feeder_state));
    copy(&to->set, &from->set, offsetof(struct v2g_setpoints, evse) + e * sizeof(struct v2g_setpoint));
}

void v2g_snapshot_write(struct v2g_arena *arena, const struct v2g_snapshot *from) {
    const uint64_t was = atomic_load_explicit(&arena->snapshot_seq, memory_order_relaxed);
    atomic_store_explicit(&arena->snapshot_seq, was + 1, memory_order_relaxed);
    v2g_words_out(&arena->snapshot, from, HEAD_WORDS * 8);
    copy_body(&arena->snapshot, from, from->evses, from->feeders, from->meters, v2g_words_out);
    atomic_store_explicit(&arena->snapshot_seq, was + 2, memory_order_release);
}

enum { SNAPSHOT_TRIES = 8 };

int32_t v2g_snapshot_read(const struct v2g_arena *arena, struct v2g_snapshot *copy) {
    for (int i = 0; i < SNAPSHOT_TRIES; i++) {
        const uint64_t before = atomic_load_explicit(&arena->snapshot_seq, memory_order_acquire);
        if (before == 0)
            return -1;
        v2g_words_in(copy, &arena->snapshot, HEAD_WORDS * 8);
        copy_body(copy, &arena->snapshot, copy->evses, copy->feeders, copy->meters, v2g_words_in);
        if ((before & 1U) == 0 && atomic_load_explicit(&arena->snapshot_seq, memory_order_relaxed) == before)
            return 0;
    }
    return -2;
}

/* ---- Ring of events ---------------------------------------------------------------------------------------------------------- */

_Static_assert((V2G_EVENTS & (V2G_EVENTS - 1)) == 0, "a power of two, so that the counters may wrap");

void v2g_event_put(struct v2g_ring *ring, const struct v2g_event *event) {
    const uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    const uint32_t number = ring->number++;
    if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) >= V2G_EVENTS) {
        atomic_store_explicit(&ring->dropped, atomic_load_explicit(&ring->dropped, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        return;
    }
    struct v2g_event *place = &ring->event[head % V2G_EVENTS];
    *place = *event;
    place->number = number;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

uint32_t v2g_events_read(struct v2g_arena *arena, struct v2g_event *events, uint32_t max) {
    struct v2g_ring *ring = &arena->ring;
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    const uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint32_t n = 0;
    for (; n < max && tail != head; n++, tail++)
        events[n] = ring->event[tail % V2G_EVENTS];
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
    return n;
}
