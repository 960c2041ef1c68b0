"""The server's side of sessions: requests in, model calls, answers out.

Everything here runs in the model's thread and nowhere else, so nothing here is locked.
"""

import itertools
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

from dojobench.protocol.codec import as_array, as_tensor
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.messages import (
    ClosedReply,
    CloseRequest,
    FramesReply,
    StartedReply,
    StartRequest,
    StepRequest,
    WireError,
)
from dojobench.protocol.model import Session, WorldModel
from dojobench.protocol.validate import check_actions, check_answer, check_context

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Open:
    """A session under way."""

    session: Session
    batch: int
    size: tuple[int, int]
    last_used: float


class SessionTable:
    """All open sessions of one model, each belonging to the connection that opened it."""

    def __init__(
        self,
        model: WorldModel,
        *,
        max_sessions: int,
        idle_seconds: float,
        device: torch.device | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes an empty table.

        Args:
            model: The model.
            max_sessions: More are refused as ``overloaded``.
            idle_seconds: See ``close_idle``.
            device: Where context and actions are put; the CPU where ``None``.
            clock: Monotonic seconds.
        """
        self._model = model
        self._max_sessions = max_sessions
        self._idle_seconds = idle_seconds
        self._device = device or torch.device("cpu")
        self._clock = clock
        self._open: dict[tuple[Hashable, str], _Open] = {}
        self._ids = itertools.count(1)

    def __len__(self) -> int:
        return len(self._open)

    def start(self, owner: Hashable, request: StartRequest) -> StartedReply:
        """Opens a session.

        Raises:
            WireError: If there are too many, the request is refused or the model fails.
        """
        self.close_idle()
        if len(self._open) >= self._max_sessions:
            raise WireError(
                "overloaded", f"all {self._max_sessions} sessions are in use; try again later"
            )
        with _Faults("start"):
            context = as_tensor(request.context)
            views = {name: as_tensor(frames) for name, frames in request.views.items()}
            check_context(self._model.spec, context, views)
            keywords: dict[str, Any] = {}
            if views:
                keywords["views"] = {name: v.to(self._device) for name, v in views.items()}
            session = self._model.start(
                context.to(self._device),
                seed=request.seed,
                instruction=request.instruction,
                **keywords,
            )
        name = str(next(self._ids))
        self._open[owner, name] = _Open(
            session=session,
            batch=int(context.shape[0]),
            size=(int(context.shape[-2]), int(context.shape[-1])),
            last_used=self._clock(),
        )
        return StartedReply(id=request.id, session=name)

    def step(self, owner: Hashable, request: StepRequest) -> FramesReply:
        """Steps a session; one whose model fails is closed, since its state is unknown.

        Raises:
            WireError: If the request is refused or the model fails.
        """
        entry = self._find(owner, request.session)
        with _Faults("step"):
            actions = as_tensor(request.actions)
            check_actions(self._model.spec, actions, batch=entry.batch)
        count = int(actions.shape[1])
        try:
            with _Faults("step"):
                began = time.perf_counter()
                frames = entry.session.step(actions.to(self._device))
                seconds = time.perf_counter() - began
                _check(frames, (entry.batch, count, 3, *entry.size), self._model.spec.name)
        except WireError as error:
            if error.code == "internal":
                self.drop(owner, request.session)
            raise
        entry.last_used = self._clock()
        return FramesReply(id=request.id, frames=as_array(frames), seconds=seconds)

    def close(self, owner: Hashable, request: CloseRequest) -> ClosedReply:
        """Closes a session.

        Raises:
            WireError: If there is none of that name.
        """
        self._find(owner, request.session)
        self.drop(owner, request.session)
        return ClosedReply(id=request.id)

    def drop(self, owner: Hashable, name: str) -> None:
        """Closes a session if it is open; what its ``close`` raises is logged."""
        entry = self._open.pop((owner, name), None)
        if entry is None:
            return
        try:
            entry.session.close()
        except Exception:
            _log.exception("closing a session failed")

    def drop_owner(self, owner: Hashable) -> None:
        """Closes all sessions of a connection that is gone."""
        for mine, name in [key for key in self._open if key[0] == owner]:
            self.drop(mine, name)

    def close_idle(self) -> None:
        """Closes the sessions that nobody stepped for ``idle_seconds``."""
        limit = self._clock() - self._idle_seconds
        for owner, name in [key for key, entry in self._open.items() if entry.last_used < limit]:
            self.drop(owner, name)

    def _find(self, owner: Hashable, name: str) -> _Open:
        entry = self._open.get((owner, name))
        if entry is None:
            raise WireError(
                "bad_request",
                f"there is no open session {name!r} on this connection; it was closed, or idle "
                f"for {self._idle_seconds:g} s, or its model failed",
            )
        return entry


def _check(frames: object, shape: tuple[int, ...], name: str) -> None:
    try:
        check_answer(frames, shape, who=f"model {name}")
    except BadInputError as error:
        raise WireError("internal", str(error)) from error


class _Faults:
    """Turns what a model raises into an error that can travel."""

    def __init__(self, call: str) -> None:
        self._call = call

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, WireError):
            return
        if isinstance(error, BadInputError):
            raise WireError("bad_request", str(error)) from error
        if isinstance(error, Exception):
            _log.error("the model failed in %s", self._call, exc_info=error)
            text = " ".join(str(error).split())[:500]
            raise WireError(
                "internal", f"the model's {self._call} raised {type(error).__name__}: {text}"
            ) from error
