"""A config for `edgectl simulate`."""

from pathlib import Path

CONFIG = """
site: {id: site-1, grid: {import_limit_w: 60000, export_limit_w: 50000}}
feeders:
  - {id: main, rating_a: 100, meter: grid, base_load_w: 5000}
  - {id: row-a, parent: main, rating_a: 63}
buses:
  - {id: can0, kind: can, channel: vcan0}
  - {id: net, kind: modbus-tcp}
meters:
  - {id: grid, bus: net, host: 127.0.0.1, profile: sim-meter, poll: 50ms}
evses:
  - {id: evse-1, bus: can0, dbc: evse-generic, node: 1, feeder: row-a, rating_w: 22000, silence_tested: true}
  - {id: evse-2, bus: can0, dbc: evse-generic, node: 2, feeder: row-a, rating_w: 22000, silence_tested: true}
"""


def simulated_site(folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_text(CONFIG)
    return path
