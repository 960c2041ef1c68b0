"""Video for the report: truth, prediction and difference (or all branches) in one picture.

The panes are composed into one video before it is encoded, so they cannot drift apart:
whatever plays the video, every pane shows the same frame. Videos are small H.264 (yuv420p,
index first) and travel inside the page as data addresses. Encoding is single-threaded with
fixed settings and no dates, so that the same run gives the same bytes.
"""

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from dojobench.protocol import BadInputError

GAIN = 4
"""How many times the difference is amplified before it is coloured."""

MAX_PANE_WIDTH = 320
"""Wider panes are scaled down to this many pixels."""

MAX_GRID_WIDTH = 960
"""The same for a whole row of branches."""

SMALL = 128
"""Smaller panes are enlarged by a whole factor up to this, or colours would smear in H.264."""

Picture: TypeAlias = npt.NDArray[np.uint8]
"""``[height, width, 3]``."""

Layout = Literal["side", "stack"]
"""Truth, prediction and difference side by side, or prediction below truth."""

_ANCHORS = np.array(
    [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]],
    dtype=np.float64,
)
_LADDER = np.stack(
    [np.interp(np.linspace(0, 5, 256), range(6), _ANCHORS[:, c]) for c in range(3)], axis=1
)
COLOURS: npt.NDArray[np.uint8] = np.rint(_LADDER).astype(np.uint8)
"""``[256, 3]`` from black over violet and orange to pale yellow, lightness rising evenly
(after the magma map of matplotlib, CC0)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A clip chosen to be looked at.

    Attributes:
        role: ``best``, ``median``, ``worst``, or ``only``.
        clip: Its id.
        value: Its score.
    """

    role: str
    clip: str
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Composite:
    """Panes in one encoded video.

    Attributes:
        video: The mp4's bytes.
        poster: A JPEG of the last frame, of the video's size.
        width: Of one pane (of a row of branches in a stack), in pixels.
        height: Of the same.
        frames: How many.
        rate: Frames per second.
    """

    video: bytes
    poster: bytes
    width: int
    height: int
    frames: int
    rate: float

    @property
    def embedded_bytes(self) -> int:
        """How much the video and its poster add to a page, base64 included."""
        return 4 * math.ceil(len(self.video) / 3) + 4 * math.ceil(len(self.poster) / 3)


