"""Opens a dataset by what its files say it is, never by what its path is called."""

from collections.abc import Callable
from pathlib import Path

from dojobench.datasets.reading import ReadOptions
from dojobench.datasets.source import EpisodeSource
from dojobench.protocol.errors import BadInputError

FORMATS: dict[str, str] = {
    "lerobot": "LeRobot v2.0, v2.1 or v3.0: meta/info.json with a codebase_version",
    "droid-json": "DROID-style annotations: annotation/*/*.json that name their videos",
    "egodex": "EgoDex: *.mp4 with a *.hdf5 of the same name beside it",
    "video-folder": "video files, with actions beside them as .npy or .parquet or without any",
}
"""Formats that can be read and how each is recognised, in the order in which they are tried."""


def detect_format(root: Path) -> str:
    """Says which format a folder is in.

    Args:
        root: A folder.

    Returns:
        A key of ``FORMATS``.

    Raises:
        BadInputError: If the folder does not exist or is in none of them.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadInputError(f"There is no folder {root}; name the folder of a dataset.")
    if (root / "meta" / "info.json").is_file():
        return "lerobot"
    if (root / "meta").is_dir() and any((root / "data").glob("chunk-*/*.parquet")):
        raise BadInputError(
            f"The folder {root} looks like a LeRobot dataset without its meta/info.json; restore "
            "that file, or read the videos alone with the format 'video-folder'."
        )
    from dojobench.datasets.droid_json import find_base
    from dojobench.datasets.egodex import has_pairs
    from dojobench.datasets.video_folder import find_videos

    if find_base(root) is not None:
        return "droid-json"
    if has_pairs(root):
        return "egodex"
    if find_videos(root):
        return "video-folder"
    known = "; ".join(f"{name} ({text})" for name, text in FORMATS.items())
    raise BadInputError(f"The folder {root} is in no known format; these are known: {known}.")


def open_source(
    root: Path, format: str | None = None, *, options: ReadOptions | None = None
) -> EpisodeSource:
    """Opens a dataset.

    Args:
        root: Its folder.
        format: A key of ``FORMATS``, or a source's full format such as ``lerobot-v2.1``;
            recognised from the files where ``None``.
        options: Main camera, choice of actions, decoder threads.

    Returns:
        The dataset; no video has been decoded.

    Raises:
        BadInputError: If the folder cannot be read in that format.
    """
    root = Path(root)
    chosen = detect_format(root) if format is None else format
    family = "lerobot" if chosen.startswith("lerobot-") else chosen
    if family not in FORMATS:
        raise BadInputError(
            f"There is no dataset format '{chosen}'; the formats are: {', '.join(FORMATS)}."
        )
    if not root.is_dir():
        raise BadInputError(f"There is no folder {root}; name the folder of a dataset.")
    source = _reader(family)(root, options)
    if chosen != family and source.format != chosen:
        raise BadInputError(
            f"The dataset {root} was to be read as {chosen} but is {source.format}; leave the "
            "format out or correct it."
        )
    return source


def _reader(family: str) -> Callable[[Path, ReadOptions | None], EpisodeSource]:
    """Imports only the reader that is asked for."""
    if family == "lerobot":
        from dojobench.datasets.lerobot import LeRobotSource

        return LeRobotSource
    if family == "droid-json":
        from dojobench.datasets.droid_json import DroidJsonSource

        return DroidJsonSource
    if family == "egodex":
        from dojobench.datasets.egodex import EgoDexSource

        return EgoDexSource
    from dojobench.datasets.video_folder import VideoFolderSource

    return VideoFolderSource
