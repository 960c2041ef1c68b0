"""Reads an exported vote log: every line checked, every fault named with its line."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dojobench.human_eval.vote_chain import FORMAT, KIND, Event, Fault, from_line, verify
from dojobench.protocol.errors import BadInputError

ANSWERS = ("left", "right", "tie", "unsure")
"""What a rater can answer."""


class LogEnd(BaseModel):
    """Where the log ended when it was exported: without it a cut end would go unseen."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    n: int
    hash: str


class Header(BaseModel):
    """First line of the log; unknown fields are kept out of the way."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1]
    kind: Literal["dojobench-votes"]
    study: str
    consent_version: str = ""
    created: str = ""
    end: LogEnd | None = None


class Vote(BaseModel):
    """One vote as it stands in the log; what the analysis does not use is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    rater: str
    trial: str
    pair: str
    clip: str
    left: str
    right: str
    kind: Literal["ordinary", "duplicate", "gold"]
    gold_answer: Literal["left", "right", "tie"] | None = None
    arm: Literal["adaptive", "random"] = "adaptive"
    axis: str
    answer: str
    drift_frames: float | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)
    flags: tuple[str, ...] = ()
    time: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VoteLog:
    """A vote log that was read.

    Attributes:
        header: Its first line.
        hash: ``sha256:…`` of the file's bytes.
        events: How many events it has.
        votes: The votes that were not erased, in order.
        excluded: Raters that the organiser excluded while the study ran, with the reason.
        erased: How many events were emptied by an erasure.
        faults: Where the chain does not hold; empty for a whole log.
    """

    header: Header
    hash: str
    events: int
    votes: tuple[Vote, ...]
    excluded: Mapping[str, str]
    erased: int
    faults: tuple[Fault, ...]


def read_vote_log(path: Path) -> VoteLog:
    """Reads an exported log.

    Args:
        path: The ``.jsonl`` file that ``dojobench study export`` wrote.

    Returns:
        The votes and what else the log says.

    Raises:
        BadInputError: If the file cannot be read, or a line is not what it has to be; the
            message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"the vote log {path} cannot be read ({error.strerror}); 'dojobench study export' "
            "writes one"
        ) from error
    lines = ((n, text) for n, text in enumerate(content.split(b"\n"), 1) if text.strip())
    first = next(lines, None)
    if first is None:
        raise BadInputError(f"the vote log {path} is empty; 'dojobench study export' writes one")
    header = _header(path, first[1])
    reading = _Reading()
    end = None if header.end is None else (header.end.n, header.end.hash)
    faults = verify(reading.events(path, lines), header.study, end=end)
    return VoteLog(
        header=header,
        hash=f"sha256:{hashlib.sha256(content).hexdigest()}",
        events=reading.count,
        votes=tuple(reading.votes),
        excluded=reading.excluded,
        erased=reading.erased,
        faults=tuple(faults),
    )


class _Reading:
    """Keeps what the analysis needs while the events go by, one at a time."""

    def __init__(self) -> None:
        self.votes: list[Vote] = []
        self.excluded: dict[str, str] = {}
        self.count = self.erased = 0

    def events(self, path: Path, lines: Iterable[tuple[int, bytes]]) -> Iterator[Event]:
        for number, text in lines:
            where = f"{path}, line {number}"
            found = _object(where, text)
            try:
                event = from_line(found)
            except ValueError as error:
                raise BadInputError(f"{where}: {error}") from error
            self.count += 1
            self.erased += event.body is None
            if event.body is not None and event.type == "vote":
                self.votes.append(_vote(where, found))
            elif event.body is not None and event.type == "exclude":
                reason = str(found.get("reason", "")) or "no reason given"
                self.excluded[str(found.get("rater", ""))] = reason
            yield event


def _object(where: str, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadInputError(f"{where}: no JSON ({error})") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{where}: must be a JSON object")
    return found


def _header(path: Path, text: bytes) -> Header:
    found = _object(f"{path}, line 1", text)
    if found.get("kind") != KIND or found.get("format") != FORMAT:
        raise BadInputError(
            f"{path}, line 1: is no header of a vote log in format {FORMAT}; export it again with "
            "'dojobench study export'"
        )
    try:
        return Header.model_validate(found)
    except ValidationError as error:
        raise BadInputError(f"{path}, line 1: {_first(error)}") from error


def _vote(where: str, found: dict[str, Any]) -> Vote:
    answer = found.get("answer")
    if answer not in ANSWERS:
        near = get_close_matches(str(answer), ANSWERS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BadInputError(
            f"{where}: the answer '{answer}' is none of {', '.join(ANSWERS)}, and is not taken "
            f"for a tie{hint}"
        )
    try:
        return Vote.model_validate(found)
    except ValidationError as error:
        raise BadInputError(f"{where}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"'{'.'.join(map(str, first['loc']))}': {first['msg']}"
