"""Where in a run's folder the product of each stage lies, or in the run that it builds on.

Rows of a comparison differ in a stage or two. Each has a folder of its own, whose ``base.json``
names the run with the data, the tokenizer and the rest that all of them share.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_model
from dojobench.protocol.errors import BadInputError

PRODUCTS: dict[str, str] = {
    "data": "data",
    "tokenizer": "tokenizer/tokenizer.safetensors",
    "latent_actions": "latent_actions/lam.safetensors",
    "latents": "latents",
    "pretrain": "pretrain/world_model.safetensors",
    "posttrain": "posttrain/world_model.safetensors",
    "trajectories": "trajectories",
    "warmup": "warmup/student.safetensors",
    "self_forcing": "self_forcing/student.safetensors",
    "teacher": "models/nano-teacher",
    "student": "models/nano-student",
}
"""What each stage leaves in the run's folder, in the order of the stages."""

BASE = "base.json"
"""Name of the file in a run's folder that names the run it builds on."""
SHARED = ("data", "tokenizer", "latent_actions", "latents")
"""Stages whose products a run takes from the one it builds on, unless it says otherwise."""


class Base(BaseModel):
    """What a run builds on.

    Attributes:
        format: Version of the file.
        run: Folder of the other run, absolute or seen from this run's folder.
        stages: Stages whose products are taken from there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    run: str
    stages: tuple[str, ...] = SHARED


def set_base(run: Path, base: Path, stages: tuple[str, ...] = SHARED) -> None:
    """Has a run build on another.

    Args:
        run: Folder of the run; it is made.
        base: Folder of the other one.
        stages: Stages whose products are taken from there.

    Raises:
        BadInputError: If a stage does not exist, or the run builds on another one already.
    """
    if unknown := [stage for stage in stages if stage not in PRODUCTS]:
        raise BadInputError(
            f"There is no stage '{unknown[0]}' to take from {base}; there are "
            f"{', '.join(PRODUCTS)}."
        )
    if base.resolve() == run.resolve():
        raise BadInputError(f"{run} cannot build on itself; give another --base or --out.")
    wanted = Base(run=str(base.absolute()), stages=stages)
    former = read_base(run)
    if former is not None and former != wanted:
        raise BadInputError(
            f"{run} builds on {former.run} ({', '.join(former.stages)}) already; remove its "
            f"{BASE} or give another --out."
        )
    if former is None:
        run.mkdir(parents=True, exist_ok=True)
        write_atomically(run / BASE, (wanted.model_dump_json(indent=1) + "\n").encode())


def read_base(run: Path) -> Base | None:
    """Says what a run builds on, or ``None`` where it stands alone."""
    path = run / BASE
    return read_model(path, Base) if path.is_file() else None


def place_of(run: Path, stage: str) -> Path:
    """Says where a stage's product lies or will lie: in the run, or in the one it builds on.

    What the run itself has made comes first.
    """
    own = run / PRODUCTS[stage]
    base = read_base(run)
    if own.exists() or base is None or stage not in base.stages:
        return own
    return place_of(run / base.run, stage)


def product(run: Path, stage: str) -> Path:
    """Finds what an earlier stage made.

    Raises:
        BadInputError: If it is not there, naming the stage to run first.
    """
    path = place_of(run, stage)
    if not path.exists():
        where = path
        for _ in Path(PRODUCTS[stage]).parts:
            where = where.parent
        raise BadInputError(
            f"There is no {path} yet; run `dojobench train {stage} --out {where}` first."
        )
    return path
