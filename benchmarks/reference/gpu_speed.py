"""How fast the published shapes run: frames per second by part, memory, and a training step.

``python benchmarks/reference/gpu_speed.py`` builds the 2B shape with random weights and streams
it at 480x640, batch 1, on a CUDA device: eager, compiled, and as one CUDA graph a latent frame.
Without a device it runs the same passes on the meta device, which checks every shape, and prints
the operations that they take. Nothing is read or fetched.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import Text, WorldModelNet, build_world_model
from dojobench.reference_model.fast_net import FastNet
from dojobench.reference_model.fast_sampling import FastStream, sample_chunk
from dojobench.reference_model.flops import SHAPES, TEXT_TOKENS, Shape, cost
from dojobench.reference_model.flow_matching import FlowMatchingConfig, flow_matching_loss
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.net_config import PRESETS, preset
from dojobench.reference_model.streaming import StreamConfig

Mode = Literal["eager", "compiled", "graph", "compiled graph"]
MODES: tuple[Mode, ...] = ("eager", "compiled", "graph", "compiled graph")
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0}
"""Dense bfloat16 TFLOP/s by the makers' data sheets, by what a device's name contains."""


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """Times the world model's parts on a CUDA device; without one, checks shapes and operations."""

    size: str = "2b"
    """Size of the network: 2b, 14b, small or nano."""
    frames: int = 12
    """Latent frames to time in each mode, after warming up."""
    steps: int = 35
    """Steps of the teacher."""
    modes: tuple[Mode, ...] = MODES
    """How the student's passes run."""
    train: bool = True
    """Time a training step, too."""
    out: Path | None = None
    """JSON file for the numbers."""


