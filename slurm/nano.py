"""The reproduction of the reference model, from data to report, as a plan."""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from dojobench.slurm.plan import Plan, plan_from_steps

_MODULE = "dojobench.reference_model.reproduction.plan"


def nano_plan(out: Path, *, smoke: bool = False) -> Plan:
    """Makes the plan of the whole chain: data, tokenizer, latent actions, three phases, scores.

    Args:
        out: Folder of the run, in which every stage has its own.
        smoke: Settings so small that the chain takes minutes, to see that it works.

    Raises:
        BadInputError: If the recipe makes no plan.
    """
    # Looked up only here: what trains brings torch along, and the room is of use without it.
    steps: Callable[..., Iterable[Any]] = import_module(_MODULE).reproduction_plan
    recipe = "smoke" if smoke else "nano"
    # From the root, so that it is the same plan wherever the command is typed again.
    return plan_from_steps(recipe, steps(recipe, out.absolute()))
