"""The three stages of distillation one after another, in a run's folder."""

from dataclasses import replace

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.checkpoint_io import load_world_model, save_world_model
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.net_config import ActionConfig, TextConfig, WorldModelConfig
from dojobench.reference_model.text_embedding import save_text
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TokenizerConfig
from dojobench.reference_model.training.distillation import (
    run_self_forcing,
    run_trajectories,
    run_warmup,
)
from dojobench.reference_model.training.latents import LatentConfig, encode_episodes
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.self_forcing_stage import SelfForcingStageConfig
from dojobench.reference_model.training.stopping import TrainingStopped
from dojobench.reference_model.training.trajectories import TrajectoriesConfig
from dojobench.reference_model.training.warmup_stage import WarmupStageConfig

TINY = WorldModelConfig(
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    given_time="zero",
    actions=ActionConfig(hidden=16, cumulative=True),
)
GROUPS = {"robot": 1.0}
LOOP = LoopConfig(steps=5, batch=2, device="cpu", tensorboard=False)


def going_on():
    return False


@pytest.fixture
def run(tmp_path, counting_store):
    torch.manual_seed(0)
    tokenizer = CausalTokenizer(TokenizerConfig(latent_channels=4, widths=(8, 8), blocks=1))
    (tmp_path / "data").symlink_to(counting_store.root)
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(tmp_path / "tokenizer" / "tokenizer.safetensors")
    config = LatentConfig(precision="float32")
    encode_episodes(counting_store, tokenizer, tmp_path / "latents", config, groups=["robot"])
    teacher = tmp_path / "posttrain" / "world_model.safetensors"
    save_world_model(teacher, build_world_model(TINY))
    return tmp_path


def test_a_student_comes_of_a_run(run):
    shards = TrajectoriesConfig(
        groups=GROUPS, windows=8, latents=7, solver_steps=4, batch=2, shard_batches=2
    )
    with pytest.raises(BadInputError, match="dojobench train trajectories"):
        run_warmup(WarmupStageConfig(loop=LOOP), run, going_on)
    with pytest.raises(TrainingStopped, match="after step 4"):
        run_trajectories(shards, run, lambda: True)
    assert run_trajectories(shards, run, going_on) == run / "trajectories"
    with pytest.raises(BadInputError, match="hold out fewer"):
        run_warmup(WarmupStageConfig(loop=LOOP, held_out=8), run, going_on)
    warm = run_warmup(WarmupStageConfig(loop=LOOP, held_out=2), run, going_on)
    assert warm.exported == run / "warmup" / "student.safetensors"
    config = SelfForcingStageConfig(
        groups=GROUPS, held_out="robot", data_latents=7, longest=8, loop=LOOP, validation_windows=2
    )
    result = run_self_forcing(config, run, going_on)
    assert result.exported == run / "self_forcing" / "student.safetensors"
    student, teacher = load_world_model(result.exported), load_world_model(warm.exported)
    moved = [
        not torch.equal(one, other)
        for one, other in zip(student.parameters(), teacher.parameters(), strict=True)
    ]
    assert any(moved)
    assert sorted(path.name for path in (run / "self_forcing" / "samples").iterdir()) == [
        "step-0000005.mp4"
    ]


def test_networks_that_attend_to_a_text_are_distilled_with_it(run, tmp_path):
    net = build_world_model(replace(TINY, name="tiny", text=TextConfig(features=12, width=8)))
    save_world_model(run / "posttrain" / "world_model.safetensors", net)
    text = tmp_path / "empty-prompt.safetensors"
    save_text(text, torch.randn(1, 3, 12))
    few = LoopConfig(steps=2, batch=2, device="cpu", tensorboard=False)
    shards = TrajectoriesConfig(groups=GROUPS, windows=4, solver_steps=4, batch=2)
    warm = WarmupStageConfig(loop=few, held_out=2)
    own = SelfForcingStageConfig(
        groups=GROUPS, held_out=None, data_latents=4, longest=4, ratio=2, loop=few
    )
    stages = ((run_trajectories, shards), (run_warmup, warm), (run_self_forcing, own))
    for run_stage, config in stages:
        with pytest.raises(BadInputError, match="'tiny' attends to a stored text"):
            run_stage(config, run, going_on)
        run_stage(config, run, going_on, text=text)
    save_text(text, torch.randn(1, 3, 11))
    with pytest.raises(BadInputError, match="11 wide"):
        run_trajectories(shards, run, going_on, text=text)
