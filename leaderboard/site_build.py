"""Makes the site of a folder of submissions: the same files in git make the same bytes."""

import gc
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from dojobench import __version__
from dojobench.leaderboard import site_pages as pages
from dojobench.leaderboard.safe_files import open_folder
from dojobench.leaderboard.site_downloads import (
    bibtex,
    board_csv,
    board_json,
    entry_json,
    entry_line,
    feed,
    published_csv,
    speed_csv,
    to_json,
)
from dojobench.leaderboard.site_entries import Entry, LeftOut, gather, read_entry
from dojobench.leaderboard.site_model import model_context
from dojobench.leaderboard.site_published import PUBLISHED, read_published
from dojobench.leaderboard.submission import list_submissions
from dojobench.protocol.errors import BadInputError

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'"
)
MARKER = ".dojobench-site"
STATIC = ("site.css", "site.js", "compare.js")
SHARED_STYLES = ("page.css", "charts.css")
"""Style sheets of the harness's reports that the site's pages use, too."""
MANY = 100
"""From so many submissions on, the work is spread over processes."""
MAX_MEDIA = 4 * 2**20
MAX_MEDIA_TOTAL = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What to build.

    Attributes:
        submissions: Folder with a folder for each submission.
        out: The site; one that was built before is replaced as a whole.
        published: Folder of published tables.
        address: Where the site will stand, for the feed; empty where that is not known.
        workers: Processes.
    """

    submissions: Path
    out: Path
    published: Path = PUBLISHED
    address: str = ""
    workers: int = 2


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was built."""

    out: Path
    entries: int
    pages: int
    bytes: int
    left_out: tuple[LeftOut, ...]


def build(config: BuildConfig, tell: Callable[[str, int, int], None] | None = None) -> Built:
    """Builds the site.

    Args:
        config: What to build.
        tell: Is told a step, how much of it is done, and how much there is.

    Raises:
        BadInputError: If the folder of submissions is not there, or ``out`` holds something
            else than a site.
    """
    if not config.submissions.is_dir():
        raise BadInputError(
            f"{config.submissions} is no folder; give the one that holds the submissions"
        )
    _require_ours(config.out)
    paths = list_submissions(config.submissions)
    say = tell or (lambda step, done, of: None)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=config.out.parent, prefix=f".{config.out.name}.") as tmp,
        _keeping_all(),
    ):
        # In this process: to send what was read from another one takes as long as reading it.
        entries, left_out = gather(_map(read_entry, paths, 1, "reading", say))
        site = pages.make_site(entries, left_out, read_published(config.published))
        made = Path(tmp) / "site"
        _write_site(site, made, config, say)
        written = [path for path in made.rglob("*") if path.is_file()]
        total = sum(path.stat().st_size for path in written)
        made.chmod(0o755)
        _swap(made, config.out, Path(tmp) / "before")
    count = sum(path.suffix == ".html" for path in written)
    return Built(
        out=config.out,
        entries=len(entries),
        pages=count,
        bytes=total,
        left_out=tuple(site.left_out),
    )


