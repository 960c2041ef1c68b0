"""Tables: verdicts, differences of real runs, and the paper's figures beside them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dojobench.benchmarks.benchmark_runs import run_benchmarks
from dojobench.benchmarks.runner import RunConfig
from dojobench.cli import main
from dojobench.datasets.suites import open_suite
from dojobench.metrics.intervals import Interval, paired_difference
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.reproduction import published
from dojobench.reference_model.reproduction.compare import as_document, compare, verdict_of
from dojobench.reference_model.reproduction.rows import Scoring, scores_folder
from dojobench.reference_model.reproduction.table_output import markdown, write_table
from dojobench.reference_model.reproduction.table_plan import table_plan
from dojobench.reference_model.reproduction.tables import TABLES, Pair, Row, Table, seeded
from dojobench.reference_model.training.recipes import RECIPES
from dojobench.slurm.plan import plan_from_steps

MODELS = {"good": "under-react", "bad": "noise"}
SPLITS = ("in-lab", "egodex")


def interval(low: float, high: float, method: str = "t") -> Interval:
    return Interval(
        mean=(low + high) / 2, low=low, high=high, n=9, clusters=9, level=0.95, method=method
    )


@pytest.mark.parametrize(
    ("ours", "by_seed", "paper", "verdict"),
    [
        (interval(0.1, 0.3), (0.2, 0.2), 0.5, "same direction"),
        (interval(-0.3, -0.1), (-0.2, -0.2), 0.5, "opposite direction"),
        (interval(-0.3, -0.1), (-0.2, -0.2), -0.5, "same direction"),
        (interval(-0.1, 0.3), (0.1, 0.1), 0.5, "cannot be told"),
        (interval(0.1, 0.3), (0.5, -0.1), 0.5, "cannot be told"),
        (interval(0.1, 0.3), (0.2, 0.2), 0.0, "cannot be told"),
        (interval(0.2, 0.2, "no spread: all equal"), (0.2,), 0.5, "cannot be told"),
        (interval(float("nan"), float("nan"), "none: one value"), (0.2,), 0.5, "cannot be told"),
        (interval(0.1, 0.3), (0.2, 0.2), None, "no figure of the paper"),
    ],
)
def test_a_verdict_needs_an_interval_without_0_and_seeds_that_agree(
    ours: Interval, by_seed: tuple[float, ...], paper: float | None, verdict: str
) -> None:
    assert verdict_of(ours, by_seed, paper) == verdict


@pytest.fixture(scope="module")
def table() -> Table:
    """Two rows that stand for two trainings: a model that is near the truth, and noise."""
    return replace(
        TABLES["action-signal"],
        rows=tuple(Row(name=name, label=f"the {name} one", part=name) for name in MODELS),
        pairs=(Pair("good", "bad"),),
        figures={
            "good": {"in-lab": published.Score(21.0, 0.8, 0.2)},
            "bad": {"in-lab": published.Score(20.0, 0.9, 0.2)},
        },
    )


@pytest.fixture(scope="module")
def scored(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows scored for two seeds; the noise of the second is another."""
    out: Path = tmp_path_factory.mktemp("table")
    suite = open_suite("dojo-mini")
    for row in table.rows:
        for seed in (0, 1):
            for split in SPLITS:
                config = RunConfig(
                    model=MODELS[row.name],
                    suite="dojo-mini",
                    out=scores_folder(out, row, seed, split),
                    splits=(split,),
                    seeds=(seed,),
                    metrics=("psnr", "ssim"),
                    videos="none",
                    baselines=(),
                    checks=0,
                )
                run_benchmarks(config, ("fidelity",), suite=suite)
    return out


