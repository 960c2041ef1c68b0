"""Suites of the simulated world: the contract, the same bytes from everywhere, what is refused."""

import subprocess
import sys
from concurrent.futures import wait
from dataclasses import replace

import numpy as np
import pytest
import torch

from dojobench.datasets import dojo_pool
from dojobench.datasets.dojo_cache import ClipCache
from dojobench.datasets.dojo_data import pack, render_data, unpack
from dojobench.datasets.dojo_fingerprint import compare_fingerprint, take_fingerprint
from dojobench.datasets.dojo_pool import RenderPool, default_workers, render_all
from dojobench.datasets.dojo_suite import DojoSuite, plans_of
from dojobench.datasets.manifest import encode_manifest, parse_manifest, read_manifest
from dojobench.datasets.suites import open_suite
from dojobench.protocol.errors import BadInputError

NOWHERE = ClipCache(None)


@pytest.fixture
def manifest(tiny_manifest):
    return read_manifest(tiny_manifest)


@pytest.fixture
def suite(manifest):
    return DojoSuite(manifest, workers=0, cache=NOWHERE)


def changed(manifest, *, clips=None, fingerprints=None, **dojo):
    """The same manifest with other clips, fingerprints or fields of its header's ``dojo``."""
    fields = manifest.header.dojo.model_copy(update=dojo)
    header = manifest.header.model_copy(update={"dojo": fields})
    content = encode_manifest(
        header,
        manifest.clips if clips is None else clips,
        manifest.fingerprints if fingerprints is None else fingerprints,
    )
    return parse_manifest(content, "changed.jsonl")


def test_clips_keep_the_contract(suite):
    assert [clip.split for clip in suite.clips] == ["train", "val", "val", *["counterfactual"] * 4]
    assert suite.spec.action_space.embodiment == "arm"
    assert suite.spec.frame_rate == 10
    for record in suite.clips:
        clip = suite.open(record)
        frames = clip.read(0, record.frames)
        assert frames.shape == (8, 3, 64, 64)
        assert frames.dtype == torch.uint8
        assert clip.actions.shape == (7, suite.spec.action_space.dim)
        assert clip.actions.dtype == torch.float32
        assert torch.equal(clip.read(2, 5), frames[2:5])
        clip.close()


def test_branches_share_their_context_and_part_after_it(suite):
    branches = [suite.open(clip) for clip in suite.clips if clip.branch_group]
    assert len({clip.record.branch_group for clip in branches}) == 1
    assert len({clip.record.episode for clip in branches}) == 1
    context = suite.spec.context_frames
    for other in branches[1:]:
        assert torch.equal(branches[0].read(0, context), other.read(0, context))
        assert torch.equal(branches[0].actions[: context - 1], other.actions[: context - 1])
        assert not torch.equal(branches[0].actions[context - 1 :], other.actions[context - 1 :])


def test_the_truth_knows_the_effector_and_every_object(suite):
    for record in suite.clips:
        clip = suite.open(record)
        truth, frames = clip.truth, clip.read(0, 8)
        assert truth.markers[0].kind == "effector"
        assert len({marker.name for marker in truth.markers}) == len(truth.markers)
        places = truth.segmentation(0, 8)
        assert places.shape == (8, 64, 64)
        assert places.dtype == torch.uint8
        assert int(places.max()) < len(truth.markers) + 1
        band = frames.permute(0, 2, 3, 1)[places == 1].float()
        assert len(band) > 8 * 8
        near = (band - torch.tensor(truth.markers[0].colour)).abs().amax(1)
        assert float(near.median()) < 10
        positions = truth.positions(2, 6)
        assert positions.shape == (4, len(truth.markers), 3)
        assert positions.dtype == torch.float32
        assert float(positions.abs().max()) < 0.6
        touched = truth.touched(0, 8)
        assert touched.shape == (8, len(truth.markers))
        assert not touched[:, 0].any()


def test_an_instruction_names_a_marker(suite):
    told = [suite.open(clip) for clip in suite.clips if clip.instruction]
    assert told
    for clip in told:
        assert any(marker.name in clip.record.instruction for marker in clip.truth.markers)


def test_what_is_read_is_a_copy(suite):
    clip = suite.open(suite.clips[0])
    before = clip.read(0, 1)
    clip.read(0, 1).zero_()
    clip.truth.positions(0, 1).zero_()
    clip.actions.zero_()
    again = suite.open(suite.clips[0])
    assert torch.equal(again.read(0, 1), before)
    assert float(again.actions.abs().sum()) > 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 9)])
def test_frames_outside_the_clip_are_refused(suite, start, stop):
    clip = suite.open(suite.clips[0])
    with pytest.raises(ValueError, match="of a clip of 8"):
        clip.read(start, stop)
    with pytest.raises(ValueError, match="of a clip of 8"):
        clip.truth.segmentation(start, stop)
    with pytest.raises(ValueError, match="without further views"):
        clip.read(0, 1, view="side")


