"""The hash chain: whole logs verify, and every kind of tampering is found where it happened."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from dojobench.human_eval.vote_chain import (
    Event,
    Fault,
    canonical,
    from_line,
    genesis,
    make_event,
    to_line,
    verify,
)

STUDY = "sha256:" + "0" * 64


def log(count: int, study: str = STUDY) -> list[Event]:
    """A log of votes; events 2 and 4 are those of one rater."""
    events: list[Event] = []
    prev = genesis(study)
    for n in range(1, count + 1):
        body = {"rater": "r_b" if n in (2, 4) else "r_a", "answer": "left", "seconds": 1.5 * n}
        event = make_event(
            n=n,
            prev=prev,
            time="2026-01-31T12:00:00Z",
            type="vote",
            salt=f"{n:032x}",
            body=body,
        )
        events.append(event)
        prev = event.hash
    return events


def appended(events: list[Event], kind: str, body: dict[str, object]) -> list[Event]:
    last = events[-1]
    return [
        *events,
        make_event(
            n=last.n + 1, prev=last.hash, time=last.time, type=kind, salt="ab" * 16, body=body
        ),
    ]


def emptied(events: list[Event], *numbers: int) -> list[Event]:
    return [replace(e, salt=None, body=None) if e.n in numbers else e for e in events]


def test_a_log_as_written_is_whole() -> None:
    events = log(5)
    assert verify(events, STUDY) == []
    assert verify(events, STUDY, end=(5, events[-1].hash)) == []
    assert verify([], STUDY, end=(0, genesis(STUDY))) == []


def test_lines_give_the_events_back_through_json() -> None:
    events = appended(emptied(log(5), 2, 4), "erase", {"rater": "r_b", "events": [2, 4]})
    lines = [json.loads(json.dumps(to_line(event))) for event in events]
    assert [from_line(line) for line in lines] == events
    assert "rater" not in lines[1]
    assert lines[1]["erased"] is True


def _edited(events: list[Event]) -> list[Event]:
    body = {**(events[2].body or {}), "answer": "right"}
    return [*events[:2], replace(events[2], body=body), *events[3:]]


def _edited_and_hashed_again(events: list[Event]) -> list[Event]:
    body = {**(events[2].body or {}), "answer": "right"}
    third = make_event(
        n=3, prev=events[2].prev, time=events[2].time, type="vote", salt="cd" * 16, body=body
    )
    return [*events[:2], third, *events[3:]]


TAMPERED: dict[str, tuple[Callable[[list[Event]], list[Event]], str]] = {
    "edited": (_edited, "event 3 was changed"),
    "edited, its own hash made anew": (_edited_and_hashed_again, "event 4 does not follow"),
    "removed": (lambda e: [*e[:2], *e[3:]], "event 3 was removed"),
    "several removed": (lambda e: [*e[:1], *e[4:]], "events 2 to 4 were removed"),
    "swapped": (lambda e: [*e[:2], e[3], e[2], *e[4:]], "event 3 stands behind event 4"),
    "put in twice": (lambda e: [*e[:3], e[2], *e[3:]], "event 3 stands behind event 3"),
    "time changed": (lambda e: [replace(e[0], time="2020-01-01T00:00:00Z"), *e[1:]], "event 1 was"),
    "emptied in silence": (lambda e: emptied(e, 2), "event 2 was emptied"),
    "end removed": (lambda e: e[:3], "events 4 to 5 at the end"),
    "last one removed": (lambda e: e[:4], "event 5 at the end"),
    "all removed": (lambda e: [], "events 1 to 5 at the end"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_found_and_located(how: str) -> None:
    events = log(5)
    tamper, sentence = TAMPERED[how]
    faults = verify(tamper(list(events)), STUDY, end=(5, events[-1].hash))
    assert any(sentence in fault.sentence for fault in faults), faults


def test_a_log_of_another_plan_does_not_follow_from_this_one() -> None:
    faults = verify(log(3), "sha256:" + "1" * 64)
    assert [fault.n for fault in faults] == [1]
    assert "study.toml" in faults[0].sentence


def test_an_exchanged_end_is_found() -> None:
    events = log(3)
    faults = verify(events, STUDY, end=(3, "f" * 64))
    assert faults == [Fault(3, "the log ends with event 3, but was closed at event 3 with another")]


def test_an_erasure_empties_events_and_the_log_stays_whole() -> None:
    events = appended(emptied(log(5), 2, 4), "erase", {"rater": "r_b", "events": [2, 4]})
    assert verify(events, STUDY) == []
    assert [fault.n for fault in verify(emptied(events, 2, 4, 5), STUDY)] == [5]


def test_equal_bodies_have_different_commitments_so_that_none_can_be_guessed() -> None:
    body = {"answer": "left"}
    made = [
        make_event(n=1, prev="", time="", type="vote", salt=salt * 16, body=body).commitment
        for salt in ("aa", "bb")
    ]
    assert made[0] != made[1]


@pytest.mark.parametrize("line", [{}, {"n": "1", "prev": "", "hash": "", "time": "", "type": ""}])
def test_a_line_without_its_envelope_is_refused(line: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"missing|envelope"):
        from_line(line)


def test_numbers_that_are_none_have_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"seconds": float("nan")})
