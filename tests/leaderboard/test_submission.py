"""The data model, its published schema, the table of codes, packing, tiers and statuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dojobench.cli import main
from dojobench.leaderboard.attestation import Attestation, Round
from dojobench.leaderboard.card import CARD_TEMPLATE, parse_card
from dojobench.leaderboard.codes import CODES, LEVELS
from dojobench.leaderboard.draw import draw, draw_hash
from dojobench.leaderboard.pack import PackConfig, pack
from dojobench.leaderboard.schema import SCHEMA_FILE, schema_text
from dojobench.leaderboard.submission import read_submission
from dojobench.leaderboard.verdict import Verdict
from dojobench.protocol.errors import BadInputError

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Any]


def accept(_: Path) -> Verdict:
    return Verdict(id="", submission_sha256="", findings=())


def test_the_published_schema_is_the_models_own() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


def test_a_submission_is_valid_by_the_published_schema(honest: Path) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((honest / "submission.json").read_text()), schema)


def test_the_table_of_codes_is_the_checkers_own() -> None:
    page = (ROOT / "docs" / "submit.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(DB-\w+)` \| (\w+) \| (.+?) \|$", page, re.MULTILINE)
    assert rows == [(code, each.level, each.title) for code, each in CODES.items()]


def test_codes_are_well_formed() -> None:
    for code, each in CODES.items():
        assert re.fullmatch(r"DB-[SVRCTHWN]\d{3}", code)
        assert each.level in LEVELS
        assert (each.level == "warning") == code.startswith("DB-W")
        assert (each.level == "note") == code.startswith("DB-N")


def test_the_card_template_is_a_card() -> None:
    assert parse_card(CARD_TEMPLATE.encode()).kind == "world-model"


def test_packing_twice_gives_the_same_bytes(honest: Path, tmp_path: Path) -> None:
    run, card = honest.parent / "run", honest.parent / "card.toml"
    again, _ = pack(
        PackConfig(runs=(run,), card=card, out=tmp_path / "again", id="my-model-1"), accept
    )
    for file in sorted(honest.rglob("*")):
        if file.is_file():
            assert (again / file.relative_to(honest)).read_bytes() == file.read_bytes()


def test_long_records_are_packed_and_read_like_plain_ones(
    honest: Path, tmp_path: Path, verdict_of: Make
) -> None:
    run, card, out = honest.parent / "run", honest.parent / "card.toml", tmp_path / "my-model-1"
    config = PackConfig(runs=(run,), card=card, out=out, id="my-model-1", compress_above=1000)
    folder, _ = pack(config, accept)
    name = "runs/dojo-mini.fidelity/records.jsonl"
    assert not (folder / name).exists()
    assert (folder / f"{name}.xz").stat().st_size < (honest / name).stat().st_size / 2
    assert f"{name}.xz" in json.loads((folder / "submission.json").read_text())["files"]
    found, plain = verdict_of(folder), verdict_of(honest)
    assert found.accepted
    assert found.findings == plain.findings


def test_pack_leaves_nothing_where_the_check_refuses(
    fake_run: Make, honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fake_run()
    run.seeds = [0]
    folder = run.write(tmp_path / "run")
    card = honest.parent / "card.toml"
    code = main(
        ["submit", "pack", str(folder), "--card", str(card), "--out", str(tmp_path / "out" / "a-b")]
    )
    assert code == 1
    assert "--seeds 0 1 2" in capsys.readouterr().out
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unfinished_run_is_not_packed(honest: Path, tmp_path: Path, fake_run: Make) -> None:
    folder = fake_run().write(tmp_path / "run")
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(BadInputError, match="1 of 48 records are missing"):
        pack(PackConfig(runs=(folder,), card=honest.parent / "card.toml"), accept)


def test_check_as_json(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "check", str(copy), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["outcome"] == "refused"
    # The small suite of the tests is a part of dojo-mini only.
    assert "DB-C306" in {each["code"] for each in verdict["findings"]}
    assert set(verdict["findings"][0]) == {"code", "level", "title", "where", "sentence"}


def attestation(submission_sha256: str, **changes: Any) -> Attestation:
    fields: dict[str, Any] = {
        "submission_id": "my-model-1", "submission_sha256": submission_sha256,
        "round": Round(name="1", seed="12345678"), "draw": "0" * 64, "method": "videos",
        "suites": {}, "comparisons": (), "passed": True, "code": {}, "hardware": "a machine",
        "audited": "2026-11-20T00:00:00+00:00", "auditor": "somebody",
    }  # fmt: skip
    return Attestation(**(fields | changes))


def test_tiers_follow_from_what_is_there(copy: Path, verdict_of: Make) -> None:
    sha = read_submission(copy).sha256
    assert read_submission(copy).tier == "checked"
    file = copy / "attestation.json"
    file.write_text(attestation(sha, passed=False).sealed().model_dump_json())
    assert read_submission(copy).tier == "checked"
    file.write_text(attestation("1" * 64).sealed().model_dump_json())
    assert read_submission(copy).tier == "checked"
    assert "DB-S010" in {f.code for f in verdict_of(copy, published=True).findings}
    file.write_text(attestation(sha).sealed().model_dump_json())
    assert read_submission(copy).tier == "audited"
    assert "DB-N708" in {f.code for f in verdict_of(copy, published=True).findings}
    assert "DB-S014" in {f.code for f in verdict_of(copy).findings}


def test_an_attestation_that_was_changed_is_not_whole() -> None:
    sealed = attestation("0" * 64).sealed()
    assert sealed.whole
    assert not sealed.model_copy(update={"auditor": "another"}).whole


def test_a_withdrawal_stays_visible_with_its_reason(copy: Path, verdict_of: Make) -> None:
    event = {"what": "withdrawn", "reason": "A bug in the tokenizer.", "by": "the authors",
             "date": "2026-11-20T00:00:00+00:00"}  # fmt: skip
    (copy / "status.json").write_text(json.dumps({"format": 1, "events": [event]}))
    submission = read_submission(copy)
    assert submission.status is not None
    assert submission.status.withdrawn
    notes = [f.sentence for f in verdict_of(copy, published=True).findings if f.code == "DB-N707"]
    assert "A bug in the tokenizer." in notes[0]


def test_a_draw_is_known_to_all_afterwards_and_to_nobody_before() -> None:
    seed = draw_hash("0" * 64, "the number of the day")
    assert draw(range(100), seed, 5) == draw(reversed(range(100)), seed, 5)
    assert draw(range(100), draw_hash("0" * 64, "another"), 5) != draw(range(100), seed, 5)
    assert draw(range(100), draw_hash("1" * 64, "the number of the day"), 5) != draw(
        range(100), seed, 5
    )
    assert sorted(draw(range(3), seed, 5)) == [0, 1, 2]
