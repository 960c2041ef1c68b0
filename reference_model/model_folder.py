"""A folder that is a whole world model: weights, tokenizer, and what both are for.

``model.json`` is the card that ``dojobench run FOLDER`` reads; its ``details`` are a
``ModelDescription``. Beside it lie ``world_model.safetensors``, ``tokenizer.safetensors``, for
networks that attend to a stored text its embedding ``text.safetensors``, and a ``README.md`` for
people. Names of files are fixed, so a folder points at nothing outside itself,
and nothing in it is ever unpickled or run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

from dojobench.datasets.embodiments import embodiment
from dojobench.datasets.files import write_atomically
from dojobench.datasets.statistics import ActionStatistics
from dojobench.protocol import ActionSpace
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.lookup import read_card
from dojobench.reference_model.checkpoint_io import save_world_model
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.model_file import config_from, write_model
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.text_embedding import save_text
from dojobench.reference_model.tokenizer import KIND, CausalTokenizer
from dojobench.reference_model.video_tokenizer import GROUP, latent_frames

FACTORY = "reference-model"
"""Registered name of the factory that opens such a folder."""
CARD, WEIGHTS, TOKENIZER, TEXT, README = (
    "model.json",
    "world_model.safetensors",
    "tokenizer.safetensors",
    "text.safetensors",
    "README.md",
)

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What a folder's weights are for; all that a rollout needs beside them.

    Attributes:
        kind: ``teacher`` makes chunks of frames at once, ``student`` streams.
        name: Name that stands in tables.
        version: The model's own version.
        resolution: Height and width of its frames.
        frame_rate: Frames per second between two actions.
        context_frames: Context frames that it is started with, 1 + 4k: the first by itself, the
            others in groups of four.
        chunk: Actions, and so frames, that a teacher samples at once, a multiple of 4.
        continues: Whether a teacher takes a chunk's first actions relative to the action before
            it (published), or like a rollout's first, of which nothing is known; as the windows
            were that it was trained on.
        action_space: The actions that it understands; the embodiment says which slots they fill.
        statistics: ``name``, ``min``, ``max``, ``mean`` and ``std`` of the actions it was trained
            on, by which they are normalised.
        columns: The action's column of each slot; the identity where ``None``.
        sampler: How a teacher samples.
        stream: How a student streams.
        licence: Of the weights.
        notes: Texts for readers, such as the command that made it.
    """

    kind: Literal["teacher", "student"]
    name: str
    version: str = "1"
    resolution: tuple[int, int]
    frame_rate: float
    context_frames: int = 1
    chunk: int = 12
    continues: bool = False
    action_space: ActionSpace
    statistics: dict[str, Any]
    columns: tuple[int, ...] | None = None
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    licence: str = "Apache-2.0"
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        latent_frames(self.context_frames)
        if self.chunk < GROUP or self.chunk % GROUP:
            raise BadInputError(
                f"The chunk of {self.chunk} actions is no multiple of {GROUP}; give 4, 8 or 12."
            )
        if self.context_frames > 1 + self.chunk:
            raise BadInputError(
                f"A context of {self.context_frames} frames is longer than a chunk of "
                f"{self.chunk} and the frame before it; give at most {1 + self.chunk}."
            )
        embodiment(self.action_space.embodiment)

    def action_statistics(self, where: str = "the model's description") -> ActionStatistics:
        """Gives the statistics as the action encoder takes them.

        Raises:
            BadInputError: If they are incomplete or of another width than the actions.
        """
        try:
            columns = {each: self.statistics[each] for each in ("min", "max", "mean", "std")}
            vectors = TypeAdapter(dict[str, list[float]]).validate_python(columns)
        except (KeyError, ValidationError) as error:
            raise BadInputError(
                f"{where} has no statistics 'min', 'max', 'mean' and 'std' of the actions, each a "
                "list of numbers; write the folder again."
            ) from error
        widths = {len(vector) for vector in vectors.values()}
        if widths != {self.action_space.dim}:
            raise BadInputError(
                f"{where} has action statistics of width {sorted(widths)}, but actions of width "
                f"{self.action_space.dim}; write the folder again."
            )
        low, high, mean, std = (torch.tensor(each).double().numpy() for each in vectors.values())
        name = str(self.statistics.get("name", self.name))
        return ActionStatistics(name=name, minimum=low, maximum=high, mean=mean, std=std)


def describe_statistics(statistics: ActionStatistics) -> dict[str, Any]:
    """Gives statistics as a description keeps them."""
    kept = {key: statistics.to_json()[key] for key in ("min", "max", "mean", "std")}
    return {"name": statistics.name, **kept}


