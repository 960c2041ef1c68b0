"""Statistics are named, hashed, pooled right and refused when they make no sense."""

import json
from pathlib import Path

import numpy as np
import pytest

from dojobench.datasets.formats import open_source
from dojobench.datasets.statistics import (
    compute_statistics,
    load_camera,
    load_modality,
    load_statistics,
    save_statistics,
)
from dojobench.protocol.errors import BadInputError

BLOCK = {"min": [0.0, -1.0], "max": [1.0, 1.0], "mean": [0.5, 0.0], "std": [0.1, 0.2]}


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_loaded_by_column(tmp_path):
    loaded = load_statistics(write(tmp_path / "own_stats.json", {"action": BLOCK, "state": BLOCK}))
    assert loaded.name == "own_stats.json"
    assert loaded.dim == 2
    assert loaded.maximum.tolist() == [1.0, 1.0]
    assert loaded.quantiles == {}


def test_the_hash_names_the_numbers_not_the_file(tmp_path):
    first = load_statistics(write(tmp_path / "a.json", {"action": BLOCK}))
    again = load_statistics(write(tmp_path / "b.json", {"x": 1, "action": BLOCK}))
    other = load_statistics(write(tmp_path / "c.json", {"action": BLOCK | {"max": [2.0, 1.0]}}))
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256


def test_pooled_episodes_are_the_statistics_of_all_rows(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.normal(loc=i, size=(5 + 7 * i, 3)) for i in range(4)]
    lines = [
        {
            "episode_index": number,
            "stats": {
                "action": {
                    "min": part.min(0).tolist(),
                    "max": part.max(0).tolist(),
                    "mean": part.mean(0).tolist(),
                    "std": part.std(0).tolist(),
                    "count": [len(part)],
                }
            },
        }
        for number, part in enumerate(parts)
    ]
    path = tmp_path / "episodes_stats.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    pooled, rows = load_statistics(path), np.concatenate(parts)
    np.testing.assert_allclose(pooled.mean, rows.mean(0))
    np.testing.assert_allclose(pooled.std, rows.std(0))
    np.testing.assert_array_equal(pooled.minimum, rows.min(0))
    np.testing.assert_array_equal(pooled.maximum, rows.max(0))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"state": BLOCK}, "have no column 'action'; their columns are: state"),
        ({"action": {"min": [0.0]}}, "lacks the field 'max'"),
        ({"action": BLOCK | {"mean": [0.0]}}, "different widths"),
        ({"action": BLOCK | {"min": [2.0, 0.0]}}, "minimum above its maximum at 0"),
        ({"action": BLOCK | {"std": ["a", "b"]}}, "'std' is not a list of finite numbers"),
        ([], "have no column 'action'"),
    ],
)
def test_bad_statistics_say_what_is_wrong(tmp_path, document, says):
    with pytest.raises(BadInputError, match=says):
        load_statistics(write(tmp_path / "stats.json", document))


def test_bad_modality_says_what_is_wrong(tmp_path):
    path = write(tmp_path / "modality.json", {"action": {"arm": {"start": 3, "end": 3}}})
    with pytest.raises(BadInputError, match=r"'action\.arm' has no whole numbers"):
        load_modality(path)
    with pytest.raises(BadInputError, match="has no object 'action'"):
        load_modality(write(path, {"state": {}}))


def test_parts_of_other_columns_are_left_out(tmp_path):
    parts = {
        "arm": {"start": 0, "end": 7, "original_key": "action"},
        "hand": {"start": 7, "end": 9},
        "wrist": {"start": 0, "end": 3, "original_key": "action.eef"},
    }
    document = {"action": parts, "video": {"ego": {"original_key": "observation.images.ego"}}}
    path = write(tmp_path / "modality.json", document)
    assert load_modality(path) == {"arm": range(7), "hand": range(7, 9)}
    assert load_camera(path, "ego") == "observation.images.ego"
    assert load_camera(path, "wrist") is None


def test_computed_written_and_read_again(tmp_path, lerobot_v3):
    source = open_source(lerobot_v3(lengths=(7, 12, 9)))
    own = compute_statistics(source)
    assert own.minimum.tolist() == [0.0, 0.0, -27.0]
    assert own.maximum.tolist() == [27.0, 2.0, 0.0]
    assert own.mean[0] == pytest.approx(13.5)
    save_statistics(own, tmp_path / "stats.json")
    again = load_statistics(tmp_path / "stats.json")
    assert again.sha256 == own.sha256
    np.testing.assert_array_equal(again.quantiles["q99"], own.quantiles["q99"])
    assert compute_statistics(source, episodes=["1"]).minimum[0] == 7.0


@pytest.mark.data
def test_computed_agree_with_the_shipped_ones(data_dir: Path):
    """GR-1 sim's own stats.json, computed by the people who recorded it."""
    theirs = load_statistics(data_dir / "gr1_sim" / "meta" / "stats.json")
    ours = compute_statistics(open_source(data_dir / "gr1_sim"))
    assert ours.dim == theirs.dim == 44
    # Theirs cover the 100 episodes of the whole dataset, of which 5 are here.
    assert (ours.minimum >= theirs.minimum - 1e-5).all()
    assert (ours.maximum <= theirs.maximum + 1e-5).all()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "width"),
    [("GR1_unified", 44), ("GR1_human", 1030), ("G1", 43), ("AgiBot", 22), ("YAM", 46)],
)
def test_published_statistics_load(data_dir: Path, name, width):
    loaded = load_statistics(data_dir / "dreamdojo_action_stats" / f"{name}_stats.json")
    assert loaded.dim == width
    assert set(loaded.quantiles) == {"q01", "q99"}
