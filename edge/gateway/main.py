"""`v2g-edge`: the gateway's daemon."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge import __version__

if TYPE_CHECKING:
    from edge.gateway.gateway import Gateway

EXIT_REFUSED = 2
DEFAULT_CONFIG = Path("/etc/v2g-edge/config.yaml")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="v2g-edge",
        description="Real-time gateway of one EV-charging site. Runs until SIGTERM (every EVSE is brought to 0 W first); "
        "SIGHUP applies a changed config whole or not at all.",
        epilog="Check a config first: edgectl config check FILE. Exit code 2: it can't start, one line for each reason.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default: {DEFAULT_CONFIG}")
    parser.add_argument("--version", action="version", version=f"v2g-edge {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log debugging details as well")
    return parser.parse_args()


def _connect_signals(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(gateway.reload_from_signal(), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop_requested.set)
    loop.add_signal_handler(signal.SIGHUP, reload)


def main() -> int:
    """0: ended as told. 2: refused to start; each line on stderr is one reason with its remedy."""
    gc.disable()  # what is made while starting is no garbage; on again once it runs
    arguments = _arguments()
    import uvloop

    from edge.config import ConfigError
    from edge.core import CoreError
    from edge.gateway.errors import GatewayError
    from edge.gateway.gateway import run
    from edge.gateway.logs import set_up
    from edge.local.view import LocalError

    set_up(arguments.verbose, os.environ.get("LOGS_DIRECTORY"))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(arguments.config, _connect_signals))
    except (ConfigError, CoreError, GatewayError, LocalError) as err:
        for line in str(err).splitlines():
            print(f"v2g-edge: {line}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
