"""Does a model use its actions? A few clips are rolled out again with another clip's actions.

Two numbers come of it. ``answer_change`` is how far the frames move (mean absolute difference,
grey levels): exactly 0 for a model that ignores its actions, whatever it scores. ``psnr_drop``
is what the wrong actions cost: a model that follows its actions scores less with wrong ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from dojobench.benchmarks.background import Background
from dojobench.benchmarks.prefetch import Batch, LoadedBatch
from dojobench.benchmarks.scoring import Scorers
from dojobench.benchmarks.stage import Stage
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.protocol import Actions, Frames

POOL = 8
"""Side of the squares over which frames are averaged before they are kept for comparison."""


def choose_check_clips(clips: Sequence[ClipRecord], count: int, action_dim: int) -> frozenset[str]:
    """Chooses ``count`` clips, spread evenly over the plan; none where there are no actions."""
    if not action_dim or count < 1:
        return frozenset()
    count = min(count, len(clips))
    return frozenset(clips[k * len(clips) // count].id for k in range(count))


@dataclass(frozen=True, kw_only=True)
class WrongActions:
    """Actions that do not belong to the clip.

    Attributes:
        actions: float32 ``[frames, action_dim]``.
        origin: In words, where they come from.
    """

    actions: Actions
    origin: str


def wrong_actions(
    suite: Suite, clip: ClipRecord, actions: Actions, clips: Sequence[ClipRecord]
) -> WrongActions | None:
    """Finds actions for a clip that are not its own.

    Takes those of the next clip of another episode and the same embodiment that is long
    enough; where there is none, the clip's own, rolled by half its length.

    Args:
        suite: Where other clips come from.
        clip: The clip.
        actions: Its own, ``[frames, action_dim]``, from the last context frame on.
        clips: The clips of the run.

    Returns:
        The actions, or ``None`` where only equal ones can be found.
    """
    context, length = suite.spec.context_frames, len(actions)
    here = next(k for k, other in enumerate(clips) if other.id == clip.id)
    for other in (*clips[here + 1 :], *clips[:here]):
        foreign = (other.source, other.episode) != (clip.source, clip.episode)
        if foreign and other.embodiment == clip.embodiment and other.frames >= clip.frames:
            opened = suite.open(other)
            found = opened.actions[context - 1 : context - 1 + length].float()
            opened.close()
            if not torch.equal(found, actions):
                return WrongActions(actions=found, origin=f"the actions of clip {other.id}")
    rolled = actions.roll(length // 2, dims=0)
    if torch.equal(rolled, actions):
        return None
    return WrongActions(actions=rolled, origin="its own actions, rolled by half the clip")


@dataclass(kw_only=True)
class AnswerTrace:
    """Small copies of the frames that a model answered, to compare two rollouts by."""

    blocks: list[torch.Tensor] = field(default_factory=list)

    def add(self, frames: Frames) -> None:
        """Keeps frames, uint8 ``[n, 3, height, width]``, averaged over squares."""
        side = min(POOL, int(frames.shape[-1]), int(frames.shape[-2]))
        self.blocks.append(functional.avg_pool2d(frames.float(), side).cpu())

    def change(self, other: "AnswerTrace") -> float:
        """Mean absolute difference in grey levels, 0 to 255."""
        return float((torch.cat(self.blocks) - torch.cat(other.blocks)).abs().mean())


def check_actions(
    stage: Stage,
    scorers: Scorers,
    clips: Sequence[ClipRecord],
    loaded: LoadedBatch,
    place: int,
    trace: AnswerTrace,
    psnr: float | None,
) -> dict[str, float | bool | str]:
    """Rolls one clip out again with actions that are not its own.

    Args:
        stage: The model on its suite.
        scorers: Makes the comparison.
        clips: The clips of the run, where foreign actions come from.
        loaded: The batch that the clip was part of.
        place: The clip's place in it.
        trace: What the model answered to the right actions.
        psnr: What that scored, where it was computed.

    Returns:
        ``answer_change``, ``answers_differ`` (of a deterministic model), ``psnr_shuffled``,
        ``psnr_drop`` and ``shuffled_with``; empty where there are no other actions.
    """
    clip = loaded.batch.clips[place]
    wrong = wrong_actions(stage.suite, clip, loaded.actions[place], clips)
    if wrong is None:
        return {}
    again = AnswerTrace()
    scored: dict[str, float] = {}
    with stage.load([Batch(clips=(clip,), seed=loaded.batch.seed)]) as batches, Background() as bg:
        for other in batches:
            other.actions = wrong.actions[None]
            scorer = scorers.open(other.context[0], metrics=("psnr",))

            def compare(answer: Frames, truth: Frames) -> None:
                scorer.update(answer[0], truth[0])  # noqa: B023 - there is one batch
                again.add(answer[0])

            stage.roll_out(other, bg, compare)
            bg.wait()
            scored = scorer.finish().values
    change = trace.change(again)
    checks: dict[str, float | bool | str] = {
        "answer_change": change,
        "shuffled_with": wrong.origin,
    }
    if stage.model.spec.deterministic:
        checks["answers_differ"] = change != 0.0
    if psnr is not None and "psnr" in scored:
        checks |= {"psnr_shuffled": scored["psnr"], "psnr_drop": psnr - scored["psnr"]}
    return checks