def test_memory_disk_and_other_processes_give_the_same_bytes(manifest, suite, tmp_path):
    here = [suite.open(clip).read(0, 8) for clip in suite.clips]
    kept = DojoSuite(manifest, workers=1, cache=ClipCache(tmp_path))
    for opened in (kept, kept, DojoSuite(manifest, workers=0, cache=ClipCache(tmp_path))):
        for clip, frames in zip(opened.clips, here, strict=True):
            assert torch.equal(opened.open(clip).read(0, 8), frames)
    assert len(list(tmp_path.glob("*.npz"))) == len(suite.clips)
    assert not kept.deviations


def test_clips_are_rendered_ahead_within_a_split(manifest):
    suite = DojoSuite(manifest, workers=1, cache=NOWHERE)
    branches = [clip for clip in suite.clips if clip.branch_group]
    suite.open(branches[0])
    assert not suite._ahead
    suite.open(branches[1])
    assert list(suite._ahead) == [clip.id for clip in branches[2:]]
    wait(suite._ahead.values(), timeout=600)
    ready = suite._ahead[branches[2].id].result()
    assert torch.equal(suite.open(branches[2]).read(0, 8), torch.from_numpy(ready.frames))


def test_memory_is_bounded(manifest):
    one = 8 * 64 * 64 * 4
    suite = DojoSuite(manifest, workers=0, cache=NOWHERE, memory=2 * one)
    for clip in suite.clips:
        suite.open(clip)
        assert sum(data.size_bytes for data in suite._kept.values()) <= 2 * one
    assert list(suite._kept) == [clip.id for clip in suite.clips[-2:]]


def test_a_process_that_dies_costs_nothing_but_time(manifest, monkeypatch):
    real = dojo_pool._start

    def dying():
        monkeypatch.setattr(dojo_pool, "_start", real)
        return dojo_pool.subprocess.Popen(
            [sys.executable, "-c", ""],
            stdin=dojo_pool.subprocess.PIPE,
            stdout=dojo_pool.subprocess.PIPE,
        )

    monkeypatch.setattr(dojo_pool, "_start", dying)
    plans = plans_of(manifest, None)
    pool = RenderPool(1)
    with pytest.raises(RuntimeError, match="ended early"):
        pool.submit(plans[0], (64, 64)).result(timeout=600)
    again = pool.submit(plans[0], (64, 64)).result(timeout=600)
    assert again.content_hash() == manifest.clips[0].sha256
    impossible = replace(plans[0], factors={"object.size": 9.0})
    with pytest.raises(BadInputError, match=r"object\.size"):
        pool.submit(impossible, (64, 64)).result(timeout=600)
    pool.close()


def test_many_clips_come_in_the_order_of_their_plans(manifest):
    plans = plans_of(manifest, None)
    hashes = [data.content_hash() for data in render_all(plans, (64, 64), "test", 2)]
    assert hashes == [clip.sha256 for clip in manifest.clips]


def test_a_clip_that_cannot_be_made_is_named(manifest):
    plan = replace(plans_of(manifest, None)[0], factors={"object.size": 9.0})
    with pytest.raises(BadInputError, match=r"'train-0000' cannot be made: .*object\.size"):
        list(render_all([plan, plan], (64, 64), "test", 0))


def test_another_seed_of_a_clip_is_refused_with_how_far_it_is_off(manifest):
    val = [clip for clip in manifest.clips if clip.split == "val"]
    wrong = replace(val[0], sha256=val[1].sha256)
    prints = manifest.fingerprints | {wrong.id: manifest.fingerprints[val[1].id]}
    clips = [wrong if clip.id == wrong.id else clip for clip in manifest.clips]
    other = DojoSuite(changed(manifest, clips=clips, fingerprints=prints), workers=0, cache=NOWHERE)
    with pytest.raises(BadInputError, match=r"'val-0000' .* off by \d+\.\d\d grey levels"):
        other.open(other.clips[1])


def test_a_rounding_difference_is_accepted_and_noted(manifest, capsys):
    first = manifest.clips[0]
    rounded = replace(first, sha256="sha256:" + "0" * 64)
    suite = DojoSuite(
        changed(manifest, clips=[rounded, *manifest.clips[1:]]), workers=0, cache=NOWHERE
    )
    suite.open(suite.clips[0])
    assert suite.deviations[first.id].kind == "rounding"
    assert suite.deviations[first.id].mean == 0
    assert "not bit by bit" in capsys.readouterr().err


