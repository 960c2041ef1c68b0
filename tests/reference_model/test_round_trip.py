"""The truth through a tokenizer: whole clips and streams agree, and only the harness runs it."""

from pathlib import Path

import pytest
import torch

from dojobench.cli import main
from dojobench.datasets.suites import open_suite
from dojobench.protocol import BadInputError
from dojobench.reference_model.round_trip import nano_round_trip
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.video_tokenizer import to_uint8
from dojobench.reference_model.world_models import shipped


@pytest.fixture(scope="module")
def suite():
    return open_suite("dojo-mini")


@pytest.mark.parametrize("step", [4, 8, 12])
def test_it_answers_the_whole_clip_encoded_and_decoded(suite, step):
    model, records = nano_round_trip(), suite.clips[:2]
    clips = [suite.open(record) for record in records]
    model.prepare(suite, records)
    start = suite.spec.context_frames
    truth = torch.stack([clip.read(start - 1, start + 24) for clip in clips])
    session = model.start_privileged(truth[:, :1], seed=0, clips=clips)
    made = [session.step(torch.zeros(2, step, 5)) for _ in range(24 // step)]
    tokenizer = CausalTokenizer.load(shipped("nano-teacher") / "tokenizer.safetensors").eval()
    with torch.no_grad():
        expected = to_uint8(tokenizer.decode(tokenizer.encode(truth)))[:, 1:]
    # Rounding to whole grey levels may tip.
    assert (torch.cat(made, dim=1).int() - expected.int()).abs().max() <= 1
    for clip in clips:
        clip.close()


def test_a_last_step_beyond_the_clip_repeats_its_last_frame(suite):
    model, record = nano_round_trip(), suite.clips[0]
    model.prepare(suite, [record])
    clip = suite.open(record)
    start, rest = suite.spec.context_frames, record.frames - suite.spec.context_frames
    session = model.start_privileged(clip.read(start - 1, start)[None], seed=0, clips=[clip])
    longer = -rest % 4 + 4
    made = session.step(torch.zeros(1, rest + longer, 5))
    assert made.shape[1] == rest + longer
    # The tokenizer's last groups are all of one picture.
    assert (made[0, -1].int() - made[0, -2].int()).abs().float().mean() < 4
    session.close()


def test_it_is_no_contestant(suite, tmp_path, capsys):
    model = nano_round_trip()
    with pytest.raises(BadInputError, match="needs the truth"):
        model.start(torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8), seed=0)
    chosen = ["--splits", "val", "--limit", "2", "--metrics", "psnr", "--no-checks"]
    out = ["--out", str(tmp_path / "run"), "--benchmarks", "fidelity"]
    assert main(["run", "nano-round-trip", "--suite", "dojo-mini", *chosen, *out]) == 0
    assert "sees the truth" in capsys.readouterr().out


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(BadInputError, match=r"has no tokenizer\.safetensors"):
        nano_round_trip(checkpoint=tmp_path)
