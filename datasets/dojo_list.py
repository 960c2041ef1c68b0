"""What ``dojobench dojo list`` prints: the parts that the simulated world is made of."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from dojobench.datasets.dojo_plans import suite_plans
from dojobench.simulator.clips import GENERATOR
from dojobench.simulator.factors import FACTORS, Factor
from dojobench.simulator.splits import RECIPES, SUITES
from dojobench.simulator.tasks import SKILLS
from dojobench.simulator.world import EMBODIMENTS, make_embodiment


def describe_dojo() -> dict[str, Any]:
    """Describes suites, splits, embodiments, tasks and factors, in values that JSON has."""
    return {
        "generator": GENERATOR,
        "suites": {
            name: {
                "frames": suite.frames,
                "context": suite.context,
                "long_frames": suite.long_frames,
                "clips": dict(Counter(plan.split for plan in suite_plans(name))),
            }
            for name, suite in SUITES.items()
        },
        "splits": {
            name: {
                "embodiment": recipe.embodiment,
                "verbs": list(recipe.verbs),
                "branches": list(recipe.branches),
                "held": {key: value for key, value in recipe.factors.items()},
            }
            for name, recipe in RECIPES.items()
        },
        "embodiments": {name: _embodiment(name) for name in EMBODIMENTS},
        "tasks": list(SKILLS),
        "factors": {
            factor.name: {
                "kind": factor.kind,
                "range": [factor.low, factor.high] if factor.kind != "choice" else None,
                "options": list(factor.options),
                "held_out": list(factor.held_out),
                "unit": factor.unit,
                "doc": factor.doc,
            }
            for factor in FACTORS.values()
        },
    }


def print_dojo() -> None:
    """Prints the same as tables."""
    console = Console(highlight=False, markup=False)
    console.print(f"generator {GENERATOR}; everything runs at 10 Hz\n")
    table = _table("suites", "suite", "clips", "frames")
    for name, suite in SUITES.items():
        listed = Counter(plan.split for plan in suite_plans(name))
        counts = ", ".join(f"{split} {count}" for split, count in listed.items())
        table.add_row(name, counts, f"{suite.frames}, long {suite.long_frames}")
    console.print(table)
    table = _table("splits", "split", "who", "what", "branches")
    for name, recipe in RECIPES.items():
        branches = ", ".join(recipe.branches)
        table.add_row(name, recipe.embodiment, ", ".join(recipe.verbs) or "travel", branches)
    console.print(table)
    table = _table("embodiments", "name", "actions", "units", "camera")
    for name in EMBODIMENTS:
        each = _embodiment(name)
        table.add_row(name, ", ".join(each["actions"]), each["units"], each["camera"])
    console.print(table)
    console.print(f"tasks: {', '.join(SKILLS)}\n")
    table = _table("factors of variation (--hold)", "factor", "values", "what it is")
    for factor in FACTORS.values():
        table.add_row(factor.name, _values(factor), factor.doc)
    console.print(table)


def _embodiment(name: str) -> dict[str, Any]:
    body = make_embodiment(name)
    return {
        "actions": list(body.spec.names),
        "low": list(body.spec.low),
        "high": list(body.spec.high),
        "kind": body.spec.kind,
        "units": body.spec.units,
        "camera": body.camera,
    }


def _values(factor: Factor) -> str:
    if factor.kind == "choice":
        rare = f" (only if asked for: {', '.join(factor.held_out)})" if factor.held_out else ""
        return f"{', '.join(factor.options)}{rare}"
    return f"{factor.low:g}..{factor.high:g} {factor.unit}".strip()


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
