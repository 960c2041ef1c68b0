"""The whole chain of a recipe as steps: data, training in three phases, evaluation, report.

The steps are plain data: the same list runs here one after the other, or on a cluster as jobs
that wait for each other (``dojobench slurm``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODELS = ("nano-teacher", "nano-student")
"""Names of the models that a run ends in; the folders in ``models/`` are called so too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a step is given.

    Attributes:
        cpus: Cores.
        gpus: GPUs; 0 where a step makes little use of one.
        memory_gb: Main memory, GB.
        minutes: Time limit of an attempt; what trains goes on in the next.
    """

    cpus: int = 2
    gpus: int = 0
    memory_gb: float = 8.0
    minutes: int = 240


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command.

    Attributes:
        name: Unique in its plan.
        argv: Arguments of ``dojobench``.
        after: Steps that must have succeeded.
        folder: Where it writes, within the run's folder.
        resources: What it needs.
        array: Further arguments of each task, where one step is many.
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    folder: str | None = None
    resources: Needs = field(default_factory=Needs)
    array: tuple[tuple[str, ...], ...] | None = None


_CHAIN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("data", ()),
    ("tokenizer", ("data",)),
    ("latent_actions", ("data",)),
    ("latents", ("tokenizer", "latent_actions")),
    ("pretrain", ("latents",)),
    ("posttrain", ("pretrain",)),
    ("teacher", ("posttrain",)),
    ("trajectories", ("posttrain",)),
    ("warmup", ("trajectories",)),
    ("self_forcing", ("warmup",)),
    ("student", ("self_forcing",)),
)
"""Stages of training, and those that each waits for."""


def reproduction_plan(recipe: str, out: Path) -> tuple[Step, ...]:
    """Gives the steps from nothing to the report.

    Args:
        recipe: ``nano``, ``smoke`` or a file; ``smoke`` is evaluated on a few clips.
        out: Folder of the run.

    Returns:
        The steps in an order in which they can run one after the other.
    """
    return (*_training(recipe, out), *_evaluation(recipe, out))


def shared_steps(recipe: str, out: Path) -> tuple[Step, ...]:
    """Gives the steps that every comparison of trainings shares: up to the latents.

    Args:
        recipe: Name or file.
        out: Folder of the run.
    """
    return tuple(_training(recipe, out, _CHAIN[:4]))


def _training(
    recipe: str, out: Path, chain: Sequence[tuple[str, tuple[str, ...]]] = _CHAIN
) -> Iterator[Step]:
    for stage, after in chain:
        yield Step(
            name=stage,
            argv=("train", stage, "--config", recipe, "--out", str(out)),
            after=after,
            folder=stage,
        )


def _evaluation(recipe: str, out: Path) -> Iterator[Step]:
    smoke = recipe == "smoke"
    suite = "dojo-mini" if smoke else "dojo-v1"
    few = ("--limit", "2", "--benchmarks", "fidelity", "--no-checks") if smoke else ()
    runs = []
    for model, stage in zip(MODELS, ("teacher", "student"), strict=True):
        folder = out / "runs" / f"{model}-{suite}"
        runs.append(str(folder))
        yield Step(
            name=f"run-{stage}",
            argv=(
                *("run", str(out / "models" / model), "--suite", suite),
                *("--out", str(folder), "--batch", "4", *few),
            ),
            after=(stage,),
            folder=f"runs/{model}-{suite}",
        )
    yield Step(
        name="report",
        argv=("report", *runs, "--out", str(out / "report.html")),
        after=("run-teacher", "run-student"),
    )


def real_robot_plan(recipe: str, out: Path, base: Path, *, suite: str) -> tuple[Step, ...]:
    """Gives the steps that post-train a run's model on a real robot and score it.

    Args:
        recipe: One that reads recorded video, such as ``g1``.
        out: Folder of the run.
        base: The run whose tokenizer and pretrained network are begun from.
        suite: The robot's suite; frames are resized where the model's are smaller.

    Returns:
        The steps in an order in which they can run one after the other.
    """
    stages: list[Step] = []
    for stage in ("data", "tokenizer", "latents", "posttrain", "teacher"):
        stages.append(
            Step(
                name=stage,
                argv=(
                    *("train", stage, "--config", recipe, "--out", str(out)),
                    *("--base", str(base), "--take", "pretrain"),
                ),
                after=tuple(step.name for step in stages[-1:]),
                folder=stage,
            )
        )
    scores = out / "runs" / suite
    run = Step(
        name="run",
        argv=(
            *("run", str(out / "models" / MODELS[0]), "--suite", suite, "--adapt", "resize"),
            *("--out", str(scores), "--batch", "4", "--splits", "val"),
            *("--baselines", "hold", "mean-future", "nearest-neighbour"),
        ),
        after=("teacher",),
        folder=f"runs/{suite}",
    )
    report = Step(
        name="report",
        argv=("report", str(scores), "--out", str(out / "report.html")),
        after=("run",),
    )
    return (*stages, run, report)
