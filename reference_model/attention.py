"""Attention through one function, whichever kernel is installed.

A video's tokens are ordered by latent frame. Two patterns are needed: every token sees every
other (the teacher), or a token sees its own frame and the frames before it, perhaps only the last
few (the student; ``interactive/networks/blockmask.py`` of NVIDIA/DreamDojo at 02f119b). The second
is exact in every backend: ``flex`` takes it as a block mask, ``sdpa`` and ``flash-attn`` attend
frame by frame to a slice of the keys, which computes nothing that a mask would throw away.

Shapes: B batch, Q queries, K keys, H heads, D head dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from dojobench.protocol.errors import BadInputError

Backend = Literal["flash-attn", "sdpa", "flex"]
BackendChoice = Literal["auto", "flash-attn", "sdpa", "flex"]
_HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCausal:
    """Which keys a query sees, by latent frame; full attention is ``None`` instead.

    The last query and the last key belong to the same frame, so that queries of the newest
    frames can follow keys kept from earlier ones.

    Attributes:
        tokens_per_frame: Tokens of one latent frame.
        window: Earlier frames that a frame sees besides itself; all of them where ``None``.
    """

    tokens_per_frame: int
    window: int | None = None

    def __post_init__(self) -> None:
        if self.tokens_per_frame < 1 or (self.window is not None and self.window < 0):
            raise ValueError(
                f"BlockCausal needs at least 1 token per frame and a window of at least 0, not "
                f"{self.tokens_per_frame} and {self.window}."
            )

    def key_frames(self, query_frame: int) -> range:
        """Gives the key frames that a query frame sees, both counted from the first key."""
        first = 0 if self.window is None else max(0, query_frame - self.window)
        return range(first, query_frame + 1)


def available_backends(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
) -> tuple[Backend, ...]:
    """Lists the backends that run here, the preferred first.

    ``flash-attn`` needs the package of that name, a CUDA device and 16-bit floats; ``flex`` is
    compiled on CUDA and is plain, slow PyTorch without gradients elsewhere.
    """
    suits_flash = torch.device(device).type == "cuda" and dtype in _HALVES
    has_flash = suits_flash and flash_is_installed()
    return ("flash-attn", "sdpa", "flex") if has_flash else ("sdpa", "flex")


@cache
def flash_is_installed() -> bool:
    """Says whether there is a package ``flash_attn``; looked for once."""
    return find_spec("flash_attn") is not None


def resolve_backend(
    choice: BackendChoice = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
) -> Backend:
    """Turns a choice into the backend that will run, to be named in the run.

    Args:
        choice: A backend, or ``auto`` for the preferred one.
        device: Where queries, keys and values will be.
        dtype: Their number format.

    Raises:
        BadInputError: If the choice does not exist or does not run here.
    """
    usable = available_backends(device, dtype)
    if choice == "auto":
        return usable[0]
    if choice not in get_args(Backend):
        raise BadInputError(
            f"There is no attention backend '{choice}'; the backends are auto, "
            f"{', '.join(get_args(Backend))}."
        )
    if choice not in usable:
        raise BadInputError(
            f"The attention backend '{choice}' does not run on {torch.device(device).type} in "
            f"{str(dtype).removeprefix('torch.')} here; use one of: {', '.join(usable)}."
        )
    return choice


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    mask_spec: BlockCausal | None = None,
    backend: Backend = "sdpa",
) -> torch.Tensor:
    """Scaled dot-product attention with scale ``1 / sqrt(D)``.

    Args:
        q: ``[B, Q, H, D]``.
        k: ``[B, K, H, D]``; K may exceed Q, the surplus being earlier frames.
        v: ``[B, K, H, D]``.
        mask_spec: Which keys a query sees; ``None`` for all.
        backend: As ``resolve_backend`` gives it.

    Returns:
        ``[B, Q, H, D]``.

    Raises:
        ValueError: If queries or keys are not whole frames, or there are fewer keys than queries.
    """
    if mask_spec is not None:
        _check_frames(q, k, mask_spec)
        if q.shape[1] == mask_spec.tokens_per_frame:
            # One frame of queries: what it may see is a slice, and needs no mask anywhere.
            k, v = _last_frames(k, mask_spec), _last_frames(v, mask_spec)
            mask_spec = None
    if backend == "flex":
        return _flex(q, k, v, mask_spec)
    kernel = _flash if backend == "flash-attn" else _sdpa
    return kernel(q, k, v) if mask_spec is None else _by_frame(q, k, v, mask_spec, kernel)


def _check_frames(q: torch.Tensor, k: torch.Tensor, spec: BlockCausal) -> None:
    tokens = spec.tokens_per_frame
    if q.shape[1] % tokens or k.shape[1] % tokens or k.shape[1] < q.shape[1]:
        raise ValueError(
            f"Block-causal attention needs whole frames of {tokens} tokens and no fewer keys than "
            f"queries, not {q.shape[1]} queries and {k.shape[1]} keys."
        )


def _last_frames(keys: torch.Tensor, spec: BlockCausal) -> torch.Tensor:
    if spec.window is None:
        return keys
    return keys[:, -(spec.window + 1) * spec.tokens_per_frame :]


def _by_frame(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    spec: BlockCausal,
    kernel: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    tokens = spec.tokens_per_frame
    earlier = (k.shape[1] - q.shape[1]) // tokens
    outputs = []
    for index, q_frame in enumerate(torch.split(q, tokens, dim=1)):
        seen = spec.key_frames(earlier + index)
        span = slice(seen.start * tokens, seen.stop * tokens)
        outputs.append(kernel(q_frame, k[:, span], v[:, span]))
    return torch.cat(outputs, dim=1)


def _sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def _flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    if q.dtype not in _HALVES:
        raise BadInputError(
            f"The attention backend 'flash-attn' takes 16-bit floats, not {q.dtype}; run the "
            "network in bfloat16 or choose the backend sdpa."
        )
    output: torch.Tensor = _flash_kernel()(q, k, v)
    return output


@cache
def _flash_kernel() -> Callable[..., Any]:
    kernel: Callable[..., Any] = import_module("flash_attn").flash_attn_func
    return kernel


def _flex(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, spec: BlockCausal | None
) -> torch.Tensor:
    if q.device.type == "cpu" and torch.is_grad_enabled() and q.requires_grad:
        raise BadInputError(
            "The attention backend 'flex' has no gradients on the CPU; train there with 'sdpa'."
        )
    block_mask = None
    if spec is not None:
        block_mask = _block_mask(spec, q.shape[1], k.shape[1], str(q.device))
    kernel = _flex_kernel(q.device.type)
    heads_first = [x.transpose(1, 2) for x in (q, k, v)]
    output: torch.Tensor = kernel(*heads_first, block_mask=block_mask)
    return output.transpose(1, 2)


@cache
def _flex_kernel(device_type: str) -> Callable[..., Any]:
    # Uncompiled flex attention forms the whole score matrix; on a GPU that defeats its purpose.
    kernel: Callable[..., Any] = flex_attention
    return torch.compile(kernel) if device_type == "cuda" else kernel


@lru_cache(maxsize=64)
def _block_mask(spec: BlockCausal, queries: int, keys: int, device: str) -> BlockMask:
    earlier = (keys - queries) // spec.tokens_per_frame

    def sees(
        batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        del batch, head
        age = query // spec.tokens_per_frame + earlier - key // spec.tokens_per_frame
        allowed = age >= 0
        return allowed if spec.window is None else allowed & (age <= spec.window)

    # Masks are kept, so they must not be made as tensors that only inference mode can use.
    with torch.inference_mode(False):
        return create_block_mask(sees, B=None, H=None, Q_LEN=queries, KV_LEN=keys, device=device)
