"""What a study remembers: raters, who was given what, and the log of votes.

Every public method is one transaction. A vote is acknowledged only after its transaction is on
disk.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from dojobench.human_eval import vote_chain
from dojobench.human_eval.database import SCHEMA, assignments, facts, is_sqlite, raters
from dojobench.human_eval.keyring import Keyring, new_rater, new_trial
from dojobench.human_eval.log_table import LogTable, now_text
from dojobench.human_eval.scheduler import Shown
from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Rater:
    """One rater; nothing in it says who it is.

    Attributes:
        id: Random.
        language: Chosen at consent.
        consent_version: Agreed to.
        tries: Tries at the training's questions.
        passed: Whether they were answered rightly.
        finished: When the last trial was done, seconds since 1970.
    """

    id: str
    language: str
    consent_version: str
    tries: int
    passed: bool
    finished: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """A trial in a rater's hands.

    Attributes:
        trial: Random id.
        rater: Whose it is.
        number: Place in the rater's study, from 0.
        shown: What is shown.
        left_media: Media of the left side.
        right_media: Media of the right side.
        issued: When it was handed out, seconds since 1970.
        done: When it was answered.
    """

    trial: str
    rater: str
    number: int
    shown: Shown
    left_media: str
    right_media: str
    issued: float
    done: float | None


Chooser = Callable[[tuple[Shown, ...], tuple[Shown, ...]], tuple[Shown, str, str] | None]
"""Given the rater's past and what others work on: what comes next and the media of both sides."""


_SHOWN = tuple(assignments.c[field.name] for field in fields(Shown))
"""Columns that say what is shown."""


