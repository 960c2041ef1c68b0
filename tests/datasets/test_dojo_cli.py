"""``dojobench dojo``: help, list and contact sheets."""

import json

import av
import pytest
import torch

from dojobench.cli import main
from dojobench.datasets import dojo_cli
from dojobench.datasets.manifest import read_manifest


def test_help_names_every_command(capsys):
    assert main(["dojo"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name}" in said for name in dojo_cli.ACTIONS)
    for name in dojo_cli.ACTIONS:
        with pytest.raises(SystemExit) as left:
            main(["dojo", name, "--help"])
        assert left.value.code == 0


def test_a_command_that_does_not_exist(capsys):
    assert main(["dojo", "dance"]) == 2
    assert "there is no 'dojo dance'" in capsys.readouterr().err


def test_list_names_the_parts(capsys):
    assert main(["dojo", "list"]) == 0
    said = capsys.readouterr().out
    for part in ("dojo-v1", "counterfactual", "arm2", "topple", "object.colour", "only if asked"):
        assert part in said
    assert main(["dojo", "list", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)
    assert parts["suites"]["dojo-v1"]["clips"]["counterfactual"] == 200
    assert "human" not in parts["suites"]["dojo-v1"]["clips"]
    assert parts["embodiments"]["arm"]["actions"] == ["dx", "dy", "dz", "dyaw", "grip"]


def test_a_sheet_shows_the_clips_that_it_names(tiny_manifest, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    show = ["dojo", "show", "--suite", str(tiny_manifest), "--clips", "2", "--columns", "3"]
    assert main([*show, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "row 5: counterfactual-0000-push" in said
    with av.open(str(out)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    sheet = torch.from_numpy(picture).permute(2, 0, 1)
    assert sheet.shape == (3, 5 * 64 + 2 * 4 + 2 * 20, 3 * 64 + 2 * 4)
    from dojobench.datasets.dojo_suite import DojoSuite

    suite = DojoSuite(read_manifest(tiny_manifest), workers=0)
    last = suite.open(suite.clips[0]).read(7, 8)[0]
    assert torch.equal(sheet[:, :64, -64:], last)


def test_what_cannot_be_shown_is_refused(tiny_manifest, tmp_path, capsys):
    show = ["dojo", "show", "--suite", str(tiny_manifest)]
    assert main([*show, "--out", str(tmp_path / "sheet.jpg")]) == 2
    assert main([*show, "--out", str(tmp_path / "s.png"), "--split", "human"]) == 2
    assert "has no split 'human'" in capsys.readouterr().err
    assert main(["dojo", "show", "--suite", "dojo-min", "--out", str(tmp_path / "s.png")]) == 2
    assert not list(tmp_path.iterdir())
