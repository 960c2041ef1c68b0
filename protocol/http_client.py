"""A service behind WorldArena 2.0 Track 2's HTTP interface v1.0, used as a world model.

The service remembers nothing, so a session here keeps the frames and actions and sends the
last of them with every step. A request that is lost on the way is repeated under its own id,
which the interface makes safe.
"""

import json
import time
import uuid
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import torch
from pydantic import BaseModel, ValidationError

from dojobench.protocol.client import TOKEN_VARIABLE, check_address, read_token
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.messages import describe
from dojobench.protocol.spec import Actions, ActionSpace, Frames, ModelSpec
from dojobench.protocol.track2_schema import (
    API_VERSION,
    Capabilities,
    Context,
    FaultDocument,
    Health,
    Image,
    PredictRequest,
    PredictResponse,
    Profile,
    Sample,
    decode_image,
    encode_image,
)
from dojobench.protocol.validate import check_actions, check_context, check_seed

RETRIED = (429, 502, 503, 504)
ATTEMPTS = 4
MAX_WAIT_SECONDS = 10.0
MAX_RESPONSE_BYTES = 2**30

DocumentT = TypeVar("DocumentT", bound=BaseModel)


def connect(
    address: str,
    *,
    profile: str | None = None,
    embodiment: str | None = None,
    frame_rate: float | None = None,
    history_actions: Literal["refuse", "zeros"] = "refuse",
    timeout: float = 600.0,
    token_file: Path | None = None,
) -> "Track2Model":
    """Makes a world model of a Track 2 service.

    Args:
        address: Base address, ``http://host:port`` or ``https://host``.
        profile: Profile to use; may be left out where the service has one.
        embodiment: The robot that the profile's actions are for; otherwise the name of the
            actions' representation stands for it, since the interface does not say.
        frame_rate: In Hz, where known; the interface does not say.
        history_actions: What stands for the actions between the context frames, which a
            session is not told, where the profile wants more than one context frame.
        timeout: Seconds that one request may take.
        token_file: File with the bearer token; otherwise ``DOJOBENCH_TOKEN`` is used if set.

    Raises:
        BadInputError: If there is no such service, or it does not do what is asked.
    """
    check_address(address)
    if timeout <= 0:
        raise BadInputError(f"the time-out for {address} must be above 0 seconds")
    wire = Transport(address=address, timeout=timeout, token=read_token(token_file))
    health = wire.get("/v1/health", Health)
    if health.status != "ready":
        raise BadInputError(f"{wire.who} is {health.status}; try again when it is ready")
    declared = wire.get("/v1/capabilities", Capabilities)
    if declared.api_version.split(".")[0] != API_VERSION.split(".")[0]:
        raise BadInputError(
            f"{wire.who} speaks API {declared.api_version} and this client {API_VERSION}"
        )
    chosen = _choose(declared, profile, wire.who)
    if chosen.context_frames.min > 1 and history_actions == "refuse":
        raise BadInputError(
            f"{wire.who} wants {chosen.context_frames.min} context frames with the actions between "
            "them, which a session is not told; add history_actions=zeros to send zeros"
        )
    return Track2Model(wire, declared, chosen, embodiment=embodiment, frame_rate=frame_rate)


def _choose(declared: Capabilities, wanted: str | None, who: str) -> Profile:
    names = [profile.profile_id for profile in declared.profiles]
    if wanted is None and len(names) > 1:
        raise BadInputError(f"{who} has the profiles {', '.join(names)}; add profile=NAME")
    name = wanted or names[0]
    if name not in names:
        raise BadInputError(f"{who} has no profile {name}; it has {', '.join(names)}")
    return declared.profiles[names.index(name)]


