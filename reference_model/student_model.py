"""The student as a world model: four actions to four frames, for as long as actions come.

The context is encoded once and put into the rolling cache; from then on nothing is encoded,
decoded or attended to twice. Section 3.5 of the paper and ``interactive/inference`` of
NVIDIA/DreamDojo at 02f119b, which encodes and decodes its window anew for every four frames.
"""

from dataclasses import replace

import torch

from dojobench.protocol import Frames, ModelSpec
from dojobench.reference_model.fast_sampling import FastStream
from dojobench.reference_model.session import LatentModel, LatentSession, Parts
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.video_tokenizer import GROUP, to_uint8


class StudentModel(LatentModel):
    """A world model that streams.

    Attributes:
        stream: Window and steps.
    """

    def __init__(self, spec: ModelSpec, parts: Parts, *, stream: StreamConfig) -> None:
        super().__init__(replace(spec, native_chunk=GROUP, any_chunk=True), parts)
        self.stream = stream

    def _open(self, context: Frames, seed: int) -> "StudentSession":
        return StudentSession(self, context, seed)


class StudentSession(LatentSession):
    """Holds the cache, the decoder's past and at most three actions; it never grows."""

    def __init__(self, model: StudentModel, context: Frames, seed: int) -> None:
        # Groups after the first continue it, in the windows it was trained on as here.
        super().__init__(model.spec, model.parts, size=GROUP, context=context, continues=True)
        self._seed = seed
        latents = self._parts.tokenizer.encode(context)
        self._decoder = self._parts.tokenizer.stream_decoder()
        self._decoder.prime(latents)
        self._stream = FastStream(
            self._parts.fast(),
            latents.transpose(1, 2),
            config=model.stream,
            text=self._parts.encoded_text(self._batch),
            graphed=self._parts.graphed and context.is_cuda,
        )
        channels, rows, columns = latents.shape[2:]
        self._shape = (model.stream.draws, 1, channels, 1, rows, columns)

    def _make(self, actions: torch.Tensor, first: int, stop: int, *, whole: bool) -> torch.Tensor:
        noise = self._noise(self._seed, self._shape).expand(-1, self._batch, -1, -1, -1, -1)
        if whole:
            latent = self._stream.step(actions, noise)
            decoder = self._decoder
        else:
            latent = self._stream.propose(actions, noise)
            decoder = self._decoder.fork()
        return to_uint8(decoder.push(latent.transpose(1, 2))[:, first:stop])

    def close(self) -> None:
        """Frees what the session holds."""
        super().close()
        del self._stream, self._decoder
