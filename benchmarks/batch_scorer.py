"""Scores one batch after the other: roll out, compare, check the actions, keep the videos."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dojobench.benchmarks.action_check import AnswerTrace, check_actions
from dojobench.benchmarks.background import Background
from dojobench.benchmarks.prefetch import Batch, LoadedBatch
from dojobench.benchmarks.records import Record, Timings
from dojobench.benchmarks.scoring import Scorers
from dojobench.benchmarks.stage import Stage
from dojobench.benchmarks.video_writer import PairWriter
from dojobench.datasets.suite import ClipRecord
from dojobench.protocol import Frames


@dataclass(frozen=True, kw_only=True)
class BatchScorer:
    """What all batches of a run have in common.

    Attributes:
        stage: The model on its suite.
        scorers: Makes the comparisons.
        clips: The clips of the run.
        checked: Pairs of clip and seed whose use of actions is checked.
        videos: Folder for the videos of every clip; ``None`` for none.
    """

    stage: Stage
    scorers: Scorers
    clips: tuple[ClipRecord, ...]
    checked: frozenset[tuple[str, int]] = frozenset()
    videos: Path | None = None

    def score(self, loaded: LoadedBatch, background: Background) -> list[Record]:
        """Rolls a batch out and compares it; one record per clip, in the batch's order."""
        batch = loaded.batch
        scorers = [self.scorers.open(context) for context in loaded.context]
        traces = {
            place: AnswerTrace()
            for place, clip in enumerate(batch.clips)
            if (clip.id, batch.seed) in self.checked
        }
        with ExitStack() as stack:
            films = self._films(stack, loaded)
            stack.callback(background.settle)

            def compare(answer: Frames, truth: Frames) -> None:
                for place, scorer in enumerate(scorers):
                    scorer.update(answer[place], truth[place])
                for place, trace in traces.items():
                    trace.add(answer[place])
                for place, film in enumerate(films):
                    film.write(truth[place], answer[place])

            times = self.stage.roll_out(loaded, background, compare)
            score_s = background.wait()
        loaded.finish()
        timings = Timings(
            start_s=times.start_s,
            steps_s=tuple(times.steps_s),
            step_frames=tuple(times.step_frames),
            read_s=loaded.read_s,
            score_s=score_s,
            batch=len(batch.clips),
        )
        lines = [
            self.scorers.record(scorer, clip, batch.seed, loaded.frames, timings)
            for scorer, clip in zip(scorers, batch.clips, strict=True)
        ]
        for place, trace in traces.items():
            psnr = lines[place].values.get("psnr")
            checks = check_actions(self.stage, self.scorers, self.clips, loaded, place, trace, psnr)
            lines[place] = lines[place].model_copy(update={"checks": checks})
        return lines

    def _films(self, stack: ExitStack, loaded: LoadedBatch) -> list[PairWriter]:
        if self.videos is None:
            return []
        films = []
        for clip, context in zip(loaded.batch.clips, loaded.context, strict=True):
            rate = self.stage.suite.spec.frame_rate
            film = PairWriter(self.videos, clip.id, loaded.batch.seed, rate=rate)
            films.append(stack.enter_context(film))
            film.write(context, context)
        return films


def record_videos(stage: Stage, batches: list[Batch], folder: Path) -> None:
    """Rolls clips out once more, batches of one, and keeps their videos without scoring."""
    with stage.load(batches) as loading, Background() as background:
        for loaded in loading:
            clip, seed = loaded.batch.clips[0], loaded.batch.seed
            with ExitStack() as stack:
                film = PairWriter(folder, clip.id, seed, rate=stage.suite.spec.frame_rate)
                stack.enter_context(film)
                stack.callback(background.settle)
                film.write(loaded.context[0], loaded.context[0])

                def keep(answer: Frames, truth: Frames, film: PairWriter = film) -> None:
                    film.write(truth[0], answer[0])

                stage.roll_out(loaded, background, keep)
                background.wait()
            loaded.finish()
