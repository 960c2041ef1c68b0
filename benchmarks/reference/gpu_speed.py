"""How fast the published shapes run: frames per second by part, memory, and a training step.

``python benchmarks/reference/gpu_speed.py`` builds the 2B shape with random weights and streams
it at 480x640, batch 1, on a CUDA device: eager, compiled, and as one CUDA graph a latent frame.
Without a device it runs the same passes on the meta device, which checks every shape, and prints
the operations that they take. ``--device cpu --size nano`` runs all of it but the graphs on the
CPU, to try the script itself. Nothing is read or fetched.
"""

import gc
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
from dojobench.reference_model.flops import SHAPES, TEXT_TOKENS, Cost, Shape, cost
from dojobench.reference_model.flow_matching import FlowMatchingConfig, flow_matching_loss
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.net_config import PRESETS, preset
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.training.optimizer import make_optimizer
from dojobench.reference_model.training.stage import OptimizerConfig

Mode = Literal["eager", "compiled", "graph", "compiled graph"]
MODES: tuple[Mode, ...] = ("eager", "compiled", "graph", "compiled graph")
PEAKS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "RTX 5090": 210.0,
    "RTX 4090": 165.0,
}
"""Dense bfloat16 TFLOP/s by the makers' data sheets, by what a device's name contains; the first
that fits counts."""


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
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where: a CUDA device if there is one, else shapes alone."""
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


def _gibibytes(device: torch.device) -> dict[str, float]:
    """Gives the most memory that tensors took since ``_forget_peak``; a CPU's is not counted."""
    if device.type != "cuda":
        return {}
    return {"memory_gib": torch.cuda.max_memory_allocated(device) / 2**30}


def _forget_peak(device: torch.device) -> None:
    # What was measured before may be part of a cycle.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def build(size: str, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> WorldModelNet:
    """Builds a size with random weights, without a copy on the CPU."""
    net = build_world_model(preset(size), device="meta", backend="auto").to(dtype)
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
    # A graph's memory is taken while it is captured, which happens in warming up.
    _forget_peak(net.device)
    for _ in range(shape.window + 3):
        decode(rolling.step(actions, noise))
    clock = Clock(device=net.device)
    for _ in range(config.frames):
        latent = clock.time("latent frame", lambda: rolling.step(actions, noise))
        clock.time("decode", partial(decode, latent))
    made = clock.medians()
    made["frames_per_second"] = 4000 / sum(made.values())
    made |= _gibibytes(net.device)
    return made | (_parts(fast, rolling, actions, noise, text) if mode == "eager" else {})


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


def time_training(
    size: str, shape: Shape, operations: Cost, device: torch.device
) -> dict[str, float]:
    """Runs steps on one clip as the training loop does: bfloat16 by autocast, AdamW, recomputing.

    Returns:
        Milliseconds, memory, TFLOP/s and, where the device's peak is known, their share of it.
        Operations are counted as three forward passes, recomputing and the optimiser not included.
    """
    _forget_peak(device)
    net = build(size, device, torch.float32).train().requires_grad_(True)
    net.recompute = True
    latents, actions = inputs(net, shape, shape.frames)
    text: torch.Tensor | None = None
    if net.config.text is not None:
        width = (1, TEXT_TOKENS, net.config.text.features)
        text = torch.randn(width, device=device, dtype=torch.bfloat16)
    objective = FlowMatchingConfig.for_net(net.config)
    optimizer = make_optimizer(net, OptimizerConfig(lr=1e-6))
    clock = Clock(device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = flow_matching_loss(net, latents, actions, config=objective, text=text)
        torch.autograd.backward(loss.total)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    for _ in range(4):
        clock.time("step", step)
    seconds = min(clock.seconds["step"])
    rate = 3 * (operations.teacher_pass + operations.text) / seconds / 1e12
    made = {"step": 1000 * seconds, "tflops": rate} | _gibibytes(device)
    peak = peak_of(device_name(device))
    return made | ({"mfu": rate / peak} if peak else {})


def device_name(device: torch.device) -> str:
    """Names a device as its driver does; a CPU plainly."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def peak_of(name: str) -> float | None:
    """Gives a device's peak by its name, ``None`` where it is not known."""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


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


def measure(config: SpeedConfig, device: torch.device) -> dict[str, Any]:
    """Times everything on a device; what fails there is named with its reason."""
    shape = SHAPES[config.size]
    operations = cost(PRESETS[config.size], shape, steps=config.steps)
    net = build(config.size, device)
    decode, decoded = decoder(net, config.size)
    found: dict[str, Any] = {
        "device": device_name(device),
        "torch": torch.__version__,
        "attention": net.attention_backend,
        "decoding": decoded,
        "operations": asdict(operations),
        "teacher": time_teacher(net, shape, config, decode),
    }
    modes = [each for each in config.modes if device.type == "cuda" or "graph" not in each]
    for mode in modes:
        work = partial(time_student, net, shape, config, mode, decode)
        found[f"student, {mode}"] = _or_reason(work)
    # Its weights, gradients and moments want the memory for themselves.
    del net, decode
    if config.train:
        work = partial(time_training, config.size, shape, operations, device)
        found["training step"] = _or_reason(work)
    return found


def _or_reason(work: Callable[[], dict[str, float]]) -> dict[str, float] | str:
    """Runs a measurement; too little memory, for example, must not lose the others."""
    try:
        return work()
    except RuntimeError as error:
        return f"failed: {str(error).splitlines()[0]}"


def main(argv: list[str] | None = None) -> int:
    """Prints the numbers, and writes them where asked."""
    config = tyro.cli(SpeedConfig, args=argv, prog="gpu_speed.py")
    if config.size not in SHAPES:
        raise BadInputError(f"There is no size '{config.size}'; take one of {', '.join(SHAPES)}.")
    if config.device == "auto" and not torch.cuda.is_available():
        found = check_shapes(config)
        found["device"] = "none: shapes and operations were checked on the meta device"
    else:
        found = measure(config, torch.device("cpu" if config.device == "cpu" else "cuda"))
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
