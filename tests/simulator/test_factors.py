import dataclasses
import itertools

import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.factors import COLOURS, FACTORS, FIXTURES, sample, sweep


def test_the_same_seed_gives_the_same_scene_and_another_seed_another() -> None:
    assert sample(3) == sample(3)
    assert sample(3) != sample(4)
    assert sample("three") == sample("three")


def test_every_factor_stays_in_its_declared_range() -> None:
    for seed in range(60):
        scene = sample(seed)
        assert 2 <= len(scene.objects) <= 5
        entries = [(name, value) for name, value in scene.values.items()]
        for item in scene.objects:
            entries += [(f"object.{k}", v) for k, v in dataclasses.asdict(item).items()]
        for name, value in entries:
            factor = FACTORS[name]
            if factor.kind == "choice":
                assert value in factor.options
            else:
                assert factor.low <= value <= factor.high


def test_objects_never_share_a_colour_and_fixtures_occur_once() -> None:
    for seed in range(80):
        objects = sample(seed).objects
        assert len({item.colour for item in objects}) == len(objects)
        kinds = [item.kind for item in objects if item.kind in FIXTURES]
        assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("object.size", 0.035),
        ("light.azimuth", -20.0),
        ("table.colour", "mint"),
        ("objects.number", 3),
    ],
)
def test_holding_one_factor_moves_no_other(name: str, value: object) -> None:
    for seed in range(20):
        free, held = sample(seed), sample(seed, {name: value})
        for other in free.values:
            if other == name:
                assert held[other] == value
            else:
                assert held[other] == free[other]
        for one, two in itertools.zip_longest(free.objects, held.objects):
            if one is None or two is None:
                assert name == "objects.number"
                continue
            field = name.removeprefix("object.")
            if name.startswith("object."):
                assert getattr(two, field) == value
                one = dataclasses.replace(one, **{field: value})
            assert one == two


def test_a_range_and_a_list_of_options_narrow_a_factor() -> None:
    for seed in range(30):
        scene = sample(seed, {"object.size": (0.034, 0.035), "object.kind": ["ball", "mug"]})
        assert all(0.034 <= item.size <= 0.035 for item in scene.objects)
        assert all(item.kind in ("ball", "mug") for item in scene.objects)


def test_a_sweep_covers_the_range_and_leaves_the_rest() -> None:
    scenes = list(sweep("light.elevation", 5, 1))
    factor = FACTORS["light.elevation"]
    values = [scene["light.elevation"] for scene in scenes]
    assert values[0] == factor.low
    assert values[-1] == factor.high
    assert values == sorted(values)
    assert len({scene.objects for scene in scenes}) == 1
    kinds = [scene.objects[0].kind for scene in sweep("object.kind", 2, 1)]
    assert kinds == list(FACTORS["object.kind"].options)
    counts = [len(scene.objects) for scene in sweep("objects.number", 9, 1)]
    assert counts == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"object.colr": "red"}, "object.colour"),
        ({"object.colour": "rede"}, "red"),
        ({"object.size": 0.5}, "must lie in"),
        ({"object.size": (0.04, 0.03)}, "(low, high)"),
        ({"object.size": "big"}, "takes a number"),
        ({"object.kind": []}, "takes names"),
        ({"objects.number": True}, "takes a number"),
    ],
)
def test_bad_factors_are_named(held: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        sample(1, held)
    assert words in str(caught.value)


def test_a_sweep_of_one_is_refused() -> None:
    with pytest.raises(BadInputError, match="at least 2"):
        list(sweep("light.elevation", 1, 1))


def test_no_object_colour_comes_near_the_marker() -> None:
    for red, green, blue in COLOURS.values():
        magenta = min(red, blue) - green
        assert magenta < 0.3
