"""A study that is being run: its plan, its votes so far, and what each rater is given."""

import threading
from pathlib import Path

from dojobench.human_eval.catalog import MEDIA_FOLDER, OpenStudy
from dojobench.human_eval.counts import Counts
from dojobench.human_eval.keyring import Keyring
from dojobench.human_eval.scheduler import GoldPair, Plan, Shown, State, choose, draw
from dojobench.human_eval.store import Assignment, Store
from dojobench.human_eval.study_file import Study

GOLD_REAL = "gold:real"
"""What stands in the log for the true video of a pair with a known answer."""


def make_plan(study: OpenStudy) -> Plan:
    """Turns a study's file and catalogue into what the scheduler needs.

    Each pair of models is compared on ``trials.pairs`` of the clips that both have, drawn by seed.
    """
    trials, names = study.study.trials, study.study.model_names
    drawn = Plan(models=names, axes=study.study.axes.names, clips={}, seed=study.study.study.seed)
    clips: dict[tuple[int, int], tuple[str, ...]] = {}
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            both = [
                clip.clip
                for clip in study.clips.values()
                if names[first] in clip.outputs and names[second] in clip.outputs
            ]
            both.sort(key=lambda clip: draw(drawn, "subset", names[first], names[second], clip))
            if both:
                clips[first, second] = tuple(both[: trials.pairs])
    asked = study.study.axes.names
    gold = tuple(
        GoldPair(clip=clip.clip, kind=gold.kind, axis=gold.axis)
        for clip in study.clips.values()
        for gold in clip.gold
        if gold.axis in asked
    )
    return Plan(
        models=names, axes=asked, clips=clips, gold=gold, seed=study.study.study.seed,
        per_rater=trials.per_rater, gold_share=trials.gold_share,
        duplicate_share=trials.duplicate_share, random_share=trials.random_share,
        votes_per_pair=study.study.stopping.votes_per_pair,
        max_votes=study.study.stopping.max_votes,
    )  # fmt: skip


class RunningStudy:
    """One study with its database; safe to use from several threads."""

    def __init__(self, opened: OpenStudy, store: Store, keyring: Keyring) -> None:
        """Takes a study into service; `refresh` is called when the votes are needed."""
        self.opened = opened
        self.store = store
        self.keyring = keyring
        self.plan = make_plan(opened)
        self.is_over = False
        self._counts = Counts(self.plan.models, self.plan.axes)
        self._at = 0
        self._counting = threading.Lock()

    @property
    def study(self) -> Study:
        """The plan as read from ``study.toml``."""
        return self.opened.study

    def refresh(self) -> Counts:
        """Gives the counts, brought up to the log's present end.

        An erasure may take away what was counted, so behind one the log is counted anew.
        """
        with self._counting:
            fresh = self.store.events(self._at)
            if any(event.type == "erase" for event in fresh):
                self._counts = Counts(self.plan.models, self.plan.axes)
                fresh = self.store.events()
            for event in fresh:
                if event.type == "vote" and event.body is not None:
                    self._counts.add(event.body)
            if fresh:
                self._at = fresh[-1].n
            return self._counts

    def next_trial(self, rater: str, *, now: float, lease: float) -> Assignment | None:
        """Gives a rater's open trial or the next one; ``None`` when there is none left."""
        counts = self.refresh()

        def chosen(
            past: tuple[Shown, ...], others: tuple[Shown, ...]
        ) -> tuple[Shown, str, str] | None:
            if self.is_over:
                return None
            state = State(rater=rater, past=past, counts=counts, open=others)
            with self._counting:
                shown = choose(self.plan, state)
            return None if shown is None else (shown, *self._sides(shown))

        return self.store.assign(rater, chosen, now=now, lease=lease)

    def media(self, assignment: Assignment, slot: str) -> Path:
        """Gives the file that a slot of a trial shows."""
        clip = self.opened.clips[assignment.shown.clip]
        folder = self.opened.folder / MEDIA_FOLDER
        if slot == "left":
            return folder / f"{assignment.left_media}.mp4"
        if slot == "right":
            return folder / f"{assignment.right_media}.mp4"
        if slot == "actions":
            return folder / f"{clip.actions}.json"
        return folder / (f"{clip.truth}.mp4" if clip.truth else f"{clip.first_frame}.png")

    def _sides(self, shown: Shown) -> tuple[str, str]:
        clip = self.opened.clips[shown.clip]
        if shown.kind != "gold":
            return clip.outputs[shown.left], clip.outputs[shown.right]
        gold = next(
            each
            for each in clip.gold
            if shown.pair == f"gold:{each.kind}" and each.axis == shown.gold_axis
        )
        if shown.left == GOLD_REAL:
            return gold.real, gold.fake
        return gold.fake, gold.real
