"""The one loop trains a network that FSDP2 has sharded, with the losses of one that is whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from dojobench.reference_model.dit import WorldModelNet, build_world_model
from dojobench.reference_model.flow_matching import FlowMatchingConfig, flow_matching_loss
from dojobench.reference_model.net_config import ActionConfig, TextConfig, WorldModelConfig
from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player
from dojobench.reference_model.training.training_log import LOG, read_log

TINY = WorldModelConfig(
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    text=TextConfig(features=12, width=8),
    actions=ActionConfig(width=6, hidden=16, cumulative=True),
)


class Windows:
    def batch(self, step: int, size: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        shapes = {"latents": (4, 4, 4, 4), "actions": (12, 6), "text": (3, 12)}
        return {n: torch.randn(size, *shape, generator=generator) for n, shape in shapes.items()}


class WorldModel:
    """A stage of nothing but a world model's objective."""

    name = "tiny"

    def __init__(self, net: WorldModelNet) -> None:
        self.net, self.source = net, Windows()
        optimizer = OptimizerConfig(lr=1e-2, warmup=0, ema=0.9)
        self.players = {"net": Player(module=net, optimizer=optimizer)}

    def turn(self, step: int) -> str:
        return "net"

    def loss(
        self, player: str, batch: Batch, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        loss = flow_matching_loss(
            self.net,
            batch["latents"],
            batch["actions"],
            config=FlowMatchingConfig(),
            generator=generator,
            text=batch["text"],
        )
        return {"total": loss.total}

    def validate(self, module: nn.Module) -> dict[str, float]:
        return {}

    def show(self, module: nn.Module) -> None:
        return None

    def export(self, module: nn.Module, folder: Path) -> Path:
        return folder


@pytest.fixture
def one_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of this process alone."""
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'ranks'}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def losses(net: WorldModelNet, folder: Path) -> list[float]:
    config = LoopConfig(
        steps=4, batch=2, log_every=1, device="cpu", sample_every=0, tensorboard=False
    )
    train(WorldModel(net), config, folder)
    return [line["losses"]["total"] for line in read_log(folder / LOG) if "losses" in line]


@pytest.mark.usefixtures("one_rank")
def test_a_sharded_network_learns_as_a_whole_one(tmp_path: Path) -> None:
    whole, sharded = build_world_model(TINY), build_world_model(TINY)
    mesh = init_device_mesh("cpu", (1,))
    for part in (*sharded.blocks, sharded):
        fully_shard(part, mesh=mesh)
    expected = losses(whole, tmp_path / "whole")
    assert losses(sharded, tmp_path / "sharded") == pytest.approx(expected, rel=1e-4)
    assert expected[-1] < expected[0]
