"""``dojobench data``: freeze, list, show and check robot video, and take its statistics."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.subcommands import Subcommand, dispatch

ActionRuleName = Literal["first", "last", "concat"]
KindName = Literal["absolute", "relative", "velocity", "mixed"]


@dataclass(frozen=True, kw_only=True)
class FreezeCommand:
    """Freezes a dataset folder into a manifest: a list of clips with their hashes."""

    folder: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    embodiment: str
    """The robot, such as gr1, g1, droid or none; it is never guessed."""
    out: Path
    """Manifest to write (.jsonl)."""
    format: str | None = None
    """Format of the dataset; recognised from its files if left out."""
    frames: int = 49
    """Frames per clip, context included."""
    rate: float | None = None
    """Frames per second of the clips; the dataset's own if left out."""
    context: int = 1
    """Leading frames that a model may see and that are not scored."""
    lead: int = 1
    """Steps that an episode must have before a clip, as a base for relative actions."""
    clips_per_episode: int | None = None
    """At most so many clips of an episode, evenly spaced; as many as fit if left out."""
    spacing: int | None = None
    """Least number of recorded frames between two starts; no overlap if left out."""
    limit: int | None = None
    """At most so many clips of each split."""
    split: str = "val"
    """One split's name, shares such as val=0.2,train=0.8 (by episode), or window95."""
    assign: tuple[str, ...] = ()
    """Single episodes put into a split, such as val=3,4."""
    seed: int = 0
    """Gives another assignment of episodes to splits."""
    exclude: tuple[str, ...] = ()
    """Ids of episodes to leave out."""
    camera: str | None = None
    """Main camera; the dataset's first if left out."""
    views: tuple[str, ...] = ()
    """Further cameras."""
    resolution: tuple[int, int] | None = None
    """Height and width to crop and resize to; the video's own if left out."""
    actions: ActionRuleName = "first"
    """With a lower rate, which recorded actions lead to the next frame."""
    action_key: str | None = None
    """Which of a dataset's several actions."""
    kind: KindName = "absolute"
    """What the numbers of an action are."""
    units: str = ""
    """Units of the actions, in words."""
    name: str | None = None
    """Name of the suite; that of the file if left out."""
    revision: str = "unstated"
    """Where the data come from, such as owner/name@commit."""
    obtain: str = ""
    """Where to get the data, in words."""
    description: str = ""
    """What the suite is for."""


@dataclass(frozen=True, kw_only=True)
class ListCommand:
    """Lists the named suites, whether their data are at hand and how to get them."""

    data: Path | None = None
    """Folder of datasets; DOJOBENCH_DATA if left out."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class ShowCommand:
    """Shows what is in a dataset or in a suite."""

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER_OR_SUITE")]
    """Folder of a dataset, manifest file, or name of a suite."""
    format: str | None = None
    """Format of the dataset; recognised from its files if left out."""


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """Looks for what is wrong in datasets; exits with 1 if clips cannot be read."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of datasets."""
    format: str | None = None
    """Their format; recognised from their files if left out."""
    deep: bool = False
    """Also decode every video."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class StatsCommand:
    """Takes statistics of a dataset's actions, to normalise them by."""

    folder: tyro.conf.Positional[Path]
    """Folder of the dataset."""
    out: Path | None = None
    """JSON file to write, as LeRobot's meta/stats.json; only printed if left out."""
    format: str | None = None
    """Format of the dataset; recognised from its files if left out."""
    action_key: str | None = None
    """Which of a dataset's several actions."""
    suite: Path | None = None
    """Manifest whose episodes are used, so that test episodes can be kept out."""
    split: str = "train"
    """With --suite: the split."""


def freeze(argv: list[str]) -> int:
    """Runs ``dojobench data freeze``."""
    command = parse(FreezeCommand, argv, "dojobench data freeze")
    from dojobench.datasets.describe import counts_by_split
    from dojobench.datasets.embodiments import EMBODIMENTS
    from dojobench.datasets.formats import open_source
    from dojobench.datasets.freeze import freeze as freeze_dataset
    from dojobench.datasets.freeze import slug
    from dojobench.datasets.manifest import write_manifest
    from dojobench.datasets.plans import plan_from
    from dojobench.datasets.reading import ReadOptions

    if command.out.suffix != ".jsonl":
        raise BadInputError(f"A manifest is a .jsonl file; name one instead of {command.out}.")
    options = ReadOptions(camera=command.camera, action_key=command.action_key)
    source = open_source(command.folder, command.format, options=options)
    name = command.name or slug(command.out.stem)
    frozen = freeze_dataset(source, plan_from(command, source, name))
    manifest = write_manifest(command.out, frozen.header, frozen.clips)
    spec = manifest.spec
    print(
        f"{command.out}: {counts_by_split(manifest.clips)}, {command.frames} frames each, "
        f"{spec.resolution[0]}x{spec.resolution[1]} at {spec.frame_rate:g} Hz, "
        f"{spec.action_space.dim} action dimensions ({spec.action_space.embodiment})"
    )
    print(f"version {manifest.version}")
    if frozen.too_short:
        print(
            f"{len(frozen.too_short)} of {len(source.episode_ids)} episodes are too short for a "
            f"clip: {', '.join(frozen.too_short[:10])}{' …' if frozen.too_short[10:] else ''}"
        )
    if command.embodiment not in EMBODIMENTS and source.action_dim:
        print(
            f"note: '{command.embodiment}' has no slots in the shared action layout; models that "
            "take the dataset's actions as they are do not need them"
        )
    print(f"next: dojobench run hold --suite {command.out} --data {command.folder} --out runs/hold")
    return 0


