"""Sizes and switches of the world model's network, from a laptop's to the published ones.

``2b`` and ``14b`` are the published shapes (configs of NVIDIA/DreamDojo at 02f119b, in
``interactive/configs/net.py`` and ``configs/*.yaml``). ``nano`` is made for 64x64 frames on two CPU
cores, ``small`` for 128x128 frames on one GPU. What differs beyond size is what was found to
matter when training from nothing: gates that start closed, a wider range of the time embedding,
a larger timestep shift, and the displacement since the context frame beside each action.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dojobench.datasets.embodiments import ACTION_WIDTH
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.model_file import config_from
from dojobench.reference_model.rope import RopeConfig

Injection = Literal["chunked", "global-mean", "global-flat"]
GivenTime = Literal["shared", "zero"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionConfig:
    """How actions reach the network.

    Attributes:
        width: Width of an action; the 384 shared slots.
        per_latent: Actions per latent frame, the tokenizer's stride in time.
        injection: ``chunked`` gives each latent frame the actions that lead to it; ``global-mean``
            gives every frame the mean of these, ``global-flat`` all of the clip's in a row.
        clip_chunks: Latent frames with actions in a clip; used by ``global-flat`` alone, whose
            input has that size.
        relative: Whether actions are taken relative to the step before their group; applied by
            ``action_encoder``, not by the network.
        cumulative: Whether each action is joined by the displacement since the context frame.
        hidden: Width of the two embedders' hidden layer; four times the network's where ``None``.
        zero_init: Whether the embedders start by giving nothing (published: in pretraining).
        mask_by_condition: Whether frames that are given get no action embedding (published: until
            commit aa89bc2).
    """

    width: int = ACTION_WIDTH
    per_latent: int = 4
    injection: Injection = "chunked"
    clip_chunks: int = 3
    relative: bool = True
    cumulative: bool = False
    hidden: int | None = None
    zero_init: bool = False
    mask_by_condition: bool = False

    def __post_init__(self) -> None:
        if self.cumulative and not self.relative:
            raise BadInputError(
                "The setting 'cumulative' sums relative actions, but 'relative' is off; switch "
                "both on or 'cumulative' off."
            )

    @property
    def chunk_features(self) -> int:
        """Numbers that the embedders take per latent frame."""
        features = self.width * self.per_latent * (2 if self.cumulative else 1)
        return features * self.clip_chunks if self.injection == "global-flat" else features


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """Cross-attention to a stored text embedding.

    Attributes:
        features: Width of the stored embedding; 28 layers of 3584 in the published models.
        width: Width after projection.
    """

    features: int = 100352
    width: int = 1024


_PLAIN_ROPE = RopeConfig()
_PLAIN_ACTIONS = ActionConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldModelConfig:
    """The network.

    Attributes:
        name: Preset it comes from.
        latent_channels: Channels of the tokenizer's latents.
        width: Width of a token.
        blocks: Transformer blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of a block's feed-forward layer over ``width``.
        adaln_rank: Rank of the adaptive layer norms.
        patch: Rows and columns of latents that make one token; one frame in time.
        qk_norm: Whether queries and keys are RMS-normalised.
        rope: Rotary positions.
        text: Cross-attention; none where ``None``.
        padding_mask: Whether the input has a channel that marks padding.
        context_channels: Whether the input has channels for a latent frame known beforehand.
        timestep_scale: What times in [0, 1] are multiplied with before they are embedded
            (published: 0.001 times 1000).
        float32_modulation: Whether adaptive layer norms are computed in float32 under autocast.
        zero_init_gates: Whether every block starts as the identity and the output as zero.
        clean_context: Whether given latent frames enter clean; otherwise they are noised like the
            others, and context channels alone say what they are.
        given_time: The time of latent frames that are given: that of the others (published) or 0.
        shift: Timestep shift that it is trained with, and so is to be sampled with.
        actions: How actions reach the network.
    """

    name: str = "custom"
    latent_channels: int = 16
    width: int
    blocks: int
    heads: int
    mlp_ratio: float = 4.0
    adaln_rank: int = 256
    patch: int = 2
    qk_norm: bool = True
    rope: RopeConfig = _PLAIN_ROPE
    text: TextConfig | None = None
    padding_mask: bool = False
    context_channels: bool = False
    timestep_scale: float = 1.0
    float32_modulation: bool = True
    zero_init_gates: bool = False
    clean_context: bool = True
    given_time: GivenTime = "shared"
    shift: float = 5.0
    actions: ActionConfig = _PLAIN_ACTIONS

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise BadInputError(
                f"The network's width {self.width} is no multiple of its {self.heads} heads; "
                "change one of them."
            )
        if not (self.clean_context or self.context_channels):
            raise BadInputError(
                "Without 'clean_context' the network needs 'context_channels' to see where it "
                "starts from; switch one of them on."
            )

    @property
    def head_dim(self) -> int:
        """Dimensions of a head."""
        return self.width // self.heads

    @property
    def input_channels(self) -> int:
        """Channels of a latent frame as the network sees it: latents, condition mask, others."""
        channels = self.latent_channels + 1 + int(self.padding_mask)
        return channels + self.latent_channels * int(self.context_channels)


_PUBLISHED: dict[str, Any] = {
    "rope": RopeConfig(stretch=(1.0, 3.0, 3.0)),
    "text": TextConfig(),
    "padding_mask": True,
}
_FROM_NOTHING: dict[str, Any] = {
    "timestep_scale": 1000.0,
    "zero_init_gates": True,
    "given_time": "zero",
    "shift": 10.0,
}

PRESETS: dict[str, WorldModelConfig] = {
    "nano": WorldModelConfig(
        name="nano",
        width=192,
        blocks=6,
        heads=3,
        adaln_rank=64,
        qk_norm=False,
        actions=ActionConfig(cumulative=True, hidden=192),
        **_FROM_NOTHING,
    ),
    "small": WorldModelConfig(
        name="small",
        width=768,
        blocks=16,
        heads=12,
        adaln_rank=128,
        actions=ActionConfig(cumulative=True, hidden=768),
        **_FROM_NOTHING,
    ),
    "2b": WorldModelConfig(name="2b", width=2048, blocks=28, heads=16, **_PUBLISHED),
    "14b": WorldModelConfig(name="14b", width=5120, blocks=36, heads=40, **_PUBLISHED),
}
"""The sizes, by name."""


def preset(name: str) -> WorldModelConfig:
    """Looks a size up.

    Raises:
        BadInputError: If there is none of that name.
    """
    if name not in PRESETS:
        raise BadInputError(f"There is no size '{name}'; the sizes are: {', '.join(PRESETS)}.")
    return PRESETS[name]


def config_from_dict(values: Mapping[str, Any], where: str) -> WorldModelConfig:
    """Builds a configuration from plain values, such as those of a weights file.

    Args:
        values: As ``dataclasses.asdict`` gives them.
        where: The file, for the message.

    Raises:
        BadInputError: If a key does not exist, a needed one is missing, or a value does not fit.
    """
    built = dict(values)
    for name, kind in (("rope", RopeConfig), ("text", TextConfig), ("actions", ActionConfig)):
        if isinstance(built.get(name), Mapping):
            built[name] = config_from(kind, built[name], where)
    return config_from(WorldModelConfig, built, where)
