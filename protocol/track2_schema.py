"""What travels in WorldArena 2.0 Track 2, API v1.0: JSON documents and PNG images.

Source of the format: ``assets/track2_world_model_service_api_en.md`` in
WorldArena2/WorldArena-2.0. Fields that are not known are ignored (section 10 there); known
ones are checked without conversion.
"""

import base64
import binascii
import struct
import uuid
import zlib
from io import BytesIO
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image as Pillow
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from dojobench.protocol.spec import Frames

API_VERSION = "1.0"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _canonical_uuid(text: str) -> str:
    uuid.UUID(text)
    return text


RequestUuid: TypeAlias = Annotated[str, Field(max_length=64), AfterValidator(_canonical_uuid)]
ActionRows: TypeAlias = Annotated[list[Annotated[list[FiniteFloat], Field(max_length=4096)]], Field(max_length=4096)]  # fmt: skip # noqa: E501


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Image(_Document):
    """One RGB frame as PNG."""

    encoding: Literal["png_base64"] = "png_base64"
    color_space: Literal["RGB"] = "RGB"
    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    channels: Literal[3] = 3
    data: str


class ImageProfile(_Document):
    """Size and encoding of all images of a profile."""

    encoding: Literal["png_base64"] = "png_base64"
    color_space: Literal["RGB"] = "RGB"
    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    channels: Literal[3] = 3


class Range(_Document):
    """How many frames, both ends included."""

    min: int = Field(ge=1)
    max: int = Field(ge=1)


class ActionProfile(_Document):
    """Width and meaning of an action."""

    dtype: str = "float32"
    dimension: int = Field(ge=1)
    representation: str = "profile_canonical"


class StateProfile(_Document):
    """Whether robot states are taken."""

    supported: bool = False
    dimension: int | None = None


class InstructionProfile(_Document):
    """Whether an instruction is taken."""

    supported: bool = False


class Profile(_Document):
    """An input and output specification."""

    profile_id: str
    image: ImageProfile
    context_frames: Range
    prediction_frames: Range
    action: ActionProfile
    state: StateProfile = StateProfile()
    instruction: InstructionProfile = InstructionProfile()


class ServiceLimits(_Document):
    """What a service takes at once."""

    max_batch_size: int = Field(ge=1)
    max_request_bytes: int = Field(ge=1)
    max_concurrency: int = Field(ge=1)
    recommended_timeout_ms: int = Field(ge=1)


class Determinism(_Document):
    """What a seed is worth."""

    seed_supported: bool
    same_seed_same_pixels: bool


class Capabilities(_Document):
    """Answer of ``GET /v1/capabilities``."""

    api_version: str = API_VERSION
    model_version: str
    profiles: list[Profile] = Field(min_length=1)
    limits: ServiceLimits
    determinism: Determinism


class Health(_Document):
    """Answer of ``GET /v1/health``."""

    status: Literal["ready", "starting", "degraded"]
    api_version: str = API_VERSION
    model_version: str


class Context(_Document):
    """History of one sample; action ``i`` leads from frame ``i`` to frame ``i + 1``."""

    frames: list[Image] = Field(min_length=1, max_length=4096)
    actions: ActionRows
    states: ActionRows | None = None
    instruction: str | None = Field(default=None, max_length=10_000)


class Sample(_Document):
    """One future to predict: as many frames as ``actions``."""

    sample_id: str = Field(max_length=256)
    seed: int = Field(ge=0, le=2**63 - 1)
    context: Context
    actions: ActionRows


class PredictRequest(_Document):
    """Body of ``POST /v1/predict``."""

    api_version: str
    request_id: RequestUuid
    model_version: str
    profile_id: str
    samples: list[Sample] = Field(min_length=1, max_length=4096)


class Prediction(_Document):
    """Predicted frames of one sample."""

    sample_id: str
    frames: list[Image]


class PredictResponse(_Document):
    """Answer of ``POST /v1/predict``."""

    api_version: str = API_VERSION
    request_id: str
    model_version: str
    predictions: list[Prediction]


class Fault(_Document):
    """What is wrong."""

    code: str
    message: str
    request_id: str | None = None
    retryable: bool


class FaultDocument(_Document):
    """Body of every answer that is not 2xx."""

    error: Fault


def encode_image(frame: Frames) -> Image:
    """Encodes one frame without loss.

    Args:
        frame: uint8 ``[3, height, width]``.
    """
    pixels = frame.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    buffer = BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return Image(
        height=int(frame.shape[-2]),
        width=int(frame.shape[-1]),
        data=base64.b64encode(buffer.getvalue()).decode("ascii"),
    )


def decode_image(image: Image, *, height: int, width: int) -> Frames:
    """Decodes one frame; its header is read first, so that nothing large is unpacked.

    Args:
        image: The image.
        height: Rows that it must have.
        width: Columns that it must have.

    Returns:
        uint8 ``[3, height, width]``.

    Raises:
        ValueError: If it is no 8-bit RGB PNG of that size.
    """
    if (image.height, image.width) != (height, width):
        raise ValueError(f"the image says {image.height}x{image.width}, not {height}x{width}")
    try:
        data = base64.b64decode(image.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the data is no base64: {error}") from error
    if len(data) < 33 or not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR":
        raise ValueError("the data is no PNG")
    columns, rows, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (rows, columns) != (height, width):
        raise ValueError(f"the PNG is {rows}x{columns}, not {height}x{width}")
    if (depth, colour) != (8, 2):
        raise ValueError(f"the PNG has bit depth {depth} and colour type {colour}, not 8 and 2")
    try:
        with Pillow.open(BytesIO(data), formats=["PNG"]) as picture:
            if getattr(picture, "is_animated", False):
                raise ValueError("the PNG is animated")
            pixels = np.array(picture)
            clear = "transparency" in picture.info
    except (OSError, SyntaxError, zlib.error) as error:
        raise ValueError("the PNG is damaged") from error
    if clear or pixels.shape != (height, width, 3):
        raise ValueError("the PNG has transparency")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
