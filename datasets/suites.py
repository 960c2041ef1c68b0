"""Opens suites by file or by name: manifests over datasets on disk, or simulated ones."""

import os
import re
import threading
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from dojobench.datasets.clips import ClipRules, FrozenClip
from dojobench.datasets.formats import detect_format, open_source
from dojobench.datasets.manifest import Manifest, SourceFields, parse_manifest, read_manifest
from dojobench.datasets.reading import ReadOptions
from dojobench.datasets.source import EpisodeSource
from dojobench.datasets.suite import ClipRecord, Suite, SuiteSpec
from dojobench.protocol.errors import BadInputError

DATA_VARIABLE = "DOJOBENCH_DATA"
"""Environment variable that names the folder of datasets where ``--data`` does not."""

_PINNED = re.compile(r"^(?P<reference>.+)@(?P<version>sha256:[0-9a-f]{8,64})$")


class FrozenSuite:
    """A manifest and the datasets it speaks of; keeps the ``Suite`` contract.

    A dataset is opened when its first clip is. ``open`` may be called from several threads.

    Args:
        manifest: The manifest.
        roots: The folder of each of its datasets, as ``find_roots`` gives them.
    """

    def __init__(self, manifest: Manifest, roots: Mapping[str, Path]) -> None:
        self.manifest = manifest
        self.roots = dict(roots)
        self.spec: SuiteSpec = manifest.spec
        self.clips: tuple[ClipRecord, ...] = manifest.clips
        header = manifest.header
        self._rules = ClipRules(
            resolution=header.resolution,
            fit=header.fit,
            rule=header.actions,
            views=tuple(header.views),
            names=tuple(header.action_space.names),
        )
        self._sources: dict[str, EpisodeSource] = {}
        self._lock = threading.RLock()

    def open(self, clip: ClipRecord) -> FrozenClip:
        """Opens a clip; see ``Suite.open``.

        Raises:
            BadInputError: If it cannot be read, its actions hold NaN, or its hash differs from
                the manifest's; the clip is named.
        """
        with self._lock:
            source = self._source(clip)
            self._check_source(source, clip)
            self._check_cameras(source, clip)
            try:
                episode = source.episode(clip.episode)
            except BadInputError as error:
                raise BadInputError(f"The clip '{clip.id}' cannot be opened: {error}") from error
            opened = FrozenClip(episode, clip, self._rules)
            found = opened.content_hash()
        if found != clip.sha256:
            stated = clip.revision != "unstated"
            get = f"get {clip.revision}," if stated else "restore them,"
            raise BadInputError(
                f"The clip '{clip.id}' of {source.root} has the hash {found}, but the manifest "
                f"states {clip.sha256}: its video or actions are not those that were frozen, so "
                f"{get} or freeze a suite of your own."
            )
        return opened

    def _source(self, clip: ClipRecord) -> EpisodeSource:
        if clip.source in self._sources:
            return self._sources[clip.source]
        fields = self.manifest.header.sources[clip.source]
        root = self.roots[clip.source]
        source = open_source(root, fields.format, options=_options(fields))
        self._sources[clip.source] = source
        return source

    def _check_source(self, source: EpisodeSource, clip: ClipRecord) -> None:
        header = self.manifest.header
        rate = source.frame_rate / clip.stride
        if abs(rate - header.frame_rate) > 1e-3 * header.frame_rate:
            raise BadInputError(
                f"The suite {header.name} runs at {header.frame_rate:g} Hz, but {source.root} at "
                f"{source.frame_rate:g} Hz with stride {clip.stride} gives {rate:g} Hz; get the "
                f"stated revision {clip.revision}."
            )
        width = source.action_dim * (clip.stride if header.actions == "concat" else 1)
        if width != header.action_space.dim:
            raise BadInputError(
                f"The suite {header.name} has actions {header.action_space.dim} wide, but "
                f"{source.root} gives {width}; get the stated revision {clip.revision}."
            )

    def _check_cameras(self, source: EpisodeSource, clip: ClipRecord) -> None:
        for camera in (clip.camera, *self._rules.views):
            if camera not in source.cameras:
                raise BadInputError(
                    f"The clip '{clip.id}' needs the camera '{camera}', but {source.root} has: "
                    f"{', '.join(source.cameras) or 'none'}; get the stated revision "
                    f"{clip.revision}."
                )


def open_suite(reference: str, *, data: Path | None = None) -> Suite:
    """Opens a suite.

    Args:
        reference: Path of a manifest (``.jsonl``), or the name of a suite that
            ``dojobench data list`` shows. ``@sha256:…`` behind it, at least 8 digits, pins the
            version; ``?secret-seed=FILE`` before that names the file with the seed of a private
            suite of the dojo, which the variable ``DOJOBENCH_SECRET_SEED`` may name as well.
        data: Where the datasets lie; the variable ``DOJOBENCH_DATA`` and the manifest's own
            folder are searched where it is ``None``.

    Returns:
        The suite; no video has been decoded.

    Raises:
        BadInputError: If there is no such suite, its data are not there, its version is not the
            pinned one, or the manifest is not valid.
    """
    pinned = _PINNED.match(reference)
    name = pinned["reference"] if pinned else reference
    suite = _open(name, data)
    if pinned and not suite.spec.version.startswith(pinned["version"]):
        raise BadInputError(
            f"The suite {name} has the version {suite.spec.version}, but {pinned['version']} was "
            "asked for; get the manifest of that version or leave the version out."
        )
    return suite


