"""A model folder is written whole, read back as it was, and refused in one sentence."""

import json
import shutil

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.lookup import load_model
from dojobench.reference_model.model_folder import (
    CARD,
    FACTORY,
    README,
    TOKENIZER,
    WEIGHTS,
    read_description,
    with_steps,
    write_model_folder,
)
from dojobench.reference_model.world_models import reference_model


def test_what_is_written_is_read_again(folders, describe):
    for kind, folder in folders.items():
        assert read_description(folder) == describe(kind)
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            [CARD, README, TOKENIZER, WEIGHTS]
        )


def test_weights_keep_their_values_up_to_half_precision(folders, tiny_net, tiny_tokenizer):
    parts = reference_model(folders["teacher"]).parts
    for now, before in ((parts.net, tiny_net), (parts.tokenizer, tiny_tokenizer)):
        for name, value in before.state_dict().items():
            found = now.state_dict()[name]
            assert found.dtype == torch.float32
            assert torch.equal(found, value if value.dim() < 2 and now is parts.tokenizer
                               else value.half().float()), name  # fmt: skip


def test_the_same_model_gives_the_same_bytes(folders, tmp_path, describe, tiny_net, tiny_tokenizer):
    again = write_model_folder(tmp_path, describe(), net=tiny_net, tokenizer=tiny_tokenizer)
    for path in folders["teacher"].iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_a_folder_is_found_as_a_model(folders):
    model = load_model(str(folders["teacher"]), {"steps": "5", "solver": "unipc"})
    assert model.spec.name == "tiny-teacher 5 steps"
    assert model.sampler.steps == 5
    assert model.sampler.solver == "unipc"
    assert load_model(FACTORY, {"checkpoint": str(folders["student"])}).spec.native_chunk == 4


def test_the_fingerprint_is_of_both_files(folders, tmp_path, tiny_net, tiny_tokenizer, describe):
    before = reference_model(folders["teacher"]).spec.weights
    assert before.startswith("sha256:")
    assert before == reference_model(folders["student"]).spec.weights
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other = type(tiny_tokenizer)(tiny_tokenizer.config)
    write_model_folder(tmp_path, describe(), net=tiny_net, tokenizer=other)
    assert reference_model(tmp_path).spec.weights != before


def said(folder, **options):
    with pytest.raises(BadInputError) as caught:
        reference_model(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copy(folders, tmp_path):
    return shutil.copytree(folders["teacher"], tmp_path / "model")


def change(folder, **details):
    card = json.loads((folder / CARD).read_text())
    card["details"] |= details
    card["details"] = {key: value for key, value in card["details"].items() if value != "GONE"}
    (folder / CARD).write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"frame_rat": 3}, "'frame_rat', which does not exist; the nearest is 'frame_rate'"),
        ({"name": "GONE"}, "does not set 'name'"),
        ({"frame_rate": "fast"}, "details.frame_rate"),
        ({"kind": "critic"}, "details.kind"),
        ({"sampler": {"stepps": 3}}, "the nearest is 'steps'"),
        ({"stream": {"window": "three"}}, "details.stream.window"),
        ({"context_frames": 4}, "1 + 4k"),
        ({"chunk": 10}, "no multiple of 4"),
        ({"resolution": [17, 24]}, "multiples of 8"),
        ({"statistics": {"min": [0.0]}}, "statistics"),
    ],
)
def test_a_wrong_card_is_said(copy, details, words):
    change(copy, **details)
    assert words in said(copy)


def test_wrong_statistics_are_said(copy):
    numbers = {name: [0.0, 1.0] for name in ("min", "max", "mean", "std")}
    change(copy, statistics=numbers)
    assert "width [2], but actions of width 5" in said(copy)


def test_an_embodiment_without_slots_is_said(copy):
    space = json.loads((copy / CARD).read_text())["details"]["action_space"]
    change(copy, action_space={**space, "embodiment": "octopus"})
    assert "octopus" in said(copy)


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
def test_a_missing_or_cut_file_is_said(copy, name):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
    assert name in said(copy)
    (copy / name).unlink()
    assert f"lacks {name}" in said(copy)


def test_files_of_another_kind_are_said(copy):
    shutil.copy(copy / TOKENIZER, copy / WEIGHTS)
    assert "holds a tokenizer, not a world model" in said(copy)


def test_wrong_options_are_said(folders):
    assert "at least 1" in said(folders["teacher"], steps=0)
    assert "no solver" in said(folders["student"], solver="euler")


def test_fewer_steps_of_a_student_are_spaced_anew(describe):
    few = with_steps(describe("student"), 1)
    assert few.stream.times == (1.0,)
    assert few.stream.window == describe("student").stream.window
    assert few.name == "tiny-student 1 step"
    assert with_steps(few, None) is few


def test_shipped_weights_that_are_missing_are_said(monkeypatch, tmp_path):
    monkeypatch.setattr("dojobench.reference_model.world_models.SHIPPED", tmp_path)
    for name in ("nano-teacher", "nano-student"):
        with pytest.raises(BadInputError, match=f"no weights of {name}") as caught:
            load_model(name, {})
        assert "\n" not in str(caught.value)


def test_shipped_weights_are_found(monkeypatch, folders):
    from dojobench.reference_model import world_models

    monkeypatch.setattr(world_models, "SHIPPED", folders["teacher"].parent)
    for name in folders:
        assert world_models.shipped(name) == folders[name]
