/* Repeats what tests/model/vectors.py has recorded: `replay FILE`. The answers in the file are those on which the core and the plain
 * model agreed; exit 1 where one of them differs. */
#include "v2g.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum kind { NEW, BEGIN, ADOPT, ESTIMATE, ENFORCE, PUT, COMPARE };
enum thing { CONFIG, PLAN, IMAGE, STATE, OUT, THINGS };

struct command {
    uint32_t kind;
    uint32_t thing;
    uint32_t place;
    uint32_t length;
};

static struct v2g_config config;
static struct v2g_plan plan;
static struct v2g_image image;
static struct v2g_state state;
static struct v2g_setpoints out;

static const struct {
    void *bytes;
    size_t size;
} things[THINGS] = {
    {&config, sizeof config}, {&plan, sizeof plan}, {&image, sizeof image}, {&state, sizeof state}, {&out, sizeof out}};

static bool begin(void) {
    v2g_config_seal(&config);
    v2g_state_init(&state);
    v2g_image_init(&image);
    v2g_plan_safe(&plan, &config);
    return v2g_config_check(&config) == 0;
}

static void forget(void) {
    for (int k = 0; k < THINGS; k++)
        memset(things[k].bytes, 0, things[k].size);
}

/* Whether the answer is the recorded one. */
static bool follow(const struct command *c, const uint8_t *data) {
    int64_t now_ns = 0;
    uint8_t *there = (uint8_t *)things[c->thing].bytes + c->place;
    if (c->kind >= ADOPT && c->kind <= ENFORCE)
        memcpy(&now_ns, data, sizeof now_ns);
    switch (c->kind) {
    case NEW:
        forget();
        return true;
    case BEGIN:
        return begin();
    case ADOPT:
        return v2g_plan_check(&plan, &config, now_ns) == 0;
    case ESTIMATE:
        v2g_estimate(&config, &state, &image, now_ns);
        return true;
    case ENFORCE:
        v2g_enforce(&config, &plan, &state, &image, now_ns, &out);
        return true;
    case PUT:
        memcpy(there, data, c->length);
        return true;
    default:
        return memcmp(there, data, c->length) == 0;
    }
}

static bool is_command(const struct command *c, size_t left) {
    return c->kind <= COMPARE && c->thing < THINGS && c->length <= left && c->place <= things[c->thing].size &&
           c->length <= things[c->thing].size - c->place;
}

int main(int argc, char **argv) {
    struct stat about;
    int file = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0 || fstat(file, &about) != 0) {
        fprintf(stderr, "usage: replay FILE (of tests/model/vectors.py)\n");
        return 64;
    }
    size_t size = (size_t)about.st_size, at = 0;
    const uint8_t *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED)
        return 65;
    uint64_t cycles = 0;
    while (at < size) {
        struct command c = {.kind = UINT32_MAX};
        if (size - at >= sizeof c)
            memcpy(&c, &bytes[at], sizeof c);
        at += sizeof c;
        if (!is_command(&c, size - at)) {
            fprintf(stderr, "replay: no command at byte %zu of %s\n", at, argv[1]);
            return 65;
        }
        if (!follow(&c, &bytes[at])) {
            printf("{\"cycles\": %" PRIu64 ", \"differs\": {\"thing\": %u, \"place\": %u}}\n", cycles, c.thing, c.place);
            return 1;
        }
        at += c.length;
        cycles += c.kind == ENFORCE;
    }
    printf("{\"cycles\": %" PRIu64 ", \"differs\": null}\n", cycles);
    return 0;
}