def read_description(folder: Path) -> ModelDescription:
    """Reads what a folder's card says.

    Args:
        folder: The model's folder.

    Raises:
        BadInputError: If there is no card, or a field is unknown (with the nearest that exists),
            missing or of the wrong kind.
    """
    card = read_card(folder)
    where = str(folder / CARD)
    values = dict(card.details)
    for name, kind in (
        ("sampler", SamplerConfig),
        ("stream", StreamConfig),
        ("action_space", ActionSpace),
    ):
        if isinstance(values.get(name), Mapping):
            values[name] = _checked(kind, values[name], f"{where}: details.{name}")
    return _checked(ModelDescription, values, f"{where}: details")


def _checked(kind: type[Value], values: Mapping[str, Any], where: str) -> Value:
    """Builds a dataclass, names first, then types."""
    built = config_from(kind, values, where)
    try:
        return TypeAdapter(kind).validate_python(asdict(built))  # type: ignore[call-overload]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInputError(f"{where}.{place}: {first['msg']}; write the folder again.") from None


def write_model_folder(
    folder: Path,
    description: ModelDescription,
    *,
    net: WorldModelNet,
    tokenizer: CausalTokenizer,
    text: torch.Tensor | None = None,
    readme: str | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Writes a model folder; each file appears whole, the card last.

    Args:
        folder: To write into; made where missing.
        description: What the weights are for.
        net: The network.
        tokenizer: Its tokenizer.
        text: ``[1, L, features]`` for networks that attend to a stored text.
        readme: The model card for people; a short one where ``None``.
        dtype: Number format of the weights; the tokenizer's vectors stay in float32.

    Returns:
        The folder.

    Raises:
        BadInputError: If the network and the tokenizer do not belong together, or it cannot be
            written.
    """
    description.action_statistics()
    if net.config.latent_channels != tokenizer.latent_channels:
        raise BadInputError(
            f"The network takes {net.config.latent_channels} latent channels and the tokenizer "
            f"makes {tokenizer.latent_channels}; give those that were trained together."
        )
    # Without the card the folder is no model, so a crash leaves the old one or none.
    (folder / CARD).unlink(missing_ok=True)
    save_world_model(folder / WEIGHTS, net, dtype=dtype)
    write_model(folder / TOKENIZER, tokenizer, kind=KIND, config=tokenizer.config, dtype=dtype)
    if text is not None:
        save_text(folder / TEXT, text)
    write_atomically(folder / README, (readme or _readme(description)).encode())
    card = {"format": 1, "factory": FACTORY, "options": {}, "details": asdict(description)}
    written = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / CARD, written.encode())
    return folder


def _readme(description: ModelDescription) -> str:
    space = description.action_space
    height, width = description.resolution
    lines = [
        f"# {description.name}",
        "",
        f"A {description.kind} of dojobench's reference model: frames of {height}x{width} at "
        f"{description.frame_rate:g} Hz, {space.dim} actions ({space.embodiment}, {space.kind}), "
        f"{description.context_frames} context frame{'s' * (description.context_frames > 1)}.",
        "",
        f"Licence: {description.licence}. Run it with `dojobench run FOLDER --suite SUITE`.",
    ]
    for name, text in description.notes.items():
        lines += ["", f"{name}: {text}"]
    return "\n".join(lines) + "\n"


def fingerprint(*files: Path) -> str:
    """Names weights by their bytes.

    Args:
        *files: In an order that counts.

    Returns:
        ``sha256:`` and the hash of the files' hashes; of the one file where there is one.
    """
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1:
        return f"sha256:{digests[0]}"
    return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"


def with_steps(description: ModelDescription, steps: int | None) -> ModelDescription:
    """Gives the same model with another number of network passes, and says so in its name.

    Args:
        description: The model.
        steps: Passes a chunk (teacher) or a latent frame (student), at least 1; ``None`` leaves
            it as it is.

    Raises:
        BadInputError: If it is less than 1.
    """
    if steps is None:
        return description
    if steps < 1:
        raise BadInputError(f"A model cannot sample in {steps} steps; give at least 1.")
    name = f"{description.name} {steps} step{'s' * (steps > 1)}"
    if description.kind == "teacher":
        return replace(description, name=name, sampler=replace(description.sampler, steps=steps))
    stream, shift = description.stream, description.sampler.shift
    few = StreamConfig.with_steps(
        steps,
        shift,
        window=stream.window,
        renoise=stream.renoise,
        mark_context=stream.mark_context,
    )
    return replace(description, name=name, stream=few)
