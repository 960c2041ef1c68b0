"""``dojobench data`` as a user types it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.datasets.manifest import read_manifest
from dojobench.datasets.statistics import load_statistics

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs ``dojobench data …`` and gives exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["data", *(str(each) for each in arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def dataset(lerobot_v3) -> Path:
    return lerobot_v3(lengths=(12, 22, 9))


def test_freeze_writes_a_manifest_and_says_what_is_next(typed, dataset, tmp_path):
    out = tmp_path / "my.suite.jsonl"
    code, said, _ = typed("freeze", dataset, "--embodiment", "gr1", "--rate", 10, "--frames", 4,
                          "--out", out)  # fmt: skip
    assert code == 0
    manifest = read_manifest(out)
    assert manifest.header.name == "my.suite"
    assert manifest.version in said
    assert f"dojobench run hold --suite {out} --data {dataset}" in said
    assert "4 clips (val 4), 4 frames each, 32x160 at 10 Hz, 3 action dimensions (gr1)" in said


def test_freeze_with_everything_stated(typed, dataset, tmp_path):
    out = tmp_path / "s.jsonl"
    code, said, _ = typed(
        "freeze", dataset, "--embodiment", "arm9", "--frames", 3, "--out", out,
        "--split", "val=0.5,train=0.5", "--assign", "val=0,2", "train=1", "--context", 2,
        "--views", "observation.images.wrist", "--actions", "last", "--limit", 1,
        "--units", "rad", "--kind", "velocity", "--revision", "me/x@1", "--name", "own",
        "--resolution", 16, 80,
    )  # fmt: skip
    assert code == 0
    assert "'arm9' has no slots" in said
    manifest = read_manifest(out)
    assert {clip.episode: clip.split for clip in manifest.clips} == {"0": "val", "1": "train"}
    assert manifest.spec.context_frames == 2
    assert manifest.spec.resolution == (16, 80)
    assert (manifest.header.actions, manifest.header.fit) == ("last", "crop-resize")
    assert manifest.spec.action_space.kind == "velocity"


def test_freeze_twice_gives_the_same_bytes(typed, dataset, tmp_path):
    contents = set()
    for name in ("a", "b"):
        out = tmp_path / f"{name}.jsonl"
        typed("freeze", dataset, "--embodiment", "gr1", "--frames", 4, "--out", out, "--name", "n")
        contents.add(out.read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rate", "15"], "No whole stride turns the dataset's 20 Hz into 15 Hz"),
        (["--frames", "100"], "No clip of 100 frames"),
        (["--split", "val=a,train=b"], "has no share that is a number"),
        (["--assign", "val"], "must be stated as in val=3,4"),
        (["--assign", "val=1", "train=1"], "Episode 1 is assigned to 'val' and to 'train'"),
        (["--limit", "0"], "--limit is 0"),
        (["--lead", "-1"], "--lead is -1"),
        (["--out", "x.json"], "A manifest is a .jsonl file"),
        (["--out", "nowhere/x.jsonl"], "does not exist"),
        (["--action-key", "nothing"], "lists no feature 'nothing'"),
    ],
)
def test_bad_freezing_exits_with_2_and_leaves_nothing(
    typed, dataset, tmp_path, monkeypatch, arguments, says
):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    fixed = ["--embodiment", "gr1", "--frames", "4", "--out", "s.jsonl"]
    code, _, err = typed("freeze", dataset, *fixed, *arguments)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before


def test_embodiment_must_be_stated(dataset, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["data", "freeze", str(dataset), "--out", str(tmp_path / "s.jsonl")])
    assert caught.value.code == 2
    assert "--embodiment" in capsys.readouterr().err


def test_list_says_how_to_get_each_suite(typed, monkeypatch):
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    code, said, _ = typed("list")
    assert code == 0
    for name in ("gr1-sim-sample", "dreamdojo-in-lab", "dreamdojo-egodex", "dreamdojo-hv"):
        assert f"{name}\n" in said
    assert "NVIDIA/GR00T-Dreams @ ec3881d44545016871997f8e17dd15f1d792e91d" in said
    assert "at hand: no" in said
    described = json.loads(typed("list", "--json")[1])
    assert {each["name"] for each in described} >= {"gr1-sim-sample", "dreamdojo-hv"}
    assert all(each["obtain"] for each in described)


@pytest.mark.data
def test_list_finds_what_is_at_hand(typed, data_dir):
    described = {
        each["name"]: each for each in json.loads(typed("list", "--data", data_dir, "--json")[1])
    }
    assert described["gr1-sim-sample"]["where"].endswith("gr1_sim")
    assert described["dreamdojo-in-lab"]["where"] == ""
    assert described["dreamdojo-egodex"]["where"] == ""


def test_show_a_dataset_and_a_suite(typed, dataset, tmp_path):
    code, said, _ = typed("show", dataset)
    assert code == 0
    for text in ("lerobot-v3.0", "43 (2 s), 9 to 22 an episode", "20 Hz", "a, b, c", "32x160"):
        assert text in said
    out = tmp_path / "s.jsonl"
    typed("freeze", dataset, "--embodiment", "gr1", "--frames", 4, "--out", out)
    code, said, _ = typed("show", out)
    assert code == 0
    assert "val" in said
    assert "3 dimensions, absolute, gr1" in said


def test_show_named_suites_and_nothing_else(typed):
    assert "38 clips (train 14, val 24)" in typed("show", "gr1-sim-sample")[1]
    assert "100 of 49 frames" in typed("show", "dreamdojo-hv")[1]
    code, _, err = typed("show", "nonsense")
    assert code == 2
    assert "no folder, no manifest file and no named suite" in err


def test_check_exits_with_1_only_for_errors(typed, dataset):
    code, said, _ = typed("check", dataset)
    assert code == 0
    assert "0 errors" in said
    video = dataset / "videos/observation.images.top/chunk-000/file-000.mp4"
    video.write_bytes(video.read_bytes()[:2000])
    code, said, _ = typed("check", dataset)
    assert code == 1
    assert "file-000.mp4" in said
    code, said, _ = typed("check", dataset, "--json")
    assert code == 1
    problems = json.loads(said)[str(dataset)]
    assert any(each["severity"] == "error" for each in problems)


def test_check_needs_a_folder_that_exists(typed, tmp_path):
    assert typed("check")[0] == 2
    code, _, err = typed("check", tmp_path / "none")
    assert code == 2
    assert "There is no folder" in err


@pytest.mark.data
def test_check_finds_the_stream_that_gr1_sim_lists_in_vain(typed, data_dir):
    _, said, _ = typed("check", data_dir / "gr1_sim")
    assert "observation.images.egoview" in said


def test_stats_of_training_episodes(typed, dataset, tmp_path):
    suite, out = tmp_path / "s.jsonl", tmp_path / "stats.json"
    typed("freeze", dataset, "--embodiment", "gr1", "--frames", 4, "--out", suite,
          "--assign", "train=0", "val=1,2")  # fmt: skip
    code, said, _ = typed("stats", dataset, "--suite", suite, "--out", out)
    assert code == 0
    loaded = load_statistics(out)
    assert loaded.maximum[0] == 11
    assert loaded.sha256 in said
    assert "1 episode" in said
    code, _, err = typed("stats", dataset, "--suite", suite, "--split", "test")
    assert code == 2
    assert "has no split 'test', only train, val" in err


def test_help_and_unknown_commands(typed):
    assert "freeze" in typed("--help")[1]
    assert typed()[0] == 0
    code, _, err = typed("thaw")
    assert code == 2
    assert "there is no 'data thaw'" in err
