"""PyTorch's distributed checkpoints, tensor by tensor, without unpickling them.

A folder of ``.distcp`` files holds pieces of tensors, each written by ``torch.save``; the file
``.metadata`` says which piece of which tensor lies where. PyTorch's own reader unpickles that file
whole; this one reads it as inert records, and reads the pieces of just the tensors asked for, so
that 9 GB of averaged weights do not cost the memory of the optimiser beside them.
Format: ``torch.distributed.checkpoint`` (``metadata.py``, ``filesystem.py``) of PyTorch 2.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.safe_pickle import Record, is_record, read_pickle
from dojobench.reference_model.safe_pickle import record_class_name as class_name
from dojobench.reference_model.torch_archive import (
    FileBytes,
    MemoryBytes,
    Span,
    StoredTensor,
    TorchArchive,
    plain_size,
)

_METADATA = "torch.distributed.checkpoint.metadata"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A box cut out of a tensor, and where its values lie.

    Attributes:
        offsets: First index along each dimension.
        sizes: Sizes.
        file: Name of the file.
        span: Bytes within it.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    span: Span


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A tensor of the checkpoint.

    Attributes:
        dtype: Number format.
        shape: Sizes of the whole.
        pieces: What it is put together from.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]


class DistributedCheckpoint:
    """A checkpoint folder.

    Attributes:
        entries: Its tensors, by name.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the metadata, none of the tensors.

        Raises:
            BadInputError: If the metadata is missing, damaged or of an unknown kind.
        """
        self.folder = folder
        path = folder / ".metadata"
        where = str(path)
        index = FileBytes(path)
        self.entries = _entries(read_pickle(index.read(Span(0, index.length)), where), where)
        self._files: dict[str, FileBytes] = {}

    def read(self, name: str) -> torch.Tensor:
        """Puts a tensor together.

        Raises:
            BadInputError: If a file is missing or cut short, or pieces do not make the whole.
        """
        entry = self.entries[name]
        stated = sum(math.prod(piece.sizes) for piece in entry.pieces)
        stored = sum(piece.span.length for piece in entry.pieces)
        if stated != math.prod(entry.shape) or stated * entry.dtype.itemsize > stored:
            raise self._damaged(name, f"its pieces have {stated} values in {stored} bytes")
        whole = torch.empty(entry.shape, dtype=entry.dtype)
        for piece in entry.pieces:
            values = self._read_piece(piece, name)
            box = tuple(slice(o, o + s) for o, s in zip(piece.offsets, piece.sizes, strict=True))
            target = whole[box]
            if values.shape != target.shape or values.dtype != entry.dtype:
                raise self._damaged(name, f"piece of shape {list(values.shape)} does not fit")
            target.copy_(values)
        return whole

    def _read_piece(self, piece: Piece, name: str) -> torch.Tensor:
        if piece.file not in self._files:
            self._files[piece.file] = FileBytes(self.folder / piece.file)
        where = f"{self.folder / piece.file}"
        content = self._files[piece.file].read(piece.span)
        if len(content) != piece.span.length:
            raise self._damaged(name, f"{piece.file} is cut short")
        archive = TorchArchive(MemoryBytes(content), where)
        if not isinstance(archive.root, StoredTensor):
            raise self._damaged(name, "what is stored is no tensor")
        return archive.read(archive.root)

    def _damaged(self, name: str, why: str) -> BadInputError:
        return BadInputError(
            f"The tensor '{name}' in {self.folder} is damaged ({why}); fetch the checkpoint again."
        )


def _entries(root: Any, where: str) -> dict[str, Entry]:
    try:
        if not is_record(root, f"{_METADATA}.Metadata"):
            raise TypeError("no Metadata")
        places: dict[tuple[str, tuple[int, ...]], tuple[str, Span]] = {}
        for index, info in root.field("storage_data").items():
            if info.field("transform_descriptors"):
                raise TypeError("transformed storage")
            offset = index.field("offset")
            key = (index.field("fqn"), () if offset is None else plain_size(offset))
            span = Span(int(info.field("offset")), int(info.field("length")))
            places[key] = (_file_name(info.field("relative_path")), span)
        described = root.field("state_dict_metadata").items()
        return {
            name: _entry(name, each, places)
            for name, each in described
            if is_record(each, f"{_METADATA}.TensorStorageMetadata")
        }
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"The metadata {where} is of an unknown kind ({error}); fetch it again, or convert the "
            "checkpoint with PyTorch's dcp_to_torch_save first."
        ) from error


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or Path(value).name != value:
        raise ValueError(f"a file outside the folder: {value!r}")
    return value


def _entry(
    name: str, record: Record, places: dict[tuple[str, tuple[int, ...]], tuple[str, Span]]
) -> Entry:
    properties = record.field("properties")
    stated = properties.state[0] if isinstance(properties.state, tuple) else None
    dtype = getattr(torch, class_name(stated).rpartition(".")[2], None)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"no number format for '{name}'")
    shape = plain_size(record.field("size"))
    pieces = []
    for chunk in record.field("chunks"):
        offsets, sizes = plain_size(chunk.field("offsets")), plain_size(chunk.field("sizes"))
        boxes = zip(offsets, sizes, shape, strict=True)
        if any(o < 0 or s < 0 or o + s > n for o, s, n in boxes):
            raise ValueError(f"a piece of '{name}' lies outside it")
        file, span = places[name, offsets]
        pieces.append(Piece(offsets=offsets, sizes=sizes, file=file, span=span))
    return Entry(dtype=dtype, shape=shape, pieces=tuple(pieces))
