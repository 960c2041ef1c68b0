"""Makes a study's folder: clips drawn, all media encoded alike, the plan and the catalogue.

The folder is built under another name and moved into place when it is whole.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import ValidationError

from dojobench.datasets.suite import Clip, ClipRecord, Suite
from dojobench.human_eval.catalog import (
    MEDIA_FOLDER,
    CatalogClip,
    Gold,
    media_path,
    write_catalog,
)
from dojobench.human_eval.clip_sources import (
    ModelVideos,
    choose_clips,
    find_models,
    read_prediction,
)
from dojobench.human_eval.gold import GoldFake, other_future, partners, shuffled
from dojobench.human_eval.lanes import fit_compass, lane_data, value_limits
from dojobench.human_eval.media_encoder import (
    ENCODING,
    Frames,
    Picture,
    Scaling,
    encode_picture,
    encode_video,
    pad_alike,
    scale,
    watchable,
)
from dojobench.human_eval.study_file import (
    AnalysisPart,
    AxesPart,
    Axis,
    AxisPart,
    ExclusionsPart,
    ModelPart,
    StoppingPart,
    Study,
    StudyPart,
    TrialsPart,
    write_study,
)
from dojobench.human_eval.texts import check_texts
from dojobench.protocol.errors import BadInputError

MEDIA_FACTS = "media.json"
"""Name of the file that says how the media were made, and their hashes."""

_GOLD_PARTNERS = 3


@dataclass(frozen=True, kw_only=True)
class CreateConfig:
    """What a study is made of; see ``dojobench study create --help``."""

    title: str
    pairs: int
    axes: tuple[Axis, ...] = ("physics", "action")
    languages: tuple[str, ...] = ("en", "zh")
    reference: Literal["truth", "first-frame"] = "truth"
    scaling: Scaling = "lanczos"
    max_seconds: float = 10.0
    per_rater: int = 50
    votes_per_pair: int | None = None
    min_gold: float | None = None
    min_seconds: float | None = None
    anchor: str | None = None
    preset: Literal["clustered", "dreamdojo"] = "clustered"
    seed: int = 0


class CreatedStudy(NamedTuple):
    """What was made."""

    hash: str
    """``sha256:…`` of ``study.toml``: the pre-registration."""
    clips: int
    gold: dict[str, int]
    """Gold pairs by kind."""
    picture: Picture
    frames: tuple[int, int]
    """Fewest and most frames of a clip."""
    bytes: int
    """Size of all media."""


def create_study(
    runs: Sequence[str],
    suite: Suite,
    out: Path,
    config: CreateConfig,
    *,
    advance: Callable[[int], None] = lambda frames: None,
) -> CreatedStudy:
    """Makes a study.

    Args:
        runs: Run folders or folders of videos, each ``PATH`` or ``NAME=PATH``.
        suite: What they predict.
        out: Folder to make; it must not exist.
        config: What the study is made of.
        advance: Told the number of frames encoded, after each clip.

    Raises:
        BadInputError: If the runs do not fit, ``out`` exists, or the plan is wrong; nothing is
            left behind then.
    """
    if out.exists():
        raise BadInputError(f"{out} exists; a study is made in a new folder")
    check_texts(config.languages, config.axes)
    models = find_models(runs, suite)
    study = _plan(models, suite, config)
    records = choose_clips(models, suite, config.pairs, seed=config.seed)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        (temporary / MEDIA_FOLDER).mkdir(parents=True)
        maker = _Maker(temporary, suite, models, records, config)
        clips = []
        for record in records:
            clip = maker.clip(record)
            clips.append(clip)
            advance(clip.frames * (1 + len(clip.outputs) + len(clip.gold)))
        write_catalog(tuple(clips), temporary)
        found = write_study(study, temporary)
        total = maker.write_facts()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return CreatedStudy(
        hash=found,
        clips=len(clips),
        gold=_count(gold.kind for clip in clips for gold in clip.gold),
        picture=maker.picture,
        frames=(min(c.frames for c in clips), max(c.frames for c in clips)),
        bytes=total,
    )


def _count(kinds: Any) -> dict[str, int]:
    counted: dict[str, int] = {}
    for kind in kinds:
        counted[kind] = counted.get(kind, 0) + 1
    return dict(sorted(counted.items()))


def _plan(models: Sequence[ModelVideos], suite: Suite, config: CreateConfig) -> Study:
    for model in models:
        if model.name.lower() in config.title.lower():
            raise BadInputError(
                f"the title '{config.title}' names the model {model.name}, and raters see it; "
                "choose another with --title"
            )
    asked = {axis: AxisPart(question=axis) for axis in config.axes}
    try:
        return Study(
            study=StudyPart(
                title=config.title,
                suite=f"{suite.spec.name}@{suite.spec.version}",
                languages=config.languages,
                seed=config.seed,
            ),
            models=tuple(ModelPart(name=each.name, source=each.source) for each in models),
            axes=AxesPart(**asked),
            trials=TrialsPart(pairs=config.pairs, per_rater=config.per_rater),
            stopping=StoppingPart(votes_per_pair=config.votes_per_pair),
            exclusions=ExclusionsPart(min_gold=config.min_gold, min_seconds=config.min_seconds),
            analysis=AnalysisPart(anchor=config.anchor, preset=config.preset),
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the plan"
        reason = first["msg"].removeprefix("Value error, ")
        raise BadInputError(f"no study can be planned like this: {field} {reason}") from error


class _Maker:
    """Writes the media of one clip after the other."""

    def __init__(
        self,
        folder: Path,
        suite: Suite,
        models: Sequence[ModelVideos],
        records: Sequence[ClipRecord],
        config: CreateConfig,
    ) -> None:
        self._folder, self._suite, self._models, self._config = folder, suite, models, config
        self.picture = watchable(suite.spec.resolution, config.scaling)
        self._written: dict[str, str] = {}
        self._bytes = 0
        opened = [suite.open(record) for record in records]
        try:
            self._limits = value_limits([clip.actions.numpy() for clip in opened])
            self._compass = fit_compass(opened, suite.spec.action_space)
        finally:
            for clip in opened:
                clip.close()

    def clip(self, record: ClipRecord) -> CatalogClip:
        """Makes all media of a clip."""
        spec, rate = self._suite.spec, self._suite.spec.frame_rate
        context = min(spec.context_frames, record.frames - 1)
        count = min(record.frames, max(context + 2, round(self._config.max_seconds * rate)))
        clip = self._suite.open(record)
        try:
            truth = _frames(clip, count)
            actions = clip.actions.numpy()
        finally:
            clip.close()
        videos = {"truth": truth}
        for number, model in enumerate(self._models):
            videos[f"model {number}"] = self._shape(
                read_prediction(
                    model.files[record.id], record, truth, context=context, count=count
                ),
                truth,
                model.files[record.id],
            )
        fakes = self._gold(record, truth, context)
        videos |= {f"gold {number}": fake.frames for number, fake in enumerate(fakes)}
        names = self._store(record, videos, rate)
        lane = lane_data(
            actions,
            spec.action_space,
            frames=count,
            rate=rate,
            context=context,
            limits=self._limits,
            compass=self._compass,
        )
        first = scale(truth[context - 1 : context], self.picture)[0]
        return CatalogClip(
            clip=record.id,
            frames=count,
            rate=rate,
            truth=names["truth"] if self._config.reference == "truth" else None,
            first_frame=self._write(record, "first", "png", encode_picture(first)),
            actions=self._write(record, "lane", "json", _json(lane)),
            outputs={m.name: names[f"model {k}"] for k, m in enumerate(self._models)},
            gold=tuple(
                Gold(kind=fake.kind, real=names["truth"], fake=names[f"gold {k}"], axis=fake.axis)
                for k, fake in enumerate(fakes)
            ),
        )

    def _shape(self, frames: Frames, truth: Frames, file: Path) -> Frames:
        """Refuses pictures of another shape, which would be shown stretched."""
        ours, theirs = frames.shape[2] / frames.shape[1], truth.shape[2] / truth.shape[1]
        if abs(ours / theirs - 1) > 0.05:
            raise BadInputError(
                f"{file} is {frames.shape[1]}x{frames.shape[2]} and the truth "
                f"{truth.shape[1]}x{truth.shape[2]} (height x width), which is another shape; "
                "write it in the truth's shape"
            )
        return frames

    def _gold(self, record: ClipRecord, truth: Frames, context: int) -> list[GoldFake]:
        rng = np.random.default_rng([self._config.seed, 2, *record.id.encode()])
        found = []
        if "physics" in self._config.axes:
            found.append(shuffled(truth, context, rng))
        if "action" in self._config.axes:
            others = partners(record, self._suite.clips)
            picked = rng.permutation(len(others))[:_GOLD_PARTNERS]
            futures = {others[k].id: self._read(others[k], len(truth)) for k in sorted(picked)}
            found.append(other_future(record, truth, futures, context))
        return [fake for fake in found if fake is not None]

    def _read(self, record: ClipRecord, count: int) -> Frames:
        clip = self._suite.open(record)
        try:
            return _frames(clip, count)
        finally:
            clip.close()

    def _store(self, record: ClipRecord, videos: dict[str, Frames], rate: float) -> dict[str, str]:
        encoded = {
            name: encode_video(scale(frames, self.picture), rate) for name, frames in videos.items()
        }
        padded = pad_alike(encoded)
        return {name: self._write(record, name, "mp4", each) for name, each in padded.items()}

    def _write(self, record: ClipRecord, name: str, ending: str, content: bytes) -> str:
        """Writes a file under a name that says nothing; equal studies give equal names."""
        key = hashlib.sha256(f"{self._config.seed}".encode()).digest()
        media = hashlib.blake2b(f"{record.id}\0{name}".encode(), key=key, digest_size=16)
        path = media_path(self._folder, media.hexdigest(), ending)
        path.write_bytes(content)
        os.utime(path, (0, 0))
        self._written[path.name] = hashlib.sha256(content).hexdigest()
        self._bytes += len(content)
        return media.hexdigest()

    def write_facts(self) -> int:
        """Writes how the media were made, and their hashes; gives the sum of their sizes."""
        height, width = self._suite.spec.resolution
        facts = {
            "format": 1,
            "suite_resolution": [height, width],
            "shown_resolution": [self.picture.height, self.picture.width],
            "scaling": self.picture.scaling,
            "rate": self._suite.spec.frame_rate,
            "context_frames": self._suite.spec.context_frames,
            "encoding": ENCODING,
            "sha256": dict(sorted(self._written.items())),
        }
        (self._folder / MEDIA_FACTS).write_bytes(_json(facts, indent=1))
        return self._bytes


def _frames(clip: Clip, count: int) -> Frames:
    return clip.read(0, count).permute(0, 2, 3, 1).contiguous().numpy()


def _json(value: Any, indent: int | None = None) -> bytes:
    text = json.dumps(value, allow_nan=False, indent=indent, ensure_ascii=False)
    return text.encode() + b"\n"
