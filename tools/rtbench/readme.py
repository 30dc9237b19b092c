"""Draws docs/pictures/lateness.svg and writes the README's table of figures, both from docs/bench/figures.json.

Usage: python -m tools.rtbench.readme [KEPT] – with KEPT (build/bench/summary.json after a long run) the figures are
taken from there first.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs/bench/figures.json"
PICTURE = ROOT / "docs/pictures/lateness.svg"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: python -m tools.rtbench.readme -->", "<!-- end of figures -->"

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 360, 64, 48, 36, 16
FIRST_US, LAST_US, LEAST_SHARE = 5.0, 20_000.0, 1e-6
LINES = (
    ("idle", "cycle", "#1f6feb", ""),
    ("idle", "cyclictest", "#1f6feb", "5 4"),
    ("loaded", "cycle", "#c2410c", ""),
    ("loaded", "cyclictest", "#c2410c", "5 4"),
)


def x_of(us: float) -> float:
    share = math.log10(min(max(us, FIRST_US), LAST_US) / FIRST_US) / math.log10(LAST_US / FIRST_US)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(share: float) -> float:
    return TOP + math.log10(max(share, LEAST_SHARE)) / math.log10(LEAST_SHARE) * (HEIGHT - TOP - BOTTOM)


def later_than(bins: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """(µs, share of wake-ups that are later)."""
    total = left = sum(count for _, _, count in bins)
    points = []
    for _, high, count in bins:
        left -= count
        points.append((high, left / total))
    return points


def picture(histograms: Mapping[str, Mapping[str, Any]], machine: str) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20">Share of wake-ups later than … after the grid point; {machine}</text>',
    ]
    for decade in range(-6, 1):
        y = y_of(10.0**decade)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">10^{decade}</text>')
    for us, name in ((10, "10 µs"), (100, "100 µs"), (1000, "1 ms"), (10_000, "10 ms")):
        x = x_of(us)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{name}</text>')
    for number, (condition, arm, colour, dash) in enumerate(LINES):
        path = "".join(f"L{x_of(us):.1f} {y_of(share):.1f}" for us, share in later_than(histograms[condition][arm]))
        style = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dash}"'
        parts.append(f'<path d="M{LEFT} {TOP}{path}" {style}/>')
        x, y = LEFT + number * 160, HEIGHT - 12
        parts.append(f'<path d="M{x} {y - 4}h24" {style}/><text x="{x + 30}" y="{y}">{arm}, {condition}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _spread(figures: Mapping[str, float]) -> str:
    return " / ".join(f"{figures[name]:g}" for name in ("p50", "p99", "p99_9", "max"))


def _interval(late: Mapping[str, Any]) -> str:
    parts = []
    for name in ("p50", "p99", "p99_9"):
        low, high = late["null_interval"][name]
        parts.append(f"{late['ratio'][name]:.2f} ({low:.2f}…{high:.2f})")
    return ", ".join(parts)


def table(figures: Mapping[str, Any]) -> str:
    late, edge, loop = figures["lateness"], figures["v2g_edge"], figures["python_loop"]
    machine = figures["machine"]
    kind = "PREEMPT_RT" if machine["preempt_rt"] else "not PREEMPT_RT"
    rows = [f"{machine['cpu']}, {machine['cpus']} cores, Linux {machine['kernel']} ({kind}):", ""]
    rows.append("| condition | wake-ups | cycle µs, p50 / p99 / p99.9 / max | cyclictest µs | ratio (null interval) |")
    rows.append("|---|---|---|---|---|")
    for name, found in late.items():
        spreads = f"{_spread(found['lateness_us'])} | {_spread(found['cyclictest_us'])}"
        rows.append(f"| {name} | {found['wakeups']:,} | {spreads} | {_interval(found)} |")
    rows += ["", "| the same site, 8 EVSEs at 10 ms | v2g-edge | a loop in pure Python |", "|---|---|---|"]
    for name in ("idle", "loaded"):
        title = f"wake-up lateness µs, {name}, p50 / p99 / p99.9 / max"
        rows.append(f"| {title} | {_spread(edge['lateness_us'][name])} | {_spread(loop['lateness_us'][name])} |")
    for name in ("idle", "loaded"):
        both = [f"{program['missed'][name]} of {program['cycles'][name]}" for program in (edge, loop)]
        rows.append(f"| grid points missed, {name} | {both[0]} | {both[1]} |")
    titles = {
        "page_faults_in_cycle": "page faults while it ran",
        "command_to_frame_ms_p50": "command to frame ms, p50 (the gateway first writes it to disk)",
    }
    for key, title in titles.items():
        rows.append(f"| {title} | {edge[key]} | {loop[key]} |")
    rows.append(f"| 1000 CAN frames (800 in, 200 out), ms | {figures['can_1000_frames_ms']} | {loop['can_1000_frames_ms']} |")
    return "\n".join(rows)


def take(summary: Path) -> None:
    """Keep what picture and table show of a run of `make bench`."""
    found = json.loads(summary.read_text())
    rt = found["rt"]
    kept = {
        "machine": found["machine"],
        "lateness": rt["lateness"],
        "v2g_edge": rt["side_by_side"]["v2g_edge"],
        "python_loop": rt["side_by_side"]["python_loop"],
        "can_1000_frames_ms": found["can_1000_frames_ms"],
        "histograms_us": json.loads((summary.parent / "lateness_histograms.json").read_text()),
    }
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(kept) + "\n")


def main(arguments: Sequence[str]) -> None:
    for path in arguments:
        take(Path(path))
    figures = json.loads(FIGURES.read_text())
    machine = f"{figures['machine']['cpu']}, Linux {figures['machine']['kernel']}"
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(figures["histograms_us"], machine))
    before, rest = README.read_text().split(BEGIN)
    README.write_text(before + BEGIN + "\n" + table(figures) + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main(sys.argv[1:])
