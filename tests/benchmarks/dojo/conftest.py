"""A toy world with exact branches: a magenta hand that pushes coloured things on a ground.

It has everything that the simulator's suites offer (branch groups, long clips, segmentation,
positions, replay) and a future that is known to the pixel, so benchmarks are tested on truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.datasets.suite import ClipRecord, Marker, SuiteSpec
from dojobench.protocol import ActionSpace, ModelSpec

SIZE, CONTEXT = 64, 2
METRES = 0.005  # a pixel
COLOURS = {"red": (220, 30, 30), "green": (40, 180, 60), "blue": (30, 80, 220)}
MAGENTA = (242, 13, 191)


@dataclass
class ToyState:
    hand: np.ndarray
    half: float
    things: np.ndarray

    def copy(self) -> "ToyState":
        return ToyState(self.hand.copy(), self.half, self.things.copy())


@dataclass
class ToyWorld:
    """One scene; actions are velocities of the hand in pixels and of its half size."""

    seed: int
    radii: tuple[int, ...] = (6, 5, 5)
    ground: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        coarse = rng.integers(110, 150, (8, 8))
        self.ground = np.kron(coarse, np.ones((8, 8)))[..., None].repeat(3, -1).astype(np.uint8)

    def start(self) -> ToyState:
        rng = np.random.default_rng([self.seed, 1])
        corners = np.array([[20.0, 20.0], [44.0, 22.0], [30.0, 46.0]])
        return ToyState(rng.uniform(8, 56, 2), 3.0, corners + rng.uniform(-4, 4, (3, 2)))

    def step(self, state: ToyState, action: np.ndarray) -> ToyState:
        after = state.copy()
        after.hand = np.clip(state.hand + action[:2], 4, SIZE - 5)
        after.half = float(np.clip(state.half + action[2], 2, 5))
        move = after.hand - state.hand
        for k, radius in enumerate(self.radii):
            if np.abs(after.things[k] - after.hand).max() < radius + after.half - 1:
                after.things[k] = np.clip(after.things[k] + move, 4, SIZE - 5)
        return after

    def draw(self, state: ToyState) -> tuple[np.ndarray, np.ndarray]:
        picture, drawn = self.ground.copy(), np.zeros((SIZE, SIZE), np.uint8)
        rows, columns = np.mgrid[:SIZE, :SIZE]
        for k, (colour, radius) in enumerate(zip(COLOURS.values(), self.radii, strict=True)):
            inside = (columns - state.things[k, 0]) ** 2 + (rows - state.things[k, 1]) ** 2
            picture[inside <= radius**2] = colour
            drawn[inside <= radius**2] = k + 2
        gaps = np.maximum(np.abs(columns - state.hand[0]), np.abs(rows - state.hand[1]))
        picture[gaps <= state.half] = MAGENTA
        drawn[gaps <= state.half] = 1
        return picture, drawn

    def play(self, state: ToyState, actions: Sequence[np.ndarray]) -> list[ToyState]:
        states = [state]
        for action in actions:
            states.append(self.step(states[-1], np.asarray(action, float)))
        return states

    def wander(self, frames: int, seed: int, toward: int | None = None) -> np.ndarray:
        """Smooth random velocities, drawn towards a thing where one is named."""
        rng, state = np.random.default_rng([self.seed, seed]), self.start()
        velocity, actions = np.zeros(2), []
        for _ in range(frames):
            pull = 0.0 if toward is None else 0.04 * (state.things[toward] - state.hand)
            home = 0.01 * (np.array([32.0, 32.0]) - state.hand)
            velocity = 0.8 * velocity + rng.normal(0, 0.7, 2) + pull + home
            action = np.array([*np.clip(velocity, -3, 3), rng.choice([-0.3, 0.0, 0.3])])
            actions.append(action.astype(np.float32))
            state = self.step(state, actions[-1])
        return np.stack(actions)


class ToyTruth:
    """What the toy world knows of a clip."""

    def __init__(self, clip: "ToyClip", *, replays: bool) -> None:
        self._clip = clip
        named = zip(COLOURS, COLOURS.values(), strict=True)
        self.markers = (
            Marker(name="effector", colour=MAGENTA, kind="effector"),
            *(Marker(name=name, colour=colour, kind="ball") for name, colour in named),
        )
        if replays:
            self.replay = self._replay

    def segmentation(self, start: int, stop: int) -> torch.Tensor:
        clip = self._clip
        return torch.from_numpy(
            np.stack([clip.world.draw(state)[1] for state in clip.states[start:stop]])
        )

    def positions(self, start: int, stop: int) -> torch.Tensor:
        rows = [np.vstack([s.hand, s.things]) * METRES for s in self._clip.states[start:stop]]
        flat = np.stack(rows).astype(np.float32)
        return torch.from_numpy(np.concatenate([flat, np.zeros_like(flat[..., :1])], -1))

    def touched(self, start: int, stop: int) -> torch.Tensor:
        reach = [s.half + np.array(self._clip.world.radii) for s in self._clip.states[start:stop]]
        states = zip(self._clip.states[start:stop], reach, strict=True)
        hit = [np.abs(s.things - s.hand).max(axis=1) < far for s, far in states]
        return torch.from_numpy(np.stack([[False, *row] for row in hit]))

    def _replay(self, actions: torch.Tensor) -> torch.Tensor:
        clip = self._clip
        states = clip.world.play(clip.states[CONTEXT - 1], actions.numpy())[1:]
        return _video(clip.world, states)


def _video(world: ToyWorld, states: Sequence[ToyState]) -> torch.Tensor:
    frames = np.stack([world.draw(state)[0] for state in states])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


class ToyClip:
    def __init__(
        self,
        record: ClipRecord,
        world: ToyWorld,
        actions: np.ndarray,
        *,
        truth: bool,
        replays: bool,
    ) -> None:
        self.record, self.world = record, world
        self.actions = torch.from_numpy(actions)
        if record.branch_group is not None:
            self.factual = record.id.endswith("-0")
        self.states = world.play(world.start(), actions)
        if truth:
            self.truth = ToyTruth(self, replays=replays)

    def read(self, start: int, stop: int, *, view: str | None = None) -> torch.Tensor:
        assert 0 <= start < stop <= self.record.frames
        return _video(self.world, self.states[start:stop])

    def close(self) -> None:
        pass


class ToySuite:
    """Splits ``train``, ``val``, ``counterfactual`` (groups of branches) and ``long``."""

    def __init__(
        self,
        *,
        val: int = 2,
        groups: int = 3,
        branches: int = 4,
        long: int = 2,
        frames: int = 34,
        long_frames: int = 122,
        truth: bool = True,
        replays: bool = True,
    ) -> None:
        self.spec = SuiteSpec(
            name="toy",
            version=f"sha256:toy-{val}-{groups}-{branches}-{long}-{frames}-{long_frames}",
            resolution=(SIZE, SIZE),
            frame_rate=10.0,
            context_frames=CONTEXT,
            action_space=ActionSpace(
                dim=3, embodiment="hand", kind="velocity", names=("dx", "dy", "dsize")
            ),
        )
        self._options = {"truth": truth, "replays": replays}
        self._made: dict[str, tuple[ToyWorld, np.ndarray]] = {}
        self.clips: tuple[ClipRecord, ...] = ()
        for n in range(4):
            self._add(f"train-{n}", "train", 100 + n, long_frames if n < 2 else frames)
        for n in range(val):
            self._add(f"val-{n}", "val", 200 + n, frames, toward=n % 3)
        for n in range(groups):
            for branch in range(branches):
                self._add(
                    f"cf-{n}-{branch}", "counterfactual", 300 + n, frames,
                    toward=branch % 3, group=f"cf-{n}", branch=branch,
                )  # fmt: skip
        for n in range(long):
            self._add(f"long-{n}", "long", 400 + n, long_frames)

    def _add(
        self, name: str, split: str, seed: int, frames: int, *,
        toward: int | None = None, group: str | None = None, branch: int = 0,
    ) -> None:  # fmt: skip
        world = ToyWorld(seed)
        actions = world.wander(frames - 1, 1 + branch, toward)
        if group is not None:  # the past is shared
            actions[: CONTEXT - 1] = world.wander(frames - 1, 1)[: CONTEXT - 1]
        record = ClipRecord(
            id=name, source="toy", revision="0", episode=str(seed), start=0, stride=1,
            frames=frames, split=split, embodiment="hand", camera="main", branch_group=group,
        )  # fmt: skip
        self._made[name] = (world, actions)
        self.clips = (*self.clips, record)

    def open(self, clip: ClipRecord) -> ToyClip:
        return ToyClip(clip, *self._made[clip.id], **self._options)


class ToyModel:
    """Plays the toy world from the hand that it sees: follows actions, ``lag`` steps late.

    It moves the magenta square only and pushes nothing, so it is right and imperfect.
    """

    def __init__(self, lag: int = 0, *, batchy: bool = False, noisy: bool = False) -> None:
        self.spec = ModelSpec(name=f"toy-lag-{lag}", version="1", native_chunk=8)
        self.lag, self.batchy, self.noisy = lag, batchy, noisy
        self.calls = 0

    def start(self, context: torch.Tensor, *, seed: int, instruction: str | None = None) -> Any:
        self.calls += 1
        return _ToySession(self, context[:, -1], seed)


class _ToySession:
    def __init__(self, model: ToyModel, frame: torch.Tensor, seed: int) -> None:
        self.model, self.seed, self.call = model, seed, model.calls
        target = torch.tensor(MAGENTA, dtype=torch.uint8).view(1, 3, 1, 1)
        hand = (frame == target).all(dim=1)
        rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        area = hand.sum(dim=(1, 2)).clamp_min(1)
        self.y = (hand * rows).sum(dim=(1, 2)) / area
        self.x = (hand * columns).sum(dim=(1, 2)) / area
        self.half = (area.sqrt() - 1) / 2
        self.rows, self.columns = rows, columns
        self.ground = torch.where(hand[:, None], torch.full_like(frame, 130), frame)
        self.queue: list[torch.Tensor] = []

    def step(self, actions: torch.Tensor) -> torch.Tensor:
        frames = []
        for k in range(actions.shape[1]):
            self.queue.append(actions[:, k])
            if len(self.queue) > self.model.lag:
                move = self.queue[len(self.queue) - 1 - self.model.lag]
                self.x = (self.x + move[:, 0]).clamp(4, SIZE - 5)
                self.y = (self.y + move[:, 1]).clamp(4, SIZE - 5)
                self.half = (self.half + move[:, 2]).clamp(2, 5)
            gaps = torch.maximum(
                (self.columns - self.x[:, None, None]).abs(),
                (self.rows - self.y[:, None, None]).abs(),
            )
            colour = torch.tensor(MAGENTA, dtype=torch.uint8).view(1, 3, 1, 1)
            shown = torch.where((gaps <= self.half[:, None, None])[:, None], colour, self.ground)
            shift = self.seed + (actions.shape[0] if self.model.batchy else 0)
            shift += self.call if self.model.noisy else 0
            frames.append((shown.int() + shift).clamp(0, 255).to(torch.uint8))
        return torch.stack(frames, dim=1)

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def toy_suite() -> Callable[..., ToySuite]:
    """Makes toy suites."""
    return ToySuite


@pytest.fixture(scope="session")
def toy_model() -> Callable[..., ToyModel]:
    """Makes models of the toy world."""
    return ToyModel
