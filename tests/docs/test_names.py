"""Names of code on the pages about the reference model exist, so that a reader who follows arrives.

A name is a word in backticks. ``Class.member`` and ``module.name`` must be defined there; other
names have to stand somewhere in the code: as a name, a parameter, an attribute or a text.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("reference-model", "train", "reproduce")]
FOLDERS = ("reference_model", "datasets", "protocol", "benchmarks", "simulator", "slurm", "src")
NAME = re.compile(r"[A-Za-z_]\w+(\.\w+)*")
FILE = re.compile(r"[\w/.-]+\.(py|html|json|jsonl|md|pt|safetensors|toml)")


def sources() -> list[Path]:
    """Tests count, too: they name what they compare with."""
    found = [path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if path.parent != Path(__file__).parent)


def defined_in(body: list[ast.stmt]) -> Iterator[str]:
    """Names that a module or class defines, also those that it gives its instances."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield node.attr


@cache
def code() -> tuple[dict[str, set[str]], set[str]]:
    """Gives what each module and class defines, and every name and text there is."""
    members: dict[str, set[str]] = defaultdict(set)
    known: set[str] = set()
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        members[path.stem] |= set(defined_in(tree.body))
        known.add(path.stem)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                members[node.name] |= set(defined_in(node.body))
                known.add(node.name)
            elif isinstance(node, ast.FunctionDef):
                known.add(node.name)
            elif isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
                known.add(node.arg)
            elif isinstance(node, ast.Name):
                known.add(node.id)
            elif isinstance(node, ast.Attribute):
                known.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                known.add(node.value)
    return members, known


@cache
def files() -> set[str]:
    """Names of the files of source and tests."""
    return {path.name for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.*")}


def names(page: Path) -> list[str]:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def is_there(name: str) -> bool:
    members, known = code()
    if FILE.fullmatch(name):
        last = name.rpartition("/")[2]
        return any(text.endswith(last) for text in known) or last in files()
    first, *rest = name.split(".")
    if not rest or first not in members:
        return all(part in known for part in (first, *rest))
    return all(
        part in members[owner]
        for owner, part in zip((first, *rest), rest, strict=False)
        if owner in members
    )


def test_a_name_that_does_not_exist_is_found() -> None:
    assert is_there("WorldModelNet.forward")
    assert is_there("dit.build_world_model")
    assert not is_there("WorldModelNet.backward")
    assert not is_there("dit.CausalTokenizer")
    assert not is_there("frobnicate")
    assert is_there("net_config.py")
    assert not is_there("net_configs.py")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_names_on_the_page_exist(page: Path) -> None:
    told = [name for name in names(page) if NAME.fullmatch(name) or FILE.fullmatch(name)]
    assert len(told) > 10
    assert [name for name in dict.fromkeys(told) if not is_there(name)] == []
