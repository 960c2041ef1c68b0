"""Tiny models with random weights, in folders as a training's end writes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dojobench.protocol import ActionSpace
from dojobench.reference_model.dit import WorldModelNet, build_world_model
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.model_folder import ModelDescription, write_model_folder
from dojobench.reference_model.net_config import ActionConfig, WorldModelConfig
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TokenizerConfig

ARM = ActionSpace(
    dim=5,
    embodiment="arm",
    kind="mixed",
    names=("dx", "dy", "dz", "dyaw", "grip"),
    units="m, m, m, rad relative to the last target; open fraction",
)
TINY_NET = WorldModelConfig(
    name="tiny",
    latent_channels=4,
    width=48,
    blocks=2,
    heads=2,
    adaln_rank=8,
    qk_norm=False,
    timestep_scale=1000.0,
    given_time="zero",
    shift=10.0,
    actions=ActionConfig(cumulative=True, hidden=32),
)
TINY_TOKENIZER = TokenizerConfig(widths=(8, 8), blocks=1, latent_channels=4)


def alive(net: WorldModelNet, seed: int = 0) -> WorldModelNet:
    """Draws what starts as zero, so that every input has an effect."""
    generator = torch.Generator().manual_seed(seed)
    for value in net.parameters():
        if not bool(value.abs().max() > 0):
            value.data = 0.1 * torch.randn(value.shape, generator=generator)
    return net.eval()


@pytest.fixture(scope="session")
def describe() -> Callable[..., ModelDescription]:
    """Describes a tiny model."""

    def make(kind: str = "teacher", **changes: object) -> ModelDescription:
        ends: dict[str, object] = {"name": "arm-stats", "min": [-1.0] * 5, "max": [1.0] * 5}
        ends |= {"mean": [0.0] * 5, "std": [0.5] * 5}
        values: dict[str, object] = {
            "kind": kind,
            "name": f"tiny-{kind}",
            "resolution": (16, 24),
            "frame_rate": 10.0,
            "context_frames": 1 if kind == "teacher" else 5,
            "action_space": ARM,
            "statistics": ends,
            "sampler": SamplerConfig(solver="euler", steps=3, shift=10.0),
            "stream": StreamConfig.with_steps(2, 10.0, window=2),
        }
        return ModelDescription(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def tiny_net() -> WorldModelNet:
    """A tiny network, every weight of which matters."""
    return alive(build_world_model(TINY_NET, seed=1))


@pytest.fixture(scope="session")
def tiny_tokenizer() -> CausalTokenizer:
    """A tiny tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return CausalTokenizer(TINY_TOKENIZER).eval()


@pytest.fixture(scope="session")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    describe: Callable[..., ModelDescription],
    tiny_net: WorldModelNet,
    tiny_tokenizer: CausalTokenizer,
) -> dict[str, Path]:
    """Folders of a teacher and of a student, not to be changed."""
    root = tmp_path_factory.mktemp("models")
    return {
        kind: write_model_folder(
            root / kind, describe(kind), net=tiny_net, tokenizer=tiny_tokenizer
        )
        for kind in ("teacher", "student")
    }
