"""The recipes that have a name."""

from dojobench.reference_model.training.dojo_episodes import DojoDataConfig, nano_groups
from dojobench.reference_model.training.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "nano": Recipe(name="nano", data=DojoDataConfig()),
    "smoke": Recipe(
        name="smoke",
        data=DojoDataConfig(groups=nano_groups(robot=4, human=4, held_out=2), seed="smoke"),
    ),
}
"""By name: ``nano`` is the model that is shipped, ``smoke`` tries every stage in minutes."""
