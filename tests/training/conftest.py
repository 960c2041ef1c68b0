"""Golden losses: the first losses of a tiny training, kept in a file per stage."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.stage import Stage
from dojobench.reference_model.training.training_log import LOG, read_log

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden(tmp_path: Path) -> Callable[..., None]:
    """Gives ``check(name, stage, config, rtol=2e-3, atol=1e-6)``.

    It trains the stage and compares every loss of every step with ``golden/NAME.json``. The
    tolerance is for other processors and versions of torch; a fault in the numerics is larger.
    With ``DOJOBENCH_WRITE_GOLDEN=1`` the file is written instead, and the test fails, so that no
    one leaves the variable set.
    """

    def check(
        name: str, stage: Stage, config: LoopConfig, rtol: float = 2e-3, atol: float = 1e-6
    ) -> None:
        assert config.log_every == 1, "golden losses are those of every step"
        assert config.device == "cpu"
        train(stage, config, tmp_path / "golden-run")
        lines = [line for line in read_log(tmp_path / "golden-run" / LOG) if "losses" in line]
        found = [{"player": line["player"], **line["losses"]} for line in lines]
        path = GOLDEN / f"{name}.json"
        if os.environ.get("DOJOBENCH_WRITE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            text = ",\n".join(json.dumps(each) for each in found)
            path.write_text(f"[\n{text}\n]\n", encoding="utf-8")
            pytest.fail(f"{path} is written; look at the change and unset DOJOBENCH_WRITE_GOLDEN")
        assert path.exists(), f"there is no {path}; make it with DOJOBENCH_WRITE_GOLDEN=1"
        wanted = json.loads(path.read_text(encoding="utf-8"))
        assert len(found) == len(wanted)
        for step, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert one.pop("player") == other.pop("player"), f"step {step}"
            assert one == pytest.approx(other, rel=rtol, abs=atol), f"step {step}"

    return check
