"""WAN's video tokenizers, 2.1 and 2.2, behind the interface of ours.

WAN 2.1 (16 channels, 8 times smaller each way) is what the published world models were trained
on; WAN 2.2 has 48 channels and is 16 times smaller. Both are diffusers' ``AutoencoderKLWan``,
read from a local folder; nothing is fetched.

The network keeps, for each temporal convolution, the last two inputs. diffusers holds them in a
list that its ``encode`` and ``decode`` clear at the end; here a stream owns its list, and so goes
on where it stopped. Nothing is encoded or decoded twice.
"""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.video_tokenizer import (
    GROUP,
    StreamDecoder,
    StreamEncoder,
    VideoTokenizer,
    latent_frames,
    to_unit,
)


def load_wan(folder: Path, *, dtype: torch.dtype = torch.float32) -> "WanTokenizer":
    """Reads a tokenizer from a local folder.

    Args:
        folder: Holds ``config.json`` and safetensors weights, or a subfolder ``vae`` that does,
            as WAN's pipelines are distributed.
        dtype: Floating point type to compute in.

    Raises:
        BadInputError: If diffusers is missing, or the folder holds no such model.
    """
    diffusers = _diffusers_wan()
    if not (folder / "config.json").is_file():
        if not (folder / "vae" / "config.json").is_file():
            raise BadInputError(
                f"{folder} holds no config.json, nor does a folder vae in it; give the folder of "
                "a WAN tokenizer in diffusers' format."
            )
        folder = folder / "vae"
    try:
        network = diffusers.AutoencoderKLWan.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, torch_dtype=dtype
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise BadInputError(
            f"{folder} cannot be read as a WAN tokenizer ({reason}); fetch it again."
        ) from error
    return WanTokenizer(network)


class WanTokenizer(VideoTokenizer):
    """diffusers' ``AutoencoderKLWan`` as a ``VideoTokenizer``.

    Latents are normalised with the means and deviations of the model's configuration, as the
    published world models have them.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, network: Any) -> None:
        super().__init__()
        config = network.config
        if config.scale_factor_temporal != GROUP:
            raise BadInputError(
                f"This WAN tokenizer is {config.scale_factor_temporal} times shorter in time; "
                f"world models here need {GROUP}."
            )
        if not len(config.latents_mean) == len(config.latents_std) == config.z_dim:
            raise BadInputError(
                f"This WAN tokenizer has {config.z_dim} channels and statistics of "
                f"{len(config.latents_mean)}; correct latents_mean and latents_std in its "
                "config.json."
            )
        self.network = network.eval().requires_grad_(False)
        self.latent_channels = int(config.z_dim)
        self.spatial_factor = int(config.scale_factor_spatial)
        self.patch_size = int(config.patch_size or 1)
        shape = (1, -1, 1, 1, 1)
        self.register_buffer("latent_mean", torch.tensor(config.latents_mean).reshape(shape))
        self.register_buffer("latent_std", torch.tensor(config.latents_std).reshape(shape))

    def encode(self, frames: Tensor) -> Tensor:
        """Encodes whole clips, group by group; see ``VideoTokenizer.encode``."""
        self.check_frames(frames)
        latent_frames(frames.shape[1])
        return encode_groups(self, to_unit(frames, self.dtype), _encoder_cache(self), True)

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes whole clips, latent by latent; see ``VideoTokenizer.decode``."""
        self.check_latents(latents)
        return decode_latents(self, latents.to(self.dtype), _decoder_cache(self), True)

    def stream_encoder(self) -> StreamEncoder:
        """Starts a stream that owns its convolutions' past."""
        return _WanEncoder(self)

    def stream_decoder(self) -> StreamDecoder:
        """Starts a stream that owns its convolutions' past."""
        return _WanDecoder(self)


def _diffusers_wan() -> Any:
    """Imports diffusers' module late, because few need it and it takes seconds."""
    try:
        return importlib.import_module("diffusers.models.autoencoders.autoencoder_kl_wan")
    except ImportError as error:
        raise BadInputError(
            "diffusers is not installed, which WAN's tokenizers need; run pip install "
            "dojobench[wan]."
        ) from error


