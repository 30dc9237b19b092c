"""`python -m tests.local.write_pictures [ADDRESS]`: the README's two pictures of the page, taken during `make demo`."""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
from pathlib import Path

from tests.local.browser import browser

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIZES = {"page-desktop": (1280, 1560), "page-phone": (390, 1130)}
PHONE_TOP = "document.getElementById('evses-title').getBoundingClientRect().top + scrollY - 10"
SHOWN_S = 5.0


async def take(address: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with browser(Path(folder)) as page:
            for name, (width, height) in SIZES.items():
                await page.open(address, width, height)
                await page.until("document.querySelectorAll('figure').length === 2")
                await asyncio.sleep(SHOWN_S)
                top = await page.run(PHONE_TOP) if name == "page-phone" else 0
                clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
                shot = await page.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
                (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    asyncio.run(take(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8088/"))
