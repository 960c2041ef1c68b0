"""The recipes of the suites ``dojo-v1`` and ``dojo-mini``: which clips each split holds.

What the robot's training data has is narrow: three kinds of objects, four kinds of behaviour,
plain rooms, one camera. The hand's, which stands for human video and comes without actions,
is wide. The evaluation splits, all of the robot, then ask in turn for what it was trained on
(``val``), for what only the human data has, in three widths (``in-lab``, ``egodex``,
``dojo-hv``), and for what neither or only the other has.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.clips import GENERATOR, ClipPlan
from dojobench.simulator.factors import Choice
from dojobench.simulator.seeding import Seed, commitment, derive, stream

__all__ = ["GENERATOR", "SUITES", "Recipe", "SuiteRecipe", "clip_plan", "commitment"]

ROBOT_KINDS = ("box", "ball", "cylinder")
ROBOT_VERBS = ("explore", "pick", "place", "push")
HUMAN_VERBS = (*ROBOT_VERBS, "slide", "open", "topple", "pat")
_CAMERA: Mapping[str, Choice] = {
    "camera.azimuth": 0.0,
    "camera.elevation": 43.0,
    "camera.distance": 0.82,
    "camera.fov": 39.0,
}
_ROBOT: Mapping[str, Choice] = {
    **_CAMERA,
    "objects.number": (2, 3),
    "object.kind": ROBOT_KINDS,
    "object.size": (0.034, 0.040),
    "object.texture": ("plain", "stripes"),
    "table.colour": ("oak", "grey", "cream", "walnut"),
    "table.texture": ("wood", "plain"),
    "surroundings.wall_texture": "plain",
    "light.azimuth": (-50, 50),
}
_IN_LAB: Mapping[str, Choice] = {**_ROBOT, "object.kind": (*ROBOT_KINDS, "mug")}
_EGODEX: Mapping[str, Choice] = {
    **_CAMERA,
    "objects.number": (2, 4),
    "object.texture": ("plain", "stripes", "checker"),
    "surroundings.wall_texture": "plain",
}
_NOVEL: Mapping[str, Choice] = {
    **_ROBOT,
    "object.texture": ("dots", "waves"),
    "table.colour": ("mint", "brick"),
    "table.texture": ("dots", "waves", "checker"),
    "surroundings.wall": ("mint", "brick"),
    "surroundings.wall_texture": ("dots", "waves"),
    "surroundings.floor": ("mint", "brick"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How the clips of one split are made.

    Attributes:
        split: Its name.
        verbs: What is done.
        factors: Factors that are held or narrowed.
        stars: Kinds of the first object, taken in turn; empty: any kind.
        embodiment: Who acts.
        branches: Verbs of the branches of every state; empty: no branches.
        factual: Those branches that the robot's training data has.
        long: Whether clips have the suite's long length.
        mirror: Whether actions are taken back.
    """

    split: str
    verbs: tuple[str, ...]
    factors: Mapping[str, Choice]
    stars: tuple[str, ...] = ()
    embodiment: str = "arm"
    branches: tuple[str, ...] = ()
    factual: tuple[str, ...] = ()
    long: bool = False
    mirror: bool = False


