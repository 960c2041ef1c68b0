"""The rolling window of keys and values that a streaming student attends to.

A ring of ``window + 1`` latent frames per block: the newest frame is written over the oldest one,
so the memory never grows and nothing is shifted. Keys carry their absolute rotary positions and
softmax does not care about the order of keys, so the ring needs no unrolling. Once the ring is
full every pass has the same shapes and addresses, which compilers and CUDA graphs want.
"""

import torch


class BlockCache:
    """The ring of one block.

    Attributes:
        keys: ``[batch, (window + 1) * tokens_per_frame, heads, head_dim]``.
        values: The same shape.
    """

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, slots: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        self.keys = keys
        self.values = values
        self.slots = slots
        self.filled = (len(slots[0]), 2 * len(slots[0]))

    def extend(
        self, k: torch.Tensor, v: torch.Tensor, *, ahead: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts the current frame's keys and values beside those of the frames before.

        Args:
            k: ``[batch, tokens_per_frame, heads, head_dim]``.
            v: The same shape.
            ahead: 1 for the frame after the current one, whose own are there already and see it
                no more: where the ring is full, the oldest that the current one saw gives way.

        Returns:
            Keys and values of at most ``window + 1`` frames, in ring order. Without gradients
            they are views that the next call overwrites.

        Raises:
            ValueError: If it is not exactly one frame of the cache's batch.
        """
        slots, filled = self.slots[ahead], self.filled[ahead]
        if k.shape[0] != self.keys.shape[0] or k.shape[1] != slots.shape[0]:
            raise ValueError(
                f"The cache takes one frame of {slots.shape[0]} tokens for "
                f"{self.keys.shape[0]} sequences, not {k.shape[1]} tokens for {k.shape[0]}."
            )
        wants_gradient = torch.is_grad_enabled() and (k.requires_grad or v.requires_grad)
        with torch.no_grad():
            self.keys.index_copy_(1, slots, k.detach())
            self.values.index_copy_(1, slots, v.detach())
        keys, values = self.keys[:, :filled], self.values[:, :filled]
        if not wants_gradient:
            return keys, values
        # The backward pass needs the slots as they are now, and they move on in place.
        slots = slots.clone()
        return keys.index_copy(1, slots, k), values.index_copy(1, slots, v)


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
        blocks: Each block's ring.
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
        first = torch.arange(tokens_per_frame, device=device)
        self._slots = (first, first + tokens_per_frame)
        self.blocks = tuple(BlockCache(ring[0], ring[1], self._slots) for ring in self._ring)

    @property
    def dtype(self) -> torch.dtype:
        """Number format in which keys and values are kept."""
        return self._ring.dtype

    def commit(self) -> None:
        """Makes the current frame part of the context."""
        self._go_to(self.frames + 1)

    def reset(self) -> None:
        """Forgets all frames."""
        self._go_to(0)

    def _go_to(self, frame: int) -> None:
        self.frames = frame
        tokens = self.tokens_per_frame
        room = self.window + 1
        for ahead, slots in enumerate(self._slots):
            start = (frame + ahead) % room * tokens
            # In place: the slots are an input of compiled and captured passes.
            torch.arange(start, start + tokens, out=slots)
        filled = (min(frame + 1, room) * tokens, min(frame + 2, room) * tokens)
        for block in self.blocks:
            block.filled = filled
