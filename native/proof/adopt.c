/* P9: a config or plan that is refused leaves everything as it was, and nothing else than what was judged is ever in force.
 *
 * The real code of core/adopt.c and of the reader's side of core/share.c, with tables one entry long. The writer is any process: it
 * may write into every slot of the arena at any moment (`meddle`). The checks of config, CAN tables and plan are any function of the
 * bytes they are given (each has its own proof); what counts is that they judge the private copy, all of it, before it is used. */
#include "assume.h"

#include "v2g_runtime.h"

/* Sockets and threads: nothing of them is read or written here. */
#define V2G_CAN_IO_H
#define V2G_RT_H
struct can_io {
    uint64_t reserved;
};
struct rt_thread {
    uint64_t reserved;
};

#include "../core/cycle.h"

/* Putting a judged config in force is all that may change anything: it is noted here, and must not happen after a refusal. */
static bool put;
static void put_in_force(struct v2g_cycle *c) {
    put = true;
    c->active = c->incoming;
}

#include "../core/adopt.c"
#include "../core/share.c"

static struct v2g_arena arena;
static struct v2g_cycle cycle, before;

struct v2g_arena nondet_arena(void);
struct v2g_cycle nondet_cycle(void);
struct v2g_commit_slot nondet_commit_slot(void);
struct v2g_plan_slot nondet_plan_slot(void);

static bool crc_right, config_good, can_good, site_good, plan_good;
static uint32_t config_checks, can_checks, site_checks, plan_checks;

/* Another process writes into shared memory whenever it likes. */
static void meddle(void) {
    _Pragma("unroll 4") for (int i = 0; i < V2G_TRIPLE_SLOTS; i++) {
        arena.commit[i] = nondet_commit_slot();
        arena.plan[i] = nondet_plan_slot();
    }
}

uint32_t v2g_crc32c(uint32_t crc, const void *bytes, size_t length) {
    meddle();
#if PART == 1
    prove(crc == 0 && bytes == &cycle.incoming.reserved &&
              length == sizeof cycle.incoming - offsetof(struct v2g_commit_slot, reserved),
          "P9 the CRC is that of the private copy, whole");
    uint32_t right = cycle.incoming.crc;
#else
    prove(crc == 0 && bytes == &cycle.incoming_plan.reserved &&
              length == sizeof cycle.incoming_plan - offsetof(struct v2g_plan_slot, reserved),
          "P9 the CRC is that of the private copy, whole");
    uint32_t right = cycle.incoming_plan.crc;
#endif
    return crc_right ? right : ~right;
}

uint32_t v2g_config_check(const struct v2g_config *config) {
    meddle();
    config_checks++;
    prove(config == &cycle.incoming.commit.config, "P9 the private copy of the config is judged");
    assume(!config_good || (config->evses <= V2G_MAX_EVSES && config->feeders <= V2G_MAX_FEEDERS)); /* proven in check.c */
    return config_good ? 0 : 1;
}

uint32_t v2g_can_check(const struct v2g_can_config *can, const struct v2g_config *config) {
    meddle();
    can_checks++;
    prove(can == &cycle.incoming.commit.can && config == &cycle.incoming.commit.config,
          "P9 the private copy of the CAN tables");
    return can_good ? 0 : 1;
}

uint32_t v2g_site_check(const struct v2g_site_config *site, const struct v2g_config *config) {
    meddle();
    site_checks++;
    prove(site == &cycle.incoming.commit.site && config == &cycle.incoming.commit.config, "P9 the private copy of the site's");
    return site_good ? 0 : 1;
}

uint32_t v2g_plan_check(const struct v2g_plan *plan, const struct v2g_config *config, int64_t now_ns) {
    (void)now_ns;
    meddle();
    plan_checks++;
#if PART == 1
    prove(plan == &cycle.incoming.commit.first.plan && config == &cycle.incoming.commit.config,
          "P9 the private copy of the plan");
#else
    prove(plan == &cycle.incoming_plan.message.plan && config == &cycle.active.commit.config,
          "P9 the private copy of the plan");
#endif
    return plan_good ? 0 : 1;
}

/* Called by the real put_in_force alone. */
void v2g_plan_safe(struct v2g_plan *plan, const struct v2g_config *config) {
    (void)plan, (void)config;
}
void v2g_state_migrate(const struct v2g_config *from, const struct v2g_state *old, const struct v2g_config *to,
                       struct v2g_state *state) {
    (void)from, (void)old, (void)to, (void)state;
}
void v2g_image_migrate(const struct v2g_config *from, const struct v2g_image *old, const struct v2g_config *to,
                       struct v2g_image *image) {
    (void)from, (void)old, (void)to, (void)image;
}
void v2g_histogram_add(struct v2g_histogram *histogram, int64_t value) {
    (void)histogram, (void)value;
}
void cycle_event(struct v2g_cycle *c, int64_t now_ns, enum v2g_event_kind kind, uint32_t index, int64_t a, int64_t b) {
    (void)c, (void)now_ns, (void)kind, (void)index, (void)a, (void)b; /* writes into the arena's ring only */
}

