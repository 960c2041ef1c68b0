"""The teacher's trajectories: how noise becomes video, kept at the times a student will know.

The student's warm-up learns where the teacher's flow ends from where it passes. For each window
the states at the student's times and the clean end are kept
(``inference/inference_gr00t_warmup.py`` of NVIDIA/DreamDojo at 02f119b: 10,000 windows, 35 UniPC
steps, of which steps 0, 9, 18, 27 and the end are kept). Windows may be longer than the teacher's
horizon: it then goes on chunk by chunk, as in evaluation, and the student learns beforehand what
frames look like whose window slides.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dojobench.datasets.progress import track
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.generation import SamplerConfig, sample
from dojobench.reference_model.samplers import Solver, schedule
from dojobench.reference_model.training.schedule import step_generator
from dojobench.reference_model.training.settings import flat_settings
from dojobench.reference_model.training.stage import Batch, Source
from dojobench.reference_model.training.trajectory_store import (
    TrajectoryIndex,
    claim,
    shard_path,
    write_shard,
)
from dojobench.reference_model.training.windows import (
    conditions_of,
    still_latent,
    window_actions,
)
from dojobench.reference_model.video_tokenizer import VideoTokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoriesConfig:
    """Which trajectories are made; the defaults are the published ones.

    Attributes:
        groups: Weight of each group of episodes that windows are drawn from.
        windows: Number of windows.
        latents: Latent frames of a window, context included. Beyond ``horizon`` the teacher goes
            on chunk by chunk, by ``horizon - 1`` latent frames from the last frame encoded anew.
        horizon: Latent frames of a clip that the teacher was trained on.
        steps: The student's steps, at most ``solver_steps``.
        kept: ``student`` puts the solver's nearest times at the student's own, so that what is
            learnt is what is asked later; ``released`` keeps the nearest of the solver's.
        solver: The teacher's solver.
        solver_steps: Network passes.
        shift: Timestep shift; the teacher's own where ``None``.
        batch: Windows at once.
        shard_batches: Batches of a shard.
        dtype: Number format of stored latents.
        precision: Of the teacher's passes.
        seed: Of the noise.
    """

    groups: Mapping[str, float] = field(default_factory=lambda: {"arm-train": 1.0})
    windows: int = 10_000
    latents: int = 4
    horizon: int = 4
    steps: int = 4
    kept: Literal["student", "released"] = "student"
    solver: Solver = "unipc"
    solver_steps: int = 35
    shift: float | None = None
    batch: int = 16
    shard_batches: int = 32
    dtype: Literal["float16", "float32"] = "float16"
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        chunk = self.horizon - 1
        if self.horizon < 2 or self.latents < 2 or (self.latents - 1) % chunk:
            raise BadInputError(
                f"Trajectories of {self.latents} latent frames cannot be made by a teacher of "
                f"{self.horizon}; give 1 + a multiple of {max(chunk, 1)}."
            )
        if not 1 <= self.steps <= self.solver_steps or self.windows < 1:
            raise BadInputError(
                f"{self.windows} trajectories of {self.solver_steps} steps cannot be kept at "
                f"{self.steps} times; give at least one window and at most as many times as steps."
            )

    def times(self, shift: float) -> tuple[list[float], list[int]]:
        """Gives the solver's times, and which of them are kept.

        Args:
            shift: The teacher's, which ``shift`` overrules.

        Returns:
            ``solver_steps + 1`` times descending to 0, and ``steps`` indices; of 35 steps and
            four times 0, 9, 18 and 27.
        """
        shift = self.shift or shift
        kept = [math.ceil(i * self.solver_steps / self.steps) for i in range(self.steps)]
        if self.kept == "released":
            return SamplerConfig(
                steps=self.solver_steps, shift=shift, released_times=True
            ).times(), kept
        times = schedule(self.solver_steps, shift, last=0.0)
        for index, time in zip(kept, schedule(self.steps, shift, last=0.0), strict=False):
            times[index] = time
        return times, kept


def make_trajectories(
    config: TrajectoriesConfig,
    teacher: WorldModelNet,
    source: Source,
    folder: Path,
    *,
    tokenizer: VideoTokenizer | None = None,
    text: Tensor | None = None,
    origin: Mapping[str, str] | None = None,
    until: Callable[[], bool] | None = None,
) -> bool:
    """Makes trajectories, or what is missing of them, on the teacher's device.

    Args:
        config: Which.
        teacher: Its flow is followed; put into evaluation mode.
        source: ``latents [B, C, T, Y, X]`` and ``actions [B, 4 (T - 1), width]``, with T at least
            ``config.latents``; of the latents only the first frame is used.
        folder: Where they go.
        tokenizer: Needed for windows beyond the teacher's horizon.
        text: ``[1, L, features]`` for networks that attend to one.
        origin: Texts that say what they are made from; others are refused when going on.
        until: Asked after each shard whether to stop.

    Returns:
        Whether all are there.

    Raises:
        BadInputError: If the folder holds others, or they cannot be written.
    """
    if config.latents > config.horizon and tokenizer is None:
        raise BadInputError(
            f"Trajectories of {config.latents} latent frames go beyond the teacher's "
            f"{config.horizon} and need the tokenizer; give it, or shorter ones."
        )
    times, kept = config.times(teacher.config.shift)
    index = TrajectoryIndex(
        settings=flat_settings(config),
        origin=dict(origin or {}),
        times=tuple(times[i] for i in kept),
    )
    claim(folder, index)
    follow = _Follower(config, teacher.eval(), times, kept, tokenizer=tokenizer, text=text)
    work = _missing(folder, index, config.batch)
    parts: list[Batch] = []
    for each in track(iter(work), "trajectories", len(work)):
        whole = source.batch(each.step, config.batch)
        generator = step_generator(config.seed, each.step, teacher.device)
        made = follow(whole["latents"], whole["actions"], generator)
        parts.append({name: one[: each.size] for name, one in made.items()})
        if not each.last:
            continue
        write_shard(shard_path(folder, each.shard), parts, config.dtype)
        parts = []
        if until is not None and until():
            return each is work[-1]
    return True


class _Work(NamedTuple):
    """A batch to make: of which shard, which one of all, how many of it count, if it is the last.

    The last batch of all may be larger than what is left to make; the rest is not kept.
    """

    shard: int
    step: int
    size: int
    last: bool


def _missing(folder: Path, index: TrajectoryIndex, batch: int) -> list[_Work]:
    """Lists the batches of shards that are not there yet."""
    return [
        _Work(
            number, start // batch, min(batch, members.stop - start), start + batch >= members.stop
        )
        for number, members in enumerate(index.shards())
        if not shard_path(folder, number).is_file()
        for start in range(members.start, members.stop, batch)
    ]


class _Follower:
    """Follows the teacher's flow for a batch of windows."""

    def __init__(
        self,
        config: TrajectoriesConfig,
        teacher: WorldModelNet,
        times: list[float],
        kept: list[int],
        *,
        tokenizer: VideoTokenizer | None,
        text: Tensor | None,
    ) -> None:
        self._config, self._teacher = config, teacher
        self._times, self._kept = times, kept
        self._tokenizer, self._text = tokenizer, text
        self._sampler = SamplerConfig(
            solver=config.solver,
            steps=config.solver_steps,
            released_times=config.kept == "released",
        )

    @torch.no_grad()
    def __call__(self, latents: Tensor, actions: Tensor, generator: torch.Generator) -> Batch:
        """Gives ``clean``, ``states`` and ``actions`` of windows, on the CPU."""
        config, device = self._config, self._teacher.device
        frames, chunk = config.latents, config.horizon - 1
        if latents.shape[2] < frames:
            raise BadInputError(
                f"The windows have {latents.shape[2]} latent frames, and trajectories are to have "
                f"{frames}; draw longer windows or make shorter trajectories."
            )
        clean = latents[:, :, :1].to(device).float()
        per = self._teacher.config.actions.per_latent
        actions = actions[:, : per * (frames - 1)].to(device)
        states: list[Tensor] = []
        for first in range(0, frames - 1, chunk):
            context = clean if self._tokenizer is None else still_latent(self._tokenizer, clean)
            led = window_actions(
                actions, self._teacher.config.actions, first=first, stop=first + chunk + 1
            )
            passed, end = self._follow(context, led, generator)
            states.append(passed)
            clean = torch.cat([clean, end], dim=2)
        made = {"clean": clean, "states": torch.cat(states, dim=3), "actions": actions}
        return {name: one.cpu() for name, one in made.items()}

    def _follow(
        self, context: Tensor, actions: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Gives the states ``[B, steps, C, chunk, Y, X]`` and the end ``[B, C, chunk, Y, X]``."""
        passed: list[Tensor] = []

        def keep(step: int, time: float, state: Tensor) -> None:
            del time
            if step in self._kept:
                passed.append(state.float())

        wanted = self._config.precision == "bfloat16"
        with torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=wanted):
            made = sample(
                self._teacher,
                context,
                actions,
                config=self._sampler,
                generator=generator,
                on_step=keep,
                times=self._times,
                **conditions_of(self._teacher, context, self._text),
            )
        return torch.stack(passed, dim=1), made[:, :, 1:]
