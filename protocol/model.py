"""The contract between a world model and whoever uses it.

Alignment is the one rule that everything obeys: action ``k`` is applied at frame ``k`` and
leads to frame ``k + 1``. A model that was given context frames ``0..c-1`` is stepped with the
actions from ``c - 1`` on and answers the frames from ``c`` on, as many as it got actions.
Context frames are never returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from dojobench.protocol.spec import Actions, Frames, ModelSpec


@runtime_checkable
class Session(Protocol):
    """One batch of rollouts under way; it holds whatever state the model carries."""

    def step(self, actions: Actions) -> Frames:
        """Applies the next actions.

        Args:
            actions: ``[batch, n, action_dim]``, float32, physical units, ``n >= 1``.

        Returns:
            The ``n`` frames that follow, ``[batch, n, 3, height, width]``, uint8.
        """
        ...

    def close(self) -> None:
        """Frees what the session holds; a closed session is not stepped again."""
        ...


@runtime_checkable
class WorldModel(Protocol):
    """A program that answers frames and actions with the frames that would follow.

    Each sample of a batch is what it would be alone: randomness comes from ``seed`` per
    sample, never from the sample's place in the batch, so that a result does not depend on
    the batch size. A model whose spec names ``views`` takes them as the keyword ``views``
    of ``start``; other models are never given it.
    """

    spec: ModelSpec

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Opens a session.

        Args:
            context: The last ``spec.context_frames`` frames, oldest first.
            seed: Fixes the model's randomness, 0 to 2**31 - 1.
            instruction: What the robot was told to do, where it is known; one for the batch.

        Returns:
            A session whose first step predicts the frame after the context.
        """
        ...
