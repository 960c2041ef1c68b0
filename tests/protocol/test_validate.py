"""What does not keep the contract is named in one sentence."""

from typing import Any

import pytest
import torch

from dojobench.protocol import ActionSpace, BadInputError, ModelSpec
from dojobench.protocol.fit import check_fits
from dojobench.protocol.validate import (
    check_actions,
    check_answer,
    check_context,
    check_seed,
    check_spec,
)

SPEC = ModelSpec(
    name="m",
    resolution=(8, 10),
    context_frames=2,
    native_chunk=4,
    any_chunk=False,
    action_space=ActionSpace(dim=3, embodiment="arm"),
    views=("wrist",),
)
FRAMES = torch.zeros(2, 2, 3, 8, 10, dtype=torch.uint8)
ACTIONS = torch.zeros(2, 8, 3)
INFINITE = ACTIONS.clone()
INFINITE[1, 5, 2] = torch.inf


def one_sentence(text: str) -> bool:
    return "\n" not in text and not text.endswith(".") and len(text) > 20


def test_what_keeps_the_contract_passes() -> None:
    check_spec(SPEC, who="model m")
    check_context(SPEC, FRAMES, {"wrist": torch.zeros(2, 2, 3, 5, 5, dtype=torch.uint8)})
    check_actions(SPEC, ACTIONS, batch=2)
    check_answer(FRAMES, (2, 2, 3, 8, 10), who="model m", device=torch.device("cpu"))
    check_seed(0)
    check_seed(2**31 - 1)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": " "}, "name"),
        ({"resolution": (0, 4)}, "resolution"),
        ({"resolution": (4,)}, "resolution"),
        ({"frame_rate": 0.0}, "frame_rate"),
        ({"frame_rate": float("nan")}, "frame_rate"),
        ({"context_frames": 0}, "context_frames"),
        ({"native_chunk": 0}, "native_chunk"),
        ({"any_chunk": False}, "any_chunk"),
        ({"action_space": ActionSpace(dim=-1, embodiment="a")}, "action_space.dim"),
        ({"action_space": ActionSpace(dim=2, embodiment="a", names=("x",))}, "action_space.names"),
    ],
)
def test_specs_that_contradict_themselves(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInputError, match=f"^model m has the spec field {named} = ") as caught:
        check_spec(ModelSpec(**{"name": "m", **fields}), who="model m")
    assert one_sentence(str(caught.value))


def test_a_spec_of_another_type() -> None:
    with pytest.raises(BadInputError, match="spec of type dict"):
        check_spec({}, who="model m")


@pytest.mark.parametrize(
    ("context", "views", "said"),
    [
        (FRAMES.float(), None, "is float32, it must be uint8"),
        (FRAMES[0], None, "has shape (2, 3, 8, 10)"),
        (FRAMES[:, :1], None, "has 1 frames and model m wants 2"),
        (FRAMES[..., :8], None, "is 8x8 (height x width) and model m works at 8x10"),
        (FRAMES, None, "needs the camera view 'wrist'"),
        (FRAMES, {"wrist": FRAMES, "top": FRAMES}, "was started with 'top'"),
        (FRAMES, {"wrist": FRAMES[:1]}, "batch and time (1, 2)"),
        (FRAMES, {"wrist": FRAMES.float()}, "'wrist' is float32"),
    ],
)
def test_contexts(context: torch.Tensor, views: Any, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_context(SPEC, context, views)
    assert said in str(caught.value)
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (ACTIONS.double(), "are float64"),
        (ACTIONS[0], "have shape (8, 3)"),
        (ACTIONS[:1], "have shape (1, 8, 3)"),
        (ACTIONS[:, :0], "has 0 actions"),
        (ACTIONS[..., :2], "have width 2 and model m takes 3 (arm)"),
        (ACTIONS[:, :6], "has 6 actions and model m takes multiples of 4"),
        (INFINITE, "action 5 of sample 1 has inf in dimension 2"),
    ],
)
def test_actions(actions: torch.Tensor, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_actions(SPEC, actions, batch=2)
    assert said in str(caught.value)
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([1], "a list, not a torch tensor"),
        (FRAMES.float(), "dtype float32 instead of uint8"),
        (FRAMES.float() / 0, "NaN or infinite values and dtype float32"),
        (FRAMES[:, :1], "1 frames to 2 actions"),
        (FRAMES[..., :4], "shape (2, 2, 3, 8, 4) instead of (2, 2, 3, 8, 10)"),
        (FRAMES.to("meta"), "frames on meta to a context on cpu"),
    ],
)
def test_answers(frames: object, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_answer(frames, (2, 2, 3, 8, 10), who="model m", device=torch.device("cpu"))
    assert said in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True])
def test_seeds(seed: Any) -> None:
    with pytest.raises(BadInputError, match="seed"):
        check_seed(seed)


OFFER: dict[str, Any] = {
    "offered_by": "suite s",
    "resolution": (8, 10),
    "frame_rate": 10.0,
    "context_frames": 2,
    "action_space": ActionSpace(dim=3, embodiment="arm"),
    "views": ("wrist",),
}


def test_a_model_that_fits() -> None:
    check_fits(SPEC, **OFFER)
    check_fits(ModelSpec(name="any"), **OFFER)
    check_fits(ModelSpec(name="ntsc", frame_rate=30000 / 1001), **{**OFFER, "frame_rate": 29.97})
    check_fits(SPEC, **{**OFFER, "resolution": (99, 99)}, resizing=True)


@pytest.mark.parametrize(
    ("offer", "both"),
    [
        ({"resolution": (16, 10)}, ("8x10", "16x10")),
        ({"context_frames": 1}, ("2 context", "has 1")),
        ({"views": ("top",)}, ("wrist", "top")),
        ({"action_space": ActionSpace(dim=4, embodiment="arm")}, ("width 3", "has 4")),
        ({"action_space": ActionSpace(dim=3, embodiment="gr1")}, ("arm", "gr1")),
        (
            {"action_space": ActionSpace(dim=3, embodiment="arm", kind="velocity")},
            ("absolute", "velocity"),
        ),
    ],
)
def test_what_does_not_fit_names_both(offer: dict[str, Any], both: tuple[str, str]) -> None:
    with pytest.raises(BadInputError, match=r"^model m .* suite s ") as caught:
        check_fits(SPEC, **{**OFFER, **offer})
    assert all(value in str(caught.value) for value in both)


def test_rates_name_both() -> None:
    with pytest.raises(BadInputError, match="works at 5 Hz and suite s has 10 Hz"):
        check_fits(ModelSpec(name="m", frame_rate=5), **OFFER)
