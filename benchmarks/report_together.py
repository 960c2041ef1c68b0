"""One long rollout of several models in one video: the truth first, then each model's."""

from dojobench.benchmarks.progress import Meter
from dojobench.benchmarks.records import VIDEOS_FOLDER, Record
from dojobench.benchmarks.report_clips import compose_row
from dojobench.benchmarks.report_data import Comparison, Entry
from dojobench.benchmarks.report_players import (
    LONG_BYTES,
    Figure,
    Pane,
    Reel,
    filmed,
    left_out,
    make_player,
    video_files,
)

MOST_MODELS = 3
"""Models in one picture; the truth is the fourth pane."""


def together(comparison: Comparison, clips: list[str]) -> tuple[Reel | None, int]:
    """Composes the first of some clips that two or more models have filmed.

    Baselines and models that saw the truth stay out: they are for tables.

    Args:
        comparison: The runs of one benchmark.
        clips: Ids of long rollouts, in the order of preference.

    Returns:
        The reel, ``None`` where no two models filmed one clip, and the bytes it takes up.
    """
    models = [
        (entry, filmed(entry))
        for entry in comparison.entries
        if entry.role == "model" and (entry.run.path / VIDEOS_FOLDER).is_dir()
    ]
    for clip in clips:
        shown = [(entry, there[clip]) for entry, there in models if clip in there][:MOST_MODELS]
        if len(shown) > 1:
            return _reel(comparison, shown)
    return None, 0


def _reel(comparison: Comparison, shown: list[tuple[Entry, Record]]) -> tuple[Reel, int]:
    labels = [entry.label for entry, _ in shown]
    clip = shown[0][1].clip
    files = [video_files(entry.run.path / VIDEOS_FOLDER, record) for entry, record in shown]
    context = comparison.meta.suite.context_frames
    with Meter("encoding rollouts side by side", 1) as meter:
        composite = compose_row(
            files[0][0], [prediction for _, prediction in files], context=context
        )
        meter.advance(composite.frames)
    title = f"Truth beside {', '.join(labels)}"
    if composite.embedded_bytes > LONG_BYTES:
        return Reel(label=title, style=shown[0][0].style, players=(), missing=left_out()), 0
    player = make_player(
        composite,
        title="A whole rollout, side by side",
        clip=clip,
        facts=f"{composite.frames / composite.rate:.0f} s",
        about=f"{title}: one rollout of {clip}, in step",
        score="",
        context=context,
        figures=tuple(
            Figure(
                title=name,
                panes=(Pane(title=name, x=k * composite.width, y=0),),
                marks_context=k > 0,
            )
            for k, name in enumerate(("Truth", *labels))
        ),
        layout="three",
        metric="psnr",
        # Drawn under the picture are the numbers of the model that stands first in every table.
        values=shown[0][1].curves.get("psnr", ()),
    )
    reel = Reel(label=title, style=shown[0][0].style, players=(player,), missing="")
    return reel, composite.embedded_bytes
