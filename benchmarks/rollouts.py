"""Rolls a model out from opened clips under any actions: what the dojo's benchmarks share.

A model that sees the truth is given the truth of the actions that it gets: another branch's
clip, or the simulator's own replay. So the oracle stays right whatever is asked of it, and the
benchmarks can be tested with it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch

from dojobench.benchmarks.replay_cache import REPLAYS
from dojobench.benchmarks.rollout import StepTimes, Task, is_privileged, roll_out
from dojobench.datasets.suite import Clip, ClipRecord, GroundTruth, Suite
from dojobench.protocol import Actions, BadInputError, Frames, WorldModel


class PlayedClip:
    """A clip whose future is what other actions led to; keeps the ``Clip`` contract.

    Args:
        clip: Whose context it shares; it is not closed with this one.
        frames: What follows the context, uint8 ``[n, 3, height, width]``.
        actions: What led there, ``[n, action_dim]``.
        context: Leading frames of ``clip``.
    """

    def __init__(self, clip: Clip, frames: Frames, actions: Actions, context: int) -> None:
        self.record = replace(clip.record, frames=context + len(frames))
        self.actions = torch.cat([clip.actions[: context - 1].float(), actions])
        self._video = torch.cat([clip.read(0, context), frames])

    def read(self, start: int, stop: int, *, view: str | None = None) -> torch.Tensor:
        """Reads frames as ``Clip.read``; further views were not played.

        Raises:
            BadInputError: If a view is asked for.
        """
        if view is not None:
            raise BadInputError(f"clip {self.record.id} was replayed without its view {view}")
        return self._video[start:stop]

    def close(self) -> None:
        """Holds nothing."""


@dataclass(frozen=True, kw_only=True)
class OpenClip:
    """A clip with what every rollout of it needs at hand.

    Attributes:
        record: Its line in the manifest.
        clip: The clip; true frames are read as they are needed.
        context: uint8 ``[context, 3, height, width]``.
        views: Further cameras' contexts.
        actions: float32 ``[n, action_dim]``, from the last context frame on.
        truth: What the simulator knows, where there is one.
        factual: Whether the training data has behaviour of this kind, where the suite says so.
        suite_version: The suite's, by which replays are kept.
    """

    record: ClipRecord
    clip: Clip
    context: Frames
    views: dict[str, Frames]
    actions: Actions
    truth: GroundTruth | None
    factual: bool | None = None
    suite_version: str = ""

    @property
    def start(self) -> int:
        """Clip frame of the first prediction."""
        return len(self.context)

    def read(self, start: int, stop: int) -> Frames:
        """Reads true frames, numbered from the first prediction."""
        return self.clip.read(self.start + start, self.start + stop)

    def replay(self, actions: Actions) -> Frames | None:
        """Plays other actions in the simulator, where there is one that can.

        Ground truth that can be rewound has a method ``replay(actions)``: the true frames that
        follow the last context frame under actions ``[n, action_dim]``.

        Returns:
            uint8 ``[n, 3, height, width]``, or ``None``.
        """
        replay = getattr(self.truth, "replay", None)
        if not callable(replay):
            return None
        return REPLAYS.get(self.suite_version, self.record.id, actions, replay)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One rollout: from whose context, under which actions, and what a privileged model sees."""

    opened: OpenClip
    actions: Actions
    seen: Clip


