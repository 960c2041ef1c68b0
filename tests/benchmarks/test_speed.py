"""`dojobench speed`: conditions, the folder it writes, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest

from dojobench.benchmarks.baselines import hold
from dojobench.benchmarks.speed import (
    SESSIONS_FILE,
    SpeedConfig,
    conditions_for,
    measure_speed,
    read_speed_report,
)
from dojobench.benchmarks.speed_cli import describe_speed
from dojobench.cli import main
from dojobench.protocol import BadInputError, ModelSpec


def config(out: Path, **changes: object) -> SpeedConfig:
    small = SpeedConfig(model="hold", out=out, resolution=(32, 32), chunk=4, sessions=2, steps=3)
    return replace(small, **changes)


def test_the_folder_tells_what_was_measured(tmp_path: Path) -> None:
    report = measure_speed(config(tmp_path / "s"), model=hold())
    assert read_speed_report(tmp_path / "s") == report
    assert report.stats["steps"] == 6
    assert report.conditions["resolution"] == [32, 32]
    assert report.cost is None
    assert report.hardware["cores"]
    text = "\n".join(describe_speed(report))
    assert "hold" in text
    assert "missed deadlines" in text


def test_a_stopped_measurement_goes_on(tmp_path: Path) -> None:
    measure_speed(config(tmp_path / "s"), model=hold())
    log = tmp_path / "s" / SESSIONS_FILE
    stamp, first, second = log.read_text().splitlines()
    log.write_text(f"{stamp}\n{first}\n{second[:10]}")  # killed while it wrote the second rollout
    report = measure_speed(config(tmp_path / "s"), model=hold())
    lines = log.read_text().splitlines()
    assert lines[:2] == [stamp, first]
    assert len(lines) == 3
    assert report.stats["steps"] == 6


def test_another_measurement_is_not_mixed_in(tmp_path: Path) -> None:
    measure_speed(config(tmp_path / "s"), model=hold())
    with pytest.raises(BadInputError, match="another conditions"):
        measure_speed(config(tmp_path / "s", chunk=2), model=hold())


def test_the_models_own_preferences_are_the_default(tmp_path: Path) -> None:
    spec = ModelSpec(name="m", resolution=(48, 64), frame_rate=5.0, native_chunk=6)
    found = conditions_for(spec, SpeedConfig(model="m", out=tmp_path))
    assert (found.resolution, found.frame_rate, found.chunk) == ((48, 64), 5.0, 6)


def test_published_conditions(tmp_path: Path) -> None:
    spec = ModelSpec(name="m", context_frames=12, native_chunk=4)
    found = conditions_for(spec, SpeedConfig(model="m", out=tmp_path, preset="dreamdojo-student"))
    assert (found.resolution, found.chunk, found.batch) == ((480, 640), 4, 1)


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        ({"resolution": (8, 8)}, {}, r"\(8, 8\) and \(32, 32\)"),
        ({"native_chunk": 3, "any_chunk": False}, {}, "3 frames at once and a chunk of 4"),
        ({}, {"steps": 0}, "at least 1"),
        ({}, {"preset": "fastest"}, "no preset 'fastest'"),
        ({"context_frames": 2}, {"preset": "dreamdojo-teacher", "resolution": None}, "1 context"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, spec: dict, changes: dict, words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        conditions_for(ModelSpec(name="m", **spec), config(tmp_path, **changes))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"speed\.json cannot be read"):
        read_speed_report(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["speed", "hold", "--resolution", "32", "32", "--steps", "3", "--sessions", "1"]
    assert main([*arguments, "--out", str(tmp_path / "s")]) == 0
    assert "frames/s" in capsys.readouterr().out
