"""``dojobench reproduce nano --smoke``: the whole chain in one process, and on a real Slurm."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors import safe_open

from dojobench.benchmarks.records import load_run
from dojobench.cli import main
from dojobench.reference_model.reproduction.plan import reproduction_plan
from dojobench.reference_model.training.products import PRODUCTS
from dojobench.slurm.job_state import now, read_state, state_file, update_state
from dojobench.slurm.nano import nano_plan
from dojobench.slurm.one_machine import OneMachineCluster
from dojobench.slurm.run_folder import prepare_run
from dojobench.slurm.status import status

KILLED = "posttrain"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain, one command after the other in this process."""
    out: Path = tmp_path_factory.mktemp("reproduce") / "run"
    for step in reproduction_plan("smoke", out):
        assert main(list(step.argv)) == 0, step.name
    return out


def weights(path: Path) -> dict[str, list[float]]:
    with safe_open(str(path), "pt") as file:
        return {name: file.get_tensor(name).flatten().tolist() for name in file.keys()}


def until(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.timeout(360)
def test_all_three_phases_lead_to_two_models_and_a_report(whole: Path) -> None:
    assert all((whole / product).exists() for product in PRODUCTS.values())
    for model in ("nano-teacher", "nano-student"):
        run = load_run(whole / "runs" / f"{model}-dojo-mini")
        run.require_complete()
        assert len(run.records) == 2
        assert list(run.baselines()) == ["hold"]
    assert "<h1>" in (whole / "report.html").read_text(encoding="utf-8")


@pytest.mark.timeout(360)
def test_the_command_says_where_models_and_report_are(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = nano_plan(whole, smoke=True)
    prepare_run(plan, whole)
    for job in plan.jobs:
        update_state(state_file(whole, job.name), state="done", ended=now())
    assert main(["reproduce", "nano", "--smoke", "--out", str(whole)]) == 0
    said = capsys.readouterr().out
    assert f"Models: {whole / 'models'}" in said
    assert f"Report: {whole / 'report.html'}" in said


@pytest.fixture(scope="module")
def cluster(slurm: OneMachineCluster) -> Iterator[OneMachineCluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm.environment.items():
            patch.setenv(name, value)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield slurm


@pytest.mark.slurm
@pytest.mark.timeout(600)
def test_on_slurm_a_killed_training_goes_on_and_ends_with_the_same_weights(
    cluster: OneMachineCluster, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["reproduce", "nano", "--smoke", "--slurm", "--out", str(run)]
    assert main([*words, "--cpus", "1", "--memory-gb", "2"]) == 0
    log = run / KILLED / "train.jsonl"
    until(lambda: log.exists() and log.stat().st_size > 0, 240)
    ids = {row.name: row.slurm_id for row in status(run)}
    cluster.call("scontrol", "requeue", str(ids[KILLED]))
    over = {"done", "failed", "not run", "cancelled"}
    until(lambda: all(row.state in over for row in status(run)), 300)
    assert {row.name: row.state for row in status(run) if row.state != "done"} == {}
    assert read_state(run, KILLED).attempts == 2
    for stage in ("posttrain", "self_forcing"):
        assert weights(run / PRODUCTS[stage]) == weights(whole / PRODUCTS[stage])
    assert (run / "report.html").exists()
