"""Whatever bytes come, the reader answers with a value or a refusal, and the checker a verdict."""

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojobench.leaderboard.card import parse_card
from dojobench.leaderboard.check import check
from dojobench.leaderboard.codes import CODES
from dojobench.leaderboard.comment import escape
from dojobench.leaderboard.draw import draw
from dojobench.leaderboard.runs import parse_records
from dojobench.leaderboard.safe_files import parse_json, shown, unpack_xz
from dojobench.leaderboard.submission import SubmissionFile, parse_part
from dojobench.leaderboard.verdict import Finding, Refused, ordered

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@given(st.binary(max_size=300))
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    try:
        value = parse_json(data, "x.json")
    except Refused as refused:
        code = refused.code
    else:
        code = "DB-S007"
        json.dumps(value, allow_nan=False).encode("utf-8")
    assert code == "DB-S007"


@given(json_values)
def test_values_that_json_knows_survive_and_others_are_refused(value: Any) -> None:
    text = json.dumps(value)
    try:
        assert parse_json(text.encode(), "x.json") == value
    except Refused:
        # NaN, infinity, and characters that UTF-8 does not know.
        known = json.dumps(value, ensure_ascii=False)
        encodable = known.encode("utf-8", "replace") == known.encode("utf-8", "surrogatepass")
        assert "NaN" in text or "Infinity" in text or not encodable


@given(st.binary(max_size=400))
def test_any_bytes_are_a_card_or_refused(data: bytes) -> None:
    try:
        parse_card(data)
    except Refused as error:
        codes = {error.code}
    else:
        codes = set()
    assert codes <= {"DB-S007", "DB-S008", "DB-S009"}


@given(json_values)
def test_any_value_is_a_submission_or_refused(value: Any) -> None:
    try:
        parse_part(json.dumps(value).encode(), "submission.json", SubmissionFile)
    except Refused as error:
        codes = {error.code}
    else:
        codes = set()
    assert codes <= {"DB-S007", "DB-S008", "DB-S009"}


@given(st.binary(max_size=300))
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        parse_records(data, "records.jsonl")
    except Refused as error:
        codes = {error.code}
    else:
        codes = set()
    assert codes <= {"DB-R201", "DB-R203", "DB-S005"}


@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_any_bytes_unpack_within_the_limit_or_are_refused(
    data: bytes, limit: int, packed: bool
) -> None:
    content = lzma.compress(data) if packed else data
    if packed and len(data) <= limit:
        assert unpack_xz(content, limit, "records.jsonl.xz") == data
        return
    with pytest.raises(Refused) as refused:
        unpack_xz(content, limit, "records.jsonl.xz")
    assert refused.value.code == ("DB-S005" if packed else "DB-S015")


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from(["submission.json", "card.toml", "x"]), st.binary()))
def test_any_folder_gets_a_verdict(files: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        for name, data in files.items():
            (Path(temporary) / name).write_bytes(data)
        verdict = check(Path(temporary))
    assert not verdict.accepted
    assert all(each.code in CODES for each in verdict.findings)


@given(st.text(), st.text())
def test_a_sentence_is_one_printable_line_whatever_is_in_it(sentence: str, where: str) -> None:
    (found,) = ordered([Finding(code="DB-S008", sentence=sentence, where=where)])
    assert found.sentence.isprintable()
    assert found.sentence.endswith((".", "…."))
    assert len(found.sentence) <= 600
    assert shown(sentence).isprintable()


@given(st.text(alphabet="<>[]()@#`*_|\n\\ab", max_size=60))
def test_a_comment_holds_no_markup_of_a_stranger(text: str) -> None:
    escaped = escape(text)
    bare = escaped.replace("\\\\", "")
    assert "\n" not in escaped
    for sign in "<>[]()@#`*_|":
        assert bare.count(sign) == bare.count(f"\\{sign}")


@given(st.sets(st.integers(), max_size=40), st.text(max_size=10), st.integers(0, 50))
def test_a_draw_is_a_part_without_repeats(items: set[int], seed: str, count: int) -> None:
    drawn = draw(items, seed, count)
    assert len(drawn) == len(set(drawn)) == min(count, len(items))
    assert set(drawn) <= items


@given(st.lists(st.integers(0, 3 * 64 * 64 * 255**2), min_size=1, max_size=20))
def test_errors_of_8_bit_frames_are_on_the_lattice(sums: list[int]) -> None:
    from dojobench.leaderboard.check_records import _lattice

    scale = 3 * 64 * 64 * 255**2
    curve = np.asarray([each / scale for each in sums])
    assert list(_lattice({"mse": curve, "mse_static": curve}, 3 * 64 * 64)) == []
    if max(sums) > 1000:
        spoiled = curve + 0.5 / scale
        told = list(_lattice({"mse": spoiled, "mse_static": curve}, 3 * 64 * 64))
        assert told
