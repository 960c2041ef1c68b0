"""The paper's tables as trainings: which there are, what sets them apart, what is scored.

A table consists of *parts*, each a training of its own that is done once a seed, and of *rows*,
each a model that a part ends in. Data, tokenizer, latent actions and latents are the same for all
and made once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

from dojobench.reference_model.design_choices import TABLE_5, DesignChoices
from dojobench.reference_model.reproduction import published
from dojobench.reference_model.training.recipe import Recipe

Change: TypeAlias = Callable[[Recipe], Recipe]
Kind: TypeAlias = Literal["teacher", "student"]

_TEACHER = ("pretrain", "posttrain")
_STUDENT = (*_TEACHER, "trajectories", "warmup", "self_forcing")
_HUMAN = ("in-lab", "egodex", "dojo-hv")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A training.

    Attributes:
        name: Of its folder.
        stages: What is done, in order; the rest is shared.
        change: What sets it apart from the recipe of the table.
    """

    name: str
    stages: tuple[str, ...]
    change: Change


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A model of a table.

    Attributes:
        name: Short, as in ``published``.
        label: For people.
        part: The training it comes from.
        kind: Which of the models of that training it is.
    """

    name: str
    label: str
    part: str
    kind: Kind = "teacher"


class Pair(NamedTuple):
    """Two rows whose difference the table is about."""

    row: str
    against: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of the paper.

    Attributes:
        name: For the command line.
        title: For people.
        where: Place in the paper.
        parts: Trainings.
        rows: Models, in the paper's order.
        splits: Sets that they are scored on, by the dojo's names.
        pairs: Which rows are compared.
        figures: The paper's.
        speeds: The paper's frames a second by row.
    """

    name: str
    title: str
    where: str
    parts: tuple[Part, ...]
    rows: tuple[Row, ...]
    splits: tuple[str, ...]
    pairs: tuple[Pair, ...]
    figures: published.Rows
    speeds: Mapping[str, float] | None = None

    def part(self, name: str) -> Part:
        """Finds a training by name."""
        return next(part for part in self.parts if part.name == name)

    def rows_of(self, part: str) -> tuple[Row, ...]:
        """Gives the models that a training ends in."""
        return tuple(row for row in self.rows if row.part == part)


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """Gives a recipe another seed in everything that the rows do not share."""
    changes: dict[str, Any] = {}
    for one in fields(recipe):
        stage = getattr(recipe, one.name)
        if one.name in _STUDENT and is_dataclass(stage):
            if hasattr(stage, "loop"):
                changes[one.name] = replace(stage, loop=replace(stage.loop, seed=seed))  # type: ignore[type-var]
            elif hasattr(stage, "seed"):
                changes[one.name] = replace(stage, seed=seed)  # type: ignore[type-var]
    return replace(recipe, **changes)


def _as_it_is(recipe: Recipe) -> Recipe:
    return recipe


def _from_nothing(recipe: Recipe) -> Recipe:
    return replace(recipe, posttrain=replace(recipe.posttrain, start="nothing"))


def _conditioned(conditioning: Literal["none", "latent", "withheld"]) -> Change:
    def change(recipe: Recipe) -> Recipe:
        return replace(recipe, pretrain=replace(recipe.pretrain, conditioning=conditioning))

    return change


def _human(*groups: str) -> Change:
    """Leaves of the mixture what is named, at the weights that the recipe gives it."""

    def change(recipe: Recipe) -> Recipe:
        weights = {name: recipe.pretrain.groups[name] for name in groups}
        return replace(recipe, pretrain=replace(recipe.pretrain, groups=weights))

    return change


def _chosen(choices: DesignChoices) -> Change:
    def change(recipe: Recipe) -> Recipe:
        posttrain = replace(recipe.posttrain, choices=choices, start="nothing")
        return replace(recipe, posttrain=posttrain)

    return change


def _following(names: tuple[str, ...]) -> tuple[Pair, ...]:
    """Compares each row with the one before it, and the last with the first."""
    pairs = [Pair(row, before) for before, row in pairwise(names)]
    return (*pairs, Pair(names[-1], names[0]))


def _action_signal() -> Table:
    changes: dict[str, tuple[str, Change]] = {
        "action-free": ("pretrained without actions", _conditioned("none")),
        "latent": ("pretrained on latent actions", _conditioned("latent")),
        "ground-truth": ("pretrained on true actions", _conditioned("withheld")),
    }
    return Table(
        name="action-signal",
        title="What pretraining is conditioned on",
        where="Table 2",
        parts=(
            Part(name="none", stages=("posttrain",), change=_from_nothing),
            *(
                Part(name=name, stages=_TEACHER, change=change)
                for name, (_, change) in changes.items()
            ),
        ),
        rows=(
            Row(name="none", label="no pretraining", part="none"),
            *(Row(name=name, label=label, part=name) for name, (label, _) in changes.items()),
        ),
        splits=("in-lab", "egodex"),
        pairs=(
            Pair("action-free", "none"),
            Pair("latent", "none"),
            Pair("latent", "action-free"),
            Pair("ground-truth", "latent"),
        ),
        figures=published.ACTION_SIGNAL,
    )


def _data_mixture() -> Table:
    names = ("none", *_HUMAN)
    return Table(
        name="data-mixture",
        title="Human video of more and more kinds",
        where="Table 3",
        parts=(
            Part(name="none", stages=("posttrain",), change=_from_nothing),
            *(
                Part(name=name, stages=_TEACHER, change=_human(*_HUMAN[: number + 1]))
                for number, name in enumerate(_HUMAN)
            ),
        ),
        rows=(
            Row(name="none", label="no human video", part="none"),
            *(Row(name=name, label=f"+ {name}", part=name) for name in _HUMAN),
        ),
        splits=(*_HUMAN, "counterfactual"),
        pairs=_following(names),
        figures=published.DATA_MIXTURE,
    )


def _ablation() -> Table:
    rows = {label.removeprefix("+ ").replace(" ", "-"): label for label in TABLE_5}
    return Table(
        name="ablation",
        title="Design choices, each row adding one",
        where="Table 5",
        parts=tuple(
            Part(name=name, stages=("posttrain",), change=_chosen(TABLE_5[label]))
            for name, label in rows.items()
        ),
        rows=tuple(Row(name=name, label=label, part=name) for name, label in rows.items()),
        splits=("val", "counterfactual"),
        pairs=_following(tuple(rows)),
        figures=published.ABLATION,
    )


def _distillation() -> Table:
    scratch = tuple(stage for stage in _STUDENT if stage != "pretrain")
    return Table(
        name="distillation",
        title="The student beside its teacher, with and without human video",
        where="Tables 6 and 7",
        parts=(
            Part(name="pretrained", stages=_STUDENT, change=_as_it_is),
            Part(name="scratch", stages=scratch, change=_from_nothing),
        ),
        rows=(
            Row(name="teacher", label="teacher", part="pretrained"),
            Row(name="student", label="student", part="pretrained", kind="student"),
            Row(name="teacher-scratch", label="teacher, no human video", part="scratch"),
            Row(
                name="student-scratch",
                label="student, no human video",
                part="scratch",
                kind="student",
            ),
        ),
        splits=(*_HUMAN, "counterfactual", "long"),
        pairs=(
            Pair("student", "teacher"),
            Pair("student", "student-scratch"),
            Pair("teacher", "teacher-scratch"),
        ),
        figures=published.DISTILLATION,
        speeds=published.SPEED,
    )


TABLES: Mapping[str, Table] = {
    table.name: table for table in (_action_signal(), _data_mixture(), _ablation(), _distillation())
}
"""By name."""
