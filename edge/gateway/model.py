"""Settings → what the arbiter must know of the site."""

from __future__ import annotations

from edge.arbiter import GovernorSettings, cloud_lost_delay_ns
from edge.config import Settings
from edge.config.derive import NO_PARENT, derive_evses, derive_feeders
from edge.model import EvseModel, FeederModel, SiteModel

SECOND = 1_000_000_000
TOTAL = 3
"""Lane of a feeder's sum."""


def site_model(settings: Settings) -> SiteModel:
    """The settings must have passed their checks."""
    feeders = derive_feeders(settings)
    weights = {e.id: e.priority_weight for e in settings.evses}
    delay_ns = 0 if settings.uplink is None else cloud_lost_delay_ns(settings.site.id, settings.uplink.leave_jitter_ns)
    return SiteModel(
        id=settings.site.id,
        evses=tuple(
            EvseModel(
                id=e.id,
                feeder=feeders[e.feeder].id,
                min_w=-e.rating_discharge_w,
                max_w=e.rating_charge_w,
                fallback_min_w=-e.fallback_discharge_w,
                fallback_max_w=e.fallback_charge_w,
                weight=weights[e.id],
            )
            for e in derive_evses(settings)
        ),
        feeders=tuple(
            FeederModel(
                id=f.id,
                parent=None if f.parent == NO_PARENT else feeders[f.parent].id,
                export_w=-f.export_w[TOTAL],
                import_w=f.import_w[TOTAL],
            )
            for f in feeders
        ),
        cloud_lost_delay_ns=delay_ns,
    )


def governor_settings(settings: Settings) -> GovernorSettings | None:
    """The bounds of remote commands; None: nobody commands from afar."""
    if settings.uplink is None:
        return None
    own = settings.uplink.governor
    return GovernorSettings(
        step_share=own.step_pct / 100,
        direction_changes_per_h=own.direction_changes_per_h,
        free_share=own.free_pct / 100,
        ramp_share_s=own.ramp_pct_s / 100,
        stop_share_s=own.stop_pct_s / 100,
        start_spread_s=own.start_spread_ns / SECOND,
        slow_link_s=settings.uplink.max_round_trip_ns / SECOND,
    )
