"""Which clips of the simulated world a suite or a training set is made of."""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.clips import GENERATOR, ClipPlan, scene_of
from dojobench.simulator.factors import FACTORS, Choice, sample
from dojobench.simulator.scene import find_places
from dojobench.simulator.seeding import commitment, derive, stream
from dojobench.simulator.splits import RECIPES, SUITES, clip_plan
from dojobench.simulator.views import check_size
from dojobench.simulator.world import make_embodiment

SECRET_VARIABLE = "DOJOBENCH_SECRET_SEED"  # noqa: S105 a name
"""Environment variable with the seed of a private suite, or with the file that holds it."""
SUITE_EMBODIMENT = "arm"
"""Whose clips a suite holds; the hand's are for training."""
TRAIN_CLIPS = 200
"""Most training clips that a suite lists, for baselines that learn; `dojo make` makes more."""
_SHORTEST_SECRET = 16


def suite_plans(suite: str, seed: str | None = None) -> list[ClipPlan]:
    """Plans the clips of a suite: the robot's, and of the training clips the first 200.

    Args:
        suite: ``dojo-v1`` or ``dojo-mini``.
        seed: Another seed than the suite's public one.

    Raises:
        BadInputError: If there is no such suite.
    """
    plans = [each for each in clip_plan(suite, seed) if each.embodiment == SUITE_EMBODIMENT]
    train = [each.id for each in plans if each.split == "train"]
    surplus = set(train[TRAIN_CLIPS:])
    return [each for each in plans if each.id not in surplus]


def public_seed(suite: str) -> str:
    """Gives a suite's public seed as text; the number 1 and the text lead to the same clips."""
    return str(SUITES[suite].seed)