def _require_ours(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise BadInputError(f"{out} holds something else than a site; give another --out")
    if out.exists() and not out.is_dir():
        raise BadInputError(f"{out} is no folder; give another --out")


def _swap(made: Path, out: Path, before: Path) -> None:
    if out.exists():
        out.replace(before)
    made.replace(out)


class _Writer:
    """Writes pages below a folder."""

    def __init__(self, out: Path, navigation: Sequence[tuple[str, str]]) -> None:
        self.out = out
        self.environment = Environment(
            loader=PackageLoader("dojobench.leaderboard", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(
            version=__version__, policy=POLICY, navigation=list(navigation)
        )

    def text(self, name: str, content: str) -> None:
        """Writes a file."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")

    def page(self, name: str, template: str, context: dict[str, Any]) -> None:
        """Writes a page."""
        root = "../" * name.count("/")
        found = self.environment.get_template(f"site_{template}.html.j2")
        self.text(name, found.render(root=root, **context))


def _write_site(
    site: pages.Site, out: Path, config: BuildConfig, say: Callable[[str, int, int], None]
) -> None:
    writer = _Writer(out, pages.navigation(site))
    writer.text(MARKER, "made by `dojobench leaderboard build`\n")
    writer.text(".nojekyll", "")
    for name in STATIC:
        content = (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")
        writer.text(f"static/{name}", content)
    for name in SHARED_STYLES:
        sheet = files("dojobench.benchmarks").joinpath("templates", name)
        writer.text(f"static/{name}", sheet.read_text(encoding="utf-8"))
    _write_pages(writer, site)
    _write_data(writer, site, config.address)
    _media(site.entries, out)
    (out / "models").mkdir(exist_ok=True)
    _Models.now = _Models(writer, site)
    ids = list(range(len(site.entries)))
    for _ in _map(_write_model, ids, config.workers, "writing", say):
        pass


def _write_pages(writer: _Writer, site: pages.Site) -> None:
    writer.page("index.html", "index", pages.index_context(site))
    for name in site.suites:
        writer.page(f"suites/{name}.html", "suite", pages.suite_context(site, name))
    for source in site.published:
        writer.page(f"published/{source.id}.html", "published", pages.published_context(source))
    writer.page("compare.html", "compare", pages.compare_context(site))
    writer.page(
        "speed.html", "speed",
        {"here": "speed.html", "title": "Speed", "description": "How fast models are.",
         "boards": site.speeds},
    )  # fmt: skip
    writer.page(
        "human.html", "human",
        {"here": "human.html", "title": "Human preference",
         "description": "What people preferred.", "studies": site.studies},
    )  # fmt: skip
    writer.page(
        "about.html", "about",
        {"here": "about.html", "title": "How to read this",
         "description": "Intervals, ranks, groups, tiers and versions.",
         "left_out": site.left_out},
    )  # fmt: skip


def _write_data(writer: _Writer, site: pages.Site, address: str) -> None:
    for board in site.boards:
        writer.text(f"data/{board.key}.csv", board_csv(board))
        writer.text(f"data/{board.key}.json", to_json(board_json(board)))
    for source in site.published:
        writer.text(f"data/published.{source.id}.csv", published_csv(source))
        writer.text(f"data/published.{source.id}.json", to_json(source.model_dump(mode="json")))
    writer.text("data/speed.csv", speed_csv(site.speeds))
    writer.text("data/boards.json", to_json(pages.compare_data(site)))
    entries = [entry_line(each) for each in site.entries]
    writer.text("data/entries.json", to_json({"format": 1, "entries": entries}))
    writer.text("references.bib", "\n\n".join(bibtex(e) for e in site.entries) + "\n")
    writer.text("feed.xml", feed(site.entries, address))


def _media(entries: Iterable[Entry], out: Path) -> None:
    """Copies the videos that lie in submissions' folders, as far as there is room."""
    total = 0
    for entry in entries:
        if not entry.videos:
            continue
        folder = open_folder(entry.folder)
        for name in entry.videos:
            size = folder.sizes.get(f"videos/{name}", MAX_MEDIA + 1)
            if size > MAX_MEDIA or total + size > MAX_MEDIA_TOTAL:
                continue
            total += size
            path = out / "media" / entry.id / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(folder.read(f"videos/{name}", MAX_MEDIA))


class _Models:
    """What a process needs to write models' pages; inherited by fork, so nothing is copied."""

    now: "_Models"

    def __init__(self, writer: _Writer, site: pages.Site) -> None:
        self.writer, self.entries = writer, site.entries
        self.boards, self.labels = site.by_key, pages.labels_of(site)


def _write_model(place: int) -> int:
    models = _Models.now
    entry = models.entries[place]
    context = model_context(entry, models.boards, models.labels)
    models.writer.page(f"models/{entry.id}.html", "model", context)
    models.writer.text(f"data/models/{entry.id}.json", to_json(entry_json(entry)))
    return place


def _begin() -> None:
    """Collects a process's own garbage alone: the rest would be copied for being looked at."""
    gc.freeze()
    gc.enable()


@contextmanager
def _keeping_all() -> Iterator[None]:
    """Collects no garbage while a thousand submissions are read: nearly all of it is kept."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _map(
    function: Callable[[_Item], _Made],
    items: Sequence[_Item],
    workers: int,
    step: str,
    say: Callable[[str, int, int], None],
) -> Iterator[_Made]:
    if len(items) < MANY or workers < 2:
        for done, item in enumerate(items, start=1):
            yield function(item)
            say(step, done, len(items))
        return
    context = get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        for done, result in enumerate(pool.map(function, items, chunksize=16), start=1):
            yield result
            say(step, done, len(items))


def fingerprint(folder: Path) -> str:
    """Hashes every name and byte of a site."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
