"""`wire.md` is what the code does: its client works, and it names every field there is."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest

from dojobench.protocol import ModelSpec, messages
from dojobench.protocol.codec import MAX_DIMENSIONS, MAX_ITEMS, MAX_LENGTH
from dojobench.protocol.server import serving

TEXT = (Path(__file__).resolve().parents[2] / "protocol" / "wire.md").read_text(encoding="utf-8")

MESSAGES = [
    found
    for found in vars(messages).values()
    if isinstance(found, type)
    and issubclass(found, pydantic.BaseModel)
    and not found.__name__.startswith("_")
    and found is not pydantic.BaseModel
]


def test_the_client_on_the_page_works(glide: Any, tmp_path: Path) -> None:
    match = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert match is not None
    with serving(glide()) as address:
        script = match[1].replace("ws://127.0.0.1:8080", address)
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=600,
        )
    assert done.stdout.strip() == "(1, 4, 3, 64, 64)", done.stderr


@pytest.mark.parametrize("message", MESSAGES)
def test_every_field_of_a_message_is_on_the_page(message: type[pydantic.BaseModel]) -> None:
    for name in message.model_fields:
        assert f'"{name}"' in TEXT or f"`{name}`" in TEXT
    if "type" in message.model_fields:
        assert f'"type": "{message.model_fields["type"].default}"' in TEXT


def test_every_field_of_the_spec_code_and_limit_is_on_the_page() -> None:
    for name in ModelSpec.__dataclass_fields__:
        assert f"`{name}`" in TEXT
    for code in get_args(messages.ErrorCode):
        assert f"| `{code}` |" in TEXT
    assert f"# The wire, version {messages.PROTOCOL}\n" in TEXT
    limits = messages.Limits()
    assert f"| {limits.max_message_bytes // 2**20} MiB |" in TEXT
    for value in (limits.max_sessions, limits.max_waiting, int(limits.idle_seconds)):
        assert f"| {value} |" in TEXT
    for value in (f"{MAX_DIMENSIONS} dimensions", f"{MAX_LENGTH} elements"):
        assert value in TEXT
    assert f"{MAX_ITEMS:,} elements".replace(",", " ") in TEXT