RECIPES: Mapping[str, Recipe] = {
    recipe.split: recipe
    for recipe in (
        Recipe(split="train", verbs=ROBOT_VERBS, factors=_ROBOT),
        Recipe(split="human", verbs=HUMAN_VERBS, factors={}, embodiment="hand"),
        Recipe(split="val", verbs=ROBOT_VERBS, factors=_ROBOT),
        Recipe(
            split="in-lab",
            verbs=("pick", "slide", "topple"),
            factors=_IN_LAB,
            stars=("mug", "cylinder", "mug", "box"),
        ),
        Recipe(
            split="egodex",
            verbs=("open", "slide", "topple"),
            factors=_EGODEX,
            stars=("drawer", "mug", "lidbox", "cylinder"),
        ),
        Recipe(
            split="dojo-hv",
            verbs=("pick", "place", "push", "slide", "open", "topple"),
            factors={},
            stars=("lidbox", "mug", "ball", "drawer", "cylinder", "box"),
        ),
        Recipe(
            split="counterfactual",
            verbs=("pick", "push", "pat", "miss"),
            factors=_ROBOT,
            stars=("box", "ball", "cylinder"),
            branches=("pick", "push", "pat", "miss"),
            factual=("pick", "push"),
        ),
        Recipe(split="uncommon", verbs=("slap", "wave"), factors=_ROBOT, stars=ROBOT_KINDS),
        Recipe(split="novel", verbs=ROBOT_VERBS[1:], factors=_NOVEL),
        Recipe(split="palindrome", verbs=(), factors=_ROBOT, mirror=True),
        Recipe(split="long", verbs=ROBOT_VERBS, factors=_ROBOT, long=True),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteRecipe:
    """How many clips of each split a suite has, and how long they are.

    Attributes:
        name: Such as ``dojo-mini``.
        seed: Its public seed.
        frames: Frames of an ordinary clip, context included.
        context: Leading frames that a model may see.
        long_frames: Frames of a clip of ``long``, context included.
        lead: Range of steps played before the first frame.
        counts: Clips a split; states, where the split branches.
    """

    name: str
    seed: Seed
    frames: int
    context: int
    long_frames: int
    lead: tuple[int, int]
    counts: Mapping[str, int]


SUITES: Mapping[str, SuiteRecipe] = {
    "dojo-mini": SuiteRecipe(
        name="dojo-mini",
        seed=1,
        frames=29,
        context=5,
        long_frames=600,
        lead=(4, 12),
        counts={
            "train": 32,
            "human": 6,
            "val": 6,
            "in-lab": 4,
            "egodex": 4,
            "dojo-hv": 6,
            "counterfactual": 4,
            "uncommon": 4,
            "novel": 4,
            "palindrome": 2,
            "long": 2,
        },
    ),
    "dojo-v1": SuiteRecipe(
        name="dojo-v1",
        seed=1,
        frames=53,
        context=5,
        long_frames=600,
        lead=(0, 8),
        counts={
            "train": 2000,
            "human": 2000,
            "val": 100,
            "in-lab": 100,
            "egodex": 100,
            "dojo-hv": 100,
            "counterfactual": 50,
            "uncommon": 100,
            "novel": 50,
            "palindrome": 20,
            "long": 20,
        },
    ),
}


def clip_plan(suite: str, seed: Seed | None = None) -> list[ClipPlan]:
    """Plans all clips of a suite; nothing is simulated yet.

    Args:
        suite: ``dojo-v1`` or ``dojo-mini``.
        seed: The suite's public seed where ``None``; another seed makes a private suite of
            the same make-up. Only hashes of it stand in the plans.

    Returns:
        The plans, split by split, branches of a group side by side.

    Raises:
        BadInputError: If there is no such suite.
    """
    if suite not in SUITES:
        near = difflib.get_close_matches(suite, SUITES, n=1, cutoff=0.0)[0]
        raise BadInputError(f"There is no suite {suite!r} in the dojo: did you mean {near!r}?")
    recipe = SUITES[suite]
    seed = recipe.seed if seed is None else seed
    plans = []
    for split, count in recipe.counts.items():
        for index in range(count):
            plans += _plans(recipe, RECIPES[split], index, seed)
    return plans


def _plans(suite: SuiteRecipe, recipe: Recipe, index: int, seed: Seed) -> list[ClipPlan]:
    """Plans one clip, or one clip a branch."""
    episode = derive("episode", suite.name, seed, recipe.split, index)
    low, high = suite.lead
    lead = int(stream(episode, "lead").integers(low, high + 1))
    stem = f"{recipe.split}-{index:04d}"
    common = {
        "suite": suite.name,
        "split": recipe.split,
        "seed": episode,
        "embodiment": recipe.embodiment,
        "camera": "head" if recipe.embodiment == "hand" else "front",
        "frames": suite.long_frames if recipe.long else suite.frames,
        "context": suite.context,
        "lead": lead,
        "verbs": _ordered(recipe, index),
        "factors": recipe.factors,
        "star": recipe.stars[index % len(recipe.stars)] if recipe.stars else None,
        "mirror": recipe.mirror,
        "actions_withheld": recipe.embodiment == "hand",
    }
    if not recipe.branches:
        return [ClipPlan(id=stem, **common)]  # type: ignore[arg-type]
    return [
        ClipPlan(
            id=f"{stem}-{verb}",
            branch_group=stem,
            branch=verb,
            factual=verb in recipe.factual,
            **common,  # type: ignore[arg-type]
        )
        for verb in recipe.branches
    ]


def _ordered(recipe: Recipe, index: int) -> tuple[str, ...]:
    """Gives a split of exclusively rare verbs one verb a clip, in turn, so that all occur."""
    if recipe.split == "uncommon":
        return (recipe.verbs[index % len(recipe.verbs)],)
    return recipe.verbs