def _open(reference: str, data: Path | None) -> Suite:
    from dojobench.datasets.dreamdojo_sets import RECIPES, freeze_released

    reference, secret = _without_secret(reference)
    path = Path(reference)
    if path.is_dir() and reference not in (*named_manifests(), *RECIPES):
        raise BadInputError(
            f"{path} is a folder of data, not a suite; make one of it with `dojobench data freeze "
            f"{path} --embodiment NAME --out suite.jsonl`."
        )
    if path.suffix == ".jsonl" or path.is_file():
        return _opened(read_manifest(path), data, path.resolve().parent, secret)
    if reference in RECIPES:
        return FrozenSuite(*freeze_released(RECIPES[reference], data or data_from_environment()))
    names = named_manifests()
    if reference in names:
        return _opened(load_named(reference), data, None, secret)
    known = (*names, *RECIPES)
    near = get_close_matches(reference, known, n=1)
    hint = f"did you mean '{near[0]}'" if near else f"the named ones are {', '.join(known)}"
    raise BadInputError(
        f"There is no suite '{reference}': {hint}; a manifest is named by its .jsonl file."
    )


def _opened(
    manifest: Manifest, data: Path | None, beside: Path | None, secret: str | None
) -> Suite:
    if manifest.header.dojo is None:
        return FrozenSuite(manifest, find_roots(manifest, data=data, beside=beside))
    from dojobench.datasets.dojo_suite import DojoSuite

    return DojoSuite(manifest, secret=secret)


def _without_secret(reference: str) -> tuple[str, str | None]:
    """Takes the file of a private suite's seed from a reference.

    It must be a file: a reference is written into records and reports.
    """
    name, found, seed_file = reference.partition("?secret-seed=")
    if not found:
        return reference, None
    if not Path(seed_file).is_file():
        raise BadInputError(
            "Behind '?secret-seed=' stands the name of a file that holds the seed, and there is "
            "no such file; the seed itself can be given by DOJOBENCH_SECRET_SEED."
        )
    return name, seed_file


def named_manifests() -> tuple[str, ...]:
    """Names the suites whose manifests come with the package."""
    folder = files("dojobench.datasets") / "manifests"
    return tuple(
        sorted(each.name.removesuffix(".jsonl") for each in folder.iterdir()
               if each.name.endswith(".jsonl"))
    )  # fmt: skip


def load_named(name: str) -> Manifest:
    """Reads a manifest that comes with the package.

    Args:
        name: One of ``named_manifests()``.
    """
    content = (files("dojobench.datasets") / "manifests" / f"{name}.jsonl").read_bytes()
    return parse_manifest(content, f"{name}.jsonl")


def data_from_environment() -> Path | None:
    """Gives the folder that ``DOJOBENCH_DATA`` names, or ``None``."""
    value = os.environ.get(DATA_VARIABLE, "")
    return Path(value) if value else None


def find_roots(
    manifest: Manifest, *, data: Path | None = None, beside: Path | None = None
) -> dict[str, Path]:
    """Finds the folders of a manifest's datasets.

    Each is looked for as its ``root`` below ``data``; where the manifest has a single dataset,
    ``data`` may also be that dataset itself. Without ``data``, the folder that
    ``DOJOBENCH_DATA`` names and the manifest's own folder are searched.

    Returns:
        The folder of each source; none for a simulated suite.

    Raises:
        BadInputError: If one is not there; the message says how to get it.
    """
    if data is not None and not Path(data).is_dir():
        raise BadInputError(f"There is no folder {data}; name the folder of the datasets.")
    places = [Path(data)] if data is not None else [data_from_environment(), beside]
    roots: dict[str, Path] = {}
    if manifest.header.dojo is not None:
        return roots
    for name, fields in manifest.header.sources.items():
        found = [place / fields.root for place in places if place is not None]
        there = [path for path in found if path.is_dir()]
        if not there and len(manifest.header.sources) == 1 and data is not None:
            there = [Path(data)] if _is_dataset(Path(data)) else []
        if not there:
            raise BadInputError(_absent(manifest, name, fields, data))
        roots[name] = there[0]
    return roots


def _absent(manifest: Manifest, name: str, fields: SourceFields, data: Path | None) -> str:
    where = f"below {data}" if data is not None else f"in {DATA_VARIABLE}, nor was --data given"
    obtain = fields.obtain or fields.revision
    return (
        f"The suite {manifest.header.name} needs the dataset '{name}', and there is no folder "
        f"'{fields.root}' {where}; get it from {obtain} and name the folder that holds it with "
        f"--data or {DATA_VARIABLE}."
    )


def _is_dataset(folder: Path) -> bool:
    try:
        detect_format(folder)
    except BadInputError:
        return False
    return True


def _options(fields: SourceFields) -> ReadOptions:
    return ReadOptions(action_key=fields.action_key)