def _temporal_convolutions(part: Any) -> int:
    kind = _diffusers_wan().WanCausalConv3d
    return sum(isinstance(module, kind) for module in part.modules())


def _encoder_cache(tokenizer: WanTokenizer) -> list[Any]:
    return [None] * _temporal_convolutions(tokenizer.network.encoder)


def _decoder_cache(tokenizer: WanTokenizer) -> list[Any]:
    return [None] * _temporal_convolutions(tokenizer.network.decoder)


def encode_groups(
    tokenizer: WanTokenizer, frames: Tensor, cache: list[Any], starts: bool
) -> Tensor:
    """Encodes whole groups of a clip, going on from a cache.

    Args:
        tokenizer: Whose encoder is used.
        frames: ``[batch, n, 3, height, width]`` in 0 to 1; ``n`` is 4m, or 1 + 4m at the start.
        cache: One entry for each temporal convolution, replaced by what the next group needs.
        starts: Whether the first frame is the first of its clip.

    Returns:
        ``[batch, m or 1 + m, channels, h, w]``, normalised.
    """
    network = tokenizer.network
    pixels = (frames * 2 - 1).transpose(1, 2)
    pixels = _diffusers_wan().patchify(pixels, patch_size=tokenizer.patch_size)
    first = 1 if starts else GROUP
    pieces = list(pixels[:, :, :first].split(GROUP, dim=2))
    pieces += [piece for piece in pixels[:, :, first:].split(GROUP, dim=2) if piece.shape[2]]
    moments = torch.cat(
        [network.encoder(piece, feat_cache=cache, feat_idx=[0]) for piece in pieces], dim=2
    )
    mean = network.quant_conv(moments).chunk(2, dim=1)[0]
    normal: Tensor = (mean - tokenizer.latent_mean) / tokenizer.latent_std
    return normal.to(tokenizer.dtype).transpose(1, 2)


def decode_latents(
    tokenizer: WanTokenizer, latents: Tensor, cache: list[Any], starts: bool
) -> Tensor:
    """Decodes latent frames of a clip, going on from a cache.

    Args:
        tokenizer: Whose decoder is used.
        latents: ``[batch, m, channels, h, w]``, normalised.
        cache: One entry for each temporal convolution, replaced by what the next latent needs.
        starts: Whether the first latent is the first of its clip.

    Returns:
        ``[batch, n, 3, height, width]`` in 0 to 1; ``n`` is 4m, or 4m - 3 at the start.
    """
    network = tokenizer.network
    raw = latents.transpose(1, 2) * tokenizer.latent_std + tokenizer.latent_mean
    raw = network.post_quant_conv(raw.to(tokenizer.dtype))
    pieces = [
        network.decoder(piece, feat_cache=cache, feat_idx=[0], first_chunk=starts and index == 0)
        for index, piece in enumerate(raw.split(1, dim=2))
    ]
    pixels: Tensor = _diffusers_wan().unpatchify(
        torch.cat(pieces, dim=2), patch_size=tokenizer.patch_size
    )
    return (pixels.transpose(1, 2) * 0.5 + 0.5).clamp(0, 1)


class _WanEncoder(StreamEncoder):
    _tokenizer: WanTokenizer

    def __init__(self, tokenizer: WanTokenizer) -> None:
        super().__init__(tokenizer)
        self._cache = _encoder_cache(tokenizer)

    def _advance(self, frames: Tensor, starts: bool) -> Tensor:
        # A copy, so that a fork keeps the list of before; the tensors in it are never written to.
        self._cache = list(self._cache)
        return encode_groups(self._tokenizer, frames, self._cache, starts)


class _WanDecoder(StreamDecoder):
    _tokenizer: WanTokenizer

    def __init__(self, tokenizer: WanTokenizer) -> None:
        super().__init__(tokenizer)
        self._cache = _decoder_cache(tokenizer)

    def _advance(self, latents: Tensor, starts: bool) -> Tensor:
        self._cache = list(self._cache)
        return decode_latents(self._tokenizer, latents, self._cache, starts)