class Store:
    """The database of one study."""

    def __init__(self, engine: Engine, keyring: Keyring, study_hash: str) -> None:
        """Opens the study's log, or begins it.

        Args:
            engine: From `open_engine`.
            keyring: Seals the log's end.
            study_hash: Hash of ``study.toml``.

        Raises:
            BadInputError: If the database holds votes on another plan or of another schema.
        """
        self._engine = engine
        self._log = LogTable(keyring, study_hash)
        self._study_hash = study_hash
        self._writer = engine.execution_options(writes=True)
        # SQLite lets one writer in at a time and makes others poll; waiting here is fair.
        self._turn = threading.Lock() if is_sqlite(engine) else nullcontext()
        self._begin()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._turn, self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _begin(self) -> None:
        found = self.facts()
        if not found:
            try:
                with self._writing() as connection:
                    known = {
                        "schema": str(SCHEMA), "study": self._study_hash, "created": now_text()
                    }  # fmt: skip
                    rows = [{"name": name, "value": value} for name, value in known.items()]
                    connection.execute(insert(facts), rows)
                    self._log.begin(connection)
            except IntegrityError:
                pass  # another server was first
            found = self.facts()
        elif found.get("study") != self._study_hash:
            self._begin_anew()
            found = self.facts()
        if found.get("schema") != str(SCHEMA):
            raise BadInputError(
                f"the vote database has schema {found.get('schema')}, this program writes "
                f"{SCHEMA}; export with the version that made it"
            )
        if found.get("study") != self._study_hash:
            raise BadInputError(
                "the vote database belongs to another study.toml: the plan was changed after the "
                "first vote; restore it, or make a new study"
            )

    def _begin_anew(self) -> None:
        """Takes over a plan that was changed before the first vote."""
        with self._writing() as connection:
            if self._log.is_empty(connection):
                connection.execute(delete(assignments))
                self._log.begin(connection)
                connection.execute(
                    update(facts).where(facts.c.name == "study").values(value=self._study_hash)
                )

    def facts(self) -> dict[str, str]:
        """Gives what the whole database is: ``schema``, ``study``, ``created``."""
        with self._reading() as connection:
            return {row.name: row.value for row in connection.execute(select(facts))}

    # Raters

    def enter(self, entry: str | None, language: str, consent_version: str, *, now: float) -> Rater:
        """Lets a rater in, or finds the one who came by this entry before.

        Args:
            entry: Keyed hash of a panel id or personal link; ``None`` for the open link.
            language: Code of the language chosen.
            consent_version: Version of the text agreed to.
            now: Seconds since 1970.
        """
        for _ in range(2):
            try:
                with self._writing() as connection:
                    known = _by_entry(connection, entry)
                    if known is not None:
                        change = {"language": language, "consent_version": consent_version}
                        connection.execute(
                            update(raters).where(raters.c.id == known).values(**change)
                        )
                        return _rater(connection, known)
                    values = {
                        "id": new_rater(), "entry": entry, "language": language,
                        "consent_version": consent_version, "since": now, "tries": 0,
                        "passed": False,
                    }  # fmt: skip
                    connection.execute(insert(raters).values(**values))
                    return _rater(connection, str(values["id"]))
            except IntegrityError:
                continue  # the same entry in another tab at the same moment
        raise RuntimeError("a rater could not be let in")

    def rater(self, rater: str) -> Rater | None:
        """Finds a rater; ``None`` where there is none, or no longer."""
        with self._reading() as connection:
            row = connection.execute(select(raters).where(raters.c.id == rater)).one_or_none()
        return None if row is None else _to_rater(row)

    def speak(self, rater: str, language: str) -> None:
        """Notes the language that a rater has chosen."""
        with self._writing() as connection:
            change = update(raters).where(raters.c.id == rater).values(language=language)
            connection.execute(change)

    def train(self, rater: str, *, passed: bool, tries: int) -> Rater | None:
        """Notes a try at the training's questions.

        Args:
            rater: Who.
            passed: Whether all were right.
            tries: How many there may be; a further one changes nothing.
        """
        with self._writing() as connection:
            row = _locked_rater(connection, rater)
            if row is None:
                return None
            if not row.passed and row.tries < tries:
                change = {"tries": row.tries + 1, "passed": passed}
                connection.execute(update(raters).where(raters.c.id == rater).values(**change))
            return _rater(connection, rater)

    # Trials

    def assign(self, rater: str, choose: Chooser, *, now: float, lease: float) -> Assignment | None:
        """Gives a rater's open trial, or hands out the next one.

        Args:
            rater: Who asks.
            choose: Called where no trial is open.
            now: Seconds since 1970.
            lease: Seconds for which the trial counts as being worked on.

        Returns:
            The trial, its lease renewed; ``None`` where ``choose`` gives none.
        """
        with self._writing() as connection:
            if _locked_rater(connection, rater) is None:
                return None
            own = (assignments.c.rater == rater,)
            rows = connection.execute(
                select(assignments).where(*own).order_by(assignments.c.number)
            ).all()
            if rows and rows[-1].done is None:
                trial = rows[-1].trial
                connection.execute(
                    update(assignments)
                    .where(assignments.c.trial == trial)
                    .values(expires=now + lease)
                )
                return to_assignment(rows[-1])
            others = connection.execute(
                select(*_SHOWN).where(
                    assignments.c.done.is_(None),
                    assignments.c.expires > now,
                    assignments.c.rater != rater,
                )
            ).all()
            found = choose(tuple(map(_to_shown, rows)), tuple(map(_to_shown, others)))
            if found is None:
                if rows:
                    connection.execute(
                        update(raters)
                        .where(raters.c.id == rater, raters.c.finished.is_(None))
                        .values(finished=now)
                    )
                return None
            shown, left, right = found
            values = {
                **asdict(shown), "trial": new_trial(), "rater": rater, "number": len(rows),
                "left_media": left, "right_media": right, "issued": now, "expires": now + lease,
            }  # fmt: skip
            connection.execute(insert(assignments).values(**values))
            return Assignment(
                trial=str(values["trial"]), rater=rater, number=len(rows), shown=shown,
                left_media=left, right_media=right, issued=now, done=None,
            )  # fmt: skip

    def assignment(self, trial: str) -> Assignment | None:
        """Finds a trial."""
        query = select(assignments).where(assignments.c.trial == trial)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else to_assignment(row)

    def vote(
        self, trial: str, answers: Mapping[str, str], measured: Mapping[str, Any], *, now: float
    ) -> bool:
        """Appends the votes of a trial, one event for each question; the first time only.

        Args:
            trial: Which trial.
            answers: Answer by axis.
            measured: What else the log keeps, for each of them.
            now: Seconds since 1970.

        Returns:
            Whether votes were appended: ``False`` where the trial was answered before, which
            makes sending twice one vote, or was erased meanwhile.
        """
        with self._writing() as connection:
            query = select(assignments).where(assignments.c.trial == trial).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None or row.done is not None:
                return False
            bodies = [_body(row, axis, answers[axis], measured) for axis in sorted(answers)]
            self._log.append(connection, [("vote", body) for body in bodies])
            connection.execute(
                update(assignments).where(assignments.c.trial == trial).values(done=now)
            )
        return True

    # The log

    def exclude(self, rater: str, reason: str) -> bool:
        """Appends that a rater's votes do not count, and why; ``False`` if there is no such one."""
        with self._writing() as connection:
            if _locked_rater(connection, rater) is None:
                return False
            self._log.append(connection, [("exclude", {"rater": rater, "reason": reason})])
        return True

    def erase(self, rater: str) -> int | None:
        """Forgets a rater: row, trials and the content of all events; the chain still holds.

        Returns:
            How many events were emptied; ``None`` if there is no such rater.
        """
        with self._writing() as connection:
            if _locked_rater(connection, rater) is None:
                return None
            # Locks are taken in the same order as by a vote: trials, then the log's end.
            connection.execute(delete(assignments).where(assignments.c.rater == rater))
            emptied = self._log.empty(connection, rater)
            connection.execute(delete(raters).where(raters.c.id == rater))
            self._log.append(connection, [("erase", {"rater": rater, "events": emptied})])
            # The erasure's own body names the rater's number, which now leads nowhere.
        if is_sqlite(self._engine):
            with self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(emptied)

    def events(self, behind: int = 0) -> list[vote_chain.Event]:
        """Gives all events behind a place in the log, in order."""
        with self._reading() as connection:
            return self._log.events(connection, behind)

    def end(self) -> tuple[int, str]:
        """Gives number and hash of the last event.

        Raises:
            ValueError: If the seal is broken: the log's end was changed from outside.
        """
        with self._reading() as connection:
            return self._log.end(connection)

    # Overview

    def rater_table(self) -> list[dict[str, Any]]:
        """Gives one line per rater: ``id``, ``since``, ``passed``, ``tries``, ``finished``."""
        columns = (raters.c.id, raters.c.since, raters.c.passed, raters.c.tries, raters.c.finished)
        with self._reading() as connection:
            rows = connection.execute(select(*columns).order_by(raters.c.since, raters.c.id))
            return [dict(row._mapping) for row in rows]

    def open_trials(self, *, now: float) -> int:
        """Counts trials that are being worked on."""
        query = select(func.count()).where(
            assignments.c.done.is_(None), assignments.c.expires > now
        )
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())


