"""Parameters and floating point operations of a size, counted without memory.

``python -m dojobench.reference_model.flops`` prints the table of ``docs/measurements.md``. A
multiplication and an addition are two operations; matrix products and attention are counted.
"""

import sys
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from dojobench.reference_model.dit import Text, WorldModelNet, build_world_model
from dojobench.reference_model.net_config import PRESETS, WorldModelConfig

TEXT_TOKENS = 512
"""Tokens of the stored empty prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a pass works on.

    Attributes:
        frames: Latent frames of the teacher's clip.
        rows: Rows of latents.
        columns: Columns of latents.
        window: Earlier latent frames that the student sees.
    """

    frames: int = 4
    rows: int = 60
    columns: int = 80
    window: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a size costs.

    Attributes:
        parameters: Of the network.
        text: Operations to encode the text, once per rollout; 0 without.
        teacher_pass: Operations of a pass over the whole clip.
        student_pass: Operations of a pass over one latent frame from a full cache.
        teacher_per_frame: Operations per pixel frame of 35 passes.
        student_per_frame: Operations per pixel frame of 4 passes and the one that fills the cache.
    """

    parameters: int
    text: int
    teacher_pass: int
    student_pass: int
    teacher_per_frame: float
    student_per_frame: float


def cost(config: WorldModelConfig, shape: Shape, *, steps: int = 35, few: int = 4) -> Cost:
    """Counts parameters and operations on the meta device.

    Args:
        config: The network.
        shape: What it works on.
        steps: Passes of the teacher per clip.
        few: Denoising passes of the student per latent frame.
    """
    net = build_world_model(config, device="meta", backend="sdpa").eval()
    per_latent = config.actions.per_latent
    text: Text | None = None
    encoding = 0
    if config.text is not None:
        stored = torch.empty(1, TEXT_TOKENS, config.text.features, device="meta")
        with _counter() as counter:
            text = net.encode_text(stored)
        encoding = int(counter.get_total_flops())
    teacher = _teacher_pass(net, shape, text)
    student = _student_pass(net, shape, text)
    return Cost(
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        text=encoding,
        teacher_pass=teacher,
        student_pass=student,
        teacher_per_frame=steps * teacher / (per_latent * (shape.frames - 1)),
        student_per_frame=(few + 1) * student / per_latent,
    )


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False)


@torch.no_grad()
def _teacher_pass(net: WorldModelNet, shape: Shape, text: Text | None) -> int:
    latents = _latents(net.config, shape.frames, shape)
    actions = _actions(net.config, shape.frames - 1)
    with _counter() as counter:
        net(latents, torch.empty(1, device="meta"), actions, text=text)
    return int(counter.get_total_flops())


@torch.no_grad()
def _student_pass(net: WorldModelNet, shape: Shape, text: Text | None) -> int:
    cache = net.new_cache(batch=1, height=shape.rows, width=shape.columns, window=shape.window)
    for _ in range(shape.window):
        cache.commit()
    latent, actions = _latents(net.config, 1, shape), _actions(net.config, 1)
    with _counter() as counter:
        time = torch.empty(1, device="meta")
        net(latent, time, actions, text=text, cache=cache, first_frame=cache.frames)
    return int(counter.get_total_flops())


def _latents(config: WorldModelConfig, frames: int, shape: Shape) -> torch.Tensor:
    size = (1, config.latent_channels, frames, shape.rows, shape.columns)
    return torch.empty(size, device="meta")


def _actions(config: WorldModelConfig, frames: int) -> torch.Tensor:
    size = (1, config.actions.per_latent * frames, config.actions.width)
    return torch.empty(size, device="meta")


SHAPES: dict[str, Shape] = {
    "nano": Shape(rows=8, columns=8),
    "small": Shape(rows=16, columns=16),
    "2b": Shape(),
    "14b": Shape(),
}
"""What each size works on: 64x64, 128x128 and 480x640 pixels."""


def main() -> int:
    """Prints a row for each size."""
    sys.stdout.write(
        "| size | parameters, M | text once, TFLOP | teacher pass, GFLOP | student pass, GFLOP "
        "| teacher per frame, GFLOP | student per frame, GFLOP | ratio |\n"
        f"|{'---|' * 8}\n"
    )
    for name, shape in SHAPES.items():
        found = cost(PRESETS[name], shape)
        sys.stdout.write(
            f"| {name} | {found.parameters / 1e6:.2f} | {found.text / 1e12:.3f} "
            f"| {found.teacher_pass / 1e9:.2f} | {found.student_pass / 1e9:.2f} "
            f"| {found.teacher_per_frame / 1e9:.2f} | {found.student_per_frame / 1e9:.2f} "
            f"| {found.teacher_per_frame / found.student_per_frame:.2f} |\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
