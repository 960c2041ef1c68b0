"""What the reference model's teacher and student have in common as world models.

A rollout needs nothing but frames, actions and a seed. Noise is drawn per chunk by NumPy's
``RandomState(seed + index of the chunk's first action)``, as the released evaluation does
(``arch_invariant_rand``), once for all samples of a batch: it is the same on every device, and a
sample is what it would be alone.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from dojobench.datasets.actions import ActionEncoder
from dojobench.protocol import Actions, Frames, ModelSpec
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.validate import check_actions, check_context, check_seed
from dojobench.reference_model.blocks import KeysValues
from dojobench.reference_model.dit import Text, WorldModelNet
from dojobench.reference_model.fast_net import FastNet
from dojobench.reference_model.video_tokenizer import GROUP, VideoTokenizer


@dataclass(kw_only=True)
class Parts:
    """What a model is made of, all on one device.

    Attributes:
        net: The network.
        tokenizer: Between frames and latents.
        encoder: From a suite's actions to the network's.
        text: ``[1, L, features]``, for networks that attend to a stored text.
        owned: Whether nobody else uses the network, so that its weights need not be copied.
        compiled: Whether passes are compiled.
        graphed: Whether a student's passes are replayed as a CUDA graph.
    """

    net: WorldModelNet
    tokenizer: VideoTokenizer
    encoder: ActionEncoder
    text: torch.Tensor | None = None
    owned: bool = False
    compiled: bool = False
    graphed: bool = False
    _encoded: list[KeysValues] | None = field(default=None, init=False, repr=False)
    _fast: FastNet | None = field(default=None, init=False, repr=False)

    def to(self, device: torch.device | str) -> None:
        """Moves everything."""
        self.net.to(device)
        self.tokenizer.to(device)
        if self.text is not None:
            self.text = self.text.to(device)
        self._encoded = self._fast = None

    def fast(self) -> FastNet:
        """Gives the network as sessions run it, with its weights as they are at the first call."""
        if self._fast is None:
            self._fast = FastNet(self.net, owned=self.owned, compiled=self.compiled)
        return self._fast

    def encoded_text(self, batch: int) -> Text | None:
        """Gives the text as the network's blocks want it, encoded once for all sessions."""
        if self.text is None:
            return None
        if self._encoded is None:
            self._encoded = list(self.net.encode_text(self.text))
        keys_values = [[each.expand(batch, -1, -1, -1) for each in one] for one in self._encoded]
        return [KeysValues(*one) for one in keys_values]


class LatentSession(ABC):
    """One batch of rollouts; answers steps of any length.

    Actions are gathered into chunks of ``size``. Where a step ends within one, the chunk is made
    of the actions known so far, the robot then standing still, and the frames asked for are
    answered; when more actions of it come, it is made again from the same noise. So chunks begin
    at the same frames however the actions are cut into steps, and a frame never depends on an
    action that was not yet given. Whole chunks at a time cost nothing extra.

    Args:
        spec: The model's.
        parts: The model's.
        size: Actions of a chunk, a multiple of 4.
        context: Frames that it is started with, where the model is.
        continues: Whether a chunk's first actions are relative to the action before it; otherwise
            they are taken as a rollout's first, of which nothing is known.
    """

    def __init__(
        self, spec: ModelSpec, parts: Parts, *, size: int, context: Frames, continues: bool
    ) -> None:
        self._spec, self._parts, self._size = spec, parts, size
        self._continues = continues
        self._batch, self._device = context.shape[0], context.device
        self._known: torch.Tensor | None = None
        self._previous: torch.Tensor | None = None
        self._position = 0
        self._closed = False

    @torch.inference_mode()
    def step(self, actions: Actions) -> Frames:
        """Applies the next actions; see ``dojobench.protocol.Session``.

        Raises:
            BadInputError: If the actions are not as the spec says, or the session is closed.
        """
        if self._closed:
            raise BadInputError("The session is closed and cannot be stepped; start another.")
        check_actions(self._spec, actions, batch=self._batch)
        home = actions.device
        rest = actions.to(self._device)
        made = []
        while rest.shape[1]:
            before = 0 if self._known is None else self._known.shape[1]
            new, rest = rest[:, : self._size - before], rest[:, self._size - before :]
            known = new if self._known is None else torch.cat([self._known, new], dim=1)
            self._known = known
            whole = known.shape[1] == self._size
            made.append(self._make(self._encoded(known), before, known.shape[1], whole=whole))
            if whole:
                if self._continues:
                    self._previous = self._parts.encoder.standing(known, self._previous)
                self._known = None
                self._position += self._size
        return torch.cat(made, dim=1).to(home)

    @abstractmethod
    def _make(self, actions: torch.Tensor, first: int, stop: int, *, whole: bool) -> torch.Tensor:
        """Makes the chunk's frames from ``first`` to before ``stop``.

        Args:
            actions: ``[B, 4m, width]`` as the network takes them, filled up to whole groups.
            first: Frame of the chunk, counted from 0.
            stop: One past the last frame.
            whole: Whether all actions of the chunk are known, so that the next one follows.

        Returns:
            uint8 ``[B, stop - first, 3, height, width]``.
        """

    def _encoded(self, actions: torch.Tensor) -> torch.Tensor:
        """Encodes a chunk's actions, and fills the last group with standing still."""
        encoded = self._parts.encoder.encode(actions, self._previous)
        lacking = -encoded.shape[1] % GROUP
        if not lacking:
            return encoded
        # Relative to the same step as the row before it, the same value is the same place.
        return torch.cat([encoded, encoded[:, -1:].expand(-1, lacking, -1)], dim=1)

    def _noise(self, seed: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Draws a chunk's noise, ``shape``, the same whatever the device."""
        drawn = np.random.RandomState(seed + self._position).standard_normal(shape)
        return torch.from_numpy(drawn.astype(np.float32)).to(self._device)

    def close(self) -> None:
        """Frees what the session holds."""
        self._closed = True
        self._known = self._previous = None


class LatentModel(ABC):
    """A world model made of a tokenizer and a latent network.

    Attributes:
        spec: What it declares.
        parts: What it is made of.
    """

    def __init__(self, spec: ModelSpec, parts: Parts) -> None:
        self.spec = spec
        self.parts = parts
        self._device = parts.net.device

    @property
    def notes(self) -> tuple[str, ...]:
        """What a run says of the model beside its spec."""
        net = self.parts.net
        form = str(net.attention_dtype).removeprefix("torch.")
        return (f"{self.spec.name} attends by {net.attention_backend} in {form}.",)

    def to(self, device: torch.device | str) -> Self:
        """Moves the model, as the harness asks with ``--device``."""
        if torch.device(device) != self._device:
            self.parts.to(device)
            self._device = self.parts.net.device
        return self

    @torch.inference_mode()
    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> LatentSession:
        """Opens a session; see ``dojobench.protocol.WorldModel``.

        The instruction is not used: what is to happen is said by the actions.

        Raises:
            BadInputError: If the context is not as the spec says.
        """
        del instruction
        check_context(self.spec, context)
        check_seed(seed)
        return self._open(context.to(self._device), seed)

    @abstractmethod
    def _open(self, context: Frames, seed: int) -> LatentSession:
        """Opens a session on a checked context that is where the model is."""
