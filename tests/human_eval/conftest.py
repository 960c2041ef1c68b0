"""Studies to try the server with, on SQLite and on a PostgreSQL server of our own."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from dojobench.human_eval.catalog import CatalogClip, Gold, write_catalog
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
        start = [programs / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start"]
        subprocess.run(start, **run)
        try:
            yield f"postgresql://study@/%s?host={folder}"
        finally:
            subprocess.run(
                [programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **run
            )
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
