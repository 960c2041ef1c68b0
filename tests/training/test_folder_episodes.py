"""Recorded video as training data: real robots, held-out episodes, video without actions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dojobench.datasets.clips import crop_resize
from dojobench.datasets.formats import open_source
from dojobench.datasets.suites import load_named
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.folder_episodes import FolderDataConfig, make_folder_data

pytestmark = pytest.mark.data


@pytest.fixture
def g1(data_dir: Path) -> Path:
    return data_dir / "g1_real"


def few(g1: Path, *kept: str) -> tuple[str, ...]:
    """Names all episodes but a few, to be left out."""
    return tuple(each for each in open_source(g1).episode_ids if each not in kept)


def test_real_episodes_are_strided_resized_and_held_out(g1: Path, tmp_path: Path) -> None:
    config = FolderDataConfig(
        name="g1",
        root=str(g1),
        embodiment="g1_inspire",
        suite="g1-real-sample",
        left_out=few(g1, "29", "59"),
        size=(48, 64),
    )
    store = make_folder_data(config, tmp_path)
    train, val = store.group("g1-train"), store.group("g1-val")
    assert train.ids == ("59", "59+1", "59+2")
    assert val.ids == ("29",)
    assert train.info.frame_rate == 10.0
    source = open_source(g1)
    episode = source.episode("59")
    picked = list(range(1, episode.length, 3))
    assert train.lengths[1] == len(picked)
    wanted = crop_resize(episode.frames(source.cameras[0], picked[:5]), (48, 64))
    assert torch.equal(torch.from_numpy(train.frames(1, 0, 5).copy()), wanted)
    assert np.array_equal(train.actions(1), episode.actions()[picked[:-1]])


def test_no_episode_that_a_suite_scores_is_trained_on(g1: Path, tmp_path: Path) -> None:
    config = FolderDataConfig(
        name="g1",
        root=str(g1),
        embodiment="g1_inspire",
        suite="g1-real-sample",
        left_out=few(g1, "1", "2", "97", "99"),
        size=(24, 32),
        phases=False,
        frame_rate=2.0,
    )
    store = make_folder_data(config, tmp_path)
    scored = {clip.episode for clip in load_named("g1-real-sample").clips if clip.split != "train"}
    assert set(store.group("g1-train").ids) == {"1", "99"}
    assert set(store.group("g1-val").ids) == {"2", "97"} <= scored


def test_a_wider_data_set_names_its_columns(data_dir: Path, tmp_path: Path) -> None:
    config = FolderDataConfig(
        name="gr1",
        root=str(data_dir / "gr1_sim"),
        embodiment="gr1",
        held_out=("1", "2", "3", "4"),
        size=(32, 32),
        frame_rate=5.0,
        phases=False,
    )
    group = make_folder_data(config, tmp_path).group("gr1-train")
    assert group.info.action_dim == 44
    assert group.info.columns is not None
    assert len(group.info.columns) == 29


def test_human_video_without_actions(data_dir: Path, tmp_path: Path) -> None:
    config = FolderDataConfig(
        name="people",
        root=str(data_dir / "human_hand_video"),
        embodiment="none",
        frame_rate=5.0,
        size=(36, 64),
        phases=False,
    )
    store = make_folder_data(config, tmp_path)
    assert store.names == ("people-train",)
    group = EpisodeStore(tmp_path).group("people-train")
    assert group.info.action_dim == 0
    assert len(group) == 1
    assert group.frames(0).shape == (104, 3, 36, 64)


def test_what_does_not_fit_is_refused(g1: Path, tmp_path: Path) -> None:
    plain = {"name": "g1", "root": str(g1), "embodiment": "g1_inspire"}
    with pytest.raises(BadInputError, match="No whole stride turns"):
        make_folder_data(FolderDataConfig(**plain, frame_rate=8.0), tmp_path)
    with pytest.raises(BadInputError, match="no episode '3' to hold or leave out"):
        make_folder_data(FolderDataConfig(**plain, held_out=("3",)), tmp_path)
    with pytest.raises(BadInputError, match="holds out no episode of"):
        make_folder_data(FolderDataConfig(**plain, suite="dojo-mini"), tmp_path)
    with pytest.raises(BadInputError, match="is left to train on"):
        make_folder_data(FolderDataConfig(**plain, left_out=few(g1)), tmp_path)
    with pytest.raises(BadInputError, match="The embodiment 'g7' has no action slots"):
        make_folder_data(FolderDataConfig(name="x", root=str(g1), embodiment="g7"), tmp_path)
    assert not list(tmp_path.iterdir())
