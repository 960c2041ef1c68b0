"""``dojobench reproduce nano --smoke``: the whole chain in one process, and on a real Slurm."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dojobench.benchmarks.records import load_run
from dojobench.cli import main
from dojobench.reference_model.lam import LatentActionModel
from dojobench.reference_model.reproduction.latent_transfer import MOTION, read_moves
from dojobench.reference_model.reproduction.plan import reproduction_plan
from dojobench.reference_model.reproduction.rows import Scoring, part_folder
from dojobench.reference_model.reproduction.table_plan import table_plan
from dojobench.reference_model.reproduction.tables import TABLES
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.products import PRODUCTS, product
from dojobench.slurm.job_state import (
    JobFile,
    job_file,
    now,
    read_record,
    read_state,
    state_file,
    update_state,
    write_record,
)
from dojobench.slurm.nano import nano_plan
from dojobench.slurm.one_machine import OneMachineCluster
from dojobench.slurm.run_folder import prepare_run
from dojobench.slurm.status import status

KILLED = "posttrain"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain, one command after the other in this process."""
    out: Path = tmp_path_factory.mktemp("reproduce") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the jobs of a cluster are given here, or weights would differ
    try:
        for step in reproduction_plan("smoke", out):
            assert main(list(step.argv)) == 0, step.name
    finally:
        torch.set_num_threads(threads)
    return out


def weights(path: Path) -> dict[str, list[float]]:
    with safe_open(str(path), "pt") as file:
        return {name: file.get_tensor(name).flatten().tolist() for name in file.keys()}


def until(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.timeout(1800)
def test_all_three_phases_lead_to_two_models_and_a_report(whole: Path) -> None:
    assert all((whole / product).exists() for product in PRODUCTS.values())
    for model in ("nano-teacher", "nano-student"):
        run = load_run(whole / "runs" / f"{model}-dojo-mini")
        run.require_complete()
        assert len(run.records) == 2
        assert list(run.baselines()) == ["hold"]
    assert "<h1>" in (whole / "report.html").read_text(encoding="utf-8")


@pytest.mark.timeout(1800)
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


@pytest.mark.timeout(1800)
def test_a_table_of_trainings_that_share_a_run(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table"
    table = TABLES["ablation"]
    steps = table_plan(
        table,
        "smoke",
        out,
        seeds=(0,),
        base=whole,
        changes=("posttrain.loop.steps=3",),
        scoring=Scoring(suite="dojo-mini", clips=2, metrics=("psnr", "ssim")),
    )
    assert [step.name for step in steps] == ["rows", "compare"]
    for step in steps:
        for more in step.array or ((),):
            assert main([*step.argv, *more]) == 0
    document = json.loads((out / "table.json").read_text(encoding="utf-8"))
    assert len(document["cells"]) == len(table.rows) * len(table.splits) * 2
    assert len(document["sentences"]) == len(table.pairs)
    assert document["conditions"]["Recipe"] == "smoke --set posttrain.loop.steps=3"
    assert all(sentence in capsys.readouterr().out for sentence in document["sentences"][:1])
    made = part_folder(out, "base", 0)
    assert not (made / "data").exists()
    assert (made / "posttrain" / "world_model.safetensors").exists()
    # Done already, a part is not done again.
    kept = [made / "posttrain" / name for name in ("world_model.safetensors", "state.pt")]
    kept.append(part_folder(out, "base", 0) / "scores" / "base-val" / "records.jsonl")
    before = [file.read_bytes() for file in kept]
    assert main([*steps[0].argv, *(steps[0].array or ((),))[0]]) == 0
    assert [file.read_bytes() for file in kept] == before


@pytest.mark.timeout(1800)
def test_what_post_training_forgot_is_measured(whole: Path, tmp_path: Path) -> None:
    assert main(["reproduce", "retention", str(whole), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "retention.json").read_text(encoding="utf-8"))
    assert len(found["scores"]) == 3
    before = found["scores"]["pretrained"]["mean"]
    for name, lost in found["forgotten"].items():
        assert lost["mean"] == pytest.approx(before - found["scores"][name]["mean"])


@pytest.mark.timeout(1800)
def test_moves_are_read_with_their_true_motion(whole: Path) -> None:
    model = LatentActionModel.load(product(whole, "latent_actions"))
    group = EpisodeStore(product(whole, "data")).group("hand-val")
    moves = read_moves(group, model, 1)
    assert moves.latents.shape == (13, model.config.latent_dim)
    own = group.actions(0, 4, 8, withheld=True)[:, : len(MOTION)].sum(axis=0)
    assert moves.motion[1] == pytest.approx(own)


@pytest.fixture(scope="module")
def cluster(slurm: OneMachineCluster) -> Iterator[OneMachineCluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm.environment.items():
            patch.setenv(name, value)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield slurm


LINGERING = """
import os, pathlib, signal, sys, time
from dojobench.cli import main
from dojobench.reference_model.training.training_log import TrainingLog

note, write = pathlib.Path(sys.argv[1]), TrainingLog.write

def linger(self, step, **values):
    write(self, step, **values)
    if step and "SLURM_RESTART_COUNT" not in os.environ and not note.exists():
        asked, former = [], signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *one: (asked.append(one), former(*one)))
        note.write_text(str(step))
        while not asked:
            time.sleep(0.05)

TrainingLog.write = linger
sys.exit(main(sys.argv[2:]))
"""


def linger(run: Path) -> None:
    """Has the first attempt linger at its first line of the log, so that it is killed there."""
    path = job_file(run, KILLED)
    job = read_record(JobFile, path)
    words = job.argv[job.argv.index("train") :]
    held = (sys.executable, "-c", LINGERING, str(run / "lingers"), *words)
    write_record(path, replace(job, argv=held))


@pytest.mark.slurm
@pytest.mark.timeout(5000)
def test_on_slurm_a_killed_training_goes_on_and_ends_with_the_same_weights(
    cluster: OneMachineCluster, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["reproduce", "nano", "--smoke", "--slurm", "--out", str(run)]
    assert main([*words, "--cpus", "1", "--memory-gb", "2"]) == 0
    assert {row.name: row.state for row in status(run)}[KILLED] == "waiting"
    linger(run)
    until((run / "lingers").exists, 2000)
    ids = {row.name: row.slurm_id for row in status(run)}
    cluster.call("scontrol", "requeue", str(ids[KILLED]))
    over = {"done", "failed", "not run", "cancelled"}
    until(lambda: all(row.state in over for row in status(run)), 2000)
    assert {row.name: row.state for row in status(run) if row.state != "done"} == {}
    assert read_state(run, KILLED).attempts == 2
    log = [json.loads(line) for line in (run / KILLED / "train.jsonl").open()]
    assert [line["step"] for line in log if line.get("event") == "resume"] == [
        int((run / "lingers").read_text())
    ]
    for stage in ("posttrain", "self_forcing"):
        assert weights(run / PRODUCTS[stage]) == weights(whole / PRODUCTS[stage])
    assert (run / "report.html").exists()