@dataclass(kw_only=True)
class Clock:
    """Adds up seconds by part, with the device synchronised at every border."""

    device: torch.device
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def time(self, part: str, work: Callable[[], Any]) -> Any:
        """Runs a part and gives what it returns."""
        _wait(self.device)
        before = time.perf_counter()
        made = work()
        _wait(self.device)
        self.seconds.setdefault(part, []).append(time.perf_counter() - before)
        return made

    def medians(self) -> dict[str, float]:
        """Gives milliseconds of each part."""
        return {name: 1000 * statistics.median(each) for name, each in self.seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def build(size: str, device: torch.device) -> WorldModelNet:
    """Builds a size with random weights in bfloat16, without a copy on the CPU."""
    net = build_world_model(preset(size), device="meta", backend="auto").to(torch.bfloat16)
    if device.type != "meta":
        net = net.to_empty(device=device)
        with torch.no_grad():
            for value in net.parameters():
                # Any numbers do, as long as they stay finite.
                value.normal_(std=0.02)
    return net.eval().requires_grad_(False)


def encode_text(net: WorldModelNet) -> Text | None:
    """Encodes a random text of the stored one's size, where the network attends to one."""
    if net.config.text is None:
        return None
    shape = (1, TEXT_TOKENS, net.config.text.features)
    return net.encode_text(torch.randn(shape, device=net.device, dtype=torch.bfloat16))


def inputs(net: WorldModelNet, shape: Shape, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives random latents ``[1, C, frames, Y, X]`` and the actions that led to them."""
    size = (1, net.config.latent_channels, frames, shape.rows, shape.columns)
    actions = (1, 4 * (frames - 1), net.config.actions.width)
    return torch.randn(size, device=net.device), torch.randn(actions, device=net.device)


@torch.inference_mode()
def time_student(
    net: WorldModelNet, shape: Shape, config: SpeedConfig, mode: Mode, decode: Any
) -> dict[str, float]:
    """Streams with four steps and the pass that fills the cache.

    Returns:
        Milliseconds a latent frame by part, ``frames_per_second`` in all, ``memory_gib``.
    """
    stream = StreamConfig(window=shape.window)
    fast = FastNet(net, owned=True, compiled=mode.startswith("compiled"))
    text = encode_text(net)
    context, actions = inputs(net, shape, 2)
    rolling = FastStream(
        fast, context[:, :, :1], config=stream, text=text, graphed=mode.endswith("graph")
    )
    noise = torch.randn((1, *context[:, :, :1].shape), device=net.device)
    for _ in range(shape.window + 3):
        decode(rolling.step(actions, noise))
    clock = Clock(device=net.device)
    if net.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(net.device)
    for _ in range(config.frames):
        latent = clock.time("latent frame", lambda: rolling.step(actions, noise))
        clock.time("decode", partial(decode, latent))
    made = clock.medians()
    made["frames_per_second"] = 4000 / sum(made.values())
    made |= _parts(fast, rolling, actions, noise, text) if mode == "eager" else {}
    if net.device.type == "cuda":
        made["memory_gib"] = torch.cuda.max_memory_allocated(net.device) / 2**30
    return made


def _parts(
    fast: FastNet, rolling: FastStream, actions: torch.Tensor, noise: torch.Tensor, text: Any
) -> dict[str, float]:
    """Times actions, transformer and cache by themselves."""
    clock = Clock(device=fast.net.device)
    times = StreamConfig().times
    draws = [fast.to_tokens(each) for each in noise]
    for _ in range(5):
        plan = clock.time("actions", partial(rolling.plan, (*times, 0.0), actions))
        tokens = clock.time("transformer", partial(rolling.denoised, plan, draws))
        clock.time(
            "cache",
            partial(fast.remember, tokens, plan, len(times), rolling.cache, text),
        )
    return clock.medians()


@torch.inference_mode()
def time_teacher(
    net: WorldModelNet, shape: Shape, config: SpeedConfig, decode: Any
) -> dict[str, float]:
    """Samples chunks of 12 frames."""
    fast, text = FastNet(net, owned=True), encode_text(net)
    latents, actions = inputs(net, shape, shape.frames)
    sampler = SamplerConfig(steps=config.steps, shift=net.config.shift, released_times=True)
    clock = Clock(device=net.device)

    def chunk() -> torch.Tensor:
        return sample_chunk(
            fast, latents[:, :, :1], actions, config=sampler, noise=latents[:, :, 1:], text=text
        )

    for _ in range(3):
        made = clock.time("chunk", chunk)
        clock.time("decode", partial(decode, made))
    found = clock.medians()
    found["frames_per_second"] = 4000 * (shape.frames - 1) / sum(found.values())
    return found


def time_training(net: WorldModelNet, shape: Shape, pass_flops: int) -> dict[str, float]:
    """Runs forward and backward passes of the training objective on one clip, recomputing.

    Returns:
        Milliseconds, memory, TFLOP/s and, where the device's peak is known, their share of it.
        Operations are counted as three forward passes, recomputing not included.
    """
    net = net.train().requires_grad_(True)
    net.recompute = True
    latents, actions = inputs(net, shape, shape.frames)
    text = None
    if net.config.text is not None:
        size = (1, TEXT_TOKENS, net.config.text.features)
        text = torch.randn(size, device=net.device, dtype=torch.bfloat16)
    objective = FlowMatchingConfig.for_net(net.config)
    clock = Clock(device=net.device)

    def step() -> None:
        net.zero_grad(set_to_none=True)
        loss = flow_matching_loss(net, latents, actions, config=objective, text=text).total
        torch.autograd.backward(loss)

    torch.cuda.reset_peak_memory_stats(net.device)
    for _ in range(4):
        clock.time("step", step)
    seconds = min(clock.seconds["step"])
    rate = 3 * pass_flops / seconds / 1e12
    made = {"step": 1000 * seconds, "tflops": rate}
    made["memory_gib"] = torch.cuda.max_memory_allocated(net.device) / 2**30
    name = torch.cuda.get_device_name(net.device)
    peaks = [peak for part, peak in PEAKS.items() if part in name]
    return made | ({"mfu": rate / peaks[0]} if peaks else {})


def decoder(net: WorldModelNet, size: str) -> tuple[Any, str]:
    """Gives what decodes a stream's latents: WAN 2.1's shape, ours, or nothing where absent."""
    if size in ("nano", "small"):
        from dojobench.reference_model.tokenizer import CausalTokenizer
        from dojobench.reference_model.tokenizer_config import TOKENIZERS

        own = CausalTokenizer(TOKENIZERS[size]).to(net.device, torch.bfloat16).eval()
        ours = own.stream_decoder()
        return lambda latents: ours.push(latents.transpose(1, 2)), "ours"
    try:
        diffusers: Any = import_module("diffusers")
    except ImportError:
        return lambda latents: latents, "not decoded: diffusers is not installed"
    from dojobench.reference_model.wan import WanTokenizer

    network = diffusers.AutoencoderKLWan().to(net.device, torch.bfloat16)
    stream = WanTokenizer(network).to(net.device).stream_decoder()
    return lambda latents: stream.push(latents.transpose(1, 2)), "WAN 2.1's shape"


def check_shapes(config: SpeedConfig) -> dict[str, Any]:
    """Runs a chunk and a stream on the meta device and counts their operations."""
    shape, net = SHAPES[config.size], build(config.size, torch.device("meta"))
    with torch.inference_mode():
        text = encode_text(net)
        latents, actions = inputs(net, shape, shape.frames)
        sampler = SamplerConfig(steps=config.steps, shift=net.config.shift, released_times=True)
        chunk = sample_chunk(
            FastNet(net),
            latents[:, :, :1],
            actions,
            config=sampler,
            noise=latents[:, :, 1:],
            text=text,
        )
        rolling = FastStream(FastNet(net), latents[:, :, :1], config=StreamConfig(), text=text)
        noise = torch.empty((1, *latents[:, :, :1].shape), device="meta")
        for _ in range(shape.window + 2):
            latent = rolling.step(actions[:, :4], noise)
    if chunk.shape != latents.shape or latent.shape != latents[:, :, :1].shape:
        raise RuntimeError(f"shapes {list(chunk.shape)} and {list(latent.shape)} do not fit")
    return {"operations": asdict(cost(PRESETS[config.size], shape, steps=config.steps))}


def measure(config: SpeedConfig) -> dict[str, Any]:
    """Times everything on the CUDA device; a mode that fails is named with its reason."""
    device, shape = torch.device("cuda"), SHAPES[config.size]
    operations = cost(PRESETS[config.size], shape, steps=config.steps)
    net = build(config.size, device)
    decode, decoded = decoder(net, config.size)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "attention": net.attention_backend,
        "decoding": decoded,
        "operations": asdict(operations),
        "teacher": time_teacher(net, shape, config, decode),
    }
    for mode in config.modes:
        try:
            found[f"student, {mode}"] = time_student(net, shape, config, mode, decode)
        except RuntimeError as error:
            found[f"student, {mode}"] = f"failed: {str(error).splitlines()[0]}"
    if config.train:
        found["training step"] = time_training(net, shape, operations.teacher_pass)
    return found


def main(argv: list[str] | None = None) -> int:
    """Prints the numbers, and writes them where asked."""
    config = tyro.cli(SpeedConfig, args=argv, prog="gpu_speed.py")
    if config.size not in SHAPES:
        raise BadInputError(f"There is no size '{config.size}'; take one of {', '.join(SHAPES)}.")
    usable = torch.cuda.is_available()
    found = measure(config) if usable else check_shapes(config)
    if not usable:
        found["device"] = "none: shapes and operations were checked on the meta device"
    for name, value in found.items():
        if isinstance(value, dict):
            told = ", ".join(f"{key} {each:.4g}" for key, each in value.items())
            sys.stdout.write(f"{name}: {told}\n")
        else:
            sys.stdout.write(f"{name}: {value}\n")
    if config.out is not None:
        config.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
