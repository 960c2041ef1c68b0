"""Feeds broken submissions to the checker for as long as asked; it must never crash or pass one.

Run ``python tests/leaderboard/fuzz.py --minutes 10``. Whatever was changed in the records, the
summary or the card has to be refused, whether or not the hashes were made right again; of
``submission.json`` and ``run.json`` some fields are free text, and a change there may pass.
"""

import argparse
import importlib.util
import json
import lzma
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SLOW = 60.0
NASTY = [
    b"\x00", b"\xff\xfe", b"NaN", b"Infinity", b"-1", b"1e999", b"null", b"{}", b"[]", b'""',
    b"true", b"../../etc/passwd", b"\\ud800", b"9" * 5000, b"[" * 3000, b"\n", b"\r\n", b"'", b'"',
    b"0.1", b"sha256:", b"<script>", b"\x1b[2J",
]  # fmt: skip
FREE = ("submission.json", "runs/dojo-mini.fidelity/run.json resealed")
"""Where some fields can say anything, such as notes, package versions and the time of packing."""
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**70, 1e308, -1e308, "", "x" * 10_000, "\u202e", [], {}, [[]], [None],
    {"a": 1}, "../..", 0.5, float(2**53), "DB", [0] * 1000,
]  # fmt: skip


def load_fixtures() -> Any:
    """Loads ``conftest.py``, which makes honest submissions."""
    spec = importlib.util.spec_from_file_location("leaderboard_conftest", HERE / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["leaderboard_conftest"] = module
    spec.loader.exec_module(module)
    return module


def mutate_bytes(data: bytes, dice: random.Random) -> bytes:
    """Changes a few bytes: cut, overwritten, repeated, moved or made nasty."""
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        way = dice.randrange(6)
        if way == 0:
            data = data[:at]
        elif way == 1:
            data = data[:at] + dice.choice(NASTY) + data[at + dice.randrange(8) :]
        elif way == 2:
            data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
        elif way == 3:
            end = min(len(data), at + dice.randrange(200))
            data = data[:at] + data[at:end] * dice.randint(2, 5) + data[end:]
        elif way == 4:
            data = data[:at] + data[at + dice.randrange(1, 100) :]
        else:
            other = dice.randrange(len(data) + 1)
            data = data[:at] + data[other : other + 50] + data[at:]
    return data


def mutate_value(value: Any, dice: random.Random) -> Any:
    """Changes one place in a JSON value."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(sorted(value))
        way = dice.randrange(8)
        if way == 0:
            return {k: v for k, v in value.items() if k != key}
        if way == 1:
            return value | {dice.choice(["x", "", "format", "id"]): dice.choice(VALUES)}
        return value | {key: mutate_value(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        at = dice.randrange(len(value))
        way = dice.randrange(6)
        if way == 0:
            return value[:at] + value[at + 1 :]
        if way == 1:
            return value[: at + 1] + value[at:]
        return [*value[:at], mutate_value(value[at], dice), *value[at + 1 :]]
    if isinstance(value, float) and dice.random() < 0.5:
        return value * dice.choice([0.5, 0.99, 1.01, 2, -1])
    if isinstance(value, int) and not isinstance(value, bool) and dice.random() < 0.5:
        return value + dice.choice([-1, 1, 10**6])
    return dice.choice(VALUES)


def spoil(folder: Path, dice: random.Random, reseal: Any) -> str:
    """Breaks one file, as text or as a value, with or without making the hashes right again."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file = dice.choice(files)
    before = file.read_bytes()
    if dice.random() < 0.5 or file.suffix == ".toml":
        after = mutate_bytes(before, dice)
    elif ".jsonl" in file.suffixes:
        packed = file.suffix == ".xz"
        lines = (lzma.decompress(before) if packed else before).decode().splitlines()
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(lines))
            lines[at] = json.dumps(mutate_value(json.loads(lines[at]), dice))
        after = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
        after = lzma.compress(after) if packed else after
    else:
        after = json.dumps(mutate_value(json.loads(before), dice)).encode("utf-8", "surrogatepass")
    file.write_bytes(after)
    sealed = file.name != "submission.json" and dice.random() < 0.7
    if sealed:
        reseal(folder)
    return f"{file.relative_to(folder)}{' resealed' if sealed else ''}"


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def without_reasons(value: Any) -> Any:
    """Leaves out how it is worded why a metric was not computed, but not which one was not."""
    if isinstance(value, list):
        return [without_reasons(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: without_reasons(each) for key, each in value.items()}
    if isinstance(reasons := found.get("not_computed"), dict):
        found["not_computed"] = {name: isinstance(reason, str) for name, reason in reasons.items()}
    return found


def record_lines(run: Path) -> list[bytes]:
    """Reads records, packed or not."""
    plain = run / "records.jsonl"
    if plain.is_file():
        return plain.read_bytes().splitlines()
    return lzma.decompress(plain.with_name("records.jsonl.xz").read_bytes()).splitlines()


def same_meaning(folder: Path, original: Path) -> bool:
    """Says whether card, records and summary say what they said.

    Rounding, comments and the wording of why something was not computed apart.
    """
    from dojobench.benchmarks.records import Record, Summary
    from dojobench.leaderboard.card import parse_card
    from dojobench.leaderboard.check_records import _difference

    run = "runs/dojo-mini.fidelity"
    cards = [parse_card((each / "card.toml").read_bytes()) for each in (folder, original)]
    said = [
        without_reasons(
            Summary.model_validate_json((each / run / "summary.json").read_bytes()).model_dump(
                mode="json"
            )
        )
        for each in (folder, original)
    ]
    rows = [
        [
            without_reasons(Record.model_validate_json(line).model_dump(mode="json"))
            for line in record_lines(each / run)
        ]
        for each in (folder, original)
    ]
    same = (folder / run / "run.json").read_bytes() == (original / run / "run.json").read_bytes()
    return (
        same
        and cards[0] == cards[1]
        and _difference(said[1], said[0], "") is None
        and _difference(rows[1], rows[0], "") is None
    )


def reseal_all(folder: Path) -> None:
    """Makes the list of hashes right again."""
    import hashlib

    file = folder / "submission.json"
    listed = json.loads(file.read_text())
    for path in listed["files"]:
        content = (folder / path).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        listed["files"][path] = {"bytes": len(content), "sha256": digest}
    file.write_text(json.dumps(listed))


def main() -> int:
    """Fuzzes; 1 where something crashed, hung or passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from dojobench.leaderboard.check import CheckConfig, check

    made = load_fixtures()
    small = made.small_suite(12)
    config = CheckConfig(suite={"dojo-mini": small}.get)
    counts: Counter[str] = Counter()
    faults = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        run = made.FakeRun(suite=small).write(root / "run")
        (root / "card.toml").write_text(made.CARD)
        originals = [
            made.pack(
                made.PackConfig(
                    runs=(run,),
                    card=root / "card.toml",
                    out=root / f"packed-above-{limit}" / "my-model-1",
                    id="my-model-1",
                    compress_above=limit,
                ),
                made.keep,
            )[0]
            for limit in (2**30, 1)
        ]
        assert all(check(each, config).accepted for each in originals)
        ends = time.monotonic() + 60 * arguments.minutes
        number = arguments.seed
        while time.monotonic() < ends:
            number += 1
            dice = random.Random(number)
            original = originals[number % 2]
            folder = root / "fuzzed" / original.name
            shutil.copytree(original, folder)
            what = spoil(folder, dice, reseal_all)
            began, unmade = time.monotonic(), counts["DB-S018"]
            try:
                verdict = check(folder, config)
                json.dumps(verdict.to_json()).encode()
                outcome = verdict.outcome
                for finding in verdict.findings:
                    counts[finding.code] += 1
                if counts["DB-S018"] > unmade:
                    outcome = "UNMADE"
                    say(f"seed {number}: a part of the check was not made after {what}")
                    faults += 1
                if verdict.accepted and same_meaning(folder, original):
                    outcome = "accepted: the same to the last meaning"
                elif verdict.accepted and what in FREE:
                    outcome = "accepted: free text, a date or a machine's name was changed"
                elif verdict.accepted:
                    outcome = "PASSED"
                    say(f"seed {number}: passed though {what} was changed")
                    faults += 1
            except Exception:
                outcome = "CRASHED"
                faults += 1
                say(f"seed {number}: {what}\n{traceback.format_exc()}")
            if time.monotonic() - began > SLOW:
                faults += 1
                say(f"seed {number}: {what} took {time.monotonic() - began:.0f} s")
            counts[outcome] += 1
            counts["submissions"] += 1
            shutil.rmtree(folder)
    say(json.dumps(dict(sorted(counts.items())), indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
