"""What telemetry says of an EVSE's part of the site's target, and of what all have in common."""

from types import SimpleNamespace
from typing import cast

import pytest

from edge.core import EvseSnapshot, Snapshot
from edge.core.snapshot import Share
from edge.gateway.messages import share_of
from edge.model import Reason

SITE = cast(Snapshot, SimpleNamespace(site=SimpleNamespace(target_w=-20_000, measured_w=-19_960)))


def evse(share: Share) -> EvseSnapshot:
    return cast(EvseSnapshot, SimpleNamespace(share=share))


def test_who_follows_the_site_says_its_target_its_power_and_its_own_part() -> None:
    told = share_of(evse(Share(-5_000, None, None, Reason.NONE, Reason.NONE)), SITE)
    assert told is not None
    assert (told.site_target_w, told.site_power_w, told.target_w, told.reason) == (-20_000, -19_960, -5_000, None)


@pytest.mark.parametrize(
    ("share", "bounds", "reason"),
    [
        (Share(None, 6_500, None, Reason.FEEDER_LIMIT, Reason.NONE), (None, 6_500), "FEEDER_LIMIT"),
        (Share(None, None, 4_000, Reason.NONE, Reason.GRID_VOLTAGE), (-4_000, None), "GRID_VOLTAGE"),
    ],
)
def test_a_full_feeder_or_high_voltage_is_told_with_its_reason(
    share: Share, bounds: tuple[int | None, int | None], reason: str
) -> None:
    told = share_of(evse(share), SITE)
    assert told is not None
    assert (told.min_w, told.max_w) == bounds
    assert (told.reason, told.site_target_w) == (reason, None)


def test_nothing_is_said_where_there_is_nothing_to_share() -> None:
    assert share_of(evse(Share(None, None, None, Reason.NONE, Reason.NONE)), SITE) is None