def test_another_course_is_told_from_another_clip(manifest, suite, capsys):
    branches = [clip for clip in manifest.clips if clip.branch_group]
    frames = suite.open(branches[0]).read(0, 8).numpy()
    later = frames.copy()
    later[-1] = np.roll(later[-1], 24, axis=2)
    deviation = compare_fingerprint(later, take_fingerprint(frames))
    assert deviation.kind == "diverged"
    assert deviation.first == 0
    prints = manifest.fingerprints | {branches[0].id: take_fingerprint(later)}
    clips = [
        replace(clip, sha256="sha256:" + "0" * 64) if clip.id == branches[0].id else clip
        for clip in manifest.clips
    ]
    other = DojoSuite(changed(manifest, clips=clips, fingerprints=prints), workers=0, cache=NOWHERE)
    other.open(next(clip for clip in other.clips if clip.id == branches[0].id))
    assert "takes another course" in capsys.readouterr().err


def test_without_a_fingerprint_another_hash_is_refused(manifest):
    first = replace(manifest.clips[0], sha256="sha256:" + "0" * 64)
    bare = changed(manifest, clips=[first, *manifest.clips[1:]], fingerprints={})
    suite = DojoSuite(bare, workers=0, cache=NOWHERE)
    with pytest.raises(BadInputError, match="no fingerprint"):
        suite.open(suite.clips[0])


def test_another_generator_recipe_or_list_is_refused_before_anything_is_rendered(manifest):
    with pytest.raises(BadInputError, match="frozen with the generator dojo-0"):
        DojoSuite(changed(manifest, generator="dojo-0"))
    with pytest.raises(BadInputError, match="other recipes"):
        DojoSuite(changed(manifest, seed="2"))
    with pytest.raises(BadInputError, match="lists other clips"):
        DojoSuite(changed(manifest, clips=manifest.clips[:-1]))


def test_a_fingerprint_is_small_and_says_by_how_much():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (9, 3, 64, 80), dtype=np.uint8)
    stated = take_fingerprint(frames)
    assert len(stated) == 344
    assert compare_fingerprint(frames, stated).psnr == 100
    brighter = np.minimum(frames.astype(int) + 3, 255).astype(np.uint8)
    found = compare_fingerprint(brighter, stated)
    assert found.kind == "other"
    assert found.largest == 3
    assert 2.8 < found.mean <= 3.1
    for wrong in ("AAAA", "!"):
        with pytest.raises(ValueError, match="fingerprint"):
            compare_fingerprint(frames, wrong)


def test_a_packed_clip_comes_back_whole(manifest):
    data = render_data(plans_of(manifest, None)[3], (64, 80))
    again = unpack(pack(data))
    assert again.markers == data.markers
    assert (again.instruction, again.success) == (data.instruction, data.success)
    for name in ("frames", "actions", "segmentation", "positions", "touched"):
        assert np.array_equal(getattr(again, name), getattr(data, name))
    with pytest.raises(ValueError, match="no packed clip"):
        unpack(b"PK nothing")


def test_a_damaged_or_useless_cache_only_costs_time(manifest, tmp_path):
    clip = manifest.clips[0]
    cache = ClipCache(tmp_path / "cache")
    DojoSuite(manifest, workers=0, cache=cache).open(clip)
    file = tmp_path / "cache" / f"{clip.sha256[7:]}.npz"
    file.write_bytes(file.read_bytes()[:-200])
    assert cache.has(clip.sha256)
    assert cache.load(clip.sha256) is None
    assert not file.exists()
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert DojoSuite(manifest, workers=0, cache=ClipCache(blocked)).open(clip).record == clip


def test_the_cache_is_bounded(manifest, tmp_path):
    plans = plans_of(manifest, None)
    data = [render_data(plan, (64, 64)) for plan in plans[:3]]
    size = len(pack(data[0]))
    cache = ClipCache(tmp_path, limit=2 * size + size // 2)
    for each in data * 2:
        cache.save(each.content_hash(), each)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.npz")) <= 2.5 * size


def test_the_number_of_processes_can_be_stated(monkeypatch):
    monkeypatch.setenv("DOJOBENCH_WORKERS", "3")
    assert default_workers() == 3
    monkeypatch.setenv("DOJOBENCH_WORKERS", "many")
    with pytest.raises(BadInputError, match="make it a number"):
        default_workers()


def test_a_manifest_file_opens_as_a_suite(tiny_manifest):
    suite = open_suite(str(tiny_manifest))
    assert isinstance(suite, DojoSuite)
    assert suite.spec.name == "tiny"
    pinned = f"{tiny_manifest}@{suite.spec.version[:19]}"
    assert open_suite(pinned).spec.version == suite.spec.version


def test_what_renders_in_other_processes_does_without_torch():
    """Importing it would cost each of them seconds and hundreds of megabytes."""
    code = (
        "import sys\n"
        "import dojobench.datasets.dojo_worker\n"
        "from dojobench.datasets.dojo_data import render_data\n"
        "from dojobench.datasets.dojo_plans import suite_plans\n"
        "data = render_data(suite_plans('dojo-mini')[0], (64, 64))\n"
        "assert len(data.frames) == len(data.actions) + 1\n"
        "raise SystemExit('loaded torch' if 'torch' in sys.modules else 0)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
