"""The codec floor: what the truth scores against its own H.264 copy.

A model whose frames are handed in as mp4 cannot score above it, and predictions decoded from
lossy video near it are not told apart by PSNR. With x264's defaults it is about 40 dB.
"""

import io
from dataclasses import dataclass
from fractions import Fraction

import torch

from dojobench.metrics.frames import check_frames
from dojobench.metrics.psnr import decibels, mean_squared_error
from dojobench.metrics.ssim import ssim


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecFloor:
    """What the truth scores against its compressed copy.

    Attributes:
        psnr: Mean over frames, dB.
        ssim: Mean over frames.
        psnr_curve: One value a frame.
        ssim_curve: One value a frame.
        bits_per_pixel: Size of the compressed video.
    """

    psnr: float
    ssim: float
    psnr_curve: tuple[float, ...]
    ssim_curve: tuple[float, ...]
    bits_per_pixel: float


def codec_floor(
    frames: torch.Tensor, fps: float, *, crf: int = 23, pixel_format: str = "yuv420p"
) -> CodecFloor:
    """Compresses the frames, decodes them and scores the copy.

    Args:
        frames: uint8 RGB ``[time, 3, height, width]``.
        fps: Frames per second; x264 spends its bits by it.
        crf: x264's constant rate factor; 23 is its default, 0 is lossless in yuv.
        pixel_format: ``yuv420p``, or ``yuv444p`` to keep colour at full resolution.

    Returns:
        The scores in the ``aligned`` convention's formulas.

    Raises:
        ValueError: If the frames are not uint8 RGB video.
    """
    encoded = encode_h264(frames, fps, crf=crf, pixel_format=pixel_format)
    copy = decode_video(encoded, height=frames.shape[-2], width=frames.shape[-1])
    psnr_curve = decibels(mean_squared_error(copy, frames))
    ssim_curve = ssim(copy, frames)
    return CodecFloor(
        psnr=float(psnr_curve.mean()),
        ssim=float(ssim_curve.mean()),
        psnr_curve=tuple(psnr_curve.tolist()),
        ssim_curve=tuple(ssim_curve.tolist()),
        bits_per_pixel=8 * len(encoded) / (frames.numel() / 3),
    )


def encode_h264(
    frames: torch.Tensor, fps: float, *, crf: int = 23, pixel_format: str = "yuv420p"
) -> bytes:
    """Makes an mp4 in memory; the same frames give the same bytes.

    Args:
        frames: uint8 RGB ``[time, 3, height, width]``. An odd height or width, which the format
            does not have, gets its last row or column once more.
        fps: Frames per second.
        crf: x264's constant rate factor.
        pixel_format: What x264 compresses.

    Returns:
        The file's bytes.

    Raises:
        ValueError: If the frames are not uint8 RGB video or ``fps`` is not positive.
    """
    import av  # here, because most users of the metrics never encode

    check_frames(frames, "the video")
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
        raise ValueError(
            f"video is uint8 RGB [time, 3, height, width], and this is {frames.dtype} "
            f"{list(frames.shape)}."
        )
    if fps <= 0:
        raise ValueError(f"video has more than {fps} frames per second; give a positive rate.")
    rows = list(range(frames.shape[2])) + [frames.shape[2] - 1] * (frames.shape[2] % 2)
    columns = list(range(frames.shape[3])) + [frames.shape[3] - 1] * (frames.shape[3] % 2)
    even = frames.cpu()[:, :, rows][:, :, :, columns].permute(0, 2, 3, 1).contiguous().numpy()
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        # With mbtree, x264 gives small videos other bytes now and then.
        options = {"crf": str(crf), "threads": "1", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = pixel_format
        for picture in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def decode_video(encoded: bytes, *, height: int, width: int) -> torch.Tensor:
    """Decodes a video in memory and crops it.

    Args:
        encoded: A video file's bytes.
        height: Rows to keep.
        width: Columns to keep.

    Returns:
        uint8 RGB ``[time, 3, height, width]``.
    """
    import av

    with av.open(io.BytesIO(encoded), "r") as container:
        pictures = [
            torch.from_numpy(frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]
    return torch.stack(pictures)[:, :height, :width].permute(0, 3, 1, 2).contiguous()
