"""The suites of the simulated world that come with the package."""

import pytest

from dojobench.datasets.describe import describe_named
from dojobench.datasets.dojo_freeze import verify_dojo
from dojobench.datasets.manifest import encode_manifest
from dojobench.datasets.suites import load_named, open_suite


@pytest.mark.parametrize("name", ["dojo-mini", "dojo-v1"])
def test_the_shipped_manifests_are_small_and_complete(name):
    manifest = load_named(name)
    assert len(encode_manifest(manifest.header, manifest.clips, manifest.fingerprints)) < 2**20
    splits = {clip.split for clip in manifest.clips}
    assert splits == {
        "train", "val", "in-lab", "egodex", "dojo-hv", "counterfactual", "uncommon", "novel",
        "palindrome", "long",
    }  # fmt: skip
    assert {clip.frames for clip in manifest.clips if clip.split == "long"} == {600}
    assert set(manifest.fingerprints) == {clip.id for clip in manifest.clips}
    groups = {clip.branch_group for clip in manifest.clips if clip.split == "counterfactual"}
    for group in groups:
        assert sum(clip.branch_group == group for clip in manifest.clips) == 4


@pytest.mark.parametrize("name", ["dojo-mini", "dojo-v1"])
def test_the_shipped_suites_need_no_data_and_render_as_frozen(name, monkeypatch):
    monkeypatch.setenv("DOJOBENCH_CACHE", "off")
    monkeypatch.setenv("DOJOBENCH_WORKERS", "0")
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    suite = open_suite(name)
    for split in ("val", "dojo-hv", "counterfactual", "novel"):
        suite.open(next(clip for clip in suite.clips if clip.split == split))
    assert all(each.kind == "rounding" for each in suite.deviations.values())


@pytest.mark.slow
def test_all_of_dojo_mini_renders_as_frozen():
    found = verify_dojo(load_named("dojo-mini"))
    assert not found.refused
    assert found.exact + len(found.rounding) >= 76


def test_the_list_says_that_there_is_nothing_to_get(monkeypatch):
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    named = {each.name: each for each in describe_named(None)}
    assert named["dojo-v1"].where == "yes, made in memory"
    assert "it is simulated" in named["dojo-mini"].obtain
