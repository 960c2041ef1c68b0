"""Track 2's ``predict`` without the network: checks a request, asks the model, answers.

The service keeps no history: every sample opens a session, takes one step and closes it.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.model import WorldModel
from dojobench.protocol.spec import Frames, ModelSpec
from dojobench.protocol.track2_schema import (
    API_VERSION,
    ActionProfile,
    Capabilities,
    Determinism,
    ImageProfile,
    InstructionProfile,
    Prediction,
    PredictRequest,
    PredictResponse,
    Profile,
    Range,
    Sample,
    ServiceLimits,
    decode_image,
    encode_image,
)
from dojobench.protocol.validate import MAX_SEED, check_answer


@dataclass(frozen=True, kw_only=True)
class ServiceProfile:
    """What a service declares, where the model's spec leaves it open.

    Attributes:
        profile_id: The profile's name.
        resolution: ``(height, width)``; needed where the spec says any.
        action_dim: Width of an action; needed where the spec says any.
        representation: Meaning of the actions, as the profile calls it.
        max_context: Most history frames that a request may hold.
        max_prediction: Most actions that a sample may hold.
        max_batch: Most samples of a request.
        max_request_bytes: Size of a request's document.
        max_concurrency: Requests answered or waiting at once.
        timeout_s: After so long a request is answered 504.
    """

    profile_id: str = "dojobench"
    resolution: tuple[int, int] | None = None
    action_dim: int | None = None
    representation: str = "profile_canonical"
    max_context: int = 16
    max_prediction: int = 64
    max_batch: int = 8
    max_request_bytes: int = 64 * 2**20
    max_concurrency: int = 2
    timeout_s: float = 600.0


class Refusal(Exception):
    """An answer that is not 2xx.

    Attributes:
        status: HTTP status.
        code: Code of the API's error table.
        sentence: What is wrong, with the field.
        retryable: Whether the same request may succeed later.
    """

    def __init__(self, status: int, code: str, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.retryable = retryable


def _invalid(sentence: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", sentence)


def declare(spec: ModelSpec, service: ServiceProfile) -> Capabilities:
    """Writes the capability manifest of a model.

    Raises:
        BadInputError: If the interface cannot carry the model, or a size is left open.
    """
    if spec.views:
        raise BadInputError(
            f"model {spec.name} needs the camera views {', '.join(spec.views)}, which Track 2 has "
            "no place for; serve it without --http"
        )
    resolution = spec.resolution or service.resolution
    if resolution is None:
        raise BadInputError(
            f"model {spec.name} works at any resolution and Track 2 wants one; add --resolution"
        )
    dim = spec.action_space.dim if spec.action_space is not None else service.action_dim
    if not dim:
        raise BadInputError(
            f"model {spec.name} states no action width and Track 2 wants one; add --action-dim"
        )
    for what, mine, asked in (
        ("resolution", spec.resolution, service.resolution),
        ("action width", spec.action_space and dim, service.action_dim),
    ):
        if mine is not None and asked is not None and mine != asked:
            raise BadInputError(
                f"model {spec.name} has the {what} {mine} and {asked} is asked for; leave it out"
            )
    weights = spec.weights.removeprefix("sha256:")[:12]
    profile = Profile(
        profile_id=service.profile_id,
        image=ImageProfile(height=resolution[0], width=resolution[1]),
        context_frames=Range(
            min=spec.context_frames, max=max(service.max_context, spec.context_frames)
        ),
        prediction_frames=Range(min=1, max=service.max_prediction),
        action=ActionProfile(dimension=dim, representation=service.representation),
        instruction=InstructionProfile(supported=True),
    )
    return Capabilities(
        model_version=f"{spec.name}-{spec.version}" + ("" if weights == "none" else f"-{weights}"),
        profiles=[profile],
        limits=ServiceLimits(
            max_batch_size=service.max_batch,
            max_request_bytes=service.max_request_bytes,
            max_concurrency=service.max_concurrency,
            recommended_timeout_ms=math.ceil(service.timeout_s * 1000),
        ),
        determinism=Determinism(
            seed_supported=spec.deterministic, same_seed_same_pixels=spec.deterministic
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One sample, read and checked.

    Attributes:
        sample_id: As the request has it.
        seed: For the model.
        context: uint8 ``[1, context_frames, 3, height, width]``.
        actions: float32 ``[1, n, action_dim]``.
        instruction: As the request has it.
    """

    sample_id: str
    seed: int
    context: Frames
    actions: torch.Tensor
    instruction: str | None


