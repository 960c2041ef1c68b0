"""Serves a site's folder on this machine alone, to look at it before it is published."""

import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dojobench.leaderboard.site_build import MARKER
from dojobench.protocol.errors import BadInputError

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


class _Handler(SimpleHTTPRequestHandler):
    """Serves files, with the right types and no listing of folders."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".xml": "application/atom+xml; charset=utf-8",
        ".bib": "text/plain; charset=utf-8",
        ".csv": "text/csv; charset=utf-8",
        ".json": "application/json; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".html": "text/html; charset=utf-8",
    }

    def do_GET(self) -> None:
        """Answers with a file, or the part of it that was asked for: videos seek by parts."""
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        start, stop = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1) + 1
        if start >= stop:
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])

    def end_headers(self) -> None:
        """Keeps a page that was built again from being shown as it was."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def list_directory(self, path: object) -> None:
        """Refuses to list a folder."""
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing about each request."""


def make_server(site: Path, port: int = 8000) -> ThreadingHTTPServer:
    """Makes a server of a site.

    Args:
        site: Folder that `build` wrote.
        port: Port; 0 takes a free one.

    Raises:
        BadInputError: If the folder is no site, or the port is taken.
    """
    if not (site / MARKER).is_file():
        raise BadInputError(
            f"{site} is no site; make one with `dojobench leaderboard build --out {site}`"
        )
    handler = partial(_Handler, directory=str(site))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise BadInputError(f"port {port} cannot be used ({error}); give another --port") from error