def choose(
    clip_values: Sequence[Mapping[str, Any]], metric: str, *, higher_is_better: bool
) -> list[Choice]:
    """Picks the best, the (lower) median and the worst clip, each clip at most once.

    Args:
        clip_values: As in ``summary.json``: mappings with ``clip`` and ``values``.
        metric: By which to order; clips without it are left out.
        higher_is_better: Its direction.

    Returns:
        Three choices, fewer where there are fewer clips; equal scores go by clip id.
    """
    scored = [
        (float(c["values"][metric]), str(c["clip"]))
        for c in clip_values
        if c["values"].get(metric) is not None and math.isfinite(c["values"][metric])
    ]
    scored.sort(key=lambda pair: (-pair[0] if higher_is_better else pair[0], pair[1]))
    if not scored:
        return []
    if len(scored) == 1:
        places = [("only", 0)]
    else:
        places = [("best", 0), ("median", len(scored) // 2), ("worst", len(scored) - 1)]
    picked: dict[int, str] = {}
    for role, place in places if len(scored) > 2 else [p for p in places if p[0] != "median"]:
        picked.setdefault(place, role)
    return [Choice(role=r, clip=scored[k][1], value=scored[k][0]) for k, r in picked.items()]


def compose(
    truth: Path, prediction: Path, *, context: int, layout: Layout = "side", columns: int = 1
) -> Composite:
    """Puts truth, prediction and their amplified difference side by side, or one above the other.

    The difference is the mean over the channels of ``|prediction - truth|``, times ``GAIN``,
    through ``COLOURS``. Frames that were given to the model carry a frame line in the
    prediction's pane. Nothing but one pair of frames is held in memory.

    Args:
        truth: H.264 file with context and scored frames.
        prediction: The same for the prediction, equal in size and length.
        context: Leading frames that were given to the model.
        layout: ``side``, or ``stack`` for the prediction below the truth, without difference.
        columns: How many panes each file holds side by side.

    Returns:
        The encoded composite.

    Raises:
        BadInputError: If a file is missing or broken, or the two differ in size or length.
    """
    files = (truth, prediction)
    if layout == "side":
        return _composed(files, (3, 1), _panes, context=context, columns=columns)
    rows = partial(_rows, columns=columns)
    return _composed(files, (1, 2), rows, context=context, columns=columns)


def compose_row(truth: Path, predictions: Sequence[Path], *, context: int) -> Composite:
    """Puts the truth and several predictions of one clip side by side, without difference.

    Args:
        truth: H.264 file with context and scored frames.
        predictions: The same of each model, equal in size and length.
        context: Leading frames that were given to the models.

    Returns:
        The encoded composite, one pane more than there are predictions.

    Raises:
        BadInputError: If a file is missing or broken, or two differ in size or length.
    """
    files = (truth, *predictions)
    return _composed(files, (len(files), 1), _row, context=context)


def _composed(
    files: Sequence[Path],
    tiles: tuple[int, int],
    arrange: Callable[..., Picture],
    *,
    context: int,
    columns: int = 1,
) -> Composite:
    """Encodes what ``arrange(frames, size, given=…)`` makes of each frame of several files.

    Args:
        files: The truth first.
        tiles: How many panes the composite holds across and down.
        arrange: Puts panes of a size ``(width, height)`` together; ``given`` says that the frame
            was given to the model.
        context: Leading frames that were given.
        columns: How many panes each file holds side by side.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(_open(file)) for file in files]
        folder = stack.enter_context(TemporaryDirectory())
        shape = opened[0].streams.video[0]
        rate = shape.average_rate or Fraction(10)
        size = _pane_size(shape.width, shape.height, columns)
        whole = (tiles[0] * size[0], tiles[1] * size[1])
        count, last = 0, np.zeros((whole[1], whole[0], 3), dtype=np.uint8)
        # The index is moved to the front at the end, which takes a file and not a buffer.
        file = Path(folder) / "clip.mp4"
        with av.open(str(file), "w", format="mp4", options=_MUXER) as out:
            stream = _stream(out, rate, *whole)
            for frames in _together(opened, files):
                last = arrange(frames, size, given=count < context)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(last, format="rgb24")))
                count += 1
            out.mux(stream.encode(None))
        video = file.read_bytes()
    if not count:
        raise BadInputError(f"{files[0]} holds no frames; delete the run folder's videos and rerun")
    return Composite(
        video=video,
        poster=_jpeg(last),
        width=size[0],
        height=size[1],
        frames=count,
        rate=float(rate),
    )


def data_address(content: bytes, kind: str) -> str:
    """Writes bytes as a ``data:`` address of the given media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


_MUXER = {"movflags": "+faststart", "fflags": "+bitexact"}
# Without mbtree=0 the encoder gives small videos other bytes now and then.
_ENCODER = {
    "crf": "25",
    "preset": "veryfast",
    "threads": "1",
    "bf": "0",
    "x264-params": "sliced-threads=0:mbtree=0",
}


def _open(path: Path) -> Any:
    if not path.is_file():
        raise BadInputError(f"{path} is missing; run again with --videos to write it")
    try:
        container = av.open(str(path), "r")
    except (av.FFmpegError, OSError) as error:
        raise BadInputError(f"{path} is no readable video; delete it and run again") from error
    if not container.streams.video:
        container.close()
        raise BadInputError(f"{path} holds no video stream; delete it and run again with --videos")
    return container


def _stream(out: Any, rate: Fraction, width: int, height: int) -> Any:
    stream = out.add_stream("libx264", rate=rate, options=_ENCODER)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.gop_size = 12  # short, so that a step backwards is quick
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    return stream


def _jpeg(picture: Picture) -> bytes:
    codec: Any = av.CodecContext.create("mjpeg", "w")
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = "yuvj420p", Fraction(1, 25)
    codec.options = {"qmin": "4", "qmax": "4"}
    codec.thread_count = 1
    codec.flags |= av.codec.context.Flags.bitexact
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))


