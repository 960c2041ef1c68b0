"""Parquet tables: columns read as arrays, with sentences for what is missing or malformed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dojobench.protocol.errors import BadInputError


def column_names(path: Path) -> list[str]:
    """Gives a parquet file's columns without reading its rows.

    Raises:
        BadInputError: If the file is missing or no parquet.
    """
    _must_exist(path)
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def row_count(path: Path) -> int:
    """Gives a parquet file's number of rows from its footer.

    Raises:
        BadInputError: If the file is missing or no parquet.
    """
    _must_exist(path)
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Reads some columns; columns that the file lacks are left out.

    Raises:
        BadInputError: If the file is missing or no parquet.
    """
    known = column_names(path)
    present = [name for name in dict.fromkeys(columns) if name in known]
    try:
        return pq.read_table(path, columns=present)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def matrix(table: pa.Table, column: str, path: Path) -> npt.NDArray[np.float32]:
    """Turns a column of numbers or of equally long lists into ``[rows, width]`` float32.

    Raises:
        BadInputError: If the column is missing, holds no numbers, or its rows differ in length.
    """
    if column not in table.column_names:
        raise BadInputError(
            f"The table {path} has no column '{column}'; its columns are: "
            f"{', '.join(column_names(path))}."
        )
    values = table.column(column).combine_chunks()
    rows = len(values)
    while pa.types.is_list(values.type) or _is_other_list(values.type):
        values = values.flatten()
    try:
        flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise BadInputError(
            f"The column '{column}' of {path} holds {values.type}, not numbers; name another."
        ) from error
    if rows and len(flat) % rows:
        raise BadInputError(f"The rows of column '{column}' of {path} differ in length.")
    if rows and _ragged(table.column(column)):
        raise BadInputError(f"The rows of column '{column}' of {path} differ in length.")
    return flat.reshape(rows, -1).astype(np.float32) if rows else np.zeros((0, 0), np.float32)


def text_column(table: pa.Table, preferred: str) -> str | None:
    """Names the preferred column, or the first text column, as pandas leaves an index."""
    if preferred in table.column_names:
        return preferred
    for field in table.schema:
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            return str(field.name)
    return None


def _ragged(column: pa.ChunkedArray) -> bool:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    lengths = pc.list_value_length(column).to_numpy()
    return bool(len(lengths)) and bool((lengths != lengths[0]).any())


def _is_other_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise BadInputError(f"The table {path} is missing; restore it or leave its episode out.")


def _unreadable(path: Path, error: Exception) -> BadInputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BadInputError(f"The table {path} cannot be read as parquet ({reason}); fetch it again.")