/* Compared as words: a union turns a structure into bits once, which the prover likes better than a pointer into it. */
#define SAME(name, type)                                                                                                       \
    static bool same_##name(const type *is, const type *was) {                                                                 \
        union {                                                                                                                \
            type whole;                                                                                                        \
            uint64_t word[sizeof(type) / 8];                                                                                   \
        } a = {.whole = *is}, b = {.whole = *was};                                                                             \
        bool equal = true;                                                                                                     \
        _Pragma("unroll 1000") for (size_t i = 0; i < sizeof(type) / 8; i++) {                                                 \
            equal &= a.word[i] == b.word[i];                                                                                   \
        }                                                                                                                      \
        return equal;                                                                                                          \
    }
SAME(cycle, struct v2g_cycle)
SAME(commit_slot, struct v2g_commit_slot)
SAME(plan, struct v2g_plan)

/* Nothing differs from before but what a refusal is noted in: the private copies, their count, and that it was told. */
static bool only_noted(uint64_t commits, uint64_t plans) {
    struct v2g_cycle noted = before;
    noted.incoming = cycle.incoming;
    noted.incoming_plan = cycle.incoming_plan;
    noted.live.stats.commits_refused += commits;
    noted.live.stats.plans_refused += plans;
    noted.told.plan_refused = before.told.plan_refused || plans != 0;
    return same_cycle(&cycle, &noted);
}

static void config_is_taken_or_refused(int64_t now_ns) {
    bool offered = (arena.commit_index.middle & V2G_TRIPLE_NEW) != 0;
    uint64_t boot_id = arena.boot_id;
    uint64_t why = cycle_adopt_commit(&cycle, now_ns);
    const struct v2g_commit_slot *copy = &cycle.incoming;
    bool adopted = offered && why == 0;
    bool ours = copy->boot_id == boot_id && copy->commit.config.boot_id == boot_id &&
                copy->commit.config.epoch > before.live.config_epoch;
    prove(!adopted || (crc_right && config_good && can_good && site_good && ours),
          "P9 only what passed every check comes into force");
    prove(!adopted || (config_checks == 1 && can_checks == 1 && site_checks == 1), "P9 every check was made");
    prove(!adopted || copy->commit.first.plan.epoch == 0 || (plan_checks == 1 && plan_good), "P9 and that of its first plan");
    prove(!adopted || same_commit_slot(&cycle.active, copy), "P9 what was judged is in force");
    prove(adopted || (!put && only_noted(why != 0, 0)), "P9 a refused config leaves everything as it was");
}

static void plan_is_taken_or_refused(int64_t now_ns) {
    bool offered = (arena.plan_index.middle & V2G_TRIPLE_NEW) != 0;
    uint64_t boot_id = arena.boot_id;
    cycle_adopt_plan(&cycle, now_ns);
    const struct v2g_plan_slot *copy = &cycle.incoming_plan;
    bool adopted = cycle.live.stats.plans != before.live.stats.plans;
    bool ours = copy->boot_id == boot_id && copy->message.plan.config_epoch == before.live.config_epoch &&
                copy->message.plan.epoch > before.live.plan.epoch;
    prove(!adopted || (offered && crc_right && plan_good && plan_checks == 1 && ours), "P9 only what passed every check");
    prove(!adopted || same_plan(&cycle.live.plan, &copy->message.plan), "P9 what was judged is in force");
    prove(adopted || only_noted(0, offered), "P9 a refused plan leaves everything as it was");
    prove(same_commit_slot(&cycle.active, &before.active), "P9 a plan never changes the config");
}

int main(void) {
    arena = nondet_arena();
    cycle = nondet_cycle();
    cycle.arena = &arena;
    crc_right = nondet_bool(), config_good = nondet_bool(), can_good = nondet_bool(), plan_good = nondet_bool();
    site_good = nondet_bool();
    assume(cycle.live.evses <= V2G_MAX_EVSES && cycle.active.commit.config.evses <= V2G_MAX_EVSES);
    before = cycle;
#if PART == 1
    config_is_taken_or_refused(some_time());
#else
    plan_is_taken_or_refused(some_time());
#endif
    return 0;
}