@dataclass(frozen=True, kw_only=True)
class Transport:
    """HTTP with limits and limited retries.

    Attributes:
        address: Base address.
        timeout: Seconds a request.
        token: Bearer token.
    """

    address: str
    timeout: float
    token: str | None

    @property
    def who(self) -> str:
        """Subject of messages."""
        return f"the service at {self.address}"

    def get(self, path: str, kind: type[DocumentT]) -> DocumentT:
        """Reads a document.

        Raises:
            BadInputError: If it does not come or is another.
        """
        return self._read(self._retrying("GET", path, None), kind, path)

    def post(self, path: str, body: bytes, kind: type[DocumentT]) -> DocumentT:
        """Sends a document and reads the answer.

        Raises:
            BadInputError: If it does not come or is another.
        """
        return self._read(self._retrying("POST", path, body), kind, path)

    def _read(self, body: bytes, kind: type[DocumentT], path: str) -> DocumentT:
        try:
            return kind.model_validate_json(body, strict=True)
        except ValidationError as error:
            raise BadInputError(
                f"{self.who} answered {path} with no {kind.__name__}: {describe(error)}"
            ) from None

    def _retrying(self, method: str, path: str, body: bytes | None) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                status, wait, answer = self._once(method, path, body)
            except TimeoutError as error:
                raise BadInputError(
                    f"{self.who} did not answer {path} within {self.timeout:g} s; is it stuck? "
                    "otherwise give timeout=SECONDS"
                ) from error
            except ConnectionRefusedError as error:
                raise BadInputError(f"{self.who} cannot be reached: {error}") from error
            except (OSError, HTTPException) as error:
                if last:
                    raise BadInputError(f"{self.who} cannot be reached: {error!r}") from error
                time.sleep(0.1 * 2**attempt)
                continue
            if status == 200:
                return answer
            if last or status not in RETRIED:
                raise BadInputError(self._refusal(status, path, answer))
            time.sleep(wait if wait is not None else 0.1 * 2**attempt)
        raise AssertionError  # the last attempt returned or raised

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, float | None, bytes]:
        parts = urlsplit(self.address)
        kind = HTTPSConnection if parts.scheme.lower() == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            answer = response.read(MAX_RESPONSE_BYTES + 1)
        finally:
            connection.close()
        if len(answer) > MAX_RESPONSE_BYTES:
            raise BadInputError(f"{self.who} answered with more than {MAX_RESPONSE_BYTES} bytes")
        after = response.getheader("Retry-After", "")
        wait = min(float(after), MAX_WAIT_SECONDS) if after.isdecimal() else None
        return response.status, wait, answer

    def _refusal(self, status: int, path: str, answer: bytes) -> str:
        if status == 401:
            return f"{self.who} wants a bearer token; put it into the variable {TOKEN_VARIABLE}"
        try:
            fault = FaultDocument.model_validate_json(answer).error
        except ValidationError:
            return f"{self.who} answered {path} with HTTP {status}; is it a Track 2 service?"
        return f"{self.who} refused {path} with HTTP {status} {fault.code}: {fault.message}"


class Track2Model:
    """A Track 2 service as a world model.

    Attributes:
        spec: As far as the service states it.
    """

    def __init__(
        self,
        wire: Transport,
        declared: Capabilities,
        profile: Profile,
        *,
        embodiment: str | None,
        frame_rate: float | None,
    ) -> None:
        """Made by ``connect``."""
        self.wire, self.declared, self.profile = wire, declared, profile
        self.spec = ModelSpec(
            name=declared.model_version,
            version=declared.model_version,
            resolution=(profile.image.height, profile.image.width),
            frame_rate=frame_rate,
            context_frames=profile.context_frames.min,
            native_chunk=profile.prediction_frames.max,
            any_chunk=profile.prediction_frames.min == 1,
            action_space=ActionSpace(
                dim=profile.action.dimension,
                embodiment=embodiment or profile.action.representation,
            ),
            deterministic=declared.determinism.same_seed_same_pixels,
        )

    def start(
        self, context: Frames, *, seed: int, instruction: str | None = None
    ) -> "Track2Session":
        """Opens a session; nothing is sent before the first step.

        Args:
            context: uint8 ``[batch, spec.context_frames, 3, height, width]``.
            seed: 0 to 2**31 - 1.
            instruction: Sent where the profile takes one.
        """
        check_context(self.spec, context)
        check_seed(seed)
        taken = instruction if self.profile.instruction.supported else None
        return Track2Session(self, context, seed, taken)


