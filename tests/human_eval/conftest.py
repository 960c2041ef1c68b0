"""Studies to try the server with, on SQLite and on a PostgreSQL server of our own, and raters."""

import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import httpx
import psycopg
import pytest
from starlette.applications import Starlette

from dojobench.human_eval.app import create_app
from dojobench.human_eval.catalog import CatalogClip, Gold, write_catalog
from dojobench.human_eval.site import Settings
from dojobench.human_eval.study_file import (
    AxesPart,
    AxisPart,
    ModelPart,
    StoppingPart,
    Study,
    StudyPart,
    TrialsPart,
    write_study,
)

ORGANISER = "open-sesame"
MakeStudy = Callable[..., Path]


def _media(folder: Path, ending: str, content: bytes) -> str:
    name = uuid4().hex
    (folder / "media" / f"{name}.{ending}").write_bytes(content)
    return name


def _clip(folder: Path, clip: str, models: list[str], gold: bool, truth: bool) -> CatalogClip:
    def video() -> str:
        return _media(folder, "mp4", uuid4().bytes * 64)

    pairs = [
        Gold(kind="frame-shuffled", real=video(), fake=video(), axis="physics"),
        Gold(kind="other-clip", real=video(), fake=video(), axis="action"),
    ]
    return CatalogClip(
        clip=clip,
        frames=12,
        rate=10.0,
        truth=video() if truth else None,
        first_frame=_media(folder, "png", b"png"),
        actions=_media(folder, "json", json.dumps({"frames": 12}).encode()),
        outputs={model: video() for model in models},
        gold=tuple(pairs) if gold else (),
    )


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Makes a study's folder whose media are random bytes."""

    def make(
        models: int = 3,
        clips: int = 8,
        *,
        trials: TrialsPart | None = None,
        stopping: StoppingPart | None = None,
        gold: bool = True,
        truth: bool = True,
        seed: int = 0,
        name: str = "study",
    ) -> Path:
        folder = tmp_path / name
        (folder / "media").mkdir(parents=True)
        names = [f"secretive-model-{k}" for k in range(models)]
        study = Study(
            study=StudyPart(
                title="Which is better?", suite="dojo", languages=("en", "zh"), seed=seed
            ),
            models=tuple(ModelPart(name=each, source=f"runs/{each}") for each in names),
            axes=AxesPart(physics=AxisPart(question="physics"), action=AxisPart(question="action")),
            trials=trials
            or TrialsPart(pairs=clips, per_rater=12, gold_share=0.17, duplicate_share=0.17),
            stopping=stopping or StoppingPart(),
        )
        write_study(study, folder)
        write_catalog(
            tuple(_clip(folder, f"clip-{k}", names, gold, truth) for k in range(clips)), folder
        )
        return folder

    return make


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


