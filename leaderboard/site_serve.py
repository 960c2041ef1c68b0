"""Serves a site's folder on this machine alone, to look at it before it is published."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dojobench.leaderboard.site_build import MARKER
from dojobench.protocol.errors import BadInputError


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

    def end_headers(self) -> None:
        """Keeps a page that was built again from being shown as it was."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
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
