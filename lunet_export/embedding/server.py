"""A server of a page on localhost, for previews only."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lunet_export.errors import BadInputError

_HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    # The table of the system may differ, and browsers refuse modules with another type.
    extensions_map = {  # noqa: RUF012
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".onnx": "application/octet-stream",
    }

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # a rewritten page is seen at once
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        del format, args


def site_server(site: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the folder on 127.0.0.1, started by `serve_forever`. Port 0 takes a free one.

    Raises:
        BadInputError: if there is no page in the folder.
        OSError: if the port is taken.
    """
    if not (site / "index.html").is_file():
        raise BadInputError(
            f"Expected a page in {site}; index.html is missing. Write one with: lunet-export demo-page FOLDER"
        )
    return ThreadingHTTPServer((_HOST, port), partial(_Handler, directory=str(site)))
