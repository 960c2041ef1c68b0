"""The published models, once their weights are at hand: ``dreamdojo-2b`` and ``dreamdojo-14b``.

Sampled as in the published evaluation: 35 UniPC steps with shift 5 over times from 0.999, chunks
of 12 frames at 480x640 from the one last frame, noise by NumPy's ``RandomState`` seeded with the
run's seed plus the chunk's first action (0, 12, 24, …), the embedding of the empty prompt, no
guidance (``cosmos_predict2/action_conditioned.py`` and ``predict2/models/
text2world_model_rectified_flow.py`` of NVIDIA/DreamDojo at 02f119b). Nothing is downloaded.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from dojobench.datasets.embodiments import embodiment as look_up
from dojobench.datasets.statistics import ActionStatistics, load_modality, load_statistics
from dojobench.protocol import ActionSpace, ModelSpec
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import action_encoder
from dojobench.reference_model.checkpoint_io import load_world_model
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.model_folder import fingerprint
from dojobench.reference_model.session import LatentModel, Parts
from dojobench.reference_model.teacher_model import TeacherModel
from dojobench.reference_model.text_embedding import text_for
from dojobench.reference_model.video_tokenizer import VideoTokenizer
from dojobench.reference_model.wan import load_wan
from dojobench.reference_model.world_models import Precision

RATES = {"gr1": 10.0, "g1": 10.0}
"""Frames per second of the published models, where they are known for sure."""

WORLD_MODEL, TOKENIZER, TEXT, STATISTICS, MODALITY = (
    "world_model.safetensors",
    "tokenizer",
    "text",
    "stats.json",
    "modality.json",
)
"""What a folder given as ``weights`` holds, where the parts are not named one by one."""


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """Where the parts of a published model lie; each is checked to be there.

    Attributes:
        weights: Converted weights (``dojobench convert``).
        tokenizer: Folder of WAN 2.1's tokenizer in diffusers' format.
        text: Embedding of the empty prompt, ``.safetensors`` or ``.pt``.
        statistics: Of the dataset's actions, as LeRobot's ``stats.json`` has them.
        modality: The dataset's ``modality.json``, which says where the robot's parts are among
            wider actions; ``None``: the actions are the robot's own.
    """

    weights: Path
    tokenizer: Path
    text: Path
    statistics: Path
    modality: Path | None

    @classmethod
    def find(
        cls,
        name: str,
        *,
        weights: Path | None,
        tokenizer: Path | None,
        text: Path | None,
        statistics: Path | None,
        modality: Path | None,
    ) -> "PublishedFiles":
        """Fills in what is not named from the folder of the weights.

        Raises:
            BadInputError: Naming the first file that is not there, and how to get it.
        """
        if weights is None:
            raise BadInputError(
                f"The model {name} needs its weights, which are not part of this package; convert "
                "the published checkpoint with dojobench convert and give --weights FILE."
            )
        folder = weights if weights.is_dir() else weights.parent
        file = weights / WORLD_MODEL if weights.is_dir() else weights
        if text is None:
            endings = [folder / f"{TEXT}{ending}" for ending in (".safetensors", ".pt")]
            text = next((each for each in endings if each.is_file()), endings[0])
        if modality is None and (folder / MODALITY).is_file():
            modality = folder / MODALITY
        found = cls(
            weights=file,
            tokenizer=tokenizer or folder / TOKENIZER,
            text=text,
            statistics=statistics or folder / STATISTICS,
            modality=modality,
        )
        found._require(name)
        return found

    def _require(self, name: str) -> None:
        needs: list[tuple[str, Path | None, str]] = [
            ("weights", self.weights, "make it with dojobench convert"),
            ("tokenizer", self.tokenizer, "get WAN 2.1's tokenizer in diffusers' format"),
            ("text", self.text, "get the embedding of the empty prompt"),
            ("statistics", self.statistics, "get the stats.json of the training set"),
            ("modality", self.modality, "get the modality.json of the dataset"),
        ]
        for option, path, how in needs:
            if path is not None and not path.exists():
                flag = "--weights" if option == "weights" else f"{option}="
                raise BadInputError(
                    f"There is no {path}, the {option} of {name}; {how} and name it with {flag}."
                )


def dreamdojo(
    size: str,
    *,
    weights: Path | None = None,
    tokenizer: Path | None = None,
    text: Path | None = None,
    embodiment: str = "gr1",
    statistics: Path | None = None,
    modality: Path | None = None,
    frame_rate: float | None = None,
    steps: int = 35,
    precision: Precision = "bfloat16",
) -> LatentModel:
    """Opens a published model; see ``PublishedFiles`` for the files.

    Args:
        size: ``2b`` or ``14b``.
        weights: Converted weights, or a folder of all parts.
        tokenizer: Folder of WAN 2.1's tokenizer.
        text: Embedding of the empty prompt.
        embodiment: The robot that the weights were trained for.
        statistics: Of the actions.
        modality: Where the robot's parts are among the dataset's actions.
        frame_rate: Frames per second; the robot's published rate where ``None``.
        steps: Steps of the solver.
        precision: Number format to compute in; published results are in bfloat16.

    Raises:
        BadInputError: If a file is missing or not what it should be.
    """
    files = PublishedFiles.find(
        f"dreamdojo-{size}",
        weights=weights,
        tokenizer=tokenizer,
        text=text,
        statistics=statistics,
        modality=modality,
    )
    return open_published(
        size,
        files,
        embodiment=embodiment,
        frame_rate=frame_rate or RATES.get(embodiment),
        steps=steps,
        precision=precision,
    )


dreamdojo_2b, dreamdojo_14b = partial(dreamdojo, "2b"), partial(dreamdojo, "14b")
"""The factories of ``dojobench run dreamdojo-2b`` and ``dreamdojo-14b``."""


def open_published(
    size: str,
    files: PublishedFiles,
    *,
    embodiment: str,
    frame_rate: float | None,
    steps: int = 35,
    precision: Literal["float32", "bfloat16"] = "bfloat16",
    resolution: tuple[int, int] = (480, 640),
) -> LatentModel:
    """Opens a model in the published form.

    Args:
        size: Name of the size that the weights must be.
        files: Where its parts lie.
        embodiment: Whose slots the actions fill.
        frame_rate: Of its frames; any where ``None``.
        steps: Steps of the solver.
        precision: Number format.
        resolution: Height and width.

    Raises:
        BadInputError: If a file is not what it should be.
    """
    dtype = getattr(torch, precision)
    statistics = load_statistics(files.statistics)
    columns = _columns(files.modality, embodiment, statistics)
    net = load_world_model(files.weights, dtype=dtype)
    if net.config.name != size:
        raise BadInputError(
            f"{files.weights} is of the size '{net.config.name}', not '{size}'; name the model "
            "of that size."
        )
    text = text_for(net.config, files.text)
    spec = ModelSpec(
        name=f"dreamdojo-{size}",
        weights=fingerprint(files.weights),
        resolution=resolution,
        frame_rate=frame_rate,
        action_space=ActionSpace(dim=statistics.dim, embodiment=embodiment),
    )
    tokenizer: VideoTokenizer = load_wan(files.tokenizer, dtype=dtype)
    if tokenizer.latent_channels != net.config.latent_channels:
        raise BadInputError(
            f"The tokenizer {files.tokenizer} has {tokenizer.latent_channels} channels, and "
            f"{files.weights} takes {net.config.latent_channels}; the published models take WAN "
            "2.1's."
        )
    encoder = action_encoder(net.config.actions, embodiment, statistics, columns)
    sampler = SamplerConfig(steps=steps, shift=net.config.shift, released_times=True)
    parts = Parts(net=net, tokenizer=tokenizer, encoder=encoder, text=text, owned=True)
    return TeacherModel(spec, parts, sampler=sampler, continues=True)


def _columns(
    modality: Path | None, name: str, statistics: ActionStatistics
) -> tuple[int, ...] | None:
    robot = look_up(name)
    if modality is not None:
        return robot.columns(load_modality(modality), statistics.dim)
    if statistics.dim == robot.width:
        return None
    raise BadInputError(
        f"The statistics '{statistics.name}' are {statistics.dim} wide and the embodiment "
        f"'{name}' has {robot.width} values; name the dataset's modality.json with modality=."
    )
