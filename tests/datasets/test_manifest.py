"""Manifests: canonical bytes, the version, and one sentence for everything that is wrong."""

import hashlib
import json
from dataclasses import replace

import pytest

from dojobench.datasets.manifest import (
    Header,
    encode_manifest,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from dojobench.datasets.suite import ClipRecord
from dojobench.protocol.errors import BadInputError

HEADER = {
    "dojobench_manifest": 1,
    "name": "tiny",
    "resolution": [64, 96],
    "frame_rate": 10,
    "context_frames": 2,
    "action_space": {"dim": 2, "embodiment": "gr1", "kind": "absolute", "names": ["a", "b"]},
    "sources": {"set": {"format": "lerobot-v2.1", "revision": "me/set@1", "root": "set"}},
}
CLIP = ClipRecord(
    id="set-0-4",
    source="set",
    revision="me/set@1",
    episode="0",
    start=4,
    stride=2,
    frames=9,
    split="val",
    embodiment="gr1",
    camera="top",
    instruction="räum auf\nbitte",
    sha256="sha256:" + "0" * 64,
)


def text(header: dict | None = None, *clips: dict) -> bytes:
    lines = [HEADER if header is None else header, *clips]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def clip(**changes: object) -> dict:
    record = replace(CLIP)
    return {name: getattr(record, name) for name in record.__slots__} | changes


def test_written_and_read_again(tmp_path):
    path = tmp_path / "suite.jsonl"
    header = Header.model_validate(HEADER)
    written = write_manifest(path, header, [CLIP, replace(CLIP, id="set-0-30", start=30)])
    again = read_manifest(path)
    assert again == written
    assert again.clips[0] == CLIP
    assert again.version == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert again.spec.resolution == (64, 96)
    assert again.spec.action_space.names == ("a", "b")
    assert list(tmp_path.iterdir()) == [path]


def test_same_contents_same_bytes():
    header = Header.model_validate(HEADER)
    shuffled = Header.model_validate(dict(reversed(HEADER.items())))
    assert encode_manifest(header, [CLIP]) == encode_manifest(shuffled, [CLIP])
    assert encode_manifest(header, [CLIP]).count(b"\n") == 2


def test_any_change_is_another_version():
    first = parse_manifest(text(None, clip()), "x")
    other = parse_manifest(text(None, clip(start=5)), "x")
    assert first.version != other.version


def without(key: str) -> dict:
    return {name: value for name, value in HEADER.items() if name != key}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "suite.jsonl is empty"),
        (b"{}\n", "suite.jsonl:1 has no field 'dojobench_manifest'"),
        (b"[1]\n", "suite.jsonl:1 has no field 'dojobench_manifest'"),
        (b"{nonsense\n", "suite.jsonl:1 is not valid JSON"),
        (b"\xff\xfe\n", "suite.jsonl:1 is not valid JSON"),
        (text(), "lists no clips"),
        (text(HEADER | {"dojobench_manifest": 2}, clip()), "suite.jsonl:1:dojobench_manifest"),
        (text(without("frame_rate"), clip()), r"suite.jsonl:1:frame_rate is not valid \(field req"),
        (text(HEADER | {"extra": 1}, clip()), "suite.jsonl:1:extra is not valid"),
        (text(HEADER | {"frame_rate": "10"}, clip()), "suite.jsonl:1:frame_rate"),
        (text(HEADER | {"resolution": [64]}, clip()), "suite.jsonl:1:resolution"),
        (text(HEADER | {"sources": {}}, clip()), "suite.jsonl:1:sources"),
        (text(None, clip(), clip(id="b", start=-1)), "suite.jsonl:3:start is not valid"),
        (text(None, clip(id="../x")), "suite.jsonl:2:id is not valid"),
        (text(None, clip(frames="9")), "suite.jsonl:2:frames is not valid"),
        (text(None, clip(sha256="")), "suite.jsonl:2:sha256"),
        (text(None, clip(more=1)), "suite.jsonl:2:more"),
        (text(None, clip(), clip()), "suite.jsonl:3:id repeats 'set-0-4' of line 2"),
        (text(None, clip(source="other")), "suite.jsonl:2:source is 'other'"),
        (text(None, clip(revision="me/set@2")), "suite.jsonl:2:revision is 'me/set@2'"),
        (text(None, clip(embodiment="g1")), "suite.jsonl:2:embodiment is 'g1'"),
        (text(None, clip(frames=2)), "suite.jsonl:2:frames is 2, which leaves nothing"),
        (text(None, clip(instruction="x" * 70_000)), "suite.jsonl:2 is longer than 64 KiB"),
        (text() + b'{"start": NaN}\n', "suite.jsonl:2 is not valid JSON"),
        (text() + b"[" * 60_000 + b"\n", "suite.jsonl:2 is not valid JSON"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, says):
    path = tmp_path / "suite.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=says) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def source(root: str) -> dict:
    return HEADER | {"sources": {"set": {"format": "x", "revision": "me/set@1", "root": root}}}


@pytest.mark.parametrize("root", ["/etc", "../up", "a/../../b", "a\\b"])
def test_a_manifest_cannot_point_outside_the_data(root):
    with pytest.raises(BadInputError, match=r"sources\.set\.root is not valid .*relative path"):
        parse_manifest(text(source(root), clip()), "x")


def test_names_must_be_as_many_as_dimensions():
    space = HEADER["action_space"] | {"dim": 3}
    with pytest.raises(BadInputError, match="2 names for 3 dimensions"):
        parse_manifest(text(HEADER | {"action_space": space}, clip()), "x")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        read_manifest(tmp_path / "none.jsonl")


def test_nothing_is_written_into_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        write_manifest(tmp_path / "no" / "x.jsonl", Header.model_validate(HEADER), [CLIP])
