"""The run folder survives what happens to files: kills, damage, two writers, another run."""

import json
from pathlib import Path
from typing import Any

import pytest

from dojobench.benchmarks.records import Record, RunMeta, load_run
from dojobench.benchmarks.run_writer import RunWriter
from dojobench.protocol import BadInputError


def make_meta(**changes: Any) -> RunMeta:
    space = {"dim": 2, "embodiment": "arm"}
    fields: dict[str, Any] = {
        "model": {"name": "m", "reference": "pkg:m"},
        "suite": {
            "name": "s",
            "version": "sha256:1",
            "resolution": [8, 8],
            "frame_rate": 10.0,
            "context_frames": 1,
            "action_space": space,
            "clips": 2,
        },
        "convention": "aligned",
        "metric_version": "1",
        "metrics": ["psnr"],
        "seeds": [0, 1],
        "splits": ["val"],
        "clip_ids": ["a", "b"],
        "code": {"version": "0"},
        "started": "2026-11-21T00:00:00Z",
    }
    return RunMeta.model_validate(fields | changes)


def make_record(clip: str = "a", seed: int = 0, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "clip": clip,
        "seed": seed,
        "split": "val",
        "episode": "0",
        "source": "x",
        "embodiment": "arm",
        "frames": 2,
        "values": {"psnr": 1 / 3},
        "curves": {"psnr": [0.1, 0.2]},
    }
    return Record.model_validate(fields | changes)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "r", make_meta()) as writer:
        for clip, seed in [("b", 1), ("a", 0), ("a", 1), ("b", 0)]:
            writer.append(make_record(clip, seed))
    run = load_run(tmp_path / "r")
    assert run.meta == make_meta()
    assert [r.key for r in run.records] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert run.records[0] == make_record("a", 0)
    assert not run.missing()
    assert not run.torn


@pytest.mark.parametrize("cut", [1, 5, 40, 200])
def test_torn_last_line_is_left_out_and_truncated_on_resume(tmp_path: Path, cut: int) -> None:
    folder = tmp_path / "r"
    with RunWriter(folder, make_meta()) as writer:
        writer.append(make_record("a"))
        writer.append(make_record("b"))
    log = folder / "records.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-cut])
    run = load_run(folder)
    assert [r.clip for r in run.records] == ["a"]
    assert run.torn
    with RunWriter(folder, make_meta()) as writer:
        assert set(writer.done) == {("a", 0)}
        writer.append(make_record("b"))
    assert log.read_bytes() == whole


def test_torn_first_line_of_zero_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    RunWriter(folder, make_meta()).close()
    (folder / "records.jsonl").write_bytes(b"\0" * 100)
    assert load_run(folder).records == []


def test_incomplete_run_names_what_is_missing(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "r", make_meta()) as writer:
        writer.append(make_record("a"))
    with pytest.raises(BadInputError, match=r"3 of 4 records are missing \(b \(seed 0\)"):
        load_run(tmp_path / "r").require_complete()


def test_two_writers(tmp_path: Path) -> None:
    with (
        RunWriter(tmp_path / "r", make_meta()),
        pytest.raises(BadInputError, match="another process"),
    ):
        RunWriter(tmp_path / "r", make_meta())
    RunWriter(tmp_path / "r", make_meta()).close()


def test_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    RunWriter(tmp_path / "r", make_meta()).close()
    other = make_meta().suite.model_copy(update={"version": "sha256:2"})
    with pytest.raises(BadInputError, match=r"suite.version: sha256:1, now sha256:2"):
        RunWriter(tmp_path / "r", make_meta(suite=other.model_dump()))
    with pytest.raises(BadInputError, match="seeds: 0, 1, now 0"):
        RunWriter(tmp_path / "r", make_meta(seeds=[0]))


def test_batch_size_may_change(tmp_path: Path) -> None:
    RunWriter(tmp_path / "r", make_meta()).close()
    RunWriter(tmp_path / "r", make_meta(execution={"batch": 7})).close()
    assert load_run(tmp_path / "r").meta.execution.batch == 7


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(BadInputError, match=r"thesis\.tex"):
        RunWriter(tmp_path, make_meta())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense\n", "line 1 is damaged"),
        (b'{"clip": "a"}\n', "field seed"),
        (b'{"values": {"psnr": NaN}}\n', "no JSON"),
    ],
)
def test_damage_in_the_middle_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    folder = tmp_path / "r"
    with RunWriter(folder, make_meta()) as writer:
        writer.append(make_record("a"))
    log = folder / "records.jsonl"
    log.write_bytes(line + log.read_bytes())
    with pytest.raises(BadInputError, match=message):
        load_run(folder)


def test_repeated_and_foreign_records(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with RunWriter(folder, make_meta()) as writer:
        writer.append(make_record("a"))
    log = folder / "records.jsonl"
    once = log.read_bytes()
    log.write_bytes(once * 2)
    with pytest.raises(BadInputError, match="line 2 repeats clip a with seed 0 of line 1"):
        load_run(folder)
    log.write_bytes(once.replace(b'"clip": "a"', b'"clip": "z"'))
    with pytest.raises(BadInputError, match="clip z with seed 0, which is no part"):
        load_run(folder)


def test_damaged_meta_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    RunWriter(folder, make_meta()).close()
    file = folder / "run.json"
    meta = json.loads(file.read_text())
    file.write_text(json.dumps(meta | {"format": 2}))
    with pytest.raises(BadInputError, match="field format"):
        load_run(folder)
    file.write_text("{")
    with pytest.raises(BadInputError, match=r"run\.json is no JSON"):
        load_run(folder)
    with pytest.raises(BadInputError, match="no run folder"):
        load_run(tmp_path)


def test_records_without_meta(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("x\n")
    with pytest.raises(BadInputError, match=r"no run\.json"):
        RunWriter(tmp_path, make_meta())


def test_resuming_with_other_code_is_said_and_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with RunWriter(folder, make_meta()) as writer:
        writer.append(make_record("a"))
    with RunWriter(folder, make_meta(code={"version": "1"})) as writer:
        assert writer.meta.notes == ("The run was resumed with other code than it was begun with.",)
        for clip, seed in [("a", 1), ("b", 0), ("b", 1)]:
            writer.append(make_record(clip, seed))
    before = (folder / "run.json").read_bytes()
    RunWriter(folder, make_meta(code={"version": "2"}, started="2027-01-01T00:00:00Z")).close()
    assert (folder / "run.json").read_bytes() == before
