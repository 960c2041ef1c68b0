"""The published checkpoints: every name and shape, written down apart from our own modules.

Taken from the constructors and configs of NVIDIA/DreamDojo at 02f119b (``minimal_v4_dit.py``,
``action_conditioned_minimal_v1_lvg_dit.py``, ``interactive/configs/net.py``) and its conversion
script. Tests hold these shapes against the
modules, on the meta device, in both directions.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import KIND as LATENT_ACTION_KIND
from dojobench.reference_model.lam_config import LATENT_ACTION_MODELS
from dojobench.reference_model.net_config import PRESETS, WorldModelConfig

WORLD_MODEL_KIND = "world model"
"""What a weights file of a world model calls itself."""

Shapes = dict[str, tuple[int, ...]]

IGNORED = ("_extra_state", "accum_", "pos_embedder.")
"""Parts of names of what is no weight: kernel state, sample counters, tables that we compute."""
ACTION_PARTS = ("action_embedder_B_D", "action_embedder_B_3D")
"""What the base models, which know no actions, lack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A kind of published checkpoint.

    Attributes:
        name: How it is called here.
        kind: What its converted file calls itself.
        prefixes: Prefixes of its weights by which weights they are; ``ema`` and ``raw``.
        shapes: Shapes by name, without prefix.
        config: The configuration of the module that takes them, as plain values.
        scope: What all names without prefix begin with; others in the file are passed over.
    """

    name: str
    kind: str
    prefixes: Mapping[str, str]
    shapes: Shapes = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    scope: str = ""


def _attention(prefix: str, width: int, context: int, head: int) -> Shapes:
    return {
        f"{prefix}.q_proj.weight": (width, width),
        f"{prefix}.k_proj.weight": (width, context),
        f"{prefix}.v_proj.weight": (width, context),
        f"{prefix}.output_proj.weight": (width, width),
        f"{prefix}.q_norm.weight": (head,),
        f"{prefix}.k_norm.weight": (head,),
    }


def _modulation(prefix: str, width: int, rank: int, parts: int) -> Shapes:
    return {f"{prefix}.1.weight": (rank, width), f"{prefix}.2.weight": (parts * width, rank)}


def world_model_shapes(
    *,
    width: int,
    blocks: int,
    heads: int,
    rank: int = 256,
    latent: int = 16,
    text: int = 100352,
    text_width: int = 1024,
    action: int = 384,
    per_latent: int = 4,
) -> Shapes:
    """Gives the names and shapes of a published world model, without their prefix.

    Args:
        width: 2048 or 5120.
        blocks: 28 or 36.
        heads: 16 or 40.
        rank: Of the adaptive layer norms.
        latent: Channels of the tokenizer.
        text: Width of the text embedding.
        text_width: Its width after projection.
        action: Width of an action.
        per_latent: Actions per latent frame.
    """
    # Latents, condition mask and padding mask, in patches of 2x2.
    shapes: Shapes = {"x_embedder.proj.1.weight": (width, (latent + 2) * 4)}
    shapes["t_embedder.1.linear_1.weight"] = (width, width)
    shapes["t_embedder.1.linear_2.weight"] = (3 * width, width)
    shapes["t_embedding_norm.weight"] = (width,)
    shapes["crossattn_proj.0.weight"] = (text_width, text)
    shapes["crossattn_proj.0.bias"] = (text_width,)
    for index in range(blocks):
        block = f"blocks.{index}"
        head = width // heads
        shapes |= _attention(f"{block}.self_attn", width, width, head)
        shapes |= _attention(f"{block}.cross_attn", width, text_width, head)
        shapes[f"{block}.mlp.layer1.weight"] = (4 * width, width)
        shapes[f"{block}.mlp.layer2.weight"] = (width, 4 * width)
        for part in ("self_attn", "cross_attn", "mlp"):
            shapes |= _modulation(f"{block}.adaln_modulation_{part}", width, rank, 3)
    shapes["final_layer.linear.weight"] = (latent * 4, width)
    shapes |= _modulation("final_layer.adaln_modulation", width, rank, 2)
    for part, parts in zip(ACTION_PARTS, (1, 3), strict=True):
        shapes[f"{part}.fc1.weight"] = (4 * width, action * per_latent)
        shapes[f"{part}.fc1.bias"] = (4 * width,)
        shapes[f"{part}.fc2.weight"] = (parts * width, 4 * width)
        shapes[f"{part}.fc2.bias"] = (parts * width,)
    return shapes


def world_model_layout(config: WorldModelConfig) -> Layout:
    """Gives the layout of a world model in the published form, of any size.

    Raises:
        BadInputError: If the configuration is none of the published form.
    """
    text, actions = config.text, config.actions
    published = config.padding_mask and config.qk_norm and actions.hidden is None
    if text is None or not published or actions.cumulative or config.context_channels:
        raise BadInputError(
            f"No published checkpoint has the form of '{config.name}'; the sizes that can be "
            "converted are 2b and 14b."
        )
    return Layout(
        name=config.name,
        kind=WORLD_MODEL_KIND,
        prefixes={"ema": "net_ema.", "raw": "net."},
        shapes=world_model_shapes(
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            rank=config.adaln_rank,
            latent=config.latent_channels,
            text=text.features,
            text_width=text.width,
            action=actions.width,
            per_latent=actions.per_latent,
        ),
        config=asdict(config),
    )


def latent_action_layout(name: str = "published") -> Layout:
    """Gives the layout of the published latent action model, or of another of its sizes."""
    import torch

    from dojobench.reference_model.lam import LatentActionModel

    config = LATENT_ACTION_MODELS[name]
    with torch.device("meta"):
        module = LatentActionModel(config)
    return Layout(
        name="lam",
        kind=LATENT_ACTION_KIND,
        prefixes={"raw": ""},
        scope="lam.",
        shapes={key: tuple(value.shape) for key, value in module.state_dict().items()},
        config=asdict(config),
    )


def published_layouts() -> dict[str, Layout]:
    """Gives all layouts that were published, by name."""
    sizes = {name: world_model_layout(PRESETS[name]) for name in ("2b", "14b")}
    return {**sizes, "lam": latent_action_layout()}