def to_assignment(row: Row[Any]) -> Assignment:
    """Reads a row of the table of assignments."""
    return Assignment(
        trial=row.trial, rater=row.rater, number=row.number, shown=_to_shown(row),
        left_media=row.left_media, right_media=row.right_media, issued=row.issued, done=row.done,
    )  # fmt: skip


def _to_shown(row: Row[Any]) -> Shown:
    return Shown(
        kind=row.kind, arm=row.arm, pair=row.pair, clip=row.clip, left=row.left, right=row.right,
        repeat=row.repeat, gold_axis=row.gold_axis, gold_answer=row.gold_answer,
    )  # fmt: skip


def _to_rater(row: Row[Any]) -> Rater:
    return Rater(
        id=row.id, language=row.language, consent_version=row.consent_version, tries=row.tries,
        passed=row.passed, finished=row.finished,
    )  # fmt: skip


def _by_entry(connection: Connection, entry: str | None) -> str | None:
    if entry is None:
        return None
    query = select(raters.c.id).where(raters.c.entry == entry)
    return connection.execute(query).scalar_one_or_none()


def _rater(connection: Connection, rater: str) -> Rater:
    return _to_rater(connection.execute(select(raters).where(raters.c.id == rater)).one())


def _locked_rater(connection: Connection, rater: str) -> Row[Any] | None:
    query = select(raters).where(raters.c.id == rater).with_for_update()
    return connection.execute(query).one_or_none()


def _body(row: Row[Any], axis: str, answer: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rater": row.rater, "trial": row.trial, "pair": row.pair, "clip": row.clip,
        "left": row.left, "right": row.right, "kind": row.kind,
        "gold_answer": row.gold_answer if row.gold_axis == axis else None,
        "arm": row.arm, "axis": axis, "answer": answer, **measured,
    }  # fmt: skip