def plans_hash(plans: Sequence[ClipPlan]) -> str:
    """Hashes all plans of a suite, in their order."""
    digest = hashlib.sha256(b"dojobench dojo plans 1\n")
    for plan in plans:
        digest.update(f"{plan.id} {plan.digest()}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def episode_of(plan: ClipPlan) -> str:
    """Names the episode of a clip without its seed, which would give a private clip away."""
    return plan.branch_group or plan.id


def scene_id(seed: int) -> str:
    """Hashes the seed of a scene, to find it in training data without telling it."""
    return hashlib.sha256(f"dojobench dojo scene\x1f{seed}".encode()).hexdigest()[:16]


def seed_commitment(suite: str, seed: str) -> str:
    """Commits to a secret seed, for one suite and one version of the generator."""
    return commitment(seed, suite=f"{suite}\x1f{GENERATOR}")


def read_secret(given: str | None) -> str | None:
    """Reads a secret seed.

    Args:
        given: A file's name or the seed itself; where ``None``, what the variable
            ``DOJOBENCH_SECRET_SEED`` says.

    Returns:
        The seed, or ``None`` where there is none.

    Raises:
        BadInputError: If it is too short to be secret, or a file cannot be read.
    """
    given = given or os.environ.get(SECRET_VARIABLE) or None
    if given is None:
        return None
    seed = given
    if len(given) < 4096 and Path(given).is_file():
        try:
            seed = Path(given).read_text(encoding="utf-8")[:4096]
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(f"The secret seed's file {given} cannot be read.") from error
    seed = seed.strip()
    if len(seed) < _SHORTEST_SECRET:
        raise BadInputError(
            f"The secret seed has {len(seed)} characters, which can be found by trying; give at "
            f"least {_SHORTEST_SECRET} random ones, or the name of a file that holds them."
        )
    return seed


@dataclass(frozen=True, kw_only=True)
class MakeConfig:
    """What a training set is to be made of.

    Attributes:
        embodiment: ``arm``, ``arm2`` or ``hand``.
        episodes: Number of episodes.
        frames: Frames of an episode.
        seed: Any text; another seed gives other episodes.
        split: Whose recipe of scenes and behaviour; ``human`` for the hand and ``train`` for the
            arms where ``None``.
        held: Factors that are held or narrowed beyond that.
    """

    embodiment: str
    episodes: int
    frames: int
    seed: str
    split: str | None = None
    held: Mapping[str, Choice] = field(default_factory=dict)


def make_plans(config: MakeConfig) -> list[ClipPlan]:
    """Plans the episodes of a training set.

    An episode has one frame more than asked for: the last action leads to it.

    Raises:
        BadInputError: If something asked for does not exist or is out of range.
    """
    make_embodiment(config.embodiment)
    split = config.split or ("human" if config.embodiment == "hand" else "train")
    if split not in RECIPES:
        raise BadInputError(f"There is no split '{split}'; choose one of {', '.join(RECIPES)}.")
    if config.episodes < 1 or config.frames < 2:
        raise BadInputError(
            f"{config.episodes} episodes of {config.frames} frames make no data set; ask for at "
            "least 1 episode of 2 frames."
        )
    recipe = RECIPES[split]
    factors = {**recipe.factors, **config.held}
    sample(0, factors)
    plans: list[ClipPlan] = []
    for index in range(config.episodes):
        branches = max(1, len(recipe.branches))
        state = index // branches
        branch = recipe.branches[index % branches] if recipe.branches else None
        seed = derive("episode", "make", config.seed, config.embodiment, split, state)
        plan = ClipPlan(
            id=f"{split}-{index:06d}",
            suite="make",
            split=split,
            seed=seed,
            embodiment=config.embodiment,
            camera="head" if config.embodiment == "hand" else "front",
            frames=config.frames + 1,
            context=min(5, config.frames - 1),
            lead=int(stream(seed, "lead").integers(0, 9)),
            verbs=_verbs(recipe.verbs, split, index),
            factors=factors,
            star=recipe.stars[state % len(recipe.stars)] if recipe.stars else None,
            branch_group=f"{split}-state-{state:06d}" if branch else None,
            branch=branch,
            factual=branch is None or branch in recipe.factual,
            mirror=recipe.mirror,
            actions_withheld=config.embodiment == "hand",
        )
        plans.append(_that_fits(plan))
    return plans


def _that_fits(plan: ClipPlan) -> ClipPlan:
    """Takes another seed where a scene's objects do not fit on the table, up to ten times."""
    for _ in range(9):
        try:
            find_places(scene_of(plan))
        except BadInputError:
            plan = replace(plan, seed=derive(plan.seed, "again"))
        else:
            return plan
    find_places(scene_of(plan))
    return plan


def choose_split(plans: Sequence[ClipPlan], split: str | None) -> list[ClipPlan]:
    """Keeps the plans of one split, or all.

    Raises:
        BadInputError: If there is no such split.
    """
    chosen = [plan for plan in plans if split in (None, plan.split)]
    if not chosen:
        known = ", ".join(dict.fromkeys(plan.split for plan in plans))
        raise BadInputError(f"There is no split '{split}' in the suite; it has {known}.")
    return chosen


def lengthened(plans: Sequence[ClipPlan]) -> list[ClipPlan]:
    """Adds the frame that the last action of a written episode leads to."""
    return [replace(plan, frames=plan.frames + 1) for plan in plans]


def _verbs(verbs: tuple[str, ...], split: str, index: int) -> tuple[str, ...]:
    """Takes rare verbs in turn, as the suites do, so that all of them occur."""
    return (verbs[index % len(verbs)],) if split == "uncommon" else verbs


def parse_held(texts: Sequence[str]) -> dict[str, Choice]:
    """Reads ``factor=value``, ``factor=low..high`` and ``factor=a,b``.

    Raises:
        BadInputError: If a factor does not exist or a value is not one of it.
    """
    held: dict[str, Choice] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise BadInputError(
                f"'{text}' holds no factor; write factor=value, as in object.colour=red, "
                "objects.number=2 or object.size=0.03..0.04."
            )
        held[name] = _choice(name, value)
    sample(0, held)
    return held


def _choice(name: str, value: str) -> Choice:
    if name in FACTORS and FACTORS[name].kind == "choice":
        return value.split(",") if "," in value else value
    try:
        numbers = [float(part) for part in value.split("..")]
    except ValueError:
        return value
    if len(numbers) > 2 or not all(map(math.isfinite, numbers)):
        raise BadInputError(f"The factor '{name}' is {value}; give a number, or two as in 2..3.")
    return (numbers[0], numbers[1]) if len(numbers) == 2 else numbers[0]


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Refuses a resolution that the camera does not offer.

    Raises:
        BadInputError: If it lies outside 64x64 to 480x640.
    """
    return check_size(size)
