"""The truth through a tokenizer and back: what the models that use it could reach at best.

No contestant: it is given the future. Beside a model's score it says how much of what the model
lacks is the tokenizer's doing, and how much the network's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dojobench.protocol import Actions, Frames, ModelSpec, Session
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.model_folder import TOKENIZER, fingerprint
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.video_tokenizer import GROUP, VideoTokenizer, to_uint8, to_unit
from dojobench.reference_model.world_models import shipped


class TrueClip(Protocol):
    """What is asked of a clip; the harness's clips have it."""

    @property
    def record(self) -> Any:
        """Has ``frames``, the clip's length."""
        ...

    def read(self, start: int, stop: int) -> Frames:
        """Reads frames, uint8 ``[n, 3, height, width]``."""
        ...


class RoundTrip:
    """A privileged model that answers the truth, encoded and decoded.

    Args:
        tokenizer: Between frames and latents.
        weights: Fingerprint for the spec.
        name: For the spec.
    """

    def __init__(self, tokenizer: VideoTokenizer, *, weights: str, name: str) -> None:
        self.spec = ModelSpec(name=name, version="1", weights=weights, native_chunk=GROUP)
        self._tokenizer = tokenizer
        self._context: int | None = None

    def prepare(self, suite: Any, clips: Sequence[object]) -> None:
        """Learns where predictions begin; the harness calls it before a run."""
        del clips
        self._context = int(suite.spec.context_frames)

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Refuses: without the truth there is nothing to encode.

        Raises:
            BadInputError: Always.
        """
        del context, seed, instruction
        raise BadInputError(
            f"The model {self.spec.name} needs the truth and runs in `dojobench run` only; choose "
            "a model that predicts, such as nano-teacher."
        )

    def start_privileged(
        self, context: Frames, *, seed: int, clips: Sequence[TrueClip]
    ) -> "RoundTripSession":
        """Opens a session over the clips' own truth, the context's last frame its first."""
        del seed
        if self._context is None:
            raise RuntimeError("prepare() comes before start_privileged()")
        return RoundTripSession(self._tokenizer, context, clips, first=self._context)


class RoundTripSession:
    """Encodes and decodes as the frames go by, from the last context frame on."""

    def __init__(
        self, tokenizer: VideoTokenizer, context: Frames, clips: Sequence[TrueClip], *, first: int
    ) -> None:
        self._clips, self._position = clips, first
        self._device = context.device
        self._encoder, self._decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
        self._pass(context[:, -1:])

    def step(self, actions: Actions) -> Frames:
        """Answers the next frames, whatever the actions; whole groups of four."""
        stop = self._position + int(actions.shape[1])
        places = torch.arange(self._position, stop)
        # A last chunk is longer than its clip; what is beyond is not scored.
        parts = [
            clip.read(self._position, min(stop, int(clip.record.frames)))[
                (places - self._position).clamp(max=int(clip.record.frames) - self._position - 1)
            ]
            for clip in self._clips
        ]
        self._position = stop
        return self._pass(torch.stack(parts).to(self._device))

    @torch.inference_mode()
    def _pass(self, frames: Tensor) -> Frames:
        return to_uint8(self._decoder.push(self._encoder.push(to_unit(frames))))

    def close(self) -> None:
        """Lets go of the clips, which are the harness's to close."""
        self._clips = ()


def nano_round_trip(*, checkpoint: Path | None = None) -> RoundTrip:
    """Opens the tokenizer of a model folder; of ``nano-teacher`` where none is named.

    Args:
        checkpoint: The folder.

    Raises:
        BadInputError: If it has no tokenizer.
    """
    folder = shipped("nano-teacher") if checkpoint is None else Path(checkpoint)
    if not (folder / TOKENIZER).is_file():
        raise BadInputError(
            f"The folder {folder} has no {TOKENIZER}; name the folder of one of our models."
        )
    tokenizer = CausalTokenizer.load(folder / TOKENIZER).eval()
    return RoundTrip(tokenizer, weights=fingerprint(folder / TOKENIZER), name="nano-round-trip")
