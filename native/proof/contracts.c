/* Contracts in ACSL of the small functions that every row stands on, proven by Frama-C's WP with the solver z3 for all arguments at once:
 * unlike a bounded check, nothing is unwound. -rte adds that nothing overflows (also unsigned) and no pointer leaves its object.
 * The contracts stand behind the functions' own text; a caller is proven from the contracts of what it calls. */
#include "../core/chain.h"

/*@ assigns \nothing;
  @ ensures \result == \min(a, b); */
static inline int32_t min_i32(int32_t a, int32_t b);

/*@ assigns \nothing;
  @ ensures \result == \max(a, b); */
static inline int32_t max_i32(int32_t a, int32_t b);

/*@ requires limit_ns >= 0;
  @ assigns \nothing;
  @ ensures acquired_ns > now_ns && now_ns >= 0 ==> \result || limit_ns == INT64_MAX;
  @ ensures 0 <= acquired_ns <= now_ns ==> (\result <==> now_ns - acquired_ns > limit_ns); */
static inline bool is_old(int64_t now_ns, int64_t acquired_ns, int64_t limit_ns);

/*@ requires \valid(band);
  @ assigns band->charge_w, band->why_charge;
  @ ensures \old(band->charge_w) > 0 ==> band->charge_w == \max(0, \min(limit_w, \old(band->charge_w)));
  @ ensures \old(band->charge_w) <= 0 ==> band->charge_w == \old(band->charge_w);
  @ ensures band->charge_w == \old(band->charge_w) ==> band->why_charge == \old(band->why_charge);
  @ ensures band->charge_w != \old(band->charge_w) ==> band->why_charge == (uint8_t)why; */
static inline void cap_charge(struct v2g_band *band, int32_t limit_w, enum v2g_reason why);

/*@ requires \valid(band);
  @ assigns band->discharge_w, band->why_discharge;
  @ ensures \old(band->discharge_w) > 0 ==> band->discharge_w == \max(0, \min(limit_w, \old(band->discharge_w)));
  @ ensures \old(band->discharge_w) <= 0 ==> band->discharge_w == \old(band->discharge_w);
  @ ensures band->discharge_w == \old(band->discharge_w) ==> band->why_discharge == \old(band->why_discharge);
  @ ensures band->discharge_w != \old(band->discharge_w) ==> band->why_discharge == (uint8_t)why; */
static inline void cap_discharge(struct v2g_band *band, int32_t limit_w, enum v2g_reason why);

/*@ requires \valid(band);
  @ assigns *band;
  @ ensures band->charge_w <= \old(band->charge_w) && band->discharge_w <= \old(band->discharge_w);
  @ ensures \old(band->charge_w) >= 0 ==> band->charge_w >= 0;
  @ ensures \old(band->discharge_w) >= 0 ==> band->discharge_w >= 0;
  @ ensures limit_w >= 0 ==> band->charge_w <= \max(limit_w, 0) || \old(band->charge_w) <= 0;
  @ ensures band->charge_w <= \max(limit_w, 0) && band->discharge_w <= \max(limit_w, 0); */
static inline void cap_both(struct v2g_band *band, int32_t limit_w, enum v2g_reason why);

/* The range is what clamp_i32 promises; its trick with unsigned differences is beyond WP's solvers and proven by ESBMC instead (small.c). */
/*@ requires lo <= hi;
  @ assigns \nothing;
  @ ensures lo <= \result <= hi;
  @ ensures lo <= v <= hi ==> \result == v;
  @ ensures v < lo ==> \result == lo;
  @ ensures v > hi ==> \result == hi; */
static inline int32_t clamp_i32(int32_t v, int32_t lo, int32_t hi);

/*@ requires \valid_read(in);
  @ assigns \nothing;
  @ ensures -V2G_POWER_MAX_W <= \result <= V2G_POWER_MAX_W;
  @ ensures -V2G_POWER_MAX_W <= in->value[V2G_F_POWER] <= V2G_POWER_MAX_W ==> \result == in->value[V2G_F_POWER]; */
static inline int32_t power_of(const struct v2g_evse_in *in);

/*@ requires \valid_read(config) && 0 <= magnitude_w <= V2G_POWER_MAX_W;
  @ assigns \nothing;
  @ ensures 0 <= \result <= magnitude_w;
  @ ensures !balanced || config->phase_count < 2 || config->phase_count > 3 ==> \result == magnitude_w;
  @ ensures balanced && config->phase_count == 2 ==> magnitude_w <= 2 * \result <= magnitude_w + 1;
  @ ensures balanced && config->phase_count == 3 ==> magnitude_w <= 3 * \result <= magnitude_w + 2; */
static inline int32_t phase_share(const struct v2g_evse_config *config, bool balanced, int32_t magnitude_w);

/*@ requires \valid_read(config) && 0 <= power_w <= V2G_POWER_MAX_W;
  @ assigns \nothing;
  @ ensures \result.w[V2G_LANE_TOTAL] == power_w;
  @ ensures \forall integer lane; 0 <= lane < V2G_LANES ==> 0 <= \result.w[lane] <= power_w; */
static inline struct v2g_lanes v2g_load(const struct v2g_evse_config *config, bool balanced, int32_t power_w);

/*@ assigns \nothing;
  @ ensures \result <==> (known & fields) == fields; */
static inline bool has(uint32_t known, uint32_t fields);
