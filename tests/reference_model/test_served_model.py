"""Over the wire a model gives the frames that it gives in process."""

import pytest
import torch

from dojobench.protocol.client import connect
from dojobench.protocol.server import ServerConfig, serving
from dojobench.reference_model.world_models import reference_model


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_served_frames_are_the_model_s(folders, kind):
    model = reference_model(folders[kind])
    generator = torch.Generator().manual_seed(0)
    shape = (2, model.spec.context_frames, 3, *model.spec.resolution)
    context = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    actions = torch.randn(2, 24, 5, generator=generator)
    cuts = (12, 4, 3, 5)
    rollouts = []
    with serving(model, ServerConfig(port=0)) as address:
        for each in (model, connect(address)):
            session = each.start(context, seed=5)
            rollouts.append([session.step(part) for part in torch.split(actions, cuts, dim=1)])
            session.close()
        assert each.spec == model.spec
        each.close()
    for here, there in zip(*rollouts, strict=True):
        assert torch.equal(here, there)