def test_differences_are_those_of_the_records(table: Table, scored: Path) -> None:
    compared = compare(table, scored, (0, 1))

    def values(name: str, seed: int) -> list[float]:
        row = next(row for row in table.rows if row.name == name)
        folder = scores_folder(scored, row, seed, "in-lab")
        lines = (folder / "records.jsonl").read_text().splitlines()
        return [json.loads(line)["values"]["psnr"] for line in sorted(lines)]

    good = np.mean([values("good", seed) for seed in (0, 1)], axis=0)
    bad = np.mean([values("bad", seed) for seed in (0, 1)], axis=0)
    wanted = paired_difference(good, bad, list(range(len(good))))
    found = next(d for d in compared.differences if (d.split, d.metric) == ("in-lab", "psnr"))
    assert found.ours.mean == pytest.approx(wanted.mean)
    assert (found.ours.n, found.ours.clusters) == (4, 4)
    assert np.mean(found.by_seed) == pytest.approx(wanted.mean)
    assert found.paper == 1.0
    assert found.verdict == "same direction"
    other = {(d.split, d.metric): d.verdict for d in compared.differences}
    assert other["in-lab", "ssim"] == "opposite direction"
    assert other["egodex", "psnr"] == "no figure of the paper"


def test_a_table_is_written_three_times_with_the_same_figures(
    table: Table, scored: Path, tmp_path: Path
) -> None:
    compared = compare(table, scored, (0, 1), conditions={"Recipe": "<tiny>"})
    files = write_table(compared, tmp_path)
    document = json.loads(files[0].read_text())
    assert document == json.loads(json.dumps(as_document(compared)))
    assert document["paper"]["source"] == published.SOURCE
    mean = next(c for c in compared.cells if c.row == "good").ours.mean
    page = files[2].read_text(encoding="utf-8")
    assert f"{mean:.2f}" in page
    assert f"{mean:.2f}" in files[1].read_text(encoding="utf-8")
    assert "&lt;tiny&gt;" in page
    assert "<tiny>" not in page
    assert "http" not in page.replace("http-equiv", "")
    before = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in write_table(compared, tmp_path)] == before
    assert len(compared.sentences) == 1
    assert "same direction: in-lab" in compared.sentences[0]
    assert compared.sentences[0] in markdown(compared)


def test_a_row_that_was_not_run_is_named(table: Table, scored: Path) -> None:
    with pytest.raises(BadInputError, match="seed-2"):
        compare(table, scored, (0, 1, 2))


@pytest.mark.parametrize("name", TABLES)
def test_a_plan_has_every_training_once_a_seed(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    steps = table_plan(table, "smoke", tmp_path, seeds=(0, 1), scoring=Scoring(clips=2))
    plan = plan_from_steps(name, steps)
    rows = next(job for job in plan.jobs if job.name == "rows")
    assert len(rows.tasks()) == 2 * len(table.parts)
    assert plan.upstream("compare")[-1] == "rows"
    assert [job.name for job in plan.jobs][:4] == ["data", "tokenizer", "latent_actions", "latents"]


def test_a_run_to_build_on_must_have_what_is_shared(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="dojobench train data"):
        table_plan(TABLES["ablation"], "smoke", tmp_path, seeds=(0,), base=tmp_path / "none",
                   scoring=Scoring())  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_the_rows_of_a_table_differ_and_have_the_papers_figures(name: str) -> None:
    table, recipe = TABLES[name], RECIPES["nano"]
    changed = [part.change(recipe) for part in table.parts]
    assert all(one != other for n, one in enumerate(changed) for other in changed[:n])
    assert {row.part for row in table.rows} == {part.name for part in table.parts}
    assert set(table.figures) <= {row.name for row in table.rows}
    figures = {split for row in table.figures.values() for split in row}
    assert figures == set(table.splits)
    there = {row.name for row in table.rows}
    assert all({pair.row, pair.against} <= there for pair in table.pairs)


def test_a_seed_changes_what_rows_do_not_share() -> None:
    recipe = seeded(RECIPES["nano"], 7)
    assert recipe.pretrain.loop.seed == recipe.posttrain.loop.seed == 7
    assert recipe.tokenizer == RECIPES["nano"].tokenizer


def test_the_papers_gains_are_those_it_speaks_of() -> None:
    mixture = published.DATA_MIXTURE
    gain = mixture["dojo-hv"]["in-lab"].psnr - mixture["none"]["in-lab"].psnr
    assert gain == pytest.approx(0.44)
    assert published.SPEED["student"] / published.SPEED["teacher"] == pytest.approx(3.97, abs=0.01)


def test_an_unknown_target_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "nothing"]) == 2
    assert "there are nano, g1, action-signal" in capsys.readouterr().err
    assert main(["reproduce"]) == 0
    assert "latent-transfer" in capsys.readouterr().out
