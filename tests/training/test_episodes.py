"""The store of episodes: whole or resumed, never pickled, never of two minds."""

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.arrays import map_array, save_array
from dojobench.reference_model.training.episode_files import GroupInfo, StoredEpisode
from dojobench.reference_model.training.episode_writer import fill_group
from dojobench.reference_model.training.episodes import EpisodeGroup, EpisodeStore

INFO = GroupInfo(
    name="g",
    embodiment="arm",
    frame_rate=10.0,
    height=4,
    width=6,
    action_dim=2,
    episodes=5,
    shard=2,
    origin={"size": (1, 2)},
)


def episode(number: int) -> StoredEpisode:
    noise = np.random.default_rng(number)
    length = 3 + number
    return StoredEpisode(
        id=f"e{number}",
        frames=noise.integers(0, 256, (length, 3, 4, 6), dtype=np.uint8),
        actions=noise.normal(size=(length - 1, 2)).astype(np.float32),
    )


class Maker:
    """Makes episodes and remembers which; breaks off before one of them."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.asked: list[int] = []
        self.breaks_at = breaks_at

    def __call__(self, numbers: Sequence[int]) -> Iterator[StoredEpisode]:
        for number in numbers:
            if number == self.breaks_at:
                raise KeyboardInterrupt
            self.asked.append(number)
            yield episode(number)


def test_episodes_come_back_as_they_went_in(tmp_path: Path) -> None:
    group = fill_group(tmp_path, INFO, Maker())
    assert len(group) == 5
    assert group.ids == ("e0", "e1", "e2", "e3", "e4")
    assert group.lengths == (3, 4, 5, 6, 7)
    for number in range(5):
        made = episode(number)
        assert np.array_equal(group.frames(number), made.frames)
        assert np.array_equal(group.frames(number, 1, 3), made.frames[1:3])
        assert np.array_equal(group.actions(number), made.actions)
        assert np.array_equal(group.actions(number, 1, 2), made.actions[1:2])
    assert not group.frames(0).flags.writeable


def test_made_twice_it_is_the_same_bytes(tmp_path: Path) -> None:
    first = fill_group(tmp_path / "1", INFO, Maker())
    second = fill_group(tmp_path / "2", INFO, Maker())
    assert first.digest == second.digest
    names = sorted(path.name for path in first.folder.iterdir())
    assert len(names) == 1 + 1 + 3 * 3
    for name in names:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_who_is_interrupted_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill_group(tmp_path, INFO, Maker(breaks_at=3))
    with pytest.raises(BadInputError, match=r"not whole: shard-00001.json is missing; run"):
        EpisodeGroup(tmp_path / "g")
    later = Maker()
    resumed = fill_group(tmp_path, INFO, later)
    assert later.asked == [2, 3, 4]
    assert resumed.digest == fill_group(tmp_path / "other", INFO, Maker()).digest
    again = Maker()
    fill_group(tmp_path, INFO, again)
    assert again.asked == []


def test_another_group_of_the_same_name_is_refused(tmp_path: Path) -> None:
    fill_group(tmp_path, INFO, Maker())
    other = INFO.model_copy(update={"episodes": 6})
    with pytest.raises(BadInputError, match=r"another 'episodes' \(5 instead of 6\)"):
        fill_group(tmp_path, other, Maker())


def test_statistics_are_those_of_all_actions(tmp_path: Path) -> None:
    statistics = fill_group(tmp_path, INFO, Maker()).statistics()
    rows = np.concatenate([episode(number).actions for number in range(5)]).astype(np.float64)
    assert statistics.name == "g"
    np.testing.assert_array_equal(statistics.minimum, rows.min(0))
    np.testing.assert_array_equal(statistics.maximum, rows.max(0))
    np.testing.assert_allclose(statistics.std, rows.std(0))


def test_withheld_actions_are_given_only_when_asked_for_by_name(tmp_path: Path) -> None:
    group = fill_group(tmp_path, INFO.model_copy(update={"withheld": True}), Maker())
    with pytest.raises(BadInputError, match="are withheld"):
        group.actions(0)
    assert np.array_equal(group.actions(0, withheld=True), episode(0).actions)
    assert not list(group.folder.glob("actions-*"))


def test_a_group_without_actions_says_so(tmp_path: Path) -> None:
    def silent(numbers: Sequence[int]) -> Iterator[StoredEpisode]:
        for made in Maker()(numbers):
            yield StoredEpisode(id=made.id, frames=made.frames, actions=made.actions[:, :0])

    group = fill_group(tmp_path, INFO.model_copy(update={"action_dim": 0}), silent)
    with pytest.raises(BadInputError, match="has no actions"):
        group.actions(0)
    with pytest.raises(BadInputError, match="no actions to normalise by"):
        group.statistics()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"height": 5}, "the group 'g' takes"),
        ({"action_dim": 3}, "the group 'g' takes"),
    ],
)
def test_an_episode_that_does_not_fit_is_named(tmp_path: Path, change, sentence) -> None:
    with pytest.raises(BadInputError, match=f"The episode 'e0' has .*{sentence}"):
        fill_group(tmp_path, INFO.model_copy(update=change), Maker())


def test_actions_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    def broken(numbers: Sequence[int]) -> Iterator[StoredEpisode]:
        for made in Maker()(numbers):
            made.actions[0] = np.nan
            yield made

    with pytest.raises(BadInputError, match="'e0' of the group 'g' has NaN"):
        fill_group(tmp_path, INFO, broken)


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no training data"):
        EpisodeStore(tmp_path)
    fill_group(tmp_path, INFO, Maker())
    store = EpisodeStore(tmp_path)
    with pytest.raises(BadInputError, match=r"no group 'gg' .*: did you mean 'g'"):
        store.group("gg")
    with pytest.raises(BadInputError, match="has episodes 0 to 4, not 5"):
        store.group("g").frames(5)
    with pytest.raises(BadInputError, match="has rows 0 to 2, not 1 to 3"):
        store.group("g").frames(0, 1, 4)
    with pytest.raises(BadInputError, match="has rows 0 to 1"):
        store.group("g").actions(0, 0, 3)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    group = fill_group(tmp_path, INFO, Maker())
    path = group.folder / "frames-00001.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInputError, match=r"frames-00001.npy is missing or damaged"):
        EpisodeGroup(group.folder)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match="missing or damaged"):
        map_array(path, (1,), "uint8")
    np.save(path, np.zeros(3))
    with pytest.raises(BadInputError, match="holds float64 of shape"):
        map_array(path, (-1,), "uint8")


def test_a_disk_that_fills_leaves_nothing_half_written(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        with pytest.raises(BadInputError, match="make room or choose another folder"):
            save_array(tmp_path / "a.npy", np.zeros(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.iterdir())
