"""A snapshot with nothing but one vehicle at both EVSEs, for parts that look at vehicles only."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

from edge.core import Snapshot
from edge.core.snapshot import Inputs
from edge.field.canmap import EvseField


def picture_of(values: Mapping[EvseField, int]) -> Snapshot:
    count = len(EvseField)
    inputs = Inputs(
        tuple(values.get(field, 0) for field in EvseField), sum(1 << field for field in values), (0,) * count, (0,) * count
    )
    evses = [SimpleNamespace(id=evse, inputs=inputs) for evse in ("evse-1", "evse-2")]
    return cast(Snapshot, SimpleNamespace(evses=evses, feeders=[]))
