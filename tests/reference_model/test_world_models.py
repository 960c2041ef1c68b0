"""Teacher and student as world models: alignment of actions, chunks, batches, seeds, memory."""

import gc

import numpy as np
import pytest
import torch

from dojobench.datasets.embodiments import embodiment
from dojobench.protocol.conformance import check_model
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import action_encoder
from dojobench.reference_model.generation import sample
from dojobench.reference_model.streaming import LatentStream
from dojobench.reference_model.teacher_model import TeacherModel
from dojobench.reference_model.video_tokenizer import to_uint8
from dojobench.reference_model.world_models import reference_model

KINDS = pytest.mark.parametrize("kind", ["teacher", "student"])


@pytest.fixture(scope="module")
def models(folders):
    return {kind: reference_model(folder) for kind, folder in folders.items()}


def clip(model, frames, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = model.spec.resolution
    shape = (batch, model.spec.context_frames, 3, height, width)
    context = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return context, torch.randn(batch, frames, 5, generator=generator)


def roll(model, context, actions, cuts, seed=3):
    session = model.start(context, seed=seed)
    assert sum(cuts) == actions.shape[1]
    made = [session.step(part) for part in torch.split(actions, cuts, dim=1)]
    session.close()
    return torch.cat(made, dim=1)


@KINDS
def test_the_conformance_kit_passes(models, kind):
    findings = check_model(models[kind])
    assert [each for each in findings if each.status not in ("pass",)] == []


@KINDS
def test_whole_chunks_do_not_depend_on_how_they_are_cut(models, kind):
    model = models[kind]
    context, actions = clip(model, 24)
    chunk = model.spec.native_chunk
    whole = roll(model, context, actions, [24])
    assert torch.equal(whole, roll(model, context, actions, [chunk] * (24 // chunk)))


@KINDS
def test_a_chunk_that_was_begun_ends_as_if_it_had_been_whole(models, kind):
    model = models[kind]
    context, actions = clip(model, 13)
    chunk = model.spec.native_chunk
    whole = roll(model, context, actions[:, :chunk], [chunk])
    pieces = roll(model, context, actions, [1, 2, 1, 3, 4, 2])
    assert torch.equal(pieces[:, chunk - 1], whole[:, -1])


@KINDS
def test_frames_depend_on_no_action_that_is_yet_to_come(models, kind):
    model = models[kind]
    context, actions = clip(model, 6)
    other = actions.clone()
    other[:, 3:] += 1
    for cuts in ([3, 3], [1, 1, 1, 3]):
        same = [roll(model, context, each, cuts)[:, :3] for each in (actions, other)]
        assert torch.equal(*same)
        differ = [roll(model, context, each, cuts)[:, 3:] for each in (actions, other)]
        assert not torch.equal(*differ)


@KINDS
def test_a_sample_is_what_it_is_alone(models, kind):
    model = models[kind]
    context, actions = clip(model, 16, batch=3)
    together = roll(model, context, actions, [16])
    for sample_at in range(3):
        rows = slice(sample_at, sample_at + 1)
        alone = roll(model, context[rows], actions[rows], [16])
        assert (alone.int() - together[rows].int()).abs().max() <= 1


@KINDS
def test_seed_and_position_decide_the_noise(models, kind):
    model = models[kind]
    context, actions = clip(model, 24)
    first = roll(model, context, actions, [24])
    assert torch.equal(first, roll(model, context, actions, [24]))
    assert not torch.equal(first, roll(model, context, actions, [24], seed=4))


@pytest.mark.parametrize("continues", [False, True])
def test_a_teacher_goes_on_from_its_last_frame(models, continues):
    """Chunk by chunk by hand: context encoded anew, actions relative, noise by position."""
    given = models["teacher"]
    model = TeacherModel(given.spec, given.parts, sampler=given.sampler, continues=continues)
    parts, seed = model.parts, 3
    context, actions = clip(model, 24, batch=1)
    encoder = action_encoder(parts.net.config.actions, "arm", parts.encoder.statistics)
    shown, before, made = context[:, -1:], None, []
    with torch.no_grad():
        for start in (0, 12):
            chunk = actions[:, start : start + 12]
            latent = parts.tokenizer.encode(shown).transpose(1, 2)
            drawn = np.random.RandomState(seed + start).standard_normal((1, 4, 4, 4, 6))
            latents = sample(
                parts.net,
                latent,
                encoder.encode(chunk, before),
                config=model.sampler,
                noise=torch.from_numpy(drawn).float()[:, :, 1:],
            )
            made.append(to_uint8(parts.tokenizer.decode(latents.transpose(1, 2))[:, 1:]))
            shown, before = made[-1][:, -1:], chunk[:, -1] if continues else None
    by_hand = torch.cat(made, dim=1)
    assert (by_hand.int() - roll(model, context, actions, [24]).int()).abs().max() <= 1


def test_a_student_streams_from_its_context(models):
    model = models["student"]
    parts, seed = model.parts, 3
    context, actions = clip(model, 24, batch=1)
    with torch.no_grad():
        latents = parts.tokenizer.encode(context)
        stream = LatentStream(parts.net, latents.transpose(1, 2), config=model.stream)
        new = []
        for start in range(0, 24, 4):
            before = actions[:, start - 1] if start else None
            encoded = parts.encoder.encode(actions[:, start : start + 4], before)
            drawn = np.random.RandomState(seed + start).standard_normal((1, 1, 4, 1, 4, 6))
            new.append(stream.step(encoded, noise=torch.from_numpy(drawn).float()))
        whole = torch.cat([latents, torch.cat(new, dim=2).transpose(1, 2)], dim=1)
        by_hand = to_uint8(parts.tokenizer.decode(whole)[:, 5:])
    assert (by_hand.int() - roll(model, context, actions, [24]).int()).abs().max() <= 1


def test_an_opening_that_is_held_is_no_change_beyond_a_chunk(models):
    """The gripper's opening is absolute; a group of actions says how it changes."""
    model = models["student"]
    context, actions = clip(model, 8, batch=1)
    actions[..., 4] = 0.7
    session = model.start(context, seed=0)
    slot = embodiment("arm").start + 4
    session.step(actions[:, :4])
    assert bool((session._encoded(actions[:, 4:])[..., slot] == 0).all())
    fresh = model.start(context, seed=0)
    assert bool((fresh._encoded(actions[:, 4:])[..., slot] > 0).all())


def bytes_of_tensors():
    gc.collect()
    found = {
        each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
        for each in gc.get_objects()
        # Other tests leave tensors without storage behind (tracing, meta device).
        if type(each) in (torch.Tensor, torch.nn.Parameter) and each.device.type == "cpu"
    }
    return sum(found.values())


@KINDS
def test_memory_is_constant_over_a_minute(folders, kind):
    model = reference_model(folders[kind], steps=1)
    context, actions = clip(model, 48, batch=1)
    session = model.start(context, seed=0)
    sizes = []
    for steps in (6, 1, 6):
        for _ in range(steps):
            session.step(actions)
        sizes.append(bytes_of_tensors())
    assert max(sizes[1:]) <= sizes[0] * 1.001, sizes


def test_a_teacher_may_see_more_than_one_context_frame(
    tmp_path, describe, tiny_net, tiny_tokenizer
):
    from dojobench.reference_model.model_folder import write_model_folder

    folder = write_model_folder(
        tmp_path, describe(context_frames=5), net=tiny_net, tokenizer=tiny_tokenizer
    )
    model = reference_model(folder)
    context, actions = clip(model, 24)
    frames = roll(model, context, actions, [24])
    other = context.clone()
    other[:, 0] = 255 - other[:, 0]
    assert frames.shape[1] == 24
    assert not torch.equal(frames, roll(model, other, actions, [24]))
    assert torch.equal(frames, roll(model, context, actions, [12, 12]))


@KINDS
def test_what_breaks_the_contract_is_refused(models, kind):
    model = models[kind]
    context, actions = clip(model, 4)
    with pytest.raises(BadInputError, match="resize"):
        model.start(context[..., :-8], seed=0)
    session = model.start(context, seed=0)
    with pytest.raises(BadInputError, match="width 4"):
        session.step(actions[..., :4])
    session.close()
    with pytest.raises(BadInputError, match="closed"):
        session.step(actions)
