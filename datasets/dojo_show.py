"""Contact sheets of clips: one row a clip, its frames evenly over time, for people to look at."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import torch

from dojobench.datasets.files import write_atomically
from dojobench.datasets.progress import track
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.protocol.errors import BadInputError

_GAP = 4
_BETWEEN_SPLITS = 20


def choose_clips(suite: Suite, split: str | None, each: int) -> list[ClipRecord]:
    """Chooses the clips of a sheet, spread evenly over every split.

    Args:
        suite: The suite.
        split: One split, or all of them.
        each: Most clips of a split.

    Raises:
        BadInputError: If the suite has no such split.
    """
    splits = list(dict.fromkeys(clip.split for clip in suite.clips))
    if split is not None and split not in splits:
        raise BadInputError(
            f"The suite {suite.spec.name} has no split '{split}'; it has {', '.join(splits)}."
        )
    chosen = []
    for name in splits if split is None else [split]:
        clips = [clip for clip in suite.clips if clip.split == name]
        count = min(each, len(clips))
        groups = [clip.branch_group for clip in clips]
        # The branches of one state are worth seeing side by side.
        spread = [clips[i * len(clips) // count] for i in range(count)]
        chosen += clips[:count] if groups[0] is not None else spread
    return chosen


def write_sheet(
    suite: Suite, clips: Sequence[ClipRecord], out: Path, *, columns: int = 8
) -> tuple[int, int]:
    """Writes a contact sheet as PNG, whole or not at all.

    Args:
        suite: The suite.
        clips: One row each; a wider gap separates splits.
        out: The file.
        columns: Frames a clip, from its first to its last.

    Returns:
        Height and width of the sheet.

    Raises:
        BadInputError: If a clip cannot be opened or the file cannot be written.
    """
    height, width = suite.spec.resolution
    bands: list[torch.Tensor] = []
    previous = clips[0].split
    for record in track(clips, "drawing clips", len(clips)):
        gap = _GAP if record.split == previous else _BETWEEN_SPLITS
        if bands:
            bands.append(torch.full((3, gap, columns * (width + _GAP) - _GAP), 255).byte())
        previous = record.split
        row = torch.full((3, height, columns * (width + _GAP) - _GAP), 255, dtype=torch.uint8)
        clip = suite.open(record)
        for column in range(columns):
            at = round(column * (record.frames - 1) / max(1, columns - 1))
            left = column * (width + _GAP)
            row[:, :, left : left + width] = clip.read(at, at + 1)[0]
        clip.close()
        bands.append(row)
    sheet = torch.cat(bands, dim=1)
    write_atomically(out, _png(sheet))
    return int(sheet.shape[1]), int(sheet.shape[2])


def _png(picture: torch.Tensor) -> bytes:
    """Encodes uint8 RGB ``[3, height, width]``."""
    frame = av.VideoFrame.from_ndarray(
        picture.permute(1, 2, 0).contiguous().numpy(), format="rgb24"
    )
    codec = av.VideoCodecContext.create("png", "w")
    codec.height, codec.width = picture.shape[1:]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1)
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
