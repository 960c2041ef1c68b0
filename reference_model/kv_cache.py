"""The rolling window of keys and values that a streaming student attends to.

A ring of ``window + 1`` latent frames per block: the newest frame is written over the oldest one,
so the memory never grows and nothing is shifted. Keys carry their absolute rotary positions and
softmax does not care about the order of keys, so the ring needs no unrolling.
"""

import torch


class KVCache:
    """Keys and values of the last latent frames, for every block of a network.

    While a frame is denoised its keys and values are rewritten in each pass; ``commit`` makes the
    last pass's the context of the frames to come. Where gradients are wanted the current frame's
    keys and values are joined to a copy of the context, so that backward passes are safe while
    the ring moves on; the context itself carries no gradient (Self Forcing does the same).

    Attributes:
        window: Earlier frames that a frame sees.
        tokens_per_frame: Tokens of one latent frame.
        frames: Committed frames since the start: the absolute index of the frame in flight.
    """

    def __init__(
        self,
        *,
        blocks: int,
        batch: int,
        tokens_per_frame: int,
        heads: int,
        head_dim: int,
        window: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if window < 1:
            raise ValueError(f"A cache needs a window of at least 1 frame, not {window}.")
        self.window = window
        self.tokens_per_frame = tokens_per_frame
        self.frames = 0
        shape = (blocks, 2, batch, (window + 1) * tokens_per_frame, heads, head_dim)
        self._ring = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Number format in which keys and values are kept."""
        return self._ring.dtype

    @property
    def batch(self) -> int:
        """Sequences that stream side by side."""
        return self._ring.shape[2]

    def extend(
        self, block: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts the current frame's keys and values beside those of the frames before.

        Args:
            block: Index of the block.
            k: ``[batch, tokens_per_frame, heads, head_dim]``.
            v: The same shape.

        Returns:
            Keys and values of at most ``window + 1`` frames, in ring order. Without gradients
            they are views that the next call overwrites.

        Raises:
            ValueError: If it is not exactly one frame of the cache's batch.
        """
        if k.shape[:2] != (self.batch, self.tokens_per_frame):
            raise ValueError(
                f"The cache takes one frame of {self.tokens_per_frame} tokens for {self.batch} "
                f"sequences, not {k.shape[1]} tokens for {k.shape[0]}."
            )
        ring_k, ring_v = self._ring[block]
        start = self.frames % (self.window + 1) * self.tokens_per_frame
        stop = start + self.tokens_per_frame
        filled = min(self.frames + 1, self.window + 1) * self.tokens_per_frame
        with torch.no_grad():
            ring_k[:, start:stop] = k.detach()
            ring_v[:, start:stop] = v.detach()
        if not (torch.is_grad_enabled() and (k.requires_grad or v.requires_grad)):
            return ring_k[:, :filled], ring_v[:, :filled]
        return (
            torch.cat([ring_k[:, :start], k, ring_k[:, stop:filled]], dim=1),
            torch.cat([ring_v[:, :start], v, ring_v[:, stop:filled]], dim=1),
        )

    def commit(self) -> None:
        """Makes the current frame part of the context."""
        self.frames += 1

    def reset(self) -> None:
        """Forgets all frames."""
        self.frames = 0
