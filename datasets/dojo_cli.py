"""``dojobench dojo``: make, freeze, check and show the simulated world's clips."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.subcommands import Subcommand, dispatch

if TYPE_CHECKING:
    from dojobench.datasets.contamination import Contamination
    from dojobench.datasets.dojo_freeze import Verified
    from dojobench.datasets.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class MakeCommand:
    """Makes episodes and writes them as a LeRobot folder."""

    out: tyro.conf.Positional[Path]
    """Folder to make; it must not exist."""
    embodiment: Literal["arm", "arm2", "hand"] = "arm"
    """Who acts."""
    episodes: int = 200
    """Number of episodes."""
    frames: int = 50
    """Frames of an episode; ten are a second."""
    seed: str = "0"
    """Another seed gives other episodes."""
    split: str | None = None
    """Whose scenes and behaviour: train for the arms and human for the hand if left out."""
    hold: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Hold or narrow a factor, such as object.colour=red, objects.number=2, light.azimuth=-20..20
    or object.kind=ball,mug; may be given several times. `dojobench dojo list` names them."""
    suite: str | None = None
    """Instead, write the clips of dojo-mini or dojo-v1; with --split, those of one split."""
    size: tuple[int, int] = (64, 64)
    """Height and width, from 64 64 to 480 640."""
    format: Literal["v2.1", "v3.0"] = "v2.1"
    """Version of the LeRobot layout."""
    quality: Literal["high", "lossless"] = "high"
    """Of the video: H.264 at crf 12, or the very same pixels (H.264 in RGB)."""
    with_actions: bool = False
    """Keep the hand's actions and states, which are withheld as in human video."""
    workers: int | None = None
    """Processes; all cores if left out, none but this one for 0."""


@dataclass(frozen=True, kw_only=True)
class FreezeCommand:
    """Freezes a suite by seed and hash; with a secret seed, a private one."""

    suite: Literal["dojo-v1", "dojo-mini"] = "dojo-v1"
    """Whose recipe."""
    out: Path
    """Manifest to write (.jsonl)."""
    secret_seed: str | None = None
    """Seed that stays with its owner, or a file that holds it; at least 16 random characters."""
    name: str | None = None
    """Name of the suite; that of the recipe, or of a private suite's file, if left out."""
    size: tuple[int, int] = (64, 64)
    """Height and width, from 64 64 to 480 640."""
    commitment_only: bool = False
    """Print the commitment to the secret seed, to be published first, and write nothing."""
    workers: int | None = None
    """Processes; all cores if left out, none but this one for 0."""


@dataclass(frozen=True, kw_only=True)
class VerifyCommand:
    """Renders a frozen suite anew and says how far it is from its manifest; 1 if it differs."""

    manifest: tyro.conf.Positional[str]
    """Manifest file, dojo-mini or dojo-v1."""
    secret_seed: str | None = None
    """Seed of a private suite, or a file that holds it."""
    workers: int | None = None
    """Processes; all cores if left out, none but this one for 0."""


@dataclass(frozen=True, kw_only=True)
class ShowCommand:
    """Draws clips on a contact sheet: a row is a clip, from its first to its last frame."""

    out: Path
    """PNG file to write."""
    suite: str = "dojo-mini"
    """Any suite, by name or manifest."""
    data: Path | None = None
    """Folder of the datasets, for suites of recorded data."""
    split: str | None = None
    """One split; all if left out."""
    clips: int = 4
    """Most clips of a split."""
    columns: int = 8
    """Frames a clip."""


@dataclass(frozen=True, kw_only=True)
class ListCommand:
    """Lists suites, splits, embodiments, tasks and factors of variation."""

    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class ContaminationCommand:
    """Looks for a suite's clips in a training set; exits with 1 if some are found."""

    folder: tyro.conf.Positional[Path]
    """Folder of the training set, in any format that `dojobench data show` reads."""
    suite: str = "dojo-v1"
    """Any suite, by name or manifest."""
    data: Path | None = None
    """Folder of the suite's datasets, for suites of recorded data."""
    format: str | None = None
    """Format of the training set; recognised from its files if left out."""
    splits: tuple[str, ...] = ()
    """Splits of the suite; all but train if left out."""
    share: float = 0.5
    """Least share of a clip's frames that one episode must show."""
    clip_step: int = 4
    """Look for every which frame of a clip."""
    train_step: int = 1
    """Search every which frame of the training set."""
    json: bool = False
    """Print JSON."""


