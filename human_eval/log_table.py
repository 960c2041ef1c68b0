"""The log of votes as a table: appending, emptying and reading events of the hash chain.

All functions work inside a transaction of the caller's. The row of the log's end is locked while
events are appended, so that the chain cannot fork however many servers write.
"""

import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from dojobench.human_eval import vote_chain
from dojobench.human_eval.database import head, votes
from dojobench.human_eval.keyring import Keyring

_CONTENT = ("salt", "body", "rater", "pair", "clip", "repeat", "axis")
"""Columns that an erasure empties."""


class LogTable:
    """The log of one study."""

    def __init__(self, keyring: Keyring, study_hash: str) -> None:
        """Prepares to read and write.

        Args:
            keyring: Seals the log's end.
            study_hash: Hash of the plan, where the chain begins.
        """
        self._keyring = keyring
        self._study_hash = study_hash

    def begin(self, connection: Connection) -> None:
        """Writes the end of an empty log."""
        start = vote_chain.genesis(self._study_hash)
        connection.execute(delete(head))
        connection.execute(insert(head).values(id=1, n=0, hash=start, seal=self._seal(0, start)))

    def is_empty(self, connection: Connection) -> bool:
        """Tells whether there is no event yet, and keeps others from appending one."""
        return int(connection.execute(select(head).with_for_update()).one().n) == 0

    def append(
        self, connection: Connection, entries: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Appends events, given as type and body."""
        row = connection.execute(select(head).with_for_update()).one()
        n, prev, time = int(row.n), str(row.hash), now_text()
        rows = []
        for kind, body in entries:
            event = vote_chain.make_event(
                n=n + 1, prev=prev, time=time, type=kind, salt=secrets.token_hex(16), body=body
            )
            n, prev = event.n, event.hash
            rows.append(_to_row(event))
        connection.execute(insert(votes), rows)
        connection.execute(update(head).values(n=n, hash=prev, seal=self._seal(n, prev)))

    def empty(self, connection: Connection, rater: str) -> list[int]:
        """Takes the content out of all events of a rater, and gives their numbers."""
        connection.execute(select(head).with_for_update()).one()
        query = select(votes.c.n).where(votes.c.rater == rater).order_by(votes.c.n)
        emptied = [int(n) for n in connection.execute(query).scalars()]
        nothing = dict.fromkeys(_CONTENT, None)
        connection.execute(update(votes).where(votes.c.rater == rater).values(**nothing))
        return emptied

    def events(self, connection: Connection, behind: int) -> list[vote_chain.Event]:
        """Gives all events behind a place in the log, in order."""
        query = select(votes).where(votes.c.n > behind).order_by(votes.c.n)
        return [_to_event(row) for row in connection.execute(query)]

    def end(self, connection: Connection) -> tuple[int, str]:
        """Gives number and hash of the last event.

        Raises:
            ValueError: If the seal is broken: the log's end was changed from outside.
        """
        row = connection.execute(select(head)).one()
        if not hmac.compare_digest(row.seal, self._seal(row.n, row.hash)):
            raise ValueError("the log's end was changed: its seal is broken")
        return int(row.n), str(row.hash)

    def _seal(self, n: int, last: str) -> str:
        return self._keyring.digest("head", f"{n}\n{last}\n{self._study_hash}")


def now_text() -> str:
    """Gives the present moment as the log writes it: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _to_row(event: vote_chain.Event) -> dict[str, Any]:
    body = event.body or {}
    return {
        "n": event.n, "prev": event.prev, "hash": event.hash, "time": event.time,
        "type": event.type, "commitment": event.commitment, "salt": event.salt,
        "body": vote_chain.canonical(body).decode("ascii"),
        # An erasure's own entry stays when the rater goes, so it is not filed under the rater.
        "rater": None if event.type == "erase" else body.get("rater"),
        "pair": body.get("pair"), "clip": body.get("clip"),
        "repeat": int(body["kind"] == "duplicate") if "kind" in body else None,
        "axis": body.get("axis"),
    }  # fmt: skip


def _to_event(row: Row[Any]) -> vote_chain.Event:
    return vote_chain.Event(
        n=row.n, prev=row.prev, hash=row.hash, time=row.time, type=row.type,
        commitment=row.commitment, salt=row.salt,
        body=None if row.body is None else json.loads(row.body),
    )  # fmt: skip
