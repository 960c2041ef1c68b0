"""Whether a model fits a suite, asked before the first frame is made, and the one adaptation.

Nothing is resized or resampled in silence: only ``--adapt resize`` changes frames, it is
stamped on the result, and it changes the size alone, never the rate.
"""

from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from dojobench.datasets.suite import SuiteSpec
from dojobench.protocol import Actions, Frames, ModelSpec, Session, WorldModel
from dojobench.protocol.fit import check_fits


def require_fit(model: ModelSpec, suite: SuiteSpec, *, adapt: str | None = None) -> None:
    """Refuses a model whose spec does not fit the suite.

    Args:
        model: What the model declares.
        suite: What the suite offers.
        adapt: ``resize`` lets the resolutions differ.

    Raises:
        BadInputError: One sentence that names both values and what to do.
    """
    check_fits(
        model,
        offered_by=f"suite {suite.name}",
        resolution=suite.resolution,
        frame_rate=suite.frame_rate,
        context_frames=suite.context_frames,
        action_space=suite.action_space,
        views=suite.views,
        resizing=adapt == "resize",
    )


def resize_frames(frames: Frames, resolution: tuple[int, int]) -> Frames:
    """Resizes frames with antialiased bilinear interpolation.

    Args:
        frames: uint8, ``[..., 3, height, width]``.
        resolution: ``(height, width)`` wanted.

    Returns:
        uint8, ``[..., 3, *resolution]``; the same tensor where nothing changes.
    """
    if tuple(frames.shape[-2:]) == resolution:
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    resized = functional.interpolate(
        flat.float(), size=resolution, mode="bilinear", antialias=True, align_corners=False
    )
    whole = resized.round_().clamp_(0, 255).to(torch.uint8)
    return whole.reshape(*frames.shape[:-2], *resolution)


class ResizedModel:
    """A model behind a pair of resizes: it sees its own resolution, the suite gets its own."""

    def __init__(self, model: WorldModel, resolution: tuple[int, int]) -> None:
        """Wraps ``model`` so that it answers frames of ``resolution`` (height, width)."""
        if model.spec.resolution is None:
            raise ValueError("a model that takes any resolution needs no resizing")
        self._model = model
        self._inner = model.spec.resolution
        self._outer = resolution
        self.spec = replace(model.spec, resolution=resolution)

    def start(self, context: Frames, *, seed: int, **rest: Any) -> Session:
        """Opens a session on the resized context; views are resized alike."""
        if views := rest.get("views"):
            rest["views"] = {name: resize_frames(v, self._inner) for name, v in views.items()}
        session = self._model.start(resize_frames(context, self._inner), seed=seed, **rest)
        return _ResizedSession(session, self._outer)


class _ResizedSession:
    def __init__(self, session: Session, resolution: tuple[int, int]) -> None:
        self._session = session
        self._resolution = resolution

    def step(self, actions: Actions) -> Frames:
        frames: Any = self._session.step(actions)
        # What is no frame at all is left as it is, for the check of answers to name.
        if isinstance(frames, torch.Tensor) and frames.dtype == torch.uint8 and frames.ndim == 5:
            frames = resize_frames(frames, self._resolution)
        answer: Frames = frames
        return answer

    def close(self) -> None:
        self._session.close()
