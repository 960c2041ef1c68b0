"""The teacher as a world model: twelve actions to twelve frames, chunk by chunk.

Each chunk is sampled as a whole from its context, by default the one last frame; then its last
frame, as shown, is encoded anew as the context of the next (``docs/EVAL.md`` and
``cosmos_predict2/action_conditioned.py`` of NVIDIA/DreamDojo at 02f119b). The released script
keeps the context frame at the head of every later chunk, which puts frames one late; this does
not.
"""

from dataclasses import replace

import torch

from dojobench.protocol import Frames, ModelSpec
from dojobench.reference_model.fast_sampling import sample_chunk
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.session import LatentModel, LatentSession, Parts
from dojobench.reference_model.video_tokenizer import GROUP, latent_frames, to_uint8


class TeacherModel(LatentModel):
    """A world model that samples chunks.

    Attributes:
        sampler: How.
        chunk: Actions sampled at once, a multiple of 4.
        continues: Whether a chunk's first actions are relative to the action before the chunk, as
            the released loader has them, or like a rollout's first, of which nothing is known.
    """

    def __init__(
        self,
        spec: ModelSpec,
        parts: Parts,
        *,
        sampler: SamplerConfig,
        chunk: int = 12,
        continues: bool = False,
    ) -> None:
        super().__init__(replace(spec, native_chunk=chunk, any_chunk=True), parts)
        self.sampler, self.chunk, self.continues = sampler, chunk, continues

    def _open(self, context: Frames, seed: int) -> "TeacherSession":
        return TeacherSession(self, context, seed)


class TeacherSession(LatentSession):
    """Holds the last frames as shown, and what is known of the chunk under way.

    A context of several latent frames was led to by actions. Those of a rollout's very first
    context are not told to a session; the robot is taken to have stood still.
    """

    def __init__(self, model: TeacherModel, context: Frames, seed: int) -> None:
        super().__init__(
            model.spec,
            model.parts,
            size=model.chunk,
            context=context,
            continues=model.continues,
        )
        self._model, self._seed = model, seed
        self._shown = context
        self._led: torch.Tensor | None = None
        self._latents: torch.Tensor | None = None
        self._drawn: torch.Tensor | None = None

    def _make(self, actions: torch.Tensor, first: int, stop: int, *, whole: bool) -> torch.Tensor:
        context = self._context()
        given = context.shape[2]
        led = self._led
        if led is None:
            led = actions.new_zeros(actions.shape[0], GROUP * (given - 1), actions.shape[2])
        frames = given + actions.shape[1] // GROUP
        latents = sample_chunk(
            self._parts.fast(),
            context,
            torch.cat([led, actions], dim=1),
            config=self._model.sampler,
            noise=self._noise_of(context, frames),
            text=self._parts.encoded_text(self._batch),
        )
        decoded = self._parts.tokenizer.decode(latents.transpose(1, 2))
        start = decoded.shape[1] - actions.shape[1]
        made = to_uint8(decoded[:, start + first : start + stop])
        # Frames that were shown stay as they were shown, whatever a later sample says of them.
        self._shown = torch.cat([self._shown, made], dim=1)[:, -self._spec.context_frames :]
        if whole:
            self._latents = self._drawn = None
            self._led = actions[:, actions.shape[1] - GROUP * (given - 1) :]
        return made

    def _context(self) -> torch.Tensor:
        """Gives the context's latents ``[B, C, c, Y, X]``, encoded once a chunk."""
        if self._latents is None:
            self._latents = self._parts.tokenizer.encode(self._shown).transpose(1, 2)
        return self._latents

    def _noise_of(self, context: torch.Tensor, frames: int) -> torch.Tensor:
        """Gives the noise of the chunk's first new frames, drawn once a chunk."""
        batch, channels, given, rows, columns = context.shape
        all_frames = latent_frames(1 + self._size) + given - 1
        if self._drawn is None:
            # As released, noise is drawn for the context too.
            shape = (1, channels, all_frames, rows, columns)
            self._drawn = self._noise(self._seed, shape).expand(batch, -1, -1, -1, -1)
        first = given if self._parts.net.config.clean_context else 0
        return self._drawn[:, :, first:frames]

    def close(self) -> None:
        """Frees what the session holds."""
        super().close()
        self._latents = self._drawn = self._led = None
