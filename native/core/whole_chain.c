/* seal.c, feeder.c and enforce.c as one translation unit, and the whole chain as one function: nothing of what an EVSE passes
 * through in a cycle is called, which saves an eighth of the instructions. Coverage, mutants and proofs take the files one by one. */
#include "chain.h"

__attribute__((flatten)) void v2g_enforce(const struct v2g_config *config, const struct v2g_plan *plan, struct v2g_state *state,
                                          const struct v2g_image *image, int64_t now_ns, struct v2g_setpoints *out);

#include "seal.c"

#include "feeder.c"

#include "enforce.c"
