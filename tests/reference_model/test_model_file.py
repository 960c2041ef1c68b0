"""Weights files: they explain themselves, and what is wrong with one is said in a sentence."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel
from dojobench.reference_model.lam_config import LatentActionConfig
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TokenizerConfig

TINY = TokenizerConfig(widths=(4, 6), blocks=1, latent_channels=2, background=(8, 8))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models" / "tokenizer.safetensors"


@pytest.fixture
def saved(path):
    tokenizer = CausalTokenizer(TINY)
    tokenizer.latent_mean.fill_(0.25)
    tokenizer.latent_std.fill_(3)
    tokenizer.save(path)
    return tokenizer


def _rewrite(path, metadata=None, **changes):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        old = file.metadata()
    tensors = load_file(path) | changes
    save_file({k: v for k, v in tensors.items() if v is not None}, path, old | (metadata or {}))


def test_a_tokenizer_comes_back_with_its_statistics(saved, path):
    loaded = CausalTokenizer.load(path)
    assert loaded.config == TINY
    assert loaded.latent_std.tolist() == [3, 3]
    for name, tensor in saved.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_else(saved, path):
    before = path.read_bytes()
    saved.save(path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_latent_action_model_comes_back(tmp_path):
    config = LatentActionConfig(
        model_dim=8, heads=2, encoder_blocks=1, decoder_blocks=1, patch_size=4, height=8, width=8
    )
    model = LatentActionModel(config)
    model.save(tmp_path / "lam.safetensors")
    loaded = LatentActionModel.load(tmp_path / "lam.safetensors")
    assert loaded.config == config
    assert torch.equal(loaded.lam.action_prompt, model.lam.action_prompt)
    with pytest.raises(BadInputError, match="holds a latent action model, not a tokenizer"):
        CausalTokenizer.load(tmp_path / "lam.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(saved, path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInputError, match="no whole safetensors file"):
        CausalTokenizer.load(path)


def test_a_file_that_is_not_there_is_named(path):
    with pytest.raises(BadInputError, match=r"There is no file .*tokenizer"):
        CausalTokenizer.load(path)


def test_another_programs_file_is_refused(path):
    path.parent.mkdir()
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(BadInputError, match="holds a model of another program, not"):
        CausalTokenizer.load(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"latent_mean": None}, "has no weight 'latent_mean'"),
        ({"latent_mean": torch.zeros(5)}, "needs \\[2\\]; it is of another size"),
        ({"extra": torch.zeros(1)}, "weight 'extra' that this model does not know"),
    ],
)
def test_wrong_weights_are_named(saved, path, changes, sentence):
    _rewrite(path, **changes)
    with pytest.raises(BadInputError, match=sentence):
        CausalTokenizer.load(path)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ('{"width": [4]}', "sets 'width', which does not exist; the nearest is 'widths'"),
        ('{"widths": [4]}', "does not set 'blocks'"),
        ("[]", "nothing readable of its configuration"),
        ("{", "nothing readable of its configuration"),
        ('{"widths": 3, "blocks": 1}', "a value of the wrong kind"),
    ],
)
def test_a_wrong_configuration_is_explained(saved, path, config, sentence):
    _rewrite(path, {"config": config})
    with pytest.raises(BadInputError, match=sentence):
        CausalTokenizer.load(path)
