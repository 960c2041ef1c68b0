"""Reading pickles as inert records: nothing runs, whatever they name."""

import collections
import os
import pickle
from pathlib import Path, PurePosixPath

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.safe_pickle import Record, is_record, read_pickle
from dojobench.reference_model.torch_archive import FileBytes, TorchArchive, named_tensors


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_calls_are_kept_and_not_made(tmp_path, protocol):
    target = tmp_path / "made"
    data = pickle.dumps([Calls(os.mkdir, str(target)), Calls(eval, "1 + 1")], protocol=protocol)
    first, second = read_pickle(data, "here")
    assert not target.exists()
    assert isinstance(first, Record)
    assert first.name.endswith(".mkdir")
    assert first.arguments == (str(target),)
    assert is_record(second, "builtins.eval") or is_record(second, "__builtin__.eval")


def test_plain_values_and_containers_come_through():
    value = {"a": [1, 2.5, None, True], "b": ("x", b"y", {3})}
    assert read_pickle(pickle.dumps(value), "here") == value
    ordered = read_pickle(pickle.dumps(collections.OrderedDict(one=1)), "here")
    assert is_record(ordered, "collections.OrderedDict")
    assert ordered.entries == {"one": 1}
    path = read_pickle(pickle.dumps(PurePosixPath("a/b")), "here")
    assert path.name.endswith("PurePosixPath")
    deque = read_pickle(pickle.dumps(collections.deque([1, 2])), "here")
    assert deque.name == "collections.deque"


def test_state_is_kept_and_sets_nothing():
    # BUILD with slots would set attributes on whatever stands before it, here on a class.
    attack = b"\x80\x02cos\nsystem\n}(X\x04\x00\x00\x00nameX\x01\x00\x00\x00xu\x86b."
    with pytest.raises(BadInputError, match="damaged or cut short"):
        read_pickle(attack, "here")
    record = read_pickle(pickle.dumps(Path().stat()), "here")
    assert isinstance(record, Record)
    assert Record.name == ""


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"garbage", b"\x80\x02]q\x00(", b"cos\nsystem\n(", b"\x80\x02Ja."]
)
def test_broken_pickles_are_one_sentence(data):
    with pytest.raises(BadInputError, match="index of a file cannot be read"):
        read_pickle(data, "a file")


def archive(tmp_path, value):
    torch.save(value, tmp_path / "x.pt")
    return TorchArchive(FileBytes(tmp_path / "x.pt"), "x.pt")


def test_every_number_format_and_layout_reads_back(tmp_path):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator)
    dtypes = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float8_e4m3fn,
    )
    saved = {str(dtype): (10 * base).abs().to(dtype) for dtype in dtypes}
    saved |= {
        "transposed": base.t(),
        "slice": base[2:5, 1:3],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(base),
        "nested": {"deep": [1], "tensor": base},
    }
    opened = archive(tmp_path, saved)
    tensors = {name: opened.read(each) for name, each in named_tensors(opened.root)}
    assert torch.equal(tensors.pop("nested.tensor"), base)
    del saved["nested"]
    assert set(tensors) == set(saved)
    for name, value in tensors.items():
        assert value.dtype == saved[name].dtype
        assert torch.equal(value, saved[name])


def test_a_tensor_that_claims_more_than_its_bytes_is_refused(tmp_path):
    opened = archive(tmp_path, {"huge": torch.zeros(1).expand(1 << 40)})
    with pytest.raises(BadInputError, match="lacks the bytes of a tensor"):
        opened.read(opened.root["huge"])


def test_an_index_that_contains_itself_is_refused(tmp_path):
    endless = {}
    endless["again"] = endless
    with pytest.raises(BadInputError, match="contains itself"):
        archive(tmp_path, endless)


def test_other_files_are_no_checkpoints(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(BadInputError, match=r"no whole checkpoint of torch\.save"):
        TorchArchive(FileBytes(tmp_path / "text.pt"), "text.pt")
    with pytest.raises(BadInputError, match="is missing; fetch it again"):
        FileBytes(Path(tmp_path / "nothing"))
    torch.save({}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(BadInputError, match=r"format of torch 1\.6 or newer"):
        TorchArchive(FileBytes(tmp_path / "old.pt"), "old.pt")