class Track2Session:
    """The history of one batch of rollouts."""

    def __init__(
        self, model: Track2Model, context: Frames, seed: int, instruction: str | None
    ) -> None:
        """Made by ``Track2Model.start``."""
        self._model = model
        self._seed = seed
        self._instruction = instruction
        self._device = context.device
        self._batch = int(context.shape[0])
        self._position = 0
        self._closed = False
        self._images = [[encode_image(frame) for frame in clip] for clip in context]
        between = int(context.shape[1]) - 1
        width = model.profile.action.dimension
        self._actions = [[[0.0] * width for _ in range(between)] for _ in range(self._batch)]

    def step(self, actions: Actions) -> Frames:
        """Applies the next actions; a step longer than the profile allows becomes several requests.

        Args:
            actions: float32 ``[batch, n, action_dim]``.

        Returns:
            uint8 ``[batch, n, 3, height, width]`` on the context's device.

        Raises:
            BadInputError: If the session is closed, or the service refuses, fails, hangs, is
                gone or answers with other frames than were asked for.
        """
        if self._closed:
            raise BadInputError(f"a closed session at {self._model.wire.address} was stepped")
        check_actions(self._model.spec, actions, batch=self._batch)
        most = self._model.profile.prediction_frames.max
        parts = [self._advance(part) for part in torch.split(actions.cpu(), most, dim=1)]
        return torch.cat(parts, dim=1).to(self._device)

    def close(self) -> None:
        """Forgets the history."""
        self._closed = True
        self._images, self._actions = [], []

    def _advance(self, actions: Actions) -> Frames:
        rows: list[list[list[float]]] = actions.tolist()
        most = self._model.declared.limits.max_batch_size
        images: list[list[Image]] = []
        for first in range(0, self._batch, most):
            members = range(first, min(first + most, self._batch))
            images += self._ask([self._sample(k, rows[k]) for k in members])
        frames = torch.stack([self._decode(clip) for clip in images])
        keep = self._model.profile.context_frames.max
        for k in range(self._batch):
            self._images[k] = (self._images[k] + images[k])[-keep:]
            self._actions[k] = (self._actions[k] + rows[k])[-(keep - 1) :] if keep > 1 else []
        self._position += int(actions.shape[1])
        return frames

    def _sample(self, k: int, actions: list[list[float]]) -> Sample:
        return Sample(
            sample_id=f"sample-{k}",
            # The position keeps a later step from repeating the noise of the first one.
            seed=self._seed + self._position * 2**31,
            context=Context(
                frames=self._images[k],
                actions=self._actions[k],
                instruction=self._instruction,
            ),
            actions=actions,
        )

    def _ask(self, samples: list[Sample]) -> list[list[Image]]:
        model, who = self._model, self._model.wire.who
        request = PredictRequest(
            api_version=API_VERSION,
            request_id=str(uuid.uuid4()),
            model_version=model.declared.model_version,
            profile_id=model.profile.profile_id,
            samples=samples,
        )
        body = request.model_dump_json().encode()
        if len(body) > model.declared.limits.max_request_bytes:
            raise BadInputError(
                f"{who} takes requests of at most {model.declared.limits.max_request_bytes} bytes "
                f"and this one has {len(body)}; use a smaller batch"
            )
        answer = model.wire.post("/v1/predict", body, PredictResponse)
        for field in ("request_id", "model_version"):
            if getattr(answer, field) != getattr(request, field):
                raise BadInputError(f"{who} answered with another {field} than was sent")
        asked = [sample.sample_id for sample in samples]
        got = [prediction.sample_id for prediction in answer.predictions]
        if got != asked:
            raise BadInputError(f"{who} answered samples {json.dumps(got)[:200]} to {asked}")
        for sample, prediction in zip(samples, answer.predictions, strict=True):
            if len(prediction.frames) != len(sample.actions):
                raise BadInputError(
                    f"{who} answered with {len(prediction.frames)} frames to "
                    f"{len(sample.actions)} actions; it owes one frame an action"
                )
        return [prediction.frames for prediction in answer.predictions]

    def _decode(self, images: list[Image]) -> Frames:
        size = self._model.profile.image
        try:
            return torch.stack(
                [decode_image(image, height=size.height, width=size.width) for image in images]
            )
        except ValueError as error:
            raise BadInputError(
                f"{self._model.wire.who} answered with a bad image: {error}"
            ) from error
