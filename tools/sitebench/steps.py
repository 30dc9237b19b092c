"""Judges a run in which the site's target steps, and draws it. Series are W at the grid connection, PER_S samples a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PER_S = 10
BAND_PERCENT = 2.0
"""Settled: no more than this share of the step away from the target, for good."""
LAST_PART = 1 / 3
"""Of a step; there it is judged at rest."""
WIDTH, HEIGHT, MARGIN = 900, 360, 60


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Overshoot, ripple (peak to peak at rest) in % of the step; the steady error in % of the target."""

    from_w: float
    to_w: float
    overshoot_percent: float
    settling_s: float
    steady_error_percent: float
    ripple_percent: float


def steps_of(measured: Sequence[float], target: Sequence[float]) -> list[Step]:
    """Every step of `target`; what was before the first one is not judged."""
    begins = [i for i in range(1, len(target)) if target[i] != target[i - 1]]
    ends = [*begins[1:], len(target)]
    return [_judge(measured[i:end], target[i - 1], target[i]) for i, end in zip(begins, ends, strict=True)]


def _judge(measured: Sequence[float], from_w: float, to_w: float) -> Step:
    size_w = abs(to_w - from_w)
    up = 1 if to_w > from_w else -1
    outside = [i for i, w in enumerate(measured) if abs(w - to_w) > size_w * BAND_PERCENT / 100]
    rest = measured[-round(len(measured) * LAST_PART) :]
    return Step(
        from_w=from_w,
        to_w=to_w,
        overshoot_percent=round(max(0.0, *(100 * up * (w - to_w) / size_w for w in measured)), 3),
        settling_s=(outside[-1] + 1) / PER_S if outside else 0.0,
        steady_error_percent=round(100 * abs(sum(rest) / len(rest) - to_w) / abs(to_w), 3),
        ripple_percent=round(100 * (max(rest) - min(rest)) / size_w, 3),
    )


def _line(values: Sequence[float], low: float, high: float, style: str) -> str:
    across = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    up = (HEIGHT - 2 * MARGIN) / (high - low)
    points = " ".join(f"{MARGIN + i * across:.1f},{HEIGHT - MARGIN - (w - low) * up:.1f}" for i, w in enumerate(values))
    return f'<polyline fill="none" {style} points="{points}"/>'


def plot(measured: Sequence[float], target: Sequence[float], title: str) -> str:
    """A run as SVG."""
    low, high = min(*measured, *target), max(*measured, *target)
    seconds = len(measured) / PER_S
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{MARGIN}" y="30">Power at the grid connection: {title}</text>',
            f'<text x="{MARGIN}" y="{HEIGHT - 20}">0 to {seconds:.0f} s; {low / 1000:.0f} to {high / 1000:.0f} kW; '
            "grey: target, blue: measured</text>",
            _line(target, low, high, 'stroke="#999" stroke-width="3"'),
            _line(measured, low, high, 'stroke="#06c" stroke-width="1.2"'),
            "</svg>\n",
        ]
    )
