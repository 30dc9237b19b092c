/* Sharing without waiting: no torn read, the newest is not lost, drops are counted (P11). Also built for the thread sanitizer. */
#include "check.h"

#include <pthread.h>
#include <unistd.h>

#include "../core/share.h"

static struct v2g_arena *arena;
static int arena_fd;

static void open_arena(void) {
    arena_fd = v2g_arena_create(7, &arena);
    CHECK(arena_fd >= 0);
}

static void close_arena(void) {
    v2g_arena_destroy(arena, arena_fd);
}

static void publish_plan(uint32_t epoch) {
    struct v2g_plan *plan = &v2g_plan_back(arena)->plan;
    plan->epoch = epoch;
    for (int i = 0; i < V2G_MAX_EVSES; i++)
        plan->evse[i].target_w = (int32_t)epoch;
    v2g_plan_publish(arena);
}

static void crc32c_matches_its_check_value(void) {
    CHECK_EQ(v2g_crc32c(0, "123456789", 9), 0xE3069283U);
    CHECK_EQ(v2g_crc32c(v2g_crc32c(0, "1234", 4), "56789", 5), 0xE3069283U);
}

static void the_arena_keeps_its_size(void) {
    open_arena();
    CHECK(ftruncate(arena_fd, 4096) != 0);
    CHECK(ftruncate(arena_fd, (off_t)sizeof *arena + 4096) != 0);
    close_arena();
}

static void the_reader_sees_only_the_newest_plan(void) {
    static struct v2g_plan_slot slot;
    open_arena();
    CHECK_EQ(v2g_plan_take(arena, &slot), 0);
    publish_plan(1);
    publish_plan(2);
    publish_plan(3);
    CHECK_EQ(v2g_plan_take(arena, &slot), 1);
    CHECK_EQ(slot.message.plan.epoch, 3);
    CHECK_EQ(v2g_plan_take(arena, &slot), 0);
    close_arena();
}

enum { ROUNDS = 4000 };

static void *write_plans(void *unused) {
    (void)unused;
    for (uint32_t epoch = 1; epoch <= ROUNDS; epoch++)
        publish_plan(epoch);
    return NULL;
}

static void a_plan_is_never_torn_and_the_last_one_arrives(void) {
    static struct v2g_plan_slot slot;
    pthread_t writer;
    open_arena();
    CHECK_EQ(pthread_create(&writer, NULL, write_plans, NULL), 0);
    uint32_t last = 0;
    while (last < ROUNDS) {
        const int32_t taken = v2g_plan_take(arena, &slot);
        CHECK(taken >= 0); /* the CRC holds: no slot is written while it is copied */
        if (taken == 0)
            continue;
        CHECK(slot.message.plan.epoch > last);
        last = slot.message.plan.epoch;
        for (int i = 0; i < V2G_MAX_EVSES; i++)
            CHECK_EQ(slot.message.plan.evse[i].target_w, last);
    }
    CHECK_EQ(pthread_join(writer, NULL), 0);
    close_arena();
}

static void *write_snapshots(void *unused) {
    static struct v2g_snapshot snapshot;
    (void)unused;
    snapshot.evses = 3;
    snapshot.feeders = 1;
    snapshot.meters = 1;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        snapshot.now_ns = round;
        for (uint32_t i = 0; i < snapshot.evses; i++) {
            snapshot.set.evse[i].target_w = (int32_t)round;
            snapshot.state.evse[i].seen_ns = round;
        }
        snapshot.image.meter[0].value[0] = (int32_t)round;
        v2g_snapshot_write(arena, &snapshot);
    }
    return NULL;
}

static void a_snapshot_is_of_one_cycle(void) {
    static struct v2g_snapshot copy;
    pthread_t writer;
    open_arena();
    CHECK_EQ(v2g_snapshot_read(arena, &copy), -1);
    CHECK_EQ(pthread_create(&writer, NULL, write_snapshots, NULL), 0);
    do {
        if (v2g_snapshot_read(arena, &copy) != 0)
            continue;
        for (uint32_t i = 0; i < copy.evses; i++) {
            CHECK_EQ(copy.set.evse[i].target_w, copy.now_ns);
            CHECK_EQ(copy.state.evse[i].seen_ns, copy.now_ns);
        }
        CHECK_EQ(copy.image.meter[0].value[0], copy.now_ns);
    } while (copy.now_ns < ROUNDS);
    CHECK_EQ(pthread_join(writer, NULL), 0);
    close_arena();
}

enum { FLOOD = 3 * V2G_EVENTS };

static void *write_events(void *unused) {
    (void)unused;
    for (int64_t i = 0; i < FLOOD; i++)
        v2g_event_put(&arena->ring, &(struct v2g_event){.time_ns = i, .kind = V2G_EVENT_REASON, .value = {i}});
    return NULL;
}

static void every_event_arrives_in_order_or_is_counted_as_dropped(void) {
    static struct v2g_event batch[64];
    pthread_t writer;
    open_arena();
    CHECK_EQ(pthread_create(&writer, NULL, write_events, NULL), 0);
    uint64_t got = 0;
    int64_t last = -1;
    while (got + atomic_load(&arena->ring.dropped) < FLOOD) {
        const uint32_t n = v2g_events_read(arena, batch, 64);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(batch[i].value[0] > last);
            CHECK_EQ(batch[i].value[0], batch[i].number);
            last = batch[i].value[0];
        }
        got += n;
    }
    CHECK_EQ(pthread_join(writer, NULL), 0);
    close_arena();
}

static void a_full_ring_drops_the_newest_and_says_how_many(void) {
    struct v2g_event first;
    open_arena();
    write_events(NULL);
    CHECK_EQ(atomic_load(&arena->ring.dropped), FLOOD - V2G_EVENTS);
    CHECK_EQ(v2g_events_read(arena, &first, 1), 1);
    CHECK_EQ(first.value[0], 0);
    close_arena();
}

static void a_histogram_keeps_count_sum_and_maximum(void) {
    open_arena();
    struct v2g_histogram *h = &arena->histogram[0];
    const int64_t values[] = {-5, 0, 31, 32, 33, 1000000, INT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        v2g_histogram_add(h, values[i]);
    CHECK_EQ(atomic_load(&h->count), 7);
    CHECK_EQ(atomic_load(&h->max), (INT64_C(1) << 40) - 1);
    CHECK_EQ(atomic_load(&h->bucket[0]), 2);
    CHECK_EQ(atomic_load(&h->bucket[31]), 1);
    CHECK_EQ(atomic_load(&h->bucket[32]), 1);
    CHECK_EQ(atomic_load(&h->bucket[V2G_HISTOGRAM_BUCKETS - 1]), 1);
    close_arena();
}

CHECK_MAIN(CASE(crc32c_matches_its_check_value), CASE(the_arena_keeps_its_size), CASE(the_reader_sees_only_the_newest_plan),
           CASE(a_plan_is_never_torn_and_the_last_one_arrives), CASE(a_snapshot_is_of_one_cycle),
           CASE(every_event_arrives_in_order_or_is_counted_as_dropped), CASE(a_full_ring_drops_the_newest_and_says_how_many),
           CASE(a_histogram_keeps_count_sum_and_maximum))
