"""The evaluation sets released with DreamDojo, sampled as its own script samples them.

Three of the paper's sets are public (``nvidia/PhysicalAI-Robotics-GR00T-Teleop-GR1``). Their
samples are not listed anywhere: they follow from a rule in the released loader, which is redone
here (NVIDIA/DreamDojo at 02f119b, ``docs/EVAL.md``, ``groot_dreams/dataloader.py``,
``groot_dreams/data/dataset.py``): 100 clips of 49 frames at stride 2; a window needs 50 strided
steps inside the episode, of which the first only serves as the baseline of relative actions;
each dataset gives an equal number of windows at even distances. Pictures are cropped to 4:3 about
their centre and resized to 480x640. Two things differ on purpose: the embodiment is stated, where
the script reads it out of the path (and then drops the actions of the EgoDex and DreamDojo-HV
sets unless "gr1" stands somewhere in it); and a clip that cannot be read is an error, where the
script takes a random other one.
"""

from dataclasses import dataclass
from pathlib import Path

from dojobench.datasets.embodiments import embodiment
from dojobench.datasets.freeze import Chosen, FreezePlan, make_header, make_records, slug
from dojobench.datasets.lerobot import LeRobotSource
from dojobench.datasets.manifest import Manifest, encode_manifest, parse_manifest
from dojobench.datasets.reading import ReadOptions
from dojobench.datasets.sampling import Window, all_windows, uniform_over_datasets
from dojobench.datasets.statistics import load_camera, load_modality
from dojobench.protocol.errors import BadInputError

REPOSITORY = "nvidia/PhysicalAI-Robotics-GR00T-Teleop-GR1"
"""Dataset repository on Hugging Face that holds all three sets."""

_EMBODIMENT = "gr1"
_IN_LAB = (
    "gr1_unified.pnp_handover_plate_robot",
    "gr1_unified.pnp_cucumber_robot",
    "gr1_unified.pnp_corn_robot",
    "gr1_unified.pnp_dragonfruit_robot",
    "gr1_unified.pour_items_into_basket_robot",
    "gr1_unified.right_to_left_handover_corn_robot",
    "gr1_unified.mug_robot",
    "gr1_unified.fold_cloth_long_robot",
    "gr1_unified.fold_cloth_robot",
    "gr1_unified.color_puzzles_robot",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a released set is sampled.

    Attributes:
        name: The suite's name.
        folder: Its folder in the repository.
        datasets: Sub-folders in the order in which the published command names them; empty
            where the folder is one dataset, or holds several whose order is their names'.
        clips: Clips in all.
        frames: Clip frames.
        stride: Recorded frames per clip frame.
        resolution: ``(height, width)``.
        video: The camera's name in ``modality.json``.
        description: What the set probes.
    """

    name: str
    folder: str
    datasets: tuple[str, ...] = ()
    clips: int = 100
    frames: int = 49
    stride: int = 2
    resolution: tuple[int, int] = (480, 640)
    video: str = "ego_view_freq20"
    description: str

    @property
    def obtain(self) -> str:
        """Says where to get the data."""
        return f"https://huggingface.co/datasets/{REPOSITORY} : {self.folder}"


_ALL = (
    Recipe(
        name="dreamdojo-in-lab",
        folder="In-lab_Eval",
        datasets=_IN_LAB,
        description="DreamDojo's In-lab Eval: objects and verbs seen in in-lab human video only",
    ),
    Recipe(
        name="dreamdojo-egodex",
        folder="EgoDex_Eval",
        description="DreamDojo's EgoDex Eval: a GR-1 re-enacting EgoDex-like scenes",
    ),
    Recipe(
        name="dreamdojo-hv",
        folder="DreamDojo-HV_Eval",
        description="DreamDojo's DreamDojo-HV Eval: a GR-1 re-enacting DreamDojo-HV-like scenes",
    ),
)

RECIPES: dict[str, Recipe] = {each.name: each for each in _ALL}
"""The released sets, by the name of their suite."""


def freeze_released(recipe: Recipe, data: Path | None) -> tuple[Manifest, dict[str, Path]]:
    """Freezes a released set in memory; the same files always give the same version.

    Args:
        recipe: Which set.
        data: The downloaded repository, or the set's folder in it.

    Returns:
        The manifest, and the folder of each of its datasets.

    Raises:
        BadInputError: If the data are not there or not complete; the message says how to get
            them.
    """
    roots = find_datasets(recipe, data)
    sources = {slug(root.name): _open(recipe, root) for root in roots}
    plan = FreezePlan(
        name=recipe.name,
        embodiment=_EMBODIMENT,
        frames=recipe.frames,
        stride=recipe.stride,
        resolution=recipe.resolution,
        units="rad",
        revision=REPOSITORY,
        obtain=recipe.obtain,
        description=recipe.description,
    )
    windows = {name: _windows(recipe, source) for name, source in sources.items()}
    names = list(sources)
    drawn = uniform_over_datasets([len(windows[name]) for name in names], recipe.clips)
    chosen = [Chosen(names[at], "val", windows[names[at]][index]) for at, index in drawn]
    header = make_header(sources, plan)
    records = make_records(sources, chosen, plan, header, decode=False)
    manifest = parse_manifest(encode_manifest(header, records), recipe.name)
    return manifest, {name: source.root for name, source in sources.items()}


def find_datasets(recipe: Recipe, data: Path | None) -> list[Path]:
    """Finds a released set's LeRobot folders in the order of the published command.

    Raises:
        BadInputError: If they are not there; the message says how to get them.
    """
    how = f"get {recipe.obtain} and name its folder with --data"
    if data is None:
        raise BadInputError(f"The suite {recipe.name} needs data that are not at hand; {how}.")
    inside = Path(data) / recipe.folder
    folder = inside if inside.is_dir() else Path(data)
    if recipe.datasets:
        missing = [each for each in recipe.datasets if not _is_lerobot(folder / each)]
        if missing:
            raise BadInputError(
                f"The suite {recipe.name} needs {len(recipe.datasets)} datasets in {folder}, and "
                f"these are missing: {', '.join(missing)}; {how}."
            )
        return [folder / each for each in recipe.datasets]
    if _is_lerobot(folder):
        return [folder]
    named = folder.resolve().name == recipe.folder
    found = sorted(path.parent.parent for path in folder.glob("*/meta/info.json")) if named else []
    if not found:
        raise BadInputError(f"The suite {recipe.name} finds no LeRobot dataset in {folder}; {how}.")
    return found


def _is_lerobot(folder: Path) -> bool:
    return (folder / "meta" / "info.json").is_file()


def _open(recipe: Recipe, root: Path) -> LeRobotSource:
    modality = root / "meta" / "modality.json"
    camera = load_camera(modality, recipe.video) if modality.is_file() else None
    camera = camera or f"observation.images.{recipe.video}"
    source = LeRobotSource(root, ReadOptions(camera=camera))
    if modality.is_file():
        # Another robot's data would otherwise be scored as a GR-1's without a word.
        embodiment(_EMBODIMENT).columns(load_modality(modality), source.action_dim)
    return source


def _windows(recipe: Recipe, source: LeRobotSource) -> list[Window]:
    """Lists a dataset's windows by the lengths that its metadata state, as published."""
    lengths = {}
    for entry in source.layout.entries:
        episode = str(entry.index)
        stated = entry.length
        lengths[episode] = source.episode(episode).length if stated is None else stated
    return all_windows(lengths, steps=recipe.frames + 1, stride=recipe.stride, lead=1)
