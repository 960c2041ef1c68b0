"""Malformed submissions: each is refused, with a code and a sentence that a newcomer understands.

The sentences are kept in ``golden/malformed.json``; run with ``DOJOBENCH_GOLDEN=write`` to write
them anew, and read what changed.
"""

import json
import lzma
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dojobench.leaderboard.codes import CODES

GOLDEN = Path(__file__).parent / "golden" / "malformed.json"
RUN = "runs/dojo-mini.fidelity"
Spoil = Callable[[Path], None]
Make = Callable[..., Any]


def js(path: str, change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Changes a JSON file."""

    def spoil(folder: Path) -> None:
        value = json.loads((folder / path).read_text())
        change(value)
        (folder / path).write_text(json.dumps(value))

    return spoil


def text(path: str, old: str, new: str) -> Spoil:
    """Replaces text in a file."""

    def spoil(folder: Path) -> None:
        content = (folder / path).read_text()
        assert old in content
        (folder / path).write_text(content.replace(old, new, 1))

    return spoil


def content(path: str, data: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    return spoil


def gone(path: str) -> Spoil:
    def spoil(folder: Path) -> None:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return spoil


def link(path: str, to: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        (folder / path).symlink_to(to)

    return spoil


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def record(change: Callable[[dict[str, Any]], object], line: int = 0) -> Spoil:
    """Changes one record."""

    def spoil(folder: Path) -> None:
        file = folder / RUN / "records.jsonl"
        lines = file.read_text().splitlines()
        row = json.loads(lines[line])
        change(row)
        lines[line] = json.dumps(row)
        file.write_text("\n".join(lines) + "\n")

    return spoil


def packed(
    change: Callable[[bytes], bytes] = lambda content: content, *, beside: bool = False
) -> Spoil:
    """Compresses the records, and changes what comes of it."""

    def spoil(folder: Path) -> None:
        plain, file = folder / RECORDS, folder / SUBMISSION
        xz = plain.with_name("records.jsonl.xz")
        xz.write_bytes(change(lzma.compress(plain.read_bytes())))
        listed = json.loads(file.read_text())
        listed["files"][f"{RECORDS}.xz"] = {"bytes": 0, "sha256": "0" * 64}
        if not beside:
            plain.unlink()
            del listed["files"][RECORDS]
        file.write_text(json.dumps(listed))

    return spoil


def bomb(_: bytes) -> bytes:
    """Some kilobytes that unpack to more than any records may have."""
    return lzma.compress(b"\n" * (65 * 2**20))


SUBMISSION, META, RECORDS = "submission.json", f"{RUN}/run.json", f"{RUN}/records.jsonl"
SUMMARY = f"{RUN}/summary.json"

# Name: what is done to it, the code, and whether the hashes are made right again afterwards.
CASES: dict[str, tuple[Spoil, str, bool]] = {
    "no submission.json": (gone(SUBMISSION), "DB-S004", False),
    "submission.json is empty": (content(SUBMISSION, b""), "DB-S007", False),
    "submission.json is a list": (content(SUBMISSION, b"[]"), "DB-S008", False),
    "submission.json is cut off": (content(SUBMISSION, b'{"format": 1, "id"'), "DB-S007", False),
    "submission.json is no UTF-8": (content(SUBMISSION, b'{"id": "\xff"}'), "DB-S007", False),
    "submission.json has NaN": (content(SUBMISSION, b'{"format": NaN}'), "DB-S007", False),
    "submission.json has 1e999": (content(SUBMISSION, b'{"format": 1e999}'), "DB-S007", False),
    "submission.json has a key twice": (
        content(SUBMISSION, b'{"format": 1, "format": 1}'), "DB-S007", False,
    ),
    "submission.json has half a character": (
        content(SUBMISSION, b'{"id": "\\ud800"}'), "DB-S007", False,
    ),
    "submission.json is nested a thousand deep": (
        content(SUBMISSION, b"[" * 100_000 + b"]" * 100_000), "DB-S007", False,
    ),
    "submission.json has a huge number": (
        content(SUBMISSION, b'{"format": ' + b"9" * 10_000 + b"}"), "DB-S007", False,
    ),
    "another format": (js(SUBMISSION, lambda s: s.update(format=2)), "DB-S009", False),
    "format as text": (js(SUBMISSION, lambda s: s.update(format="1")), "DB-S009", False),
    "an unknown field": (js(SUBMISSION, lambda s: s.update(tier="audited")), "DB-S008", False),
    "no id": (js(SUBMISSION, lambda s: s.pop("id")), "DB-S008", False),
    "an id with a slash": (js(SUBMISSION, lambda s: s.update(id="../mine")), "DB-S008", False),
    "another id than the folder": (js(SUBMISSION, lambda s: s.update(id="another")), "DB-S013",
                                   False),
    "created without a time zone": (
        js(SUBMISSION, lambda s: s.update(created="2026-11-01T10:00:00")), "DB-S008", False,
    ),
    "created in the future": (
        js(SUBMISSION, lambda s: s.update(created="2999-01-01T00:00:00+00:00")), "DB-S016", False,
    ),
    "a script for a link": (
        js(SUBMISSION, lambda s: s["card"]["links"].update(code="javascript:alert(1)")),
        "DB-S008", False,
    ),
    "a card of its own in submission.json": (
        js(SUBMISSION, lambda s: s["card"].update(name="better")), "DB-S011", False,
    ),
    "neither runs nor values": (
        js(SUBMISSION, lambda s: s.update(runs=[], files={"card.toml": s["files"]["card.toml"]})),
        "DB-S017", False,
    ),
    "more seeds than were run": (
        js(SUBMISSION, lambda s: s["runs"][0].update(seeds=[0, 1, 2, 3])), "DB-S012", False,
    ),
    "a run listed twice": (
        js(SUBMISSION, lambda s: s["runs"].append(s["runs"][0])), "DB-S012", False,
    ),
    "a file that is not listed": (
        js(SUBMISSION, lambda s: s["files"].pop(RECORDS)), "DB-S004", False,
    ),
    "a wrong hash": (
        js(SUBMISSION, lambda s: s["files"][META].update(sha256="0" * 64)), "DB-S010", False,
    ),
    "a listed file outside": (
        js(SUBMISSION, lambda s: s["files"].update(
            {"../../etc/passwd": {"bytes": 1, "sha256": "0" * 64}})),
        "DB-S003", False,
    ),
    "no card": (gone("card.toml"), "DB-S004", False),
    "a card that is no TOML": (content("card.toml", b"name = "), "DB-S007", True),
    "a card without a licence": (text("card.toml", "licence", "license"), "DB-S008", True),
    "a card of 100 KiB": (content("card.toml", b"#" * 100_000), "DB-S005", True),
    "a control character in the name": (
        text("card.toml", '"my-model"', '"my\\u001b[31m-model"'), "DB-S008", True,
    ),
    "a negative number of parameters": (
        text("card.toml", "100_000_000", "-5"), "DB-S008", True,
    ),
    "an unknown kind": (text("card.toml", '"world-model"', '"champion"'), "DB-S008", True),
    "no records": (gone(RECORDS), "DB-S004", False),
    "empty records": (content(RECORDS, b""), "DB-R201", True),
    "records cut within a line": (content(RECORDS, b'{"clip": "val-0'), "DB-R201", True),
    "a record that is no JSON": (text(RECORDS, '{"clip"', "{clip"), "DB-R201", True),
    "a record with NaN": (text(RECORDS, '"psnr": ', '"psnr": NaN, "x": '), "DB-R201", True),
    "a record twice": (text(RECORDS, '"seed": 1', '"seed": 0'), "DB-R203", True),
    "a record of an unknown clip": (
        record(lambda r: r.update(clip="val-9999")), "DB-R203", True,
    ),
    "a record of another split": (record(lambda r: r.update(split="novel")), "DB-R206", True),
    "a record with fewer frames": (record(lambda r: r.update(frames=12)), "DB-R206", True),
    "a record with a number in quotes": (
        record(lambda r: r["values"].update(psnr="30")), "DB-R201", True,
    ),
    "a record without its error curve": (
        record(lambda r: r["curves"].pop("mse")), "DB-R205", True,
    ),
    "a record with a short curve": (
        record(lambda r: r["curves"]["psnr"].pop()), "DB-R206", True,
    ),
    "a PSNR of 200 dB": (record(lambda r: r["values"].update(psnr=200.0)), "DB-C305", True),
    "a metric that nobody knows": (
        record(lambda r: r["values"].update(beauty=1.0)), "DB-C305", True,
    ),
    "negative timings": (
        record(lambda r: r["timings"].update(steps_s=[-1.0])), "DB-C310", True,
    ),
    "packed records that are no xz": (packed(lambda c: b"PK" + c), "DB-S015", True),
    "packed records with a damaged middle": (
        packed(lambda c: c[:2000] + bytes(50) + c[2050:]), "DB-S015", True,
    ),
    "packed records that are cut off": (packed(lambda c: c[: len(c) // 2]), "DB-S015", True),
    "packed records with more behind them": (packed(lambda c: c + c), "DB-S015", True),
    "packed records that unpack to a flood": (packed(bomb), "DB-S005", True),
    "records both packed and plain": (packed(beside=True), "DB-S003", True),
    "no run.json": (gone(META), "DB-S004", False),
    "run.json of another format": (js(META, lambda m: m.update(format=7)), "DB-S009", True),
    "run.json with an unknown field": (js(META, lambda m: m.update(trust="me")), "DB-S008", True),
    "a run that never ended": (js(META, lambda m: m.update(ended=None)), "DB-S016", True),
    "a run that ended before it began": (
        js(META, lambda m: m.update(ended="2020-01-01T00:00:00+00:00")), "DB-S016", True,
    ),
    "an unknown suite": (
        js(META, lambda m: m["suite"].update(name="my-own")), "DB-V101", True,
    ),
    "an unknown metric version": (
        js(META, lambda m: m.update(metric_version="aligned-9")), "DB-V103", True,
    ),
    "a resolution that the suite has not": (
        js(META, lambda m: m["suite"].update(resolution=[32, 32])), "DB-V102", True,
    ),
    "a clip listed twice": (
        js(META, lambda m: m["clip_ids"].append(m["clip_ids"][0])), "DB-R203", True,
    ),
    "no summary": (gone(SUMMARY), "DB-S004", False),
    "an edited summary": (
        js(SUMMARY, lambda s: s["metrics"]["psnr"].update(mean=40.0)), "DB-R204", True,
    ),
    "a narrower interval": (
        js(SUMMARY, lambda s: s["metrics"]["psnr"].update(low=s["metrics"]["psnr"]["mean"])),
        "DB-R204", True,
    ),
    "a summary of fewer clips": (js(SUMMARY, lambda s: s.update(clips=3)), "DB-R204", True),
    "a link for a card": (link("card.toml", "/etc/passwd"), "DB-S002", False),
    "a link for a folder": (link("videos", "/"), "DB-S002", False),
    "a pipe": (pipe, "DB-S002", False),
    "a file too many": (content("run_me.py", b"print('hello')"), "DB-S003", False),
    "a hidden file": (content(".hidden", b""), "DB-S006", False),
    "a name with a line break": (content("a\nb", b""), "DB-S006", False),
    "a folder too deep": (content("a/b/c/d/e/f/g", b""), "DB-S003", False),
    "an attestation of its own": (content("attestation.json", b"{}"), "DB-S014", False),
    "a status of its own": (content("status.json", b"{}"), "DB-S014", False),
}  # fmt: skip


@pytest.fixture(scope="module")
def told() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    yield found
    if os.environ.get("DOJOBENCH_GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def test_there_are_more_than_forty() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_a_sentence(
    name: str, copy: Path, reseal: Make, verdict_of: Make, told: dict[str, list[str]]
) -> None:
    spoil, code, sealed = CASES[name]
    spoil(copy)
    if sealed:
        reseal(copy)
    verdict = verdict_of(copy)
    assert not verdict.accepted
    errors = [each for each in verdict.findings if each.level == "error"]
    assert code in {each.code for each in errors}, errors
    told[name] = [f"{each.code} {each.sentence}" for each in errors]
    for each in errors:
        assert each.sentence.endswith(".")
        assert len(each.sentence) < 600
        assert each.sentence.isprintable()
        assert str(copy) not in each.sentence or code == "DB-S001"
    if os.environ.get("DOJOBENCH_GOLDEN") != "write":
        assert told[name] == json.loads(GOLDEN.read_text())[name]


def test_every_error_of_the_golden_set_is_in_the_table() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert set(golden) == set(CASES)
    for sentences in golden.values():
        assert all(re.split(" ", each)[0] in CODES for each in sentences)