def make(argv: list[str]) -> int:
    """Runs ``dojobench dojo make``."""
    command = tyro.cli(MakeCommand, args=argv, prog="dojobench dojo make")
    from dojobench.datasets.dojo_make import FolderConfig, write_folder
    from dojobench.datasets.dojo_plans import (
        MakeConfig,
        choose_split,
        lengthened,
        make_plans,
        parse_held,
        suite_plans,
    )

    if command.suite is not None:
        plans = lengthened(choose_split(suite_plans(command.suite), command.split))
        origin = command.suite
    else:
        config = MakeConfig(
            embodiment=command.embodiment,
            episodes=command.episodes,
            frames=command.frames,
            seed=command.seed,
            split=command.split,
            held=parse_held(command.hold),
        )
        plans, origin = make_plans(config), f"seed {command.seed}"
    withheld = plans[0].actions_withheld and not command.with_actions
    floors = write_folder(
        FolderConfig(
            root=command.out,
            version=command.format,
            quality=command.quality,
            size=command.size,
            actions=not withheld,
            origin=origin,
            workers=command.workers,
        ),
        plans,
    )
    floor = ", ".join(f"{value:g} dB" for value in floors.values())
    print(
        f"{command.out}: {len(plans)} episodes of {plans[0].embodiment}, "
        f"{sum(plan.frames - 1 for plan in plans)} frames of {command.size[0]}x{command.size[1]}, "
        f"LeRobot {command.format}, {'actions withheld' if withheld else 'with actions'}"
    )
    print(f"codec floor: {floor} (100 dB: the very same pixels)")
    print(f"next: dojobench data show {command.out}")
    return 0


def freeze(argv: list[str]) -> int:
    """Runs ``dojobench dojo freeze``."""
    command = tyro.cli(FreezeCommand, args=argv, prog="dojobench dojo freeze")
    from dojobench.datasets.describe import counts_by_split
    from dojobench.datasets.dojo_cache import ClipCache, default_folder
    from dojobench.datasets.dojo_freeze import FreezeDojo, freeze_dojo
    from dojobench.datasets.dojo_plans import SECRET_VARIABLE, read_secret, seed_commitment
    from dojobench.datasets.manifest import write_manifest

    secret = read_secret(command.secret_seed) if command.secret_seed else None
    if command.commitment_only:
        if secret is None:
            raise BadInputError("A commitment is made to a secret seed; give one by --secret-seed.")
        print(seed_commitment(command.suite, secret))
        return 0
    if command.out.suffix != ".jsonl" or not command.out.absolute().parent.is_dir():
        raise BadInputError(
            f"A manifest is a .jsonl file in an existing folder; name one instead of {command.out}."
        )
    name = command.name or (command.out.stem if secret else command.suite)
    config = FreezeDojo(
        suite=command.suite, name=name, secret=secret, size=command.size, workers=command.workers
    )
    frozen = freeze_dojo(config, ClipCache(default_folder()))
    manifest = write_manifest(command.out, frozen.header, frozen.clips, frozen.fingerprints)
    print(f"{command.out}: {counts_by_split(manifest.clips)}, {command.out.stat().st_size} bytes")
    print(f"version {manifest.version}")
    if frozen.header.dojo is not None and frozen.header.dojo.commitment is not None:
        print(f"commitment {frozen.header.dojo.commitment}")
        print("keep the seed: without it nobody can open the suite")
        print(f"next: {SECRET_VARIABLE}=FILE dojobench run MODEL --suite {command.out} --out DIR")
    else:
        print(f"next: dojobench run MODEL --suite {command.out} --out DIR")
    return 0


def verify(argv: list[str]) -> int:
    """Runs ``dojobench dojo verify``; 1 if a clip is not the one frozen."""
    command = tyro.cli(VerifyCommand, args=argv, prog="dojobench dojo verify")
    from dojobench.datasets.dojo_freeze import verify_dojo

    manifest = _dojo_manifest(command.manifest)
    found = verify_dojo(manifest, secret=command.secret_seed, workers=command.workers)
    _print_verified(manifest, found)
    return 1 if found.refused else 0


def _dojo_manifest(reference: str) -> "Manifest":
    from dojobench.datasets.manifest import read_manifest
    from dojobench.datasets.suites import load_named, named_manifests

    named = reference in named_manifests() and not Path(reference).is_file()
    manifest = load_named(reference) if named else read_manifest(Path(reference))
    if manifest.header.dojo is None:
        raise BadInputError(
            f"The suite {manifest.header.name} is not simulated, so there is no seed to verify; "
            "its clips are checked whenever they are opened."
        )
    return manifest


def _print_verified(manifest: "Manifest", found: "Verified") -> None:
    total = len(manifest.clips)
    fields = manifest.header.dojo
    if fields is not None and fields.commitment is not None:
        print(f"the seed is the one committed to: {fields.commitment}")
    print(f"{found.exact} of {total} clips are bit by bit as frozen")
    for clips, what in (
        (found.rounding, "are rendered otherwise within the tolerance"),
        (found.diverged, "begin as frozen and take another course"),
    ):
        if clips:
            worst, furthest = max(clips.items(), key=lambda item: item[1].mean)
            print(f"{len(clips)} {what}; the furthest is {worst}: {furthest}")
    for name, deviation in list(found.refused.items())[:5]:
        print(f"{name} is not the clip that was frozen: {deviation or 'it has no fingerprint'}")
    if found.refused:
        print(f"{len(found.refused)} of {total} clips are not those that were frozen")


