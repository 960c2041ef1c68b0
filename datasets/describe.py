"""What ``dojobench data`` prints about datasets and suites."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dojobench.datasets.dreamdojo_sets import RECIPES, Recipe, find_datasets
from dojobench.datasets.formats import open_source
from dojobench.datasets.manifest import Manifest, read_manifest
from dojobench.datasets.progress import track
from dojobench.datasets.source import EpisodeSource
from dojobench.datasets.statistics import ActionStatistics
from dojobench.datasets.suite import ClipRecord
from dojobench.datasets.suites import (
    data_from_environment,
    find_roots,
    load_named,
    named_manifests,
)
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.words import count


@dataclass(frozen=True, kw_only=True)
class NamedSuite:
    """A named suite as ``dojobench data list`` shows it.

    Attributes:
        name: Its name.
        description: What it is for.
        contents: Clips, size, rate and robot, in words.
        where: Folders of its data, or nothing.
        obtain: Where to get them.
    """

    name: str
    description: str
    contents: str
    where: str
    obtain: str


def describe_named(data: Path | None) -> list[NamedSuite]:
    """Describes all named suites.

    Args:
        data: Folder of datasets; that of ``DOJOBENCH_DATA`` where ``None``.
    """
    return [_describe_manifest(name, data) for name in named_manifests()] + [
        _describe_recipe(recipe, data) for recipe in RECIPES.values()
    ]


def counts_by_split(clips: Sequence[ClipRecord]) -> str:
    """Says how many clips each split has, such as ``30 clips (train 10, val 20)``."""
    counts = Counter(clip.split for clip in clips)
    parts = ", ".join(f"{split} {number}" for split, number in sorted(counts.items()))
    return f"{count(len(clips), 'clip')} ({parts})"


def print_dataset(root: Path, format: str | None) -> None:
    """Prints what a dataset holds.

    Raises:
        BadInputError: If it cannot be read.
    """
    source = open_source(root, format)
    lengths = {}
    unreadable: list[str] = []
    ids = source.episode_ids
    for each in track(ids, "reading episodes", len(ids)):
        try:
            lengths[each] = source.episode(each).length
        except BadInputError:
            unreadable.append(each)
    rows = {
        "format": source.format,
        "episodes": f"{len(ids)}" + (f", {len(unreadable)} unreadable" if unreadable else ""),
        "frames": _lengths(source, list(lengths.values())),
        "rate": f"{source.frame_rate:g} Hz",
        "cameras": "\n".join(source.cameras) or "none",
        "resolution": f"{source.resolution[0]}x{source.resolution[1]}",
        "actions": f"{source.action_dim} dimensions" if source.action_dim else "none",
        "action names": ", ".join(source.action_names) or "none",
        "instructions": _instructions(source, list(lengths)),
    }
    if unreadable:
        rows["unreadable"] = f"{', '.join(unreadable[:10])}; see `dojobench data check {root}`"
    _print_table(str(root), rows)


def print_suite(reference: str) -> None:
    """Prints what a suite holds.

    Raises:
        BadInputError: If there is no such manifest or named suite.
    """
    if reference in RECIPES:
        recipe = RECIPES[reference]
        _print_table(
            recipe.name,
            {
                "description": recipe.description,
                "clips": f"{recipe.clips} of {recipe.frames} frames, split val",
                "made": "from the downloaded data when opened, by the published sampling",
                "resolution": f"{recipe.resolution[0]}x{recipe.resolution[1]}",
                "stride": str(recipe.stride),
                "embodiment": "gr1",
                "data": recipe.obtain,
            },
        )
        return
    if reference in named_manifests():
        manifest = load_named(reference)
    elif Path(reference).is_file():
        manifest = read_manifest(Path(reference))
    else:
        known = ", ".join((*named_manifests(), *RECIPES))
        raise BadInputError(
            f"'{reference}' is no folder, no manifest file and no named suite; the named suites "
            f"are {known}."
        )
    _print_table(manifest.header.name, _suite_rows(manifest))


def print_statistics(statistics: ActionStatistics, names: Sequence[str]) -> None:
    """Prints statistics, one dimension a row."""
    table = Table(box=None)
    for column in ("", "name", "min", "max", "mean", "std"):
        table.add_column(column, justify="left" if column == "name" else "right")
    columns = (statistics.minimum, statistics.maximum, statistics.mean, statistics.std)
    for row in range(statistics.dim):
        name = names[row] if row < len(names) else ""
        table.add_row(str(row), name, *(f"{values[row]:.4g}" for values in columns))
    Console().print(table)


def _suite_rows(manifest: Manifest) -> dict[str, str]:
    header, space = manifest.header, manifest.header.action_space
    frames = sorted({clip.frames for clip in manifest.clips})
    episodes = {(clip.split, clip.source, clip.episode) for clip in manifest.clips}
    by_split = Counter(split for split, _, _ in episodes)
    fit = "" if header.fit == "exact" else ", cropped and resized to it"
    return {
        "description": header.description or "none",
        "version": manifest.version,
        "clips": counts_by_split(manifest.clips),
        "episodes": ", ".join(f"{split} {count}" for split, count in sorted(by_split.items())),
        "frames": f"{', '.join(map(str, frames))} a clip, {header.context_frames} of context",
        "rate": f"{header.frame_rate:g} Hz",
        "resolution": f"{header.resolution[0]}x{header.resolution[1]}{fit}",
        "actions": f"{space.dim} dimensions, {space.kind}, {space.embodiment}, {header.actions}",
        "units": space.units or "unstated",
        "cameras": ", ".join((*sorted({clip.camera for clip in manifest.clips}), *header.views)),
        "data": "\n".join(f"{each.obtain or each.revision}" for each in header.sources.values()),
    }


def _print_table(title: str, rows: dict[str, str]) -> None:
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _describe_manifest(name: str, data: Path | None) -> NamedSuite:
    manifest = load_named(name)
    header = manifest.header
    try:
        roots = find_roots(manifest, data=data)
        where = ", ".join(str(root) for root in roots.values())
        where = "yes, made in memory" if manifest.header.dojo is not None else where
    except BadInputError:
        where = ""
    frames = ", ".join(str(each) for each in sorted({clip.frames for clip in manifest.clips}))
    return NamedSuite(
        name=name,
        description=header.description,
        contents=f"{counts_by_split(manifest.clips)}, {frames} frames, {header.resolution[0]}x"
        f"{header.resolution[1]}, {header.frame_rate:g} Hz, {header.action_space.embodiment}",
        where=where,
        obtain="; ".join(each.obtain or each.revision for each in header.sources.values()),
    )


def _describe_recipe(recipe: Recipe, data: Path | None) -> NamedSuite:
    try:
        found = find_datasets(recipe, data or data_from_environment())
        where = ", ".join(str(root) for root in found)
    except BadInputError:
        where = ""
    return NamedSuite(
        name=recipe.name,
        description=recipe.description,
        contents=f"{recipe.clips} clips (val {recipe.clips}), {recipe.frames} frames, "
        f"{recipe.resolution[0]}x{recipe.resolution[1]}, stride {recipe.stride}, gr1",
        where=where,
        obtain=recipe.obtain,
    )


def _lengths(source: EpisodeSource, lengths: Sequence[int]) -> str:
    if not lengths:
        return "none readable"
    seconds = sum(lengths) / source.frame_rate
    return (
        f"{sum(lengths)} ({seconds:.0f} s), {min(lengths)} to {max(lengths)} an episode, "
        f"median {sorted(lengths)[len(lengths) // 2]}"
    )


def _instructions(source: EpisodeSource, episodes: Sequence[str]) -> str:
    texts = dict.fromkeys(source.episode(each).instruction for each in episodes[:100])
    stated = [text for text in texts if text]
    more = f"\n… {len(stated) - 5} more" if len(stated) > 5 else ""
    return "\n".join(stated[:5]) + more if stated else "none"
