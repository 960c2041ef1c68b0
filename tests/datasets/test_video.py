"""Frame-exact access: every frame says its number, so a wrong one cannot pass."""

import multiprocessing
import pickle
import random
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dojobench.datasets.video import VideoPool, VideoReader
from dojobench.datasets.video_index import index_video
from dojobench.protocol.errors import BadInputError

Encode = Callable[..., Path]
Read = Callable[[torch.Tensor], list[int]]

ENCODINGS = {
    "h264 with B-frames": ("v.mp4", "libx264", {"bf": "3", "g": "12", "b_strategy": "2"}),
    "h264 with one key": ("v.mp4", "libx264", {"bf": "2", "g": "250"}),
    "h264 open groups": ("v.mp4", "libx264", {"x264-params": "open-gop=1:keyint=10:bframes=3"}),
    "h264 intra refresh": ("v.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=20"}),
    "h264 in matroska": ("v.mkv", "libx264", {"bf": "3", "g": "12"}),
    "h264 fragmented": ("v.mp4", "libx264", {"bf": "2", "g": "12"}),
    "h265": ("v.mp4", "libx265", {"x265-params": "keyint=12:bframes=3:log-level=none"}),
    "mpeg4 with B-frames": ("v.mp4", "mpeg4", {"bf": "2", "g": "12", "q": "2"}),
    "mpeg4 in avi": ("v.avi", "mpeg4", {"bf": "0", "g": "12", "q": "2"}),
    "mpeg4 in avi with B-frames": ("v.avi", "mpeg4", {"bf": "2", "g": "12", "q": "2"}),
    "vp9 in webm": ("v.webm", "libvpx-vp9", {"g": "12", "deadline": "realtime"}),
    "av1": ("v.mp4", "libsvtav1", {"preset": "12", "g": "12", "svtav1-params": "lp=1"}),
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_codec_gives_the_frame_asked_for(
    name: str, threads: int, tmp_path: Path, encode_video: Encode, read_codes: Read
) -> None:
    file, codec, options = ENCODINGS[name]
    try:
        av.Codec(codec, "w")
    except ValueError:
        pytest.skip(f"this build of FFmpeg cannot write {codec}")
    movflags = {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in name else {}
    height = 64 if codec == "libsvtav1" else 32
    path = encode_video(
        tmp_path / file, 70, codec=codec, options=options, height=height, container_options=movflags
    )
    generator = random.Random(7)
    with VideoReader(path, threads=threads) as reader:
        assert len(reader) == 70
        assert reader.index.rate == pytest.approx(20, rel=1e-3)
        assert read_codes(reader.read(range(70))) == list(range(70))
        for _ in range(40):
            number = generator.randrange(70)
            assert read_codes(reader.read([number])) == [number]
        mixed = [generator.randrange(70) for _ in range(25)] + [3, 3, 69, 0]
        assert read_codes(reader.read(mixed)) == mixed


def test_frames_equal_a_plain_decode_bit_by_bit(tmp_path: Path, encode_video: Encode) -> None:
    path = encode_video(tmp_path / "v.mp4", 40, options={"bf": "3", "g": "10"})
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    plain = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    with VideoReader(path) as reader:
        read = reader.read([30, 2, 39, 2])
    assert read.dtype == torch.uint8
    assert read.is_contiguous()
    assert torch.equal(read, plain[[30, 2, 39, 2]])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_that_does_not_begin_at_zero_with_uneven_frames_and_groups(
    suffix: str, tmp_path: Path, encode_video: Encode, read_codes: Read
) -> None:
    generator = random.Random(3)
    pts = np.cumsum([530] + [generator.choice([5, 10, 10, 25]) for _ in range(59)]).tolist()
    options = {"bf": "2", "g": "250", "x264-params": "scenecut=0"}
    path = encode_video(
        tmp_path / f"v.{suffix}", 60, pts=pts, keys=(1, 4, 5, 23, 58), options=options
    )
    with VideoReader(path) as reader:
        assert len(reader) == 60
        assert reader.index.ticks[0] > 0
        expected = (np.asarray(pts) - pts[0]) / 200
        np.testing.assert_allclose(reader.index.seconds, expected, atol=0.0015)
        assert len(reader.index.keyframes) >= 6
        for number in (59, 57, 22, 23, 24, 0, 1, 58, 4, 3):
            assert read_codes(reader.read([number])) == [number]
        nearest = reader.index.nearest(expected + 0.004)
        assert nearest.tolist() == list(range(60))


def test_frames_hidden_by_an_edit_list_do_not_count(
    tmp_path: Path, encode_video: Encode, read_codes: Read
) -> None:
    path = encode_video(tmp_path / "v.mp4", 40, options={"bf": "2", "g": "12"})
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4 + 4 + 4 + 4  # box type, version, entries, duration
    with av.open(str(path)) as container:
        per_frame = round(1 / 20 / container.streams.video[0].time_base)
    media_time = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = (media_time + 7 * per_frame).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    with av.open(str(path)) as container:
        shown = sum(1 for _ in container.decode(video=0))
    with VideoReader(path) as reader:
        assert len(reader) == shown == 33
        assert read_codes(reader.read([20, 0, 32, 5, 4])) == [27, 7, 39, 12, 11]
        assert read_codes(reader.read([0])) == [7]
        assert not reader.index.truncated


def test_only_what_is_needed_is_decoded(tmp_path: Path, encode_video: Encode) -> None:
    path = encode_video(tmp_path / "v.mp4", 200, options={"bf": "2", "g": "20"})
    with VideoReader(path) as reader:
        assert reader.decoded == 0
        reader.read([103])
        assert reader.decoded <= 4 + 2  # the key at 100, and B-frames shown before it
        before = reader.decoded
        reader.read([104, 105, 106])
        assert reader.decoded == before + 3, "consecutive reads go on without seeking"
        reader.read([106])
        assert reader.decoded == before + 3, "the last frame is still at hand"
        reader.read([180])
        assert reader.decoded <= before + 3 + 1 + 2, "a far frame is reached by a seek"


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["labeled_frames_video.mp4", "labeled_frames_video_mpeg4_063773282a98.mp4"]
)
def test_labelled_frames_show_the_number_asked_for(name: str, data_dir: Path) -> None:
    """Each picture has a bar that grows with its index, and the index in digits."""

    def bar(frames: torch.Tensor) -> list[int]:
        row = frames[:, :, 440, :].int()
        green = (row[:, 1] > row[:, 0] + 60) & (row[:, 1] > row[:, 2] + 60)
        return [round(int(width) * 39 / 510) for width in green.sum(dim=1)]

    path = data_dir / "labeled_frames_video" / name
    with VideoReader(path) as reader:
        assert reader.index.codec in ("av1", "mpeg4")
        every = reader.read(range(40))
        assert bar(every) == list(range(40))
        order = random.Random(0).sample(range(40), 40)
        singly = torch.cat([reader.read([number]) for number in order])
        assert bar(singly) == order
        assert torch.equal(singly, every[order])
    # Two-digit labels: a digit's picture is nearest to that of the frames that share the digit.
    two = every[10:].float().mean(dim=1)
    for columns, digit in (
        (slice(448, 486), lambda n: n % 10),
        (slice(408, 446), lambda n: n // 10),
    ):
        crops = two[:, 115:163, columns].flatten(1)
        distance = torch.cdist(crops, crops) + torch.eye(30) * 1e9
        for row, nearest in enumerate(distance.argmin(dim=1).tolist()):
            assert digit(row + 10) == digit(nearest + 10)


class TestBadInput:
    def test_a_frame_beyond_the_end(self, tmp_path: Path, encode_video: Encode) -> None:
        path = encode_video(tmp_path / "v.mp4", 10)
        for number in (10, 999, -1):
            with pytest.raises(BadInputError, match=rf"v\.mp4 has no frame {number}: it holds 10"):
                VideoReader(path).read([0, number])

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "does not exist"),
            (b"", "is empty"),
            (b"no video at all" * 200, "cannot be opened as a video"),
        ],
    )
    def test_no_video(self, content: bytes | None, said: str, tmp_path: Path) -> None:
        path = tmp_path / "broken.mp4"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadInputError, match=rf"broken\.mp4 {said}"):
            VideoReader(path)

    def test_sound_without_pictures(self, tmp_path: Path) -> None:
        path = tmp_path / "sound.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=8000)
            silence = np.zeros((1, 1024), dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with pytest.raises(BadInputError, match="holds no video stream"):
            VideoReader(path)

    def test_a_truncated_file_whose_header_is_at_the_end(
        self, tmp_path: Path, encode_video: Encode
    ) -> None:
        path = encode_video(tmp_path / "v.mp4", 40)
        path.write_bytes(path.read_bytes()[:-600])
        with pytest.raises(BadInputError, match="cannot be opened as a video"):
            VideoReader(path)

    def test_a_truncated_file_whose_header_is_at_the_front(
        self, tmp_path: Path, encode_video: Encode, read_codes: Read
    ) -> None:
        path = encode_video(
            tmp_path / "v.mp4", 60, options={"bf": "0"}, container_options={"movflags": "faststart"}
        )
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 3 // 5])
        index = index_video(path)
        assert index.truncated
        assert index.declared == 60
        assert 0 < len(index) < 60
        with VideoReader(path) as reader:
            last = len(index) - 1
            assert read_codes(reader.read([last])) == [last]
            with pytest.raises(BadInputError, match="its data end within stored frame"):
                reader.read([59])

    def test_damage_in_the_middle_is_an_error_and_not_a_made_up_picture(
        self, tmp_path: Path, encode_video: Encode, read_codes: Read
    ) -> None:
        path = encode_video(tmp_path / "v.mp4", 60, options={"bf": "0", "g": "15"})
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
            victim = packets[20]
            at, size = victim.pos, victim.size
        data = bytearray(path.read_bytes())
        data[at + 8 : at + size] = bytes(255 - byte for byte in data[at + 8 : at + size])
        path.write_bytes(bytes(data))
        with VideoReader(path) as reader:
            assert read_codes(reader.read([19, 30, 45])) == [19, 30, 45]
            with pytest.raises(BadInputError, match=r"Frame 2\d of .*v\.mp4 cannot be decoded"):
                reader.read(range(20, 30))
            assert read_codes(reader.read([50])) == [50], "sound frames can be read afterwards"
            with pytest.raises(BadInputError, match="cannot be decoded"):
                reader.verify()


class TestPool:
    def test_it_keeps_few_videos_open(
        self, tmp_path: Path, encode_video: Encode, read_codes: Read
    ) -> None:
        paths = [encode_video(tmp_path / f"{n}.mp4", range(n, n + 9)) for n in range(5)]
        pool = VideoPool(max_open=2)
        for _ in range(2):
            for n, path in enumerate(paths):
                assert read_codes(pool.read(path, [4, 1])) == [n + 4, n + 1]
        assert len(pool._readers) == 2
        assert pool.index(paths[0]) is pool.index(paths[0])
        pool.close(paths[4])
        assert len(pool._readers) == 1
        pool.close()
        assert read_codes(pool.read(paths[3], [0])) == [3]

    def test_threads_share_it(self, tmp_path: Path, encode_video: Encode, read_codes: Read) -> None:
        path = encode_video(tmp_path / "v.mp4", 50)
        pool = VideoPool()
        wrong: list[int] = []

        def work(seed: int) -> None:
            generator = random.Random(seed)
            for _ in range(30):
                number = generator.randrange(50)
                if read_codes(pool.read(path, [number])) != [number]:
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_it_goes_into_other_processes(
        self, tmp_path: Path, encode_video: Encode, read_codes: Read
    ) -> None:
        path = encode_video(tmp_path / "v.mp4", 30)
        pool = VideoPool()
        assert read_codes(pool.read(path, [20])) == [20]
        copy = pickle.loads(pickle.dumps(pool))  # noqa: S301 - our own bytes
        assert read_codes(copy.read(path, [11])) == [11]
        process = multiprocessing.get_context("fork").Process(
            target=lambda: pool.read(path, [5, 25])
        )
        process.start()
        process.join(600)
        assert process.exitcode == 0
        assert read_codes(pool.read(path, [21])) == [21]
