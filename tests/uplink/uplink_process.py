"""An uplink in a process of its own, for what only a process has: OPENSSL_CONF is read once. A JSON line for each change."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from edge.uplink import Clock, CommandHandler, MemoryLedger, Uplink, UplinkError, UplinkSettings, running
from tests.uplink.conftest import Gateway


async def live(uplink: Uplink) -> None:
    told = ""
    async with running(uplink):
        while True:
            status = uplink.status()
            line = json.dumps({"connected": status.connected, "tls": status.tls_version, "error": status.last_error})
            if line != told:
                print(line, flush=True)
                told = line
            await asyncio.sleep(0.05)


def main() -> None:
    pki, name, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    clock = Clock()
    gateway = Gateway(clock)
    settings = UplinkSettings(
        "site-1", "localhost", pki / "ca.crt", pki / f"{name}.crt", pki / f"{name}.key", port=port, reconnect_max_s=1
    )
    handler = CommandHandler("site-1", {}, MemoryLedger(), gateway, clock)
    try:
        uplink = Uplink(settings, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    except UplinkError as error:
        print(json.dumps({"refused": str(error)}), flush=True)
        return
    asyncio.run(live(uplink))


if __name__ == "__main__":
    main()
