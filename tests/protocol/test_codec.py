"""Arrays travel as openpi's clients send them, and nothing else does."""

import contextlib
import pickle

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dojobench.protocol.codec import MAX_LENGTH, CodecError, as_array, as_tensor, pack, unpack

NUMBERS = st.sampled_from(["u1", "i2", "<f4", ">f4", "f8", "?", ">i8", "f2"])


@settings(max_examples=60, deadline=None)
@given(array=hnp.arrays(dtype=NUMBERS, shape=hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_come_back_bit_for_bit(array: np.ndarray) -> None:
    back = unpack(pack({"a": array}))["a"]
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.astype(array.dtype).tobytes() == array.tobytes()


def openpi_pack(value: object) -> dict[bytes, object]:
    """The form that openpi-client's msgpack_numpy writes, from its documentation."""
    assert isinstance(value, np.ndarray)
    return {
        b"__ndarray__": True,
        b"data": value.tobytes(),
        b"dtype": value.dtype.str,
        b"shape": value.shape,
    }


def test_same_bytes_as_openpi_writes() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    theirs = msgpack.packb({"actions": array}, default=openpi_pack)
    assert pack({"actions": array}) == theirs
    np.testing.assert_array_equal(unpack(theirs)["actions"], array)


def test_scalars_keep_their_dtype() -> None:
    back = unpack(pack({"s": np.float32(0.1), "n": 3, "t": "x", "b": b"\x00", "none": None}))
    assert back["s"] == np.float32(0.1)
    assert back["s"].dtype == np.float32
    assert (back["n"], back["t"], back["b"], back["none"]) == (3, "x", b"\x00", None)


def test_non_contiguous_arrays() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2].T
    np.testing.assert_array_equal(unpack(pack({"a": array}))["a"], array)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array([1j]),
        np.zeros(2, dtype=[("a", "u1")]),
        np.array(["text"]),
        np.array(["2020-01-01"], dtype="M8[D]"),
    ],
    ids=["object", "complex", "void", "text", "date"],
)
def test_what_is_no_number_is_not_sent(array: np.ndarray) -> None:
    with pytest.raises(CodecError, match="only numbers and booleans"):
        pack({"a": array})


def test_other_objects_are_not_sent() -> None:
    with pytest.raises(CodecError, match="neither a plain value nor an array"):
        pack({"a": {1, 2}})


@pytest.mark.parametrize("dtype", ["|O", "V8", "<c16", "O8", "f4,f4", "<U4", "M8[s]", "u1\n"])
def test_what_is_no_number_is_not_read(dtype: str) -> None:
    data = pickle.dumps([1])
    message = {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": [len(data)]}
    with pytest.raises(CodecError, match="refused"):
        unpack(msgpack.packb({"a": message}))


@pytest.mark.parametrize(
    "shape", [[3], [2, -1], [2**40, 0], "4", [True], [1] * 20, [2**31 - 1] * 5, None]
)
def test_shapes_that_lie(shape: object) -> None:
    message = {b"__ndarray__": True, b"data": b"\0" * 4, b"dtype": "|u1", b"shape": shape}
    with pytest.raises(CodecError, match="shape"):
        unpack(msgpack.packb({"a": message}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb([1]),
        msgpack.packb({"a": 1})[:-1],
        msgpack.packb({"a": 1}) + b"x",
        msgpack.packb({"a": msgpack.ExtType(5, b"x")}),
        msgpack.packb({"a": msgpack.Timestamp(1)}),
        msgpack.packb({"a": [0] * (MAX_LENGTH + 1)}),
        msgpack.packb({"a": [[0] * 4000] * 30}),
        b"\x81\xa1a" + b"\x91" * 100_000,
        pickle.dumps({"a": 1}),
    ],
    ids=["empty", "bad", "list", "cut", "rest", "ext", "time", "long", "many", "deep", "pickle"],
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(CodecError):
        unpack(data)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    message: object = {}
    with contextlib.suppress(CodecError):
        message = unpack(data)
    assert isinstance(message, dict)


def test_tensors_are_writable_copies() -> None:
    tensor = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    received = unpack(pack({"a": as_array(tensor.T)}))["a"]
    assert not received.flags.writeable
    back = as_tensor(received)
    back += 1
    assert torch.equal(back, tensor.T + 1)
    assert as_tensor(np.array([1.5], dtype=">f4")).item() == 1.5