def _pane_size(width: int, height: int, columns: int) -> tuple[int, int]:
    most = MAX_PANE_WIDTH if columns == 1 else MAX_GRID_WIDTH
    scale = min(1.0, most / width) if width // columns > SMALL else max(1, SMALL * columns // width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _together(opened: Sequence[Any], files: Sequence[Path]) -> Iterator[tuple[Any, ...]]:
    """Decodes several videos in step, the truth first."""
    truth = files[0]
    try:
        for frames in zip_longest(*(one.decode(video=0) for one in opened)):
            a = frames[0]
            for b, prediction in zip(frames[1:], files[1:], strict=True):
                if a is None or b is None:
                    raise BadInputError(
                        f"{prediction} and {truth} have unequal numbers of frames; "
                        "delete the run folder's videos and run again with --videos"
                    )
                if (a.width, a.height) != (b.width, b.height):
                    raise BadInputError(
                        f"{prediction} is {b.width}x{b.height} and {truth} is "
                        f"{a.width}x{a.height}; delete the run folder's videos and run again "
                        "with --videos"
                    )
            yield frames
    except av.FFmpegError as error:
        raise BadInputError(
            f"{' or '.join(map(str, files))} is broken; delete them and run again with --videos"
        ) from error


def _panes(frames: Sequence[Any], size: tuple[int, int], *, given: bool) -> Picture:
    truth, prediction = (frame.to_ndarray(format="rgb24") for frame in frames)
    apart = np.where(prediction > truth, prediction - truth, truth - prediction)
    amplified = apart.sum(axis=2, dtype=np.uint16) * GAIN // 3
    heat = COLOURS[np.minimum(amplified, 255)]
    panes = [_fit(pane, size) for pane in (truth, prediction, heat)]
    if given:
        panes[1] = _outlined(panes[1])
    return np.concatenate(panes, axis=1)


def _rows(frames: Sequence[Any], size: tuple[int, int], *, columns: int, given: bool) -> Picture:
    rows = [_fit(frame.to_ndarray(format="rgb24"), size) for frame in frames]
    if given:
        panes = np.split(rows[1], columns, axis=1) if size[0] % columns == 0 else [rows[1]]
        rows[1] = np.concatenate([_outlined(pane) for pane in panes], axis=1)
    return np.concatenate(rows, axis=0)


def _row(frames: Sequence[Any], size: tuple[int, int], *, given: bool) -> Picture:
    panes = [_fit(frame.to_ndarray(format="rgb24"), size) for frame in frames]
    if given:
        panes[1:] = [_outlined(pane) for pane in panes[1:]]
    return np.concatenate(panes, axis=1)


def _fit(pane: Picture, size: tuple[int, int]) -> Picture:
    width, height = size
    if pane.shape[1] == width and pane.shape[0] == height:
        return pane
    factor, rest = divmod(width, pane.shape[1])
    if factor > 1 and not rest and pane.shape[0] * factor == height:
        return np.repeat(np.repeat(pane, factor, axis=0), factor, axis=1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pane), format="rgb24")
    small = frame.reformat(width, height, interpolation="AREA").to_ndarray(format="rgb24")
    return np.asarray(small, dtype=np.uint8)


def _outlined(pane: Picture) -> Picture:
    """Draws a line round a context frame, so that it is told apart without any script too."""
    width = max(2, pane.shape[0] // 64)
    marked = pane.copy()
    for edge in (marked[:width], marked[-width:], marked[:, :width], marked[:, -width:]):
        edge[...] = (240, 180, 40)
    return marked
