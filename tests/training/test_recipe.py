"""Recipes: named, read from files, changed by ``--set``, and kept with the run they made."""

import dataclasses
import json
from pathlib import Path

import pytest

from dojobench import reference_model
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.config_values import build_config, config_values, set_value
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.recipe import (
    RECIPE,
    read_recipe,
    recipe_text,
    settle_recipe,
)
from dojobench.reference_model.training.recipes import RECIPES
from dojobench.reference_model.training.stage import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    loop: LoopConfig = dataclasses.field(default_factory=LoopConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    weights: dict[str, float] = dataclasses.field(default_factory=lambda: {"a": 1.0})
    folder: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    pretrain: Inner = dataclasses.field(default_factory=Inner)
    posttrain: Inner = dataclasses.field(default_factory=Inner)
    layers: tuple[Inner, ...] = (Inner(),)
    seed: str = "nano"


def changed(*assignments: str) -> Outer:
    values = config_values(Outer())
    for each in assignments:
        set_value(values, each)
    return build_config(Outer, values, "--set")


def test_all_values_come_back_through_json() -> None:
    values = json.loads(json.dumps(config_values(Outer())))
    assert build_config(Outer, values, "here") == Outer()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_named_recipe_comes_back_from_its_own_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(recipe_text(RECIPES[name]), encoding="utf-8")
    assert read_recipe(str(path), named={}) == RECIPES[name]


def test_the_shipped_weights_are_of_the_recipe_as_it_is() -> None:
    shipped = Path(reference_model.__file__).parent / "weights" / "nano-run" / "recipe.json"
    assert read_recipe(str(shipped), named={}) == RECIPES["nano"]


def test_set_takes_each_kind_of_value() -> None:
    config = changed(
        "posttrain.loop.steps=7",
        "posttrain.loop.checkpoint_minutes=2",
        "posttrain.loop.compile=true",
        "posttrain.loop.precision=bfloat16",
        "posttrain.loop.threads=2",
        "posttrain.optimizer.lr=3e-4",
        "posttrain.optimizer.betas=[0.9, 0.95]",
        'posttrain.weights={"b": 2}',
        "posttrain.folder=some/where",
        "layers.0.loop.seed=3",
        "seed=5",
    )
    inner = config.posttrain
    assert (inner.loop.steps, inner.loop.compile, inner.loop.threads) == (7, True, 2)
    assert inner.loop.checkpoint_minutes == 2.0
    assert inner.loop.precision == "bfloat16"
    assert (inner.optimizer.lr, inner.optimizer.betas) == (3e-4, (0.9, 0.95))
    assert inner.weights == {"b": 2.0}
    assert inner.folder == Path("some/where")
    assert config.layers[0].loop.seed == 3
    assert config.seed == "5"
    assert config.pretrain == Inner()


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("posttrain.loop.step=7", r"'posttrain\.loop\.step'.* nearest is 'posttrain\.loop\.steps'"),
        ("posttrian.loop.steps=7", r"nearest is 'posttrain\.loop\.steps'"),
        ("posttrain.steps=7", r"nearest is 'posttrain\.loop\.steps'"),
        ("layers.1.loop.steps=7", r"nearest is 'layers\.0\.loop\.steps'"),
        ("posttrain.loop.steps", "has no '='"),
        ("posttrain.loop.steps=many", r"'posttrain\.loop\.steps' to 'many'.* valid integer"),
        ("posttrain.loop.steps=1.5", r"to 1\.5, which should be a valid integer"),
        ("posttrain.loop.steps=true", "to True, which should be a valid integer"),
        ("posttrain.loop.steps=0", "steps is 0; it must be at least 1"),
        ("posttrain.loop.precision=half", "to 'half', which should be 'float32' or 'bfloat16'"),
        ("posttrain.optimizer.lr=null", "to None, which should be a valid number"),
        ("posttrain.optimizer.betas=[0.9]", r"'posttrain\.optimizer\.betas\.1'"),
    ],
)
def test_a_wrong_set_is_one_sentence(assignment: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told) as caught:
        changed(assignment)
    assert "\n" not in str(caught.value)


def test_a_file_sets_as_little_as_it_likes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "smoke"\nname = "mine"\n[data]\nframes = 21\n', encoding="utf-8")
    recipe = read_recipe(str(path), ["data.seed=7"], named=RECIPES)
    smoke = RECIPES["smoke"]
    data = dataclasses.replace(smoke.data, frames=21, seed="7")
    assert recipe == dataclasses.replace(smoke, name="mine", data=data)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.json", "{", "cannot be read as a recipe"),
        ("a.toml", "= 1", "cannot be read as a recipe"),
        ("a.json", "[]", "a list or a value"),
        ("a.json", '{"base": "nanno"}', "no recipe 'nanno'; the nearest is 'nano'"),
        ("a.json", '{"base": 3}', "no recipe '3'"),
        ("a.json", '{"data": {"frame": 9}}', r"a\.json sets 'data\.frame'.*'data\.frames'"),
        ("a.json", '{"base": "nano", "dada": {}}', r"a\.json sets 'dada'"),
        ("a.json", '{"data": {"groups": [{}]}}', r"does not set 'data\.groups\.0\.name'"),
        ("a.toml", "name = 2020-01-01T00:00:00\nbase = 1979-05-27", "no recipe '1979-05-27'"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=told):
        read_recipe(str(path), named=RECIPES)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(BadInputError, match="no recipe 'smok'; the nearest is 'smoke'"):
        read_recipe("smok", named=RECIPES)
    with pytest.raises(BadInputError, match=r"absent\.json"):
        read_recipe("absent.json", named=RECIPES)


def test_a_stage_that_began_holds_its_part_of_the_recipe(tmp_path: Path) -> None:
    run = tmp_path / "run"
    smoke = RECIPES["smoke"]
    longer = read_recipe("smoke", ["data.frames=29"], named=RECIPES)
    settle_recipe(run, smoke)
    settle_recipe(run, longer)
    assert read_recipe(str(run / RECIPE), named={}) == longer
    (run / "data").mkdir()
    with pytest.raises(BadInputError, match=r"data\.frames = 29, .* says 53"):
        settle_recipe(run, smoke)
    data = dataclasses.replace(longer.data, groups=longer.data.groups[:2])
    fewer = dataclasses.replace(longer, data=data)
    with pytest.raises(BadInputError, match=r"data\.groups\.2\.name = in-lab, .* says None"):
        settle_recipe(run, fewer)
    settle_recipe(run, dataclasses.replace(longer, name="renamed"))
    assert read_recipe(str(run / RECIPE), named={}).name == "renamed"