def _as_nobody_special() -> dict[str, object]:
    """PostgreSQL refuses to run as root; then it runs as its own user, or as nobody."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Runs a PostgreSQL server in a folder of its own; gives the address of its socket."""
    programs = _postgres_programs()
    if programs is None:
        reason = "there is no PostgreSQL server; install the package postgresql"
        if "postgres" in os.environ.get("DOJOBENCH_REQUIRE", "").split(","):
            pytest.fail(f"DOJOBENCH_REQUIRE names 'postgres', but {reason}")
        pytest.skip(reason)
    user = _as_nobody_special()
    # Under /tmp and not below a test's folder: its user may not enter that, and sockets' names
    # are short.
    folder = Path(tempfile.mkdtemp(prefix="dojobench-pg-"))
    if user:
        os.chown(folder, int(str(user["user"])), int(str(user["group"])))
    data, log = folder / "data", folder / "log"
    run = {"check": True, "cwd": "/", "stdout": subprocess.DEVNULL, **user}
    initdb = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "study",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    # Killed is only ever our own server, never this one.
    settings = ("fsync=off", "listen_addresses=''", f"unix_socket_directories={folder}")
    options = " ".join(f"-c {setting}" for setting in (*settings, "max_connections=120"))
    try:
        subprocess.run(initdb, **run)
        patient = [programs / "pg_ctl", "-D", data, "-w", "-t", "600"]
        start = [*patient, "-l", log, "-o", options, "start"]
        subprocess.run(start, **run)
        try:
            yield f"postgresql://study@/%s?host={folder}"
        finally:
            subprocess.run([*patient, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """Gives the address of an empty PostgreSQL database."""
    name = f"s{uuid4().hex}"
    with psycopg.connect(postgres_server % "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield postgres_server % name
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str | None:
    """Gives each database in turn: ``None`` is SQLite in the study's folder."""
    if request.param == "sqlite":
        return None
    address: str = request.getfixturevalue("postgres")
    return address


@pytest.fixture
def app(make_study: MakeStudy, database: str | None) -> Starlette:
    """Makes an application on each database in turn."""
    return create_app(make_study(), database=database, organiser_token=ORGANISER)


@pytest.fixture
def small(make_study: MakeStudy) -> Callable[..., Starlette]:
    """Makes an application on SQLite with other settings."""

    def make(study: dict[str, Any] | None = None, **settings: Any) -> Starlette:
        folder = make_study(**(study or {}))
        return create_app(folder, organiser_token=ORGANISER, settings=Settings(**settings))

    return make


@pytest.fixture
def bodies() -> Callable[[Starlette], list[dict[str, Any]]]:
    """Gives what the log of an application holds, what was erased left out."""

    def read(app: Starlette) -> list[dict[str, Any]]:
        found = app.state.site.running.store.events()
        return [dict(event.body) for event in found if event.body is not None]

    return read


class _Recording(httpx.ASGITransport):
    """Keeps every response."""

    def __init__(self, app: Starlette, kept: list[httpx.Response]) -> None:
        super().__init__(app=app, raise_app_exceptions=False)
        self.kept = kept

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        await response.aread()
        response.request = request
        self.kept.append(response)
        return response


class RaterClient(httpx.AsyncClient):
    """A rater's browser as far as HTTP goes."""

    BASE: ClassVar = "http://study.test"
    RIGHT: ClassVar = {"vanish": "right", "command": "left", "same": "tie"}

    def __init__(
        self, app: Starlette, kept: list[httpx.Response] | None = None, **more: Any
    ) -> None:
        transport = _Recording(app, [] if kept is None else kept)
        values = {"headers": {"Origin": self.BASE}, "follow_redirects": True, **more}
        super().__init__(transport=transport, base_url=self.BASE, **values)

    async def enter(self, **form: str) -> httpx.Response:
        """Agrees and answers the training; gives the first trial's page."""
        found = await self.post("/consent", data={"agree": "yes", "language": "en", **form})
        if str(found.url).endswith("/training"):
            found = await self.post("/training", data=self.RIGHT)
        return found

    async def answer(self, page: httpx.Response, **more: object) -> httpx.Response:
        """Votes on a trial's page."""
        accepted = {"Accept": "application/json"}
        return await self.post("/vote", json=self.ballot(page, **more), headers=accepted)

    async def whole_study(self) -> httpx.Response:
        """Answers trials until there is none; gives the last page."""
        page = await self.enter()
        while page.url.path == "/trial":
            stored = await self.answer(page)
            page = await self.get(f"/{stored.json()['next']}")
        return page

    @staticmethod
    def token_of(page: httpx.Response) -> str:
        """The token of a page's form."""
        return str(re.search(r'name="token" value="([^"]+)"', page.text)[1])

    @staticmethod
    def media_of(page: httpx.Response) -> list[str]:
        """Addresses of a trial's media."""
        return sorted(set(re.findall(r"media/[0-9a-f]{64}", page.text)))

    @classmethod
    def ballot(cls, page: httpx.Response, **more: object) -> dict[str, object]:
        """What the script sends for a trial's page."""
        return {
            "token": cls.token_of(page),
            "answers": {"physics": "left", "action": "tie"},
            "break_at": {"left": None, "right": 0.35},
            "drift_frames": 0.2,
            "seconds": 0.0,
            "plays": 1,
            "dropped_frames": 0,
            **more,
        }


@pytest.fixture
def browse() -> type[RaterClient]:
    """Gives the rater's browser: ``async with browse(app) as client``."""
    return RaterClient