class Rollouts:
    """A model on a suite, for rollouts under any actions.

    Attributes:
        suite: Where clips come from.
        model: What is rolled out, at the suite's resolution.
        device: Where context and actions are put.
        mode: How many actions a step gets; see ``rollout.step_lengths``.
        privileged: Whether the model sees the truth.
    """

    def __init__(
        self, suite: Suite, model: WorldModel, *, device: torch.device, mode: str = "chunk"
    ) -> None:
        """Takes a model that has been prepared."""
        self.suite, self.model, self.device, self.mode = suite, model, device, mode
        self.privileged = is_privileged(model)

    def open(self, records: Sequence[ClipRecord], stack: ExitStack) -> list[OpenClip]:
        """Opens clips; ``stack`` closes them.

        Raises:
            BadInputError: If a clip cannot be read, or its actions are not what was promised.
        """
        opened = []
        for record in records:
            clip = self.suite.open(record)
            stack.callback(clip.close)
            opened.append(self._opened(record, clip))
        return opened

    def _opened(self, record: ClipRecord, clip: Clip) -> OpenClip:
        spec = self.suite.spec
        context = spec.context_frames
        if tuple(clip.actions.shape) != (record.frames - 1, spec.action_space.dim):
            raise BadInputError(
                f"clip {record.id} has actions of shape {tuple(clip.actions.shape)} where suite "
                f"{spec.name} promises {(record.frames - 1, spec.action_space.dim)}; freeze the "
                "suite again"
            )
        if not bool(torch.isfinite(clip.actions).all()):
            raise BadInputError(
                f"clip {record.id} has a NaN or infinite action; leave the clip out of the suite "
                "or repair the data"
            )
        return OpenClip(
            record=record,
            clip=clip,
            context=clip.read(0, context),
            views={view: clip.read(0, context, view=view) for view in self.model.spec.views},
            actions=clip.actions[context - 1 :].float(),
            truth=getattr(clip, "truth", None),
            factual=getattr(clip, "factual", None),
            suite_version=spec.version,
        )

    def own(self, opened: OpenClip) -> Job:
        """Prepares a rollout under the clip's own actions."""
        return Job(opened=opened, actions=opened.actions, seen=opened.clip)

    def job(
        self, opened: OpenClip, actions: Actions, *, seen: OpenClip | None = None
    ) -> Job | None:
        """Prepares a rollout under other actions.

        Args:
            opened: The clip.
            actions: ``[n, action_dim]``.
            seen: The clip whose future these actions lead to, where the suite has it.

        Returns:
            The job; ``None`` where the model needs the truth of these actions and nobody can
            tell it.
        """
        if not self.privileged or seen is not None:
            return Job(opened=opened, actions=actions, seen=(seen or opened).clip)
        frames = opened.replay(actions)
        if frames is None:
            return None
        played = PlayedClip(opened.clip, frames, actions, opened.start)
        return Job(opened=opened, actions=actions, seen=played)

    def roll(
        self, jobs: Sequence[Job], seed: int, *, times: StepTimes | None = None
    ) -> Iterator[Frames]:
        """Rolls jobs out together, all of one length.

        Jobs whose clips were told different things are told nothing: what differs between them
        is to come from the actions.

        Args:
            jobs: What to roll out.
            seed: For the model.
            times: Filled in with what the model took.

        Yields:
            uint8 ``[jobs, n, 3, height, width]``, in order.
        """
        answers = roll_out(
            self.model,
            self._task(jobs, seed),
            device=self.device,
            mode=self.mode,
            times=times if times is not None else StepTimes(),
        )
        try:
            for frames in answers:
                # A copy, because a model may use its buffer again in the next step.
                yield frames.cpu().clone()
        finally:
            answers.close()

    def answer(self, jobs: Sequence[Job], seed: int) -> Frames:
        """Rolls jobs out and keeps all frames, ``[jobs, n, 3, height, width]``; short ones only."""
        return torch.cat(list(self.roll(jobs, seed)), dim=1)

    @staticmethod
    def _task(jobs: Sequence[Job], seed: int) -> Task:
        opened = [job.opened for job in jobs]
        told = {each.record.instruction for each in opened}
        return Task(
            names=", ".join(each.record.id for each in opened),
            context=torch.stack([each.context for each in opened]),
            views={
                view: torch.stack([each.views[view] for each in opened]) for view in opened[0].views
            },
            actions=torch.stack([job.actions for job in jobs]),
            seed=seed,
            instruction=told.pop() if len(told) == 1 else None,
            clips=tuple(job.seen for job in jobs),
        )
