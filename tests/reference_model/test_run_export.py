"""A run's products become a folder that runs; the sizes that ship fit the limit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dojobench.protocol.conformance import check_model
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.lookup import load_model
from dojobench.reference_model.checkpoint_io import save_student, save_world_model
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.model_folder import README, TEXT, read_description
from dojobench.reference_model.net_config import PRESETS, TextConfig
from dojobench.reference_model.run_export import export_run
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.text_embedding import save_text
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TOKENIZERS
from dojobench.reference_model.training.episode_files import GroupInfo, StoredEpisode
from dojobench.reference_model.training.episode_writer import fill_group


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_net, tiny_tokenizer):
    """A run's folder with everything that an export needs."""
    folder = tmp_path_factory.mktemp("run")
    save_world_model(folder / "posttrain" / "world_model.safetensors", tiny_net)
    save_world_model(folder / "warmup" / "student.safetensors", tiny_net)
    (folder / "tokenizer").mkdir()
    tiny_tokenizer.save(folder / "tokenizer" / "tokenizer.safetensors")
    rng = np.random.default_rng(0)
    for name, embodiment, withheld in (("arm-train", "arm", False), ("a-hand", "hand", True)):
        dim = 5 if embodiment == "arm" else 9
        info = GroupInfo(
            name=name,
            embodiment=embodiment,
            frame_rate=10.0,
            height=16,
            width=24,
            action_dim=dim,
            withheld=withheld,
            episodes=2,
            shard=2,
        )

        def episodes(numbers, dim=dim):
            for number in numbers:
                frames = rng.integers(0, 256, (6, 3, 16, 24), dtype=np.uint8)
                actions = rng.standard_normal((5, dim)).astype(np.float32)
                yield StoredEpisode(id=str(number), frames=frames, actions=actions)

        fill_group(folder / "data", info, episodes)
    return folder


def test_a_run_becomes_a_model(run, tmp_path):
    changes = {"context_frames": 5, "notes": {"Made by": "dojobench reproduce nano"}}
    for kind in ("teacher", "student"):
        out = export_run(run, tmp_path / kind, kind=kind, name=f"my-{kind}", **changes)
        description = read_description(out)
        assert description.action_space.kind == "mixed"
        assert description.action_space.embodiment == "arm"
        assert description.statistics["name"] == "arm-train"
        assert description.stream.times[0] == 1.0
        assert description.sampler.shift == 10.0
        assert "Made by: dojobench reproduce nano" in (out / README).read_text()
        model = load_model(str(out), {})
        assert model.spec.name == f"my-{kind}"
        assert not any(each.failed for each in check_model(model))


def test_a_student_streams_as_it_was_trained_to(run, tiny_net, tmp_path):
    stream = StreamConfig(window=2, times=(1.0, 0.5), renoise="fresh", mark_context=False)
    file = tmp_path / "student.safetensors"
    save_student(file, tiny_net, stream)
    out = export_run(run, tmp_path / "out", kind="student", name="x", weights=file)
    assert read_description(out).stream == stream
    save_world_model(file, tiny_net, stream="{}?")
    with pytest.raises(BadInputError, match="nothing readable"):
        export_run(run, tmp_path / "out", kind="student", name="x", weights=file)
    save_world_model(file, tiny_net, stream='{"windows": 2}')
    with pytest.raises(BadInputError, match=r"stream sets 'windows'.*the nearest is 'window'"):
        export_run(run, tmp_path / "out", kind="student", name="x", weights=file)


def test_a_network_that_attends_to_a_text_takes_it_along(run, tiny_net, tmp_path):
    net = build_world_model(replace(tiny_net.config, text=TextConfig(features=12, width=8)))
    file, text = tmp_path / "net.safetensors", tmp_path / "text.safetensors"
    save_world_model(file, net)
    with pytest.raises(BadInputError, match="set 'text' to the file"):
        export_run(run, tmp_path / "out", kind="teacher", name="x", weights=file)
    save_text(text, torch.randn(1, 3, 12, generator=torch.Generator().manual_seed(0)))
    for kind in ("teacher", "student"):
        out = export_run(run, tmp_path / kind, kind=kind, name="x", weights=file, text=text)
        assert not any(each.failed for each in check_model(load_model(str(out), {})))
        (out / TEXT).unlink()
        with pytest.raises(BadInputError, match=f"lacks {TEXT}"):
            load_model(str(out), {})


def test_another_group_and_other_weights_can_be_named(run, tmp_path):
    out = export_run(
        run,
        tmp_path / "hand",
        kind="teacher",
        name="hand",
        group="a-hand",
        weights=run / "warmup" / "student.safetensors",
    )
    description = read_description(out)
    assert description.action_space.dim == 9
    assert len(description.columns) == 5


def test_what_is_missing_is_said(run, tmp_path):
    with pytest.raises(BadInputError, match="dojobench train self_forcing"):
        export_run(tmp_path, tmp_path / "out", kind="student", name="x")
    with pytest.raises(BadInputError, match="did you mean 'a-hand'"):
        export_run(run, tmp_path / "out", kind="teacher", name="x", group="b-hand")
    assert not (tmp_path / "out").exists()


def test_both_nano_models_take_less_than_40_megabytes(describe, tmp_path):
    from dojobench.reference_model.model_folder import write_model_folder

    net = build_world_model(PRESETS["nano"])
    with torch.random.fork_rng():
        tokenizer = CausalTokenizer(TOKENIZERS["nano"])
    total = 0
    for kind in ("teacher", "student"):
        folder = write_model_folder(
            tmp_path / kind,
            describe(kind, resolution=(64, 64)),
            net=net,
            tokenizer=tokenizer,
        )
        total += sum(path.stat().st_size for path in folder.iterdir())
    assert total < 40e6
