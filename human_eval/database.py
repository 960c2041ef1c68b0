"""The study's tables, and engines for SQLite and PostgreSQL that behave alike.

SQLite runs in WAL mode with ``synchronous=FULL``: with ``NORMAL`` a power cut may take the last
transactions with it, and a vote that was acknowledged must stay. Writes begin with ``IMMEDIATE``,
so that two of them wait for one another instead of failing half way.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from dojobench.protocol.errors import BadInputError

DATABASE_FILE = "votes.db"
"""Name of the SQLite file in a study's folder."""

SCHEMA = 1
"""Version of the tables."""

BUSY_SECONDS = 30
"""How long a writer waits for another process to finish."""

tables = MetaData()

facts = Table(
    "facts",
    tables,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
"""What the whole database is: schema, hash of the plan, when it began."""

raters = Table(
    "raters",
    tables,
    Column("id", String(40), primary_key=True),
    Column("entry", String(64), unique=True),
    Column("language", String(20), nullable=False),
    Column("consent_version", String(120), nullable=False),
    Column("since", Float, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("passed", Boolean, nullable=False, default=False),
    Column("finished", Float),
)
"""Raters by random id; ``entry`` is a keyed hash of the link or panel id they came with."""

assignments = Table(
    "assignments",
    tables,
    Column("trial", String(40), primary_key=True),
    Column("rater", String(40), ForeignKey("raters.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("arm", String(20), nullable=False),
    Column("clip", String(300), nullable=False),
    Column("pair", String(260), nullable=False),
    Column("left", String(120), nullable=False),
    Column("right", String(120), nullable=False),
    Column("left_media", String(64), nullable=False),
    Column("right_media", String(64), nullable=False),
    Column("gold_axis", String(20)),
    Column("gold_answer", String(20)),
    Column("repeat", Integer, nullable=False),
    Column("issued", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("done", Float),
    UniqueConstraint("rater", "number", name="one_trial_at_a_time"),
    UniqueConstraint("rater", "pair", "clip", "repeat", name="no_pair_twice"),
    Index("assignments_open", "done", "expires"),
)
"""Who was given what; a lease that ran out no longer counts as being worked on."""

votes = Table(
    "votes",
    tables,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("time", String(40), nullable=False),
    Column("type", String(20), nullable=False),
    Column("commitment", String(64), nullable=False),
    Column("salt", String(64)),
    Column("body", Text),
    Column("rater", String(40), index=True),
    Column("pair", String(260)),
    Column("clip", String(300)),
    Column("repeat", Integer),
    Column("axis", String(20)),
    UniqueConstraint("rater", "pair", "clip", "repeat", "axis", name="one_vote"),
)
"""The log: only ever appended to, but for content that an erasure empties."""

head = Table(
    "head",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("seal", String(64), nullable=False),
)
"""The log's end, sealed with the study's key; writers lock this row, so the chain cannot fork."""


def open_engine(folder: Path, database: str | None, *, create: bool = True) -> Engine:
    """Opens the study's database and makes its tables where they are missing.

    Args:
        folder: The study's folder; its ``votes.db`` is used where no address is given.
        database: ``postgresql://…`` or ``sqlite:///…``; ``None`` for the folder's own file.
        create: Whether a database that is not there is made.

    Returns:
        An engine; `writing` and `reading` open transactions on it.

    Raises:
        BadInputError: If the address is not understood or nobody answers there.
    """
    address = database or f"sqlite:///{folder / DATABASE_FILE}"
    try:
        url = make_url(address)
    except ArgumentError as error:
        raise BadInputError(
            "the database address is not understood; write postgresql://user@host/name"
        ) from error
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        engine = create_engine(url, pool_size=16, max_overflow=16, pool_pre_ping=True)
    elif url.get_backend_name() == "sqlite":
        engine = _sqlite(url.database, url, create)
    else:
        raise BadInputError(
            f"the study keeps votes in SQLite or PostgreSQL, not in '{url.get_backend_name()}'"
        )
    try:
        if create:
            tables.create_all(engine)
        elif not inspect(engine).has_table(facts.name):
            engine.dispose()
            raise BadInputError(
                f"the database {url.render_as_string(hide_password=True)} holds no votes; "
                "'dojobench study serve' makes it"
            )
    except OperationalError as error:
        engine.dispose()
        reason = str(error.orig).strip().splitlines()[0]
        raise BadInputError(
            f"the database {url.render_as_string(hide_password=True)} cannot be used: {reason}"
        ) from error
    return engine


def is_sqlite(engine: Engine) -> bool:
    """Tells whether the engine writes to a SQLite file."""
    return engine.dialect.name == "sqlite"


def _sqlite(file: str | None, url: Any, create: bool) -> Engine:
    if not file or file == ":memory:":
        raise BadInputError("the votes need a database on disk; memory loses them")
    if not create and not Path(file).is_file():
        raise BadInputError(f"there is no vote database {file}; 'dojobench study serve' makes it")
    if create:
        _make_private(Path(file))
    arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, pool_size=8, max_overflow=40)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",  # what is erased is overwritten, not only forgotten
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_private(file: Path) -> None:
    """Makes a file that only its owner reads; the files that SQLite puts beside it are alike."""
    with suppress(OSError):  # it is there, or opening it as a database says what is wrong
        os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))
