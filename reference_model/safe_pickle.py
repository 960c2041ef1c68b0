"""Reads the structure of a pickle without running any of it.

A pickle is a program that may import and call whatever it names. Here every name it imports
becomes an inert record that merely keeps what it is called with, so there is nothing to run:
no class of torch's, no function, no exception for names thought to be safe. What the reader knows
it then takes from the records.
"""

import io
import pickle  # only its parser; find_class below returns nothing that acts
from typing import Any, ClassVar

from dojobench.protocol.errors import BadInputError

LARGEST_PICKLE = 1 << 28
"""Bytes; the index of a published checkpoint has a few million."""

_FAULTS = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
)


class Record:
    """Stands for an object of a class, or the result of a function, that a pickle names.

    Attributes:
        name: Full name, such as ``torch._utils._rebuild_tensor_v2``; of the class too.
        arguments: What it was called with.
        state: What it was told to restore, if anything.
        entries: Items that were set on it, as on a dictionary.
        elements: Items that were appended to it, as to a list.
    """

    name: ClassVar[str] = ""

    def __new__(cls, *arguments: Any, **named: Any) -> "Record":
        """Keeps the arguments; keywords are dropped."""
        del named
        record = super().__new__(cls)
        record.arguments = arguments
        record.state = None
        record.entries = {}
        record.elements = []
        return record

    arguments: tuple[Any, ...]
    state: Any
    entries: dict[Any, Any]
    elements: list[Any]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Does nothing; ``__new__`` has done it."""

    def __setstate__(self, state: Any) -> None:
        """Keeps the state."""
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keeps an item."""
        self.entries[key] = value

    def append(self, value: Any) -> None:
        """Keeps an item."""
        self.elements.append(value)

    def extend(self, values: Any) -> None:
        """Keeps items."""
        self.elements.extend(values)

    def field(self, key: str, default: Any = None) -> Any:
        """Gives an attribute that the object would have been restored with."""
        return self.state.get(key, default) if isinstance(self.state, dict) else default


class Reference(tuple[Any, ...]):
    """What a pickle refers to outside itself, such as a storage: the pickle's own description."""


class _Parser(pickle.Unpickler):
    """Knows no classes but records; each load makes its own, so that none outlives it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._classes: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Gives the inert class that stands for a name."""
        full = f"{module}.{name}"
        if full not in self._classes:
            self._classes[full] = type("Record", (Record,), {"name": full})
        return self._classes[full]

    def persistent_load(self, pid: Any) -> Reference:
        """Keeps a description of something outside as it is."""
        return Reference(pid if isinstance(pid, tuple) else (pid,))


def read_pickle(data: bytes, where: str) -> Any:
    """Reads a pickle's structure.

    Args:
        data: The pickle.
        where: The file, for the message.

    Returns:
        Plain values as they are, everything else as ``Record`` or ``Reference``.

    Raises:
        BadInputError: If it is too large or no whole pickle.
    """
    if len(data) > LARGEST_PICKLE:
        raise BadInputError(
            f"The index of {where} has {len(data)} bytes, more than any checkpoint needs; it is "
            "damaged or no checkpoint."
        )
    try:
        return _Parser(data).load()
    except _FAULTS as error:
        raise BadInputError(
            f"The index of {where} cannot be read ({type(error).__name__}); the file is damaged or "
            "cut short, fetch it again."
        ) from error


def is_record(value: Any, name: str) -> bool:
    """Says whether a value stands for an object or result of that full name."""
    return isinstance(value, Record) and value.name == name


def record_class_name(value: Any) -> str:
    """Gives the full name where a value is a named class or function itself, else nothing."""
    return value.name if isinstance(value, type) and issubclass(value, Record) else ""
