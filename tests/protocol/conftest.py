"""Small torch models to serve and to check."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dojobench.protocol import ActionSpace, ModelSpec


class Glide:
    """Keeps the whole contract: the picture glides by its actions, with a little seeded noise.

    State, noise and position live in the session; a sample's noise does not depend on its batch.
    """

    def __init__(self, dim: int = 7, **spec: Any) -> None:
        fields: dict[str, Any] = {
            "name": "glide",
            "version": "2",
            "action_space": ActionSpace(dim=dim, embodiment="arm"),
        }
        self.spec = ModelSpec(**{**fields, **spec})

    def start(
        self,
        context: torch.Tensor,
        *,
        seed: int,
        instruction: str | None = None,
        views: Mapping[str, torch.Tensor] | None = None,
    ) -> "GlideSession":
        bias = torch.full((len(context),), float(len(instruction or "")))
        for frames in (views or {}).values():
            bias += torch.stack([sample.float().mean() for sample in frames])
        return GlideSession(self.spec, context[:, -1].float(), seed, bias)


class GlideSession:
    def __init__(self, spec: ModelSpec, frame: torch.Tensor, seed: int, bias: torch.Tensor) -> None:
        self.spec, self.frame = spec, frame
        self.generator = torch.Generator().manual_seed(seed)
        self.offset = bias
        self.closed = False

    def step(self, actions: torch.Tensor) -> torch.Tensor:
        if self.closed or not bool(torch.isfinite(actions).all()) or actions.shape[1] == 0:
            raise ValueError("closed, or actions that are not finite, or none")
        space = self.spec.action_space
        if space is not None and actions.shape[2] != space.dim:
            raise ValueError("wrong width")
        return torch.stack([self.next(actions[:, k]) for k in range(actions.shape[1])], dim=1)

    def next(self, action: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(self.frame.shape[1:], generator=self.generator) * 6
        self.offset = self.offset + 40 + 30 * torch.tanh(action.sum(dim=1))
        moved = self.frame + noise + self.offset[:, None, None, None]
        return (moved % 256).to(torch.uint8)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def glide() -> type[Glide]:
    """The clean model's class."""
    return Glide


@pytest.fixture
def glide_session() -> type[GlideSession]:
    """The class of its sessions."""
    return GlideSession


@pytest.fixture
def clip() -> tuple[torch.Tensor, torch.Tensor]:
    """A context ``[2, 1, 3, 24, 32]`` and actions ``[2, 12, 7]``."""
    generator = torch.Generator().manual_seed(5)
    context = torch.randint(0, 256, (2, 1, 3, 24, 32), generator=generator, dtype=torch.uint8)
    return context, torch.randn(2, 12, 7, generator=generator)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's folder, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    return tmp_path