def read_jobs(request: PredictRequest, declared: Capabilities, spec: ModelSpec) -> list[Job]:
    """Checks a whole request before anything of it is run.

    Raises:
        Refusal: 422 for another version, model or profile; 400 with the field for all else.
    """
    profile = declared.profiles[0]
    for field, given, wanted in (
        ("api_version", request.api_version, API_VERSION),
        ("model_version", request.model_version, declared.model_version),
        ("profile_id", request.profile_id, profile.profile_id),
    ):
        if given != wanted:
            raise Refusal(422, "UNSUPPORTED_VERSION", f"{field} must be {wanted!r}")
    most = declared.limits.max_batch_size
    if len(request.samples) > most:
        raise _invalid(f"samples has {len(request.samples)} entries; at most {most} are taken")
    ids = [sample.sample_id for sample in request.samples]
    if len(set(ids)) != len(ids):
        raise _invalid("samples has a sample_id twice")
    return [
        _read_job(sample, profile, spec, f"samples[{k}]")
        for k, sample in enumerate(request.samples)
    ]


def _read_job(sample: Sample, profile: Profile, spec: ModelSpec, where: str) -> Job:
    context = sample.context
    _check_count(len(context.frames), profile.context_frames, f"{where}.context.frames")
    _check_count(len(sample.actions), profile.prediction_frames, f"{where}.actions")
    if len(context.actions) != len(context.frames) - 1:
        raise _invalid(
            f"{where}.context.actions has {len(context.actions)} entries; expected "
            f"{len(context.frames) - 1}, one less than context.frames"
        )
    _check_width(context.actions, profile.action.dimension, f"{where}.context.actions")
    _check_width(sample.actions, profile.action.dimension, f"{where}.actions")
    if context.states is not None:
        raise _invalid(f"{where}.context.states is not supported by this profile")
    frames = []
    for k, image in enumerate(context.frames):
        try:
            frame = decode_image(image, height=profile.image.height, width=profile.image.width)
        except ValueError as error:
            raise _invalid(f"{where}.context.frames[{k}]: {error}") from error
        frames.append(frame)
    actions = torch.tensor(sample.actions, dtype=torch.float32)
    if not bool(torch.isfinite(actions).all()):
        raise _invalid(f"{where}.actions holds a number too large for float32")
    return Job(
        sample_id=sample.sample_id,
        seed=fold_seed(sample.seed),
        context=torch.stack(frames[-spec.context_frames :])[None],
        actions=actions[None],
        instruction=context.instruction,
    )


def _check_count(count: int, allowed: Range, where: str) -> None:
    if not allowed.min <= count <= allowed.max:
        raise _invalid(f"{where} has {count} entries; expected {allowed.min} to {allowed.max}")


def _check_width(rows: Sequence[Sequence[float]], width: int, where: str) -> None:
    for row in rows:
        if len(row) != width:
            raise _invalid(f"{where} has dimension {len(row)}; expected {width}")


def fold_seed(seed: int) -> int:
    """Maps a seed of 63 bits to one of 31; small seeds stay themselves."""
    if seed <= MAX_SEED:
        return seed
    return int.from_bytes(hashlib.sha256(seed.to_bytes(8, "big")).digest()[:4], "big") & MAX_SEED


def predict(
    model: WorldModel,
    jobs: Sequence[Job],
    request: PredictRequest,
    *,
    device: torch.device,
) -> bytes:
    """Runs a request's samples, each alone, so that none depends on the others.

    A model that takes whole chunks only gets the last one filled up with the last action, and
    the frames beyond the request are dropped.

    Returns:
        The response document.

    Raises:
        BadInputError: If the model breaks its contract.
    """
    predictions = []
    for job in jobs:
        frames = _predict_one(model, job, device)
        predictions.append(
            Prediction(sample_id=job.sample_id, frames=[encode_image(frame) for frame in frames])
        )
    response = PredictResponse(
        request_id=request.request_id,
        model_version=request.model_version,
        predictions=predictions,
    )
    return response.model_dump_json().encode()


def _predict_one(model: WorldModel, job: Job, device: torch.device) -> Frames:
    spec, actions = model.spec, job.actions
    count = int(actions.shape[1])
    if not spec.any_chunk and spec.native_chunk:
        lacking = -count % spec.native_chunk
        actions = torch.cat([actions, actions[:, -1:].expand(-1, lacking, -1)], dim=1)
    session = model.start(job.context.to(device), seed=job.seed, instruction=job.instruction)
    try:
        frames = session.step(actions.to(device))
    finally:
        session.close()
    shape = (1, int(actions.shape[1]), 3, int(job.context.shape[-2]), int(job.context.shape[-1]))
    check_answer(frames, shape, who=f"model {spec.name}")
    return frames[0, :count].cpu()
