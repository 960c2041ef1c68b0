"""The vote log's hash chain: what was said cannot be changed or dropped without being found.

Each event's body (who, what, answer) is bound by a salted commitment, and the chain runs over the
commitments. A rater's votes can therefore be erased, body and salt, while every link still holds;
what a commitment alone stands for cannot be guessed, because its salt is gone too. An erasure is
itself an event that names the emptied ones, so that emptying in silence is found as well.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

FORMAT = 1
"""Version of the log's format; part of the chain's beginning."""

KIND = "dojobench-votes"

ENVELOPE = ("n", "prev", "hash", "time", "type")
"""Fields of every event, in an exported line; what is neither here nor a seal is the body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event of the log.

    Attributes:
        n: Place in the log, from 1.
        prev: Hash of the event before; `genesis` for the first.
        hash: Of this event's envelope and commitment.
        time: UTC, ISO 8601, to the second.
        type: ``vote``, ``exclude`` or ``erase``.
        commitment: Of salt and body.
        salt: 32 hexadecimal digits; ``None`` once erased.
        body: The content; ``None`` once erased.
        committed: Whether the commitment was made from this very body, so that a check of it
            would only repeat what was done.
    """

    n: int
    prev: str
    hash: str
    time: str
    type: str
    commitment: str
    salt: str | None
    body: Mapping[str, Any] | None
    committed: bool = field(default=False, compare=False, repr=False)


class Fault(NamedTuple):
    """One place where the log is not what it was."""

    n: int
    """Place in the log."""
    sentence: str


@dataclass
class _Walk:
    """What is known while going along the chain."""

    at: int = 0
    prev: str = ""
    emptied: set[int] = field(default_factory=set)
    allowed: set[int] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def canonical(value: object) -> bytes:
    """Writes a value as the one JSON text that is hashed: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: If a number is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def genesis(study_hash: str) -> str:
    """Gives what the first event's ``prev`` is: the chain belongs to one plan."""
    return hashlib.sha256(f"{KIND}:{FORMAT}:{study_hash}".encode()).hexdigest()


def commit(salt: str, body: Mapping[str, Any]) -> str:
    """Gives the commitment of a body: SHA-256 over salt, newline and the canonical body."""
    return hashlib.sha256(salt.encode() + b"\n" + canonical(body)).hexdigest()


def link(*, n: int, prev: str, time: str, type: str, commitment: str) -> str:
    """Gives an event's hash."""
    envelope = {"commitment": commitment, "n": n, "prev": prev, "time": time, "type": type}
    return hashlib.sha256(canonical(envelope)).hexdigest()


def make_event(
    *, n: int, prev: str, time: str, type: str, salt: str, body: Mapping[str, Any]
) -> Event:
    """Makes the event that comes behind ``prev``."""
    commitment = commit(salt, body)
    found = link(n=n, prev=prev, time=time, type=type, commitment=commitment)
    return Event(
        n=n, prev=prev, hash=found, time=time, type=type, commitment=commitment, salt=salt,
        body=body,
    )  # fmt: skip


def to_line(event: Event) -> dict[str, Any]:
    """Gives an event as its exported line; an erased one keeps envelope and commitment."""
    envelope = {name: getattr(event, name) for name in ENVELOPE}
    if event.body is None:
        return {**envelope, "commitment": event.commitment, "erased": True}
    return {**envelope, **event.body, "salt": event.salt}


def from_line(line: Mapping[str, Any]) -> Event:
    """Reads an exported line; the inverse of `to_line`.

    Raises:
        ValueError: If a field of the envelope is missing or of another kind.
    """
    try:
        n, prev, found, time, type_ = (line[name] for name in ENVELOPE)
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from error
    texts = (prev, found, time, type_)
    if isinstance(n, bool) or not isinstance(n, int) or not all(isinstance(t, str) for t in texts):
        raise ValueError("an envelope needs a whole number n and texts prev, hash, time and type")
    if line.get("erased") is True:
        commitment, salt, body = str(line.get("commitment", "")), None, None
    else:
        salt = str(line.get("salt", ""))
        body = {key: value for key, value in line.items() if key not in (*ENVELOPE, "salt")}
        commitment = commit(salt, body)
    return Event(
        n=n, prev=prev, hash=found, time=time, type=type_, commitment=commitment, salt=salt,
        body=body, committed=body is not None,
    )  # fmt: skip


def verify(
    events: Iterable[Event], study_hash: str, *, end: tuple[int, str] | None = None
) -> list[Fault]:
    """Goes along the chain and finds what was changed, dropped, put in or emptied.

    Args:
        events: The events in the log's order.
        study_hash: Hash of the plan that the log belongs to.
        end: Number and hash of the last event, where they are known from elsewhere: without it
            nothing tells a log from its beginning.

    Returns:
        All faults in order; none where the log is whole.
    """
    walk = _Walk(prev=genesis(study_hash))
    for event in events:
        walk.faults += _check_place(walk, event)
        walk.faults += _check_content(walk, event)
        walk.at, walk.prev = event.n, event.hash
    for n in sorted(walk.emptied - walk.allowed):
        walk.faults.append(Fault(n, f"event {n} was emptied, and no erasure says so"))
    if end is not None and (walk.at, walk.prev) != ((end[0], end[1]) if end[0] else (0, walk.prev)):
        walk.faults.append(_wrong_end(walk.at, end[0]))
    return sorted(walk.faults)


def _wrong_end(at: int, end: int) -> Fault:
    if at < end:
        what = f"event {at + 1}" if end == at + 1 else f"events {at + 1} to {end}"
        return Fault(at + 1, f"{what} at the end of the log {_were(end - at)} removed")
    return Fault(at, f"the log ends with event {at}, but was closed at event {end} with another")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _check_place(walk: _Walk, event: Event) -> Iterator[Fault]:
    expected = walk.at + 1
    if event.n > expected:
        what = f"event {expected}" if event.n == expected + 1 else f"events {expected} to "
        what += "" if event.n == expected + 1 else str(event.n - 1)
        yield Fault(expected, f"{what} {_were(event.n - expected)} removed")
    elif event.n < expected:
        yield Fault(event.n, f"event {event.n} stands behind event {walk.at}: out of order")
    elif event.prev != walk.prev:
        before = f"event {walk.at}" if walk.at else "the plan in study.toml"
        yield Fault(event.n, f"event {event.n} does not follow from {before}: one was exchanged")


def _is_committed(event: Event) -> bool:
    salt, body = event.salt, event.body
    return salt is not None and body is not None and commit(salt, body) == event.commitment


def _check_content(walk: _Walk, event: Event) -> Iterator[Fault]:
    found = link(
        n=event.n, prev=event.prev, time=event.time, type=event.type, commitment=event.commitment
    )
    if not hmac.compare_digest(found, event.hash):
        yield Fault(event.n, f"event {event.n} was changed: its hash is not that of its content")
    elif event.body is None:
        walk.emptied.add(event.n)
    elif not event.committed and not _is_committed(event):
        yield Fault(event.n, f"event {event.n} was changed: its content is not what was committed")
    elif event.type == "erase":
        walk.allowed.update(n for n in event.body.get("events", ()) if isinstance(n, int))
