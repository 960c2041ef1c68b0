"""Results as plain values that JSON knows."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dojobench.datasets.files import write_atomically
from dojobench.metrics.intervals import Interval


def plain_interval(one: Interval) -> dict[str, Any]:
    """Gives an interval's values; what is not known is ``None``."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(one).items()
    }


def write_results(out: Path, name: str, document: dict[str, Any], text: str) -> None:
    """Writes ``NAME.json`` and ``NAME.md`` into a folder, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    whole = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / f"{name}.json", whole.encode())
    write_atomically(out / f"{name}.md", text.encode())