def list_suites(argv: list[str]) -> int:
    """Runs ``dojobench data list``."""
    command = parse(ListCommand, argv, "dojobench data list")
    from dojobench.datasets.describe import describe_named

    described = describe_named(command.data)
    if command.json:
        print(json.dumps([asdict(each) for each in described], indent=1))
        return 0
    for each in described:
        print(f"{each.name}\n    {each.description}\n    {each.contents}")
        print(f"    at hand: {each.where or 'no'}\n    get it from: {each.obtain}")
    print("\nA suite is run with: dojobench run MODEL --suite NAME --data FOLDER --out DIR")
    print("FOLDER holds the datasets; it can also be named by DOJOBENCH_DATA.")
    return 0


def show(argv: list[str]) -> int:
    """Runs ``dojobench data show``."""
    command = parse(ShowCommand, argv, "dojobench data show")
    from dojobench.datasets.describe import print_dataset, print_suite

    if Path(command.what).is_dir():
        print_dataset(Path(command.what), command.format)
    else:
        print_suite(command.what)
    return 0


def check(argv: list[str]) -> int:
    """Runs ``dojobench data check``; 1 if an error was found."""
    command = parse(CheckCommand, argv, "dojobench data check")
    from dojobench.datasets.formats import open_source
    from dojobench.protocol.words import count

    if not command.folders:
        raise BadInputError("No folder was named; name at least one, as in `data check FOLDER`.")
    found = {
        str(folder): open_source(folder, command.format).check(deep=command.deep)
        for folder in command.folders
    }
    errors = sum(each.severity == "error" for problems in found.values() for each in problems)
    if command.json:
        document = {folder: [asdict(each) for each in found[folder]] for folder in found}
        print(json.dumps(document, indent=1))
        return 1 if errors else 0
    for folder, problems in found.items():
        for problem in problems:
            print(f"{folder}: {problem.severity}: {problem.where}: {problem.message} "
                  f"[{problem.code}]")  # fmt: skip
        wrong = sum(each.severity == "error" for each in problems)
        warnings = count(len(problems) - wrong, "warning")
        print(f"{folder}: {count(wrong, 'error')}, {warnings}")
    return 1 if errors else 0


def stats(argv: list[str]) -> int:
    """Runs ``dojobench data stats``."""
    command = parse(StatsCommand, argv, "dojobench data stats")
    from dojobench.datasets.describe import print_statistics
    from dojobench.datasets.formats import open_source
    from dojobench.datasets.plans import episodes_of
    from dojobench.datasets.reading import ReadOptions
    from dojobench.datasets.statistics import compute_statistics, save_statistics
    from dojobench.protocol.words import count

    options = ReadOptions(action_key=command.action_key)
    source = open_source(command.folder, command.format, options=options)
    episodes = episodes_of(command.suite, command.split, source) if command.suite else None
    statistics = compute_statistics(source, episodes=episodes)
    print_statistics(statistics, source.action_names)
    used = count(len(episodes or source.episode_ids), "episode")
    print(f"statistics of {source.name}, {used}")
    print(f"version {statistics.sha256}")
    if command.out is not None:
        save_statistics(statistics, command.out)
        print(f"written to {command.out}; load them with dojobench.datasets.statistics")
    return 0


ACTIONS: dict[str, Subcommand] = {
    "list": Subcommand(
        list_suites, "named suites, whether their data are at hand, how to get them"
    ),
    "show": Subcommand(show, "what is in a dataset or a suite"),
    "check": Subcommand(check, "what is wrong in datasets"),
    "freeze": Subcommand(freeze, "freeze a dataset into a manifest of clips"),
    "stats": Subcommand(stats, "statistics of a dataset's actions"),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench data``.

    Args:
        argv: Arguments behind ``data``.

    Returns:
        The exit code: 1 where a check found errors, 2 for a command that does not exist.
    """
    return dispatch("data", ACTIONS, argv)
