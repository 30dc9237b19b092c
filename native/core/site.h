/* What the files of site control share. */
#ifndef V2G_CORE_SITE_H
#define V2G_CORE_SITE_H

#include "chain.h"
#include "v2g_site.h"

/* One direction: what each EVSE could take, then its share. Magnitudes, W, in the order of the tree. */
struct v2g_asks {
    int32_t most_w[V2G_MAX_EVSES];
    uint16_t weight[V2G_MAX_EVSES];
    uint8_t why[V2G_MAX_EVSES]; /* enum v2g_reason: why less than it could take; V2G_REASON_NONE: it is not less */
    uint16_t by[V2G_MAX_EVSES]; /* the feeder that bound it; V2G_NONE: the site's target */
};

struct v2g_shares {
    struct v2g_asks asks[2];                /* charging, discharging; each EVSE asks in one of them */
    bool asked[2];                          /* somebody does */
    uint8_t size[V2G_MAX_EVSES][V2G_LANES]; /* sixths of its power on each lane */
    uint8_t follows[V2G_MAX_EVSES];         /* sixths of its power that count for the site's target: all 6 or 0 */
    bool stands_in[V2G_MAX_EVSES];          /* the frequency's wish stands in for the plan's */
    int32_t wish_w[V2G_MAX_EVSES];          /* of those that don't follow */
};

enum { V2G_CHARGE = 0, V2G_DISCHARGE = 1, V2G_SIXTHS = 6 };

/* share_out.c */
void v2g_share_order(const struct v2g_config *config, struct v2g_site_state *memory);
void v2g_share_hold_rooms(const struct v2g_config *config, const struct v2g_state *state, int64_t now_ns,
                          struct v2g_site_state *memory);
bool v2g_share_feeders(const struct v2g_config *config, const struct v2g_site_state *memory, int direction, bool lower,
                       struct v2g_shares *shares);

/* track.c: W that all EVSEs that follow the site must take together so that the grid connection shows its target. */
struct v2g_track_in {
    const struct v2g_config *config;
    const struct v2g_site_config *site;
    const struct v2g_plan *plan;
    const struct v2g_site_plan *wish;
    const struct v2g_state *state;
    const struct v2g_setpoints *set;
    const struct v2g_image *image;
    int32_t offset_w; /* what the frequency asks of all EVSEs together, charging positive */
    int64_t now_ns;
};
int64_t v2g_track(const struct v2g_track_in *in, struct v2g_site_state *memory, struct v2g_site_view *view);

#endif
