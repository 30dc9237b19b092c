/* The hub's control commands: one text line in, one JSON line out. `--help` of the program lists them. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub.h"

enum { MAX_WORDS = 4 };

struct text {
    char *at;
    size_t left;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(t->at, t->left, format, args);
    va_end(args);
    const size_t used = n < 0 ? 0 : ((size_t)n < t->left ? (size_t)n : t->left - 1);
    t->at += used;
    t->left -= used;
}

static void put_stats(const struct hub *hub, struct text *t) {
    const uint64_t uptime_ns = hub_now_ns() - hub->start_ns;
    const uint64_t load_permille = uptime_ns == 0 ? 0 : hub->wire.busy_ns / (uptime_ns / 1000 + 1);
    put(t,
        "{\"ok\": true, \"bitrate\": %" PRIu32 ", \"frames\": %" PRIu64 ", \"busy_ns\": %" PRIu64
        ", \"load_permille\": %" PRIu64 ", \"dropped\": %" PRIu64 ", \"corrupted\": %" PRIu64 ", \"refused_members\": %" PRIu64
        ", \"uptime_ms\": %" PRIu64 ", \"members\": [",
        hub->wire.rate.nominal_bps, hub->frames, hub->wire.busy_ns, load_permille, hub->rule_dropped, hub->rule_corrupted,
        hub->refused_members, uptime_ns / 1000000);
    const char *separator = "";
    for (size_t i = 0; i < HUB_MEMBERS; i++) {
        const struct member *m = &hub->member[i];
        if (m->fd < 0)
            continue;
        put(t,
            "%s{\"slot\": %zu, \"pid\": %ld, \"sent\": %" PRIu64 ", \"delivered\": %" PRIu64 ", \"dropped_oldest\": %" PRIu64
            ", \"discarded_bus_off\": %" PRIu64 ", \"malformed\": %" PRIu64 ", \"tx_queued\": %" PRIu32
            ", \"rx_queued\": %" PRIu32 ", \"bus_off\": %s, \"fill\": %s}",
            separator, i, (long)m->pid, m->sent, m->delivered, m->dropped_oldest, m->discarded_bus_off, m->malformed,
            m->tx.count, m->rx.count, m->bus_off ? "true" : "false", m->fill ? "true" : "false");
        separator = ", ";
    }
    put(t, "]}");
}

static bool parse_number(const char *word, uint32_t limit, uint32_t *value) {
    char *end = NULL;
    if (word == NULL || *word == '\0' || *word == '-')
        return false;
    const unsigned long parsed = strtoul(word, &end, 0);
    if (*end != '\0' || parsed > limit)
        return false;
    *value = (uint32_t)parsed;
    return true;
}

/* `who`: absent or "all", a slot number, or "pid=N". */
static bool member_matches(const struct hub *hub, const struct member *m, const char *who) {
    uint32_t number = 0;
    if (m->fd < 0)
        return false;
    if (who == NULL || strcmp(who, "all") == 0)
        return true;
    if (strncmp(who, "pid=", 4) == 0)
        return parse_number(who + 4, INT32_MAX, &number) && m->pid == (pid_t)number;
    return parse_number(who, HUB_MEMBERS - 1, &number) && m == &hub->member[number];
}

enum member_action { ACT_ACTIVE, ACT_WARNING, ACT_PASSIVE, ACT_BUS_OFF, ACT_RESTART, ACT_FILL_ON, ACT_FILL_OFF };

static void act(struct hub *hub, struct member *m, enum member_action action) {
    switch (action) {
    case ACT_ACTIVE:
        hub_controller_state(hub, m, HUB_ERROR_ACTIVE);
        break;
    case ACT_WARNING:
        hub_controller_state(hub, m, HUB_ERROR_WARNING);
        break;
    case ACT_PASSIVE:
        hub_controller_state(hub, m, HUB_ERROR_PASSIVE);
        break;
    case ACT_BUS_OFF:
        hub_bus_off(hub, m);
        break;
    case ACT_RESTART:
        hub_restart(hub, m);
        break;
    case ACT_FILL_ON:
        hub_set_fill(hub, m, true);
        break;
    case ACT_FILL_OFF:
        hub_set_fill(hub, m, false);
        break;
    }
}

static void act_on_members(struct hub *hub, const char *who, enum member_action action, struct text *t) {
    uint32_t hit = 0;
    for (size_t i = 0; i < HUB_MEMBERS; i++) {
        if (!member_matches(hub, &hub->member[i], who))
            continue;
        act(hub, &hub->member[i], action);
        hit++;
    }
    put(t, "{\"ok\": %s, \"members\": %" PRIu32 "}", hit > 0 ? "true" : "false", hit);
}

static bool add_rule(struct hub *hub, enum rule_action action, const char *id, const char *count) {
    uint32_t can_id = 0;
    uint32_t left = 0;
    if (!parse_number(id, CAN_EFF_MASK, &can_id) || !parse_number(count, UINT32_MAX, &left))
        return false;
    for (size_t i = 0; i < HUB_RULES; i++) {
        if (hub->rule[i].action != RULE_FREE)
            continue;
        hub->rule[i] = (struct rule){.action = action, .can_id = can_id, .left = left};
        return true;
    }
    return false;
}

static const struct {
    const char *verb, *object; /* object NULL: the member follows the verb */
    enum member_action action;
} member_verbs[] = {
    {"error", "active", ACT_ACTIVE}, {"error", "warning", ACT_WARNING}, {"error", "passive", ACT_PASSIVE},
    {"bus-off", NULL, ACT_BUS_OFF},  {"restart", NULL, ACT_RESTART},    {"fill", "on", ACT_FILL_ON},
    {"fill", "off", ACT_FILL_OFF},
};

static bool member_command(struct hub *hub, char *const word[MAX_WORDS], struct text *t) {
    for (size_t i = 0; i < sizeof member_verbs / sizeof member_verbs[0]; i++) {
        if (strcmp(word[0], member_verbs[i].verb) != 0)
            continue;
        const char *object = member_verbs[i].object;
        if (object != NULL && (word[1] == NULL || strcmp(word[1], object) != 0))
            continue;
        if (object != NULL && strcmp(object, "off") == 0 && word[2] == NULL)
            hub->fill = false;
        act_on_members(hub, object == NULL ? word[1] : word[2], member_verbs[i].action, t);
        return true;
    }
    return false;
}

void hub_command(struct hub *hub, char *line, char *reply) {
    struct text t = {.at = reply, .left = HUB_REPLY_BYTES};
    char *word[MAX_WORDS] = {NULL};
    char *state = NULL;
    char *next = strtok_r(line, " \t\r\n", &state);
    for (size_t i = 0; i < MAX_WORDS && next != NULL; i++, next = strtok_r(NULL, " \t\r\n", &state))
        word[i] = next;

    bool done = false;
    if (word[0] == NULL) {
        done = false;
    } else if (strcmp(word[0], "stats") == 0) {
        put_stats(hub, &t);
        return;
    } else if (strcmp(word[0], "clear") == 0) {
        memset(hub->rule, 0, sizeof hub->rule);
        done = true;
    } else if (strcmp(word[0], "drop") == 0) {
        done = add_rule(hub, RULE_DROP, word[1], word[2]);
    } else if (strcmp(word[0], "corrupt") == 0) {
        done = add_rule(hub, RULE_CORRUPT, word[1], word[2]);
    } else if (member_command(hub, word, &t)) {
        return;
    }
    put(&t, done ? "{\"ok\": true}"
                 : "{\"ok\": false, \"error\": \"unknown command, bad argument or no free rule; see v2g-hub --help\"}");
}
