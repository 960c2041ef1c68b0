"""Frozen and private suites of the simulated world."""

from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.datasets.dojo_freeze import FreezeDojo, freeze_dojo, verify_dojo
from dojobench.datasets.dojo_plans import seed_commitment, suite_plans
from dojobench.datasets.manifest import encode_manifest, read_manifest, write_manifest
from dojobench.datasets.suites import open_suite
from dojobench.protocol.errors import BadInputError

SEED = "correct horse battery staple 4711"


@pytest.fixture(scope="module")
def private(tiny_dojo, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("private") / "private.jsonl"
    config = FreezeDojo(suite="dojo-mini", name="private", secret=SEED, workers=0)
    write_manifest(path, *freeze_dojo(config))
    return path


def test_freezing_twice_gives_the_same_bytes(tiny_manifest):
    again = freeze_dojo(FreezeDojo(suite="dojo-mini", name="tiny", workers=0))
    assert encode_manifest(*again) == tiny_manifest.read_bytes()


def test_a_frozen_suite_is_verified_bit_by_bit(tiny_manifest):
    found = verify_dojo(read_manifest(tiny_manifest), workers=0)
    assert (found.exact, found.rounding, found.diverged, found.refused) == (7, {}, {}, {})


def test_the_size_is_part_of_the_suite(tiny_dojo):
    frozen = freeze_dojo(FreezeDojo(suite="dojo-mini", size=(72, 96), workers=0))
    assert frozen.header.resolution == (72, 96)
    with pytest.raises(BadInputError, match="resolution is 32x32"):
        freeze_dojo(FreezeDojo(suite="dojo-mini", size=(32, 32)))


def test_a_private_manifest_tells_neither_its_seed_nor_that_of_a_clip(private):
    text = private.read_text()
    assert SEED not in text
    for plan in suite_plans("dojo-mini", SEED):
        for written in (str(plan.seed), f"{plan.seed:x}", plan.episode, plan.digest()):
            assert written not in text


def test_a_private_suite_is_other_than_the_public_one(private, tiny_manifest):
    hashes = {clip.sha256 for clip in read_manifest(private).clips}
    assert not hashes & {clip.sha256 for clip in read_manifest(tiny_manifest).clips}


def test_a_private_suite_opens_with_its_seed_only(private, monkeypatch, tmp_path):
    with pytest.raises(BadInputError, match="private is private; give its seed"):
        open_suite(str(private))
    monkeypatch.setenv("DOJOBENCH_SECRET_SEED", "another seed that is long enough")
    with pytest.raises(BadInputError, match="not the one that private was made from"):
        open_suite(str(private))
    monkeypatch.setenv("DOJOBENCH_SECRET_SEED", SEED)
    suite = open_suite(str(private))
    suite.open(suite.clips[0])
    monkeypatch.delenv("DOJOBENCH_SECRET_SEED")
    (tmp_path / "seed.txt").write_text(f"{SEED}\n")
    assert open_suite(f"{private}?secret-seed={tmp_path / 'seed.txt'}").spec == suite.spec
    with pytest.raises(BadInputError, match="name of a file that holds the seed") as refused:
        open_suite(f"{private}?secret-seed={SEED}")
    assert SEED not in str(refused.value)


def test_the_commitment_is_published_first_and_checked_later(private, tmp_path, capsys):
    file = tmp_path / "seed"
    file.write_text(SEED)
    freeze = ["dojo", "freeze", "--suite", "dojo-mini", "--secret-seed", str(file)]
    assert main([*freeze, "--commitment-only", "--out", str(tmp_path / "x.jsonl")]) == 0
    stated = capsys.readouterr().out.strip()
    assert stated == read_manifest(private).header.dojo.commitment
    assert not (tmp_path / "x.jsonl").exists()
    verify = ["dojo", "verify", str(private), "--workers", "0", "--secret-seed"]
    assert main([*verify, str(file)]) == 0
    said = capsys.readouterr().out
    assert stated in said
    assert "7 of 7 clips are bit by bit as frozen" in said


def test_a_commitment_speaks_of_one_suite_and_one_generator(monkeypatch):
    commitments = {seed_commitment("dojo-mini", SEED), seed_commitment("dojo-v1", SEED)}
    monkeypatch.setattr("dojobench.datasets.dojo_plans.GENERATOR", "dojo-2")
    commitments.add(seed_commitment("dojo-mini", SEED))
    assert len(commitments) == 3


def test_a_secret_that_can_be_tried_out_is_refused(tiny_dojo, tmp_path, capsys):
    out = tmp_path / "x.jsonl"
    freeze = ["dojo", "freeze", "--suite", "dojo-mini", "--out", str(out)]
    assert main([*freeze, "--secret-seed", "1234"]) == 2
    assert "can be found by trying" in capsys.readouterr().err
    assert not out.exists()


def test_a_manifest_that_was_tampered_with_is_found(tiny_manifest, tmp_path, capsys):
    lines = tiny_manifest.read_text().splitlines()
    one, two = lines[2], lines[3]
    swapped = [
        line.split('"sha256"')[0] + '"sha256"' + other.split('"sha256"')[1]
        for line, other in ((one, two), (two, one))
    ]
    path = tmp_path / "tampered.jsonl"
    path.write_text("\n".join([*lines[:2], *swapped, *lines[4:]]) + "\n")
    assert main(["dojo", "verify", str(path), "--workers", "0"]) == 1
    said = capsys.readouterr().out
    assert "5 of 7 clips are bit by bit as frozen" in said
    assert "2 of 7 clips are not those that were frozen" in said
