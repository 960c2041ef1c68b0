"""The docs: links lead somewhere, and the docs' code is code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("protocol/*.md")]
    if "measurements.d" not in path.parts
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose)
    local = [t for t in targets if not t.startswith(("http://", "https://", "mailto:"))]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing
    mentioned = re.findall(
        r"`((?:docs|protocol|metrics|datasets|benchmarks)/[\w./-]+\.\w+)`", prose
    )
    assert not [path for path in mentioned if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_the_docs_parses(page: Path) -> None:
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        ast.parse(block)
    assert all(block.strip() for block in blocks)
