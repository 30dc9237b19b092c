/* properties.h as a library, so that hypothesis (tests/model) judges each step by the same text as the random runs and the provers. */
#include "properties.h"

int v2g_judge(const struct v2g_config *config, const struct v2g_plan *plan, const struct v2g_image *image,
              const struct v2g_state *before, const struct v2g_state *after, const struct v2g_setpoints *out, int64_t now_ns);

int v2g_judge(const struct v2g_config *config, const struct v2g_plan *plan, const struct v2g_image *image,
              const struct v2g_state *before, const struct v2g_state *after, const struct v2g_setpoints *out, int64_t now_ns) {
    struct v2g_step step = {config, plan, image, before, after, out, now_ns};
    return v2g_step_violates(&step);
}
