"""What a root without a route gets its packages from: a forward proxy for Debian's mirror that keeps what it fetched."""

from __future__ import annotations

import hashlib
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def mirror(address: str, port: int, cache: Path) -> Iterator[str]:
    """Serve while the context lasts; yields the proxy's URL. Packages are kept in `cache`, lists are fetched anew."""
    cache.mkdir(parents=True, exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept = cache / f"{hashlib.sha256(self.path.encode()).hexdigest()[:16]}-{self.path.rsplit('/', 1)[-1]}"
            keep = self.path.endswith(".deb")
            if not (keep and kept.exists()):
                part = kept.with_name(f"{kept.name}.{threading.get_ident()}")
                try:
                    with urllib.request.urlopen(self.path, timeout=60) as source, part.open("wb") as file:
                        shutil.copyfileobj(source, file)
                except urllib.error.HTTPError as error:
                    return self.send_error(error.code)
                except OSError as error:
                    return self.send_error(502, str(error))
                part.replace(kept)
            self.send_response(200)
            self.send_header("Content-Length", str(kept.stat().st_size))
            self.end_headers()
            with kept.open("rb") as file:
                shutil.copyfileobj(file, self.wfile)
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{address}:{port}"
    finally:
        server.shutdown()
        server.server_close()
