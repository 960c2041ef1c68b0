"""What the conformance checks ask with: small made-up clips, and a model wrapped in care."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch.nn import functional

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.model import Session, WorldModel
from dojobench.protocol.spec import Actions, Frames
from dojobench.protocol.validate import check_answer

Status = Literal["pass", "fail", "note", "skip"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing found out about a model.

    Attributes:
        check: Name of the check.
        status: ``fail`` breaks the contract, ``note`` is worth knowing, ``skip`` does not apply.
        sentence: What was found, in plain words.
    """

    check: str
    status: Status
    sentence: str

    @property
    def failed(self) -> bool:
        """Whether it breaks the contract."""
        return self.status == "fail"


def ok(check: str, sentence: str) -> Finding:
    """What is as it should be."""
    return Finding(check=check, status="pass", sentence=sentence)


def fail(check: str, sentence: str) -> Finding:
    """What breaks the contract."""
    return Finding(check=check, status="fail", sentence=sentence)


def note(check: str, sentence: str) -> Finding:
    """What is allowed and worth knowing."""
    return Finding(check=check, status="note", sentence=sentence)


def skip(check: str, sentence: str) -> Finding:
    """What does not apply."""
    return Finding(check=check, status="skip", sentence=sentence)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConformanceSettings:
    """Sizes for what a spec leaves open.

    Attributes:
        resolution: ``(height, width)`` where the spec says any.
        action_dim: Width of an action where the spec says any.
        chunk: Actions a step where the model has no native chunk.
        device: Where context and actions are put.
        seed: Seed of the made-up clips.
    """

    resolution: tuple[int, int] = (64, 64)
    action_dim: int = 7
    chunk: int = 4
    device: str = "cpu"
    seed: int = 0


class Broken(Exception):
    """The model raised, or answered with what is no answer; the message says which."""


class Difference(NamedTuple):
    """How far two answers are apart, in grey levels of 0 to 255."""

    mean: float
    largest: int

    @property
    def none(self) -> bool:
        """Whether they are equal bit for bit."""
        return self.largest == 0

    @property
    def rounding(self) -> bool:
        """Whether arithmetic in another order explains it."""
        return self.mean <= 0.5 and self.largest <= 8

    def __str__(self) -> str:
        return f"{self.mean:.3g} grey levels in the mean, {self.largest} at most"


def difference(one: Frames, other: Frames) -> Difference:
    """Compares two answers of the same shape."""
    apart = (one.int() - other.int()).abs()
    return Difference(float(apart.float().mean()), int(apart.max()))


class Probe:
    """A model, and two made-up clips to ask it about.

    Attributes:
        model: The model.
        chunk: Actions of a usual step.
        context: uint8 ``[2, context_frames, 3, height, width]``.
        actions: float32 ``[2, 2 * chunk, action_dim]``.
    """

    def __init__(self, model: WorldModel, settings: ConformanceSettings) -> None:
        """Makes the clips, sized by the spec."""
        spec = model.spec
        self.model = model
        self.spec = spec
        self.chunk = spec.native_chunk or settings.chunk
        self.device = torch.device(settings.device)
        self._generator = torch.Generator().manual_seed(settings.seed)
        size = spec.resolution or settings.resolution
        self.context = self._picture(size, spec.context_frames)
        self.views = {name: self._picture(size, spec.context_frames) for name in spec.views}
        dim = spec.action_space.dim if spec.action_space is not None else settings.action_dim
        shape = (2, 2 * self.chunk, dim)
        self.actions = torch.randn(shape, generator=self._generator).to(self.device)

    def _picture(self, size: tuple[int, int], frames: int) -> Frames:
        """Soft colours that drift by a pixel a frame, so that frames differ."""
        coarse = torch.rand((2, 3, 6, 6), generator=self._generator) * 255
        smooth = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        drift = [smooth.roll(k, dims=-1) for k in range(frames)]
        return torch.stack(drift, dim=1).round().to(torch.uint8).to(self.device)

    def start(self, sample: int | None = None, *, seed: int = 1, context: Any = None) -> Session:
        """Opens a session.

        Args:
            sample: One of the two clips alone, or both where ``None``.
            seed: For the model.
            context: Instead of the made-up one.

        Raises:
            Broken: If the model raises.
        """
        rows = slice(None) if sample is None else slice(sample, sample + 1)
        keywords: dict[str, Any] = {"seed": seed, "instruction": "pick up the cup"}
        if self.views:
            keywords["views"] = {name: view[rows].clone() for name, view in self.views.items()}
        given = self.context[rows].clone() if context is None else context
        try:
            session = self.model.start(given, **keywords)
        except Exception as error:
            raise Broken(f"start raised {told(error)}") from error
        missing = [name for name in ("step", "close") if not callable(getattr(session, name, None))]
        if missing:
            raise Broken(f"start answered a {type(session).__name__} without {missing[0]}")
        return session

    def step(self, session: Session, actions: Actions) -> Frames:
        """Steps a session and checks the answer's form.

        Args:
            session: As ``start`` opened it.
            actions: ``[batch, n, action_dim]``; given on as a copy.

        Raises:
            Broken: If the model raises or the answer is none.
        """
        try:
            frames = session.step(actions.clone())
        except Exception as error:
            count = int(actions.shape[1])
            raise Broken(f"step raised {told(error)} on {count} actions") from error
        shape = (actions.shape[0], actions.shape[1], 3, *self.context.shape[-2:])
        try:
            check_answer(frames, shape, who="the model", device=self.device)
        except BadInputError as error:
            raise Broken(str(error)) from error
        return frames.clone()

    def roll(
        self,
        actions: Actions | None = None,
        *,
        sample: int | None = None,
        seed: int = 1,
        chunks: Sequence[int] | None = None,
    ) -> Frames:
        """Rolls out from the start.

        Args:
            actions: ``[batch, n, action_dim]``; the made-up ones where ``None``.
            sample: One of the two clips alone, or both where ``None``.
            seed: For the model.
            chunks: Actions of each step; the usual ones where ``None``.

        Returns:
            All frames, ``[batch, n, 3, height, width]``.

        Raises:
            Broken: If the model raises or an answer is none.
        """
        rows = slice(None) if sample is None else slice(sample, sample + 1)
        given = self.actions[rows] if actions is None else actions
        sizes = list(chunks or [self.chunk] * (int(given.shape[1]) // self.chunk))
        session = self.start(sample, seed=seed)
        try:
            parts, position = [], 0
            for size in sizes:
                parts.append(self.step(session, given[:, position : position + size]))
                position += size
        finally:
            close(session)
        return torch.cat(parts, dim=1)


def close(session: Session) -> None:
    """Closes a session.

    Raises:
        Broken: If that raises.
    """
    try:
        session.close()
    except Exception as error:
        raise Broken(f"close raised {told(error)}") from error


def told(error: BaseException) -> str:
    """Says an exception in one line."""
    text = " ".join(str(error).split())[:300].rstrip(".")
    return f"{type(error).__name__}{': ' + text if text else ''}"
