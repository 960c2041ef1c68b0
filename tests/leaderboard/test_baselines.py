"""Real runs of honest baselines: accepted as what they say they are, refused as world models, and
audited from their videos and by running them again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.leaderboard.audit import AuditConfig, audit, write_attestation
from dojobench.leaderboard.pack import PackConfig, pack
from dojobench.leaderboard.submission import read_submission
from dojobench.leaderboard.verdict import Verdict
from dojobench.protocol.errors import BadInputError

Make = Callable[..., Any]
KINDS = {"hold": "static", "noise": "noise", "nearest-neighbour": "retrieval"}
CLIPS = 16
SECRET = "a seed that nobody knows but this test"  # noqa: S105
CARD = """
format = 1
name = "{name}"
kind = "{kind}"
description = "A baseline."
contact = "board@example.org"
licence = "Apache-2.0"
parameters = 0
[[authors]]
name = "The dojobench authors"
[conditions]
precision = "float32"
"""


def keep(_: Path) -> Verdict:
    return Verdict(id="", submission_sha256="", findings=())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of the first clips of dojo-mini, which are the small suite of these tests."""
    root = tmp_path_factory.mktemp("runs")
    return {
        name: run_benchmark(
            RunConfig(
                model=name,
                suite="dojo-mini",
                out=root / name,
                seeds=(0, 1, 2),
                limit=CLIPS,
                metrics=("psnr", "ssim"),
                videos="all" if name == "hold" else "none",
                baselines=(),
            )
        )
        for name in KINDS
    }


@pytest.fixture
def packed(runs: dict[str, Path], tmp_path: Path) -> Make:
    def make(name: str, kind: str) -> Path:
        card = tmp_path / "card.toml"
        card.write_text(CARD.format(name=name, kind=kind))
        videos = "copy" if name == "hold" else "none"
        config = PackConfig(
            runs=(runs[name],), card=card, out=tmp_path / "b-1", id="b-1", videos=videos
        )
        return pack(config, keep)[0]

    return make


@pytest.mark.parametrize("name", KINDS)
def test_honest_baselines_are_accepted_as_what_they_are(
    packed: Make, verdict_of: Make, name: str
) -> None:
    findings = verdict_of(packed(name, KINDS[name])).findings
    # A checkout with changes, where the tests may run, is rightly pointed out.
    assert {f.code for f in findings if f.level != "note"} <= {"DB-W604"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hold", {"DB-C302", "DB-C303"}),
        ("noise", {"DB-C302"}),
        ("nearest-neighbour", {"DB-C302", "DB-C308"}),
    ],
)
def test_baselines_are_refused_as_world_models(
    packed: Make, codes: Make, name: str, expected: set[str]
) -> None:
    assert codes(packed(name, "world-model")) == expected


def config(folder: Path, **changes: Any) -> AuditConfig:
    fields: dict[str, Any] = {
        "folder": folder, "round_name": "2026-12", "round_seed": "the number of the day",
        "auditor": "a test", "clips": 6,
    }  # fmt: skip
    return AuditConfig(**(fields | changes))


def test_an_audit_from_videos_passes_and_is_linked(packed: Make, verdict_of: Make) -> None:
    folder = packed("hold", "static")
    found = audit(config(folder))
    assert found.failures == ()
    assert found.passed
    assert found.whole
    assert found.comparisons
    assert 25 < np.mean([floor.psnr for floor in found.floors]) < 45
    write_attestation(found, folder / "attestation.json")
    assert read_submission(folder).tier == "audited"
    assert "DB-N708" in {f.code for f in verdict_of(folder, published=True).findings}
    again = audit(config(folder))
    assert again.comparisons == found.comparisons
    assert again.previous == found.sha256


def change_records(folder: Path, reseal: Make, decibels: float) -> None:
    """Raises every score, so well that the records hang together."""
    file = folder / "runs" / "dojo-mini.fidelity" / "records.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["values"]["psnr"] += decibels
        row["curves"]["psnr"] = [value + decibels for value in row["curves"]["psnr"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reseal(folder)


@pytest.mark.parametrize("decibels", [0.8, 3.0])
def test_an_audit_finds_raised_scores(packed: Make, reseal: Make, decibels: float) -> None:
    folder = packed("hold", "static")
    change_records(folder, reseal, decibels)
    found = audit(config(folder, training=False, clips=12))
    assert not found.passed
    assert any(each.startswith("psnr of") for each in found.failures)
    write_attestation(found, folder / "attestation.json")
    assert read_submission(folder).tier == "checked"


def test_an_audit_sees_frozen_frames_and_equal_branches(packed: Make) -> None:
    found = audit(config(packed("hold", "world-model"), training=False, clips=16))
    assert any("stand still" in each for each in found.failures)


def test_an_audit_refuses_other_videos(packed: Make) -> None:
    folder = packed("hold", "static")
    for file in (folder / "videos").rglob("*.mp4"):
        file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(BadInputError, match="hash differs"):
        audit(config(folder, training=False))


def test_an_audit_of_the_model_itself(packed: Make) -> None:
    found = audit(config(packed("noise", "noise"), model="noise", clips=4))
    assert found.passed, found.failures
    assert all(each.submitted == pytest.approx(each.recomputed) for each in found.comparisons)


def test_an_audit_of_another_model_fails(packed: Make) -> None:
    options = {"std": "30"}
    folder = packed("noise", "noise")
    found = audit(config(folder, model="noise", options=options, clips=4))
    assert not found.passed
    with pytest.raises(BadInputError, match="audit the same model"):
        audit(config(folder, model="hold"))


@pytest.mark.parametrize("changes", [{"round_seed": "short"}, {"round_name": "a\nb"}])
def test_a_round_that_cannot_be_attested_is_refused_before_the_work(
    packed: Make, changes: dict[str, str]
) -> None:
    with pytest.raises(BadInputError, match="--round"):
        audit(config(packed("hold", "static"), model="not there", **changes))


def test_an_audit_on_private_clips(packed: Make) -> None:
    folder = packed("hold", "static")
    found = audit(config(folder, model="hold", clips=2, secret=SECRET, private_clips=12))
    assert found.passed, found.failures
    assert found.private[0].private_clips >= 2
    assert found.private_commitment is not None
    assert SECRET not in found.model_dump_json()
