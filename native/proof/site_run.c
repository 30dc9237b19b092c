/* Random runs of site control: `site_run SEED EVSE_STEPS`. Sites, plans and inputs are the adversary's; grid rules too. Judged by
 * site_judge.h. Prints one JSON line; exit 1 on a violation. */
#include "site_judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int step(struct run *r, struct adversary *a) {
    r->now_ns = adversary_time(a, r->now_ns);
    if (one_in(a, 5)) {
        say(a, r);
    }
    adversary_image(a, &r->config, &r->out, &r->image, r->now_ns);
    some_frequency(a, r);
    return judged_cycle(r, a);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: site_run SEED EVSE_STEPS\n");
        return 64;
    }
    uint64_t seed = strtoull(argv[1], NULL, 0), wanted = strtoull(argv[2], NULL, 0);
    struct adversary a = {.seed = seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
    static struct run r;
    int violated = 0;
    while (r.steps < wanted && violated == 0) {
        uint32_t sizes[] = {1, 2, 3, 8, 16, 64, V2G_MAX_EVSES};
        if (!open_run(&r, &a, sizes[any(&a) % 7])) {
            fprintf(stderr, "site_run: the adversary made a config that is refused\n");
            return 2;
        }
        for (int i = 0; i < 500 && violated == 0; i++) {
            violated = step(&r, &a);
        }
    }
    printf("{\"seed\": %" PRIu64 ", \"evse_steps\": %" PRIu64 ", \"shared\": %" PRIu64 ", \"violated\": %d}\n", seed, r.steps,
           r.shared, violated);
    return violated != 0;
}
