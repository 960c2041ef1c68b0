"""Golden losses, and a store of made-up episodes.

The golden losses are the first losses of a tiny training, kept in a file per stage. The made-up
episodes say by their pixels and actions where they come from.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dojobench.reference_model.training.episode_files import GroupInfo, StoredEpisode
from dojobench.reference_model.training.episode_writer import fill_group
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.stage import Stage
from dojobench.reference_model.training.training_log import LOG, read_log

GOLDEN = Path(__file__).parent / "golden"
LENGTHS = (20, 53, 9, 33)
GROUPS = {"robot": ("arm", 5, False), "person": ("hand", 9, True), "video": ("none", 0, False)}


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


def counting_episode(group: int, number: int, width: int) -> StoredEpisode:
    """Red is the group, green the episode, blue the frame; actions count too."""
    length = LENGTHS[number % len(LENGTHS)]
    frames = np.zeros((length, 3, 16, 16), np.uint8)
    frames[:, 0], frames[:, 1] = group, number
    frames[:, 2] = np.arange(length, dtype=np.uint8)[:, None, None]
    rows = np.zeros((length - 1, width), np.float32)
    rows[:, :] = 0.01 * number + 0.001 * np.arange(length - 1)[:, None]
    return StoredEpisode(id=f"e{number}", frames=frames, actions=rows)


@pytest.fixture(scope="session")
def counting_store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    root: Path = tmp_path_factory.mktemp("counting")
    for place, (name, (embodiment, width, withheld)) in enumerate(GROUPS.items()):
        info = GroupInfo(
            name=name,
            embodiment=embodiment,
            frame_rate=10.0,
            height=16,
            width=16,
            action_dim=width,
            withheld=withheld,
            episodes=7,
            shard=3,
        )

        def make(
            numbers: Sequence[int], place: int = place, width: int = width
        ) -> Iterator[StoredEpisode]:
            yield from (counting_episode(place, number, width) for number in numbers)

        fill_group(root, info, make)
    return EpisodeStore(root)