def show(argv: list[str]) -> int:
    """Runs ``dojobench dojo show``."""
    command = tyro.cli(ShowCommand, args=argv, prog="dojobench dojo show")
    from dojobench.datasets.dojo_show import choose_clips, write_sheet
    from dojobench.datasets.suites import open_suite

    if command.out.suffix != ".png" or command.clips < 1 or command.columns < 1:
        raise BadInputError("A sheet is a .png file with at least one clip and one column.")
    suite = open_suite(command.suite, data=command.data)
    clips = choose_clips(suite, command.split, command.clips)
    height, width = write_sheet(suite, clips, command.out, columns=command.columns)
    for row, clip in enumerate(clips, start=1):
        branch = f", branch of {clip.branch_group}" if clip.branch_group else ""
        print(f"row {row}: {clip.id}: {clip.instruction or 'no instruction'}{branch}")
    print(f"{command.out}: {len(clips)} clips, {height}x{width}")
    return 0


def list_parts(argv: list[str]) -> int:
    """Runs ``dojobench dojo list``."""
    command = tyro.cli(ListCommand, args=argv, prog="dojobench dojo list")
    from dojobench.datasets.dojo_list import describe_dojo, print_dojo

    if command.json:
        print(json.dumps(describe_dojo(), indent=1))
    else:
        print_dojo()
    return 0


def contamination(argv: list[str]) -> int:
    """Runs ``dojobench dojo contamination``; 1 if clips were found."""
    command = tyro.cli(ContaminationCommand, args=argv, prog="dojobench dojo contamination")
    from dojobench.datasets.contamination import ContaminationConfig, check_contamination
    from dojobench.datasets.formats import open_source
    from dojobench.datasets.suites import open_suite

    if not 0 < command.share <= 1 or command.clip_step < 1 or command.train_step < 1:
        raise BadInputError("--share lies in (0, 1], and --clip-step and --train-step from 1 up.")
    source = open_source(command.folder, command.format)
    suite = open_suite(command.suite, data=command.data)
    there = {clip.split for clip in suite.clips}
    if missing := [split for split in command.splits if split not in there]:
        raise BadInputError(
            f"The suite {suite.spec.name} has no split '{missing[0]}'; it has "
            f"{', '.join(sorted(there))}."
        )
    config = ContaminationConfig(
        clip_step=command.clip_step,
        train_step=command.train_step,
        share=command.share,
        splits=command.splits,
    )
    found = check_contamination(source, suite, config)
    if command.json:
        print(json.dumps({"found": found.found, **asdict(found)}, indent=1))
    else:
        _print_contamination(str(command.folder), suite.spec.name, found)
    return 1 if found.found else 0


def _print_contamination(folder: str, suite: str, found: "Contamination") -> None:
    print(
        f"Looked for {found.clip_frames} frames of {found.clips} clips of {suite} among "
        f"{found.train_frames} frames of {folder}."
    )
    if found.copies:
        print(f"{len(found.copies)} clips are in the training set:")
        for each in found.copies[:20]:
            print(
                f"  {each.clip}: episode {each.episode} shows {each.frames} of its "
                f"{each.looked_for} frames (mean distance {each.distance:.2f}; 0 is the same)"
            )
        if len(found.copies) > 20:
            print(f"  and {len(found.copies) - 20} more; --json lists them all")
    else:
        print("No clip is in the training set.")
    rest = found.frames_found - sum(each.frames for each in found.copies)
    if rest > 0:
        print(f"{rest} further frames look alike, in clips of which no episode shows enough.")
    if not found.scenes_known:
        print("Seeds of scenes were not compared: one of the two does not state them.")
    elif found.same_scenes:
        print(
            f"{len(found.same_scenes)} clips share the seed of their scene with the training set: "
            f"{', '.join(found.same_scenes[:10])}{' …' if found.same_scenes[10:] else ''}."
        )
    else:
        print("No clip shares the seed of its scene with the training set.")


ACTIONS: dict[str, Subcommand] = {
    "list": Subcommand(list_parts, "suites, splits, embodiments, tasks, factors of variation"),
    "show": Subcommand(show, "draw clips of any suite on a contact sheet"),
    "make": Subcommand(make, "make episodes and write them as a LeRobot folder"),
    "freeze": Subcommand(freeze, "freeze a suite by seed and hash, public or private"),
    "verify": Subcommand(verify, "render a frozen suite anew and compare"),
    "contamination": Subcommand(contamination, "look for a suite's clips in a training set"),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench dojo``.

    Args:
        argv: Arguments behind ``dojo``.

    Returns:
        The exit code: 1 where a check found something, 2 for a command that does not exist.
    """
    return dispatch("dojo", ACTIONS, argv)
