"""The published layouts, name by name and shape by shape, against our modules without memory."""

import math

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.net_config import preset
from dojobench.reference_model.published import (
    published_layouts,
    world_model_layout,
    world_model_shapes,
)


@pytest.mark.parametrize("size", ["2b", "14b"])
def test_every_name_and_shape_is_the_published_one(size):
    net = build_world_model(preset(size), device="meta")
    ours = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert ours == published_layouts()[size].shapes
    assert all(value.device.type == "meta" for value in net.state_dict().values())


def test_the_shapes_that_are_stated_of_the_2b_checkpoint():
    shapes = world_model_shapes(width=2048, blocks=28, heads=16)
    stated = {
        "x_embedder.proj.1.weight": (2048, 72),
        "crossattn_proj.0.weight": (1024, 100352),
        "crossattn_proj.0.bias": (1024,),
        "final_layer.linear.weight": (64, 2048),
        "action_embedder_B_D.fc1.weight": (8192, 1536),
        "action_embedder_B_3D.fc2.weight": (6144, 8192),
        "blocks.27.cross_attn.k_proj.weight": (2048, 1024),
        "blocks.0.self_attn.q_norm.weight": (128,),
        "blocks.0.adaln_modulation_mlp.1.weight": (256, 2048),
        "blocks.0.adaln_modulation_mlp.2.weight": (6144, 256),
        "t_embedder.1.linear_2.weight": (6144, 2048),
    }
    assert {name: shapes[name] for name in stated} == stated


@pytest.mark.parametrize(("size", "billions"), [("2b", 2.15), ("14b", 14.85)])
def test_the_sizes_have_the_published_number_of_parameters(size, billions):
    count = sum(math.prod(shape) for shape in published_layouts()[size].shapes.values())
    assert round(count / 1e9, 2) == billions


def test_the_latent_action_model_hangs_below_its_prefix():
    layout = published_layouts()["lam"]
    assert layout.shapes["lam.action_prompt"] == (1, 1, 1, 768)
    assert all(name.startswith("lam.") for name in layout.shapes)


def test_sizes_of_our_own_have_no_published_layout():
    with pytest.raises(BadInputError, match="No published checkpoint has the form of 'nano'"):
        world_model_layout(preset("nano"))


def test_a_published_pass_runs_without_memory():
    net = build_world_model(preset("2b"), device="meta")
    with torch.device("meta"):
        velocity = net(
            torch.empty(1, 16, 4, 60, 80),
            torch.empty(1),
            torch.empty(1, 12, 384),
            condition_mask=torch.empty(1, 4),
            text=torch.empty(1, 512, 100352),
        )
    assert velocity.shape == (1, 16, 4, 60, 80)
