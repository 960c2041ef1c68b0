"""Latents encoded beforehand are those that encoding a window gives, with the actions beside."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dojobench.datasets.actions import ActionEncoder
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel, fit_frames
from dojobench.reference_model.lam_config import LatentActionConfig
from dojobench.reference_model.net_config import ActionConfig
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TokenizerConfig
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.latent_source import HAND_COLUMNS, LatentWindowSource
from dojobench.reference_model.training.latents import (
    LatentConfig,
    LatentStore,
    encode_episodes,
    read_latent_actions,
)
from dojobench.reference_model.video_tokenizer import (
    GROUP,
    StreamDecoder,
    StreamEncoder,
    VideoTokenizer,
    to_unit,
)

EXACT = LatentConfig(precision="float32")


@pytest.fixture(scope="module")
def tokenizer() -> CausalTokenizer:
    torch.manual_seed(0)
    return CausalTokenizer(TokenizerConfig(widths=(8, 8), blocks=1, latent_channels=4)).eval()


@pytest.fixture(scope="module")
def lam() -> LatentActionModel:
    torch.manual_seed(1)
    config = LatentActionConfig(
        model_dim=16, heads=2, encoder_blocks=1, decoder_blocks=1, patch_size=4, height=12, width=16
    )
    return LatentActionModel(config).eval()


@pytest.fixture(scope="module")
def latents(
    counting_store: EpisodeStore,
    tokenizer: CausalTokenizer,
    lam: LatentActionModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> LatentStore:
    root = tmp_path_factory.mktemp("latents")
    encode_episodes(counting_store, tokenizer, root, EXACT)
    return read_latent_actions(counting_store, lam, root, groups=["person", "video"])


class LookingBack(VideoTokenizer):
    """A tokenizer whose every latent depends on all frames before it."""

    latent_channels, spatial_factor = 3, 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def encode(self, frames: Tensor) -> Tensor:
        small = to_unit(frames)[..., ::4, ::4].cumsum(dim=1)
        return self.scale * small[:, ::GROUP] / 10

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def stream_encoder(self) -> StreamEncoder:
        raise AssertionError("not asked for")

    def stream_decoder(self) -> StreamDecoder:
        raise AssertionError("not asked for")


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("time", [2, 4, 8])
def test_windows_are_what_encoding_them_gives(
    counting_store: EpisodeStore, tokenizer: CausalTokenizer, tmp_path: Path, every: int, time: int
) -> None:
    config = LatentConfig(every=every, precision="float32", batch=40)
    store = encode_episodes(counting_store, tokenizer, tmp_path, config, groups=["robot"])
    group = store.group("robot")
    span = 1 + GROUP * (time - 1)
    counts = group.windows(time)
    assert counts == [max(0, (length - span) // every + 1) for length in group.group.lengths]
    for episode, count in enumerate(counts):
        for index in range(count):
            start = group.start(index)
            frames = torch.from_numpy(group.group.frames(episode, start, start + span).copy())
            with torch.inference_mode():
                wanted = tokenizer.encode(frames[None])[0]
            found = torch.from_numpy(group.window(episode, index, time)).float()
            torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-3)


def test_a_tokenizer_that_looks_back_encodes_whole_windows(
    counting_store: EpisodeStore, tmp_path: Path
) -> None:
    looking = LookingBack()
    config = LatentConfig(every=4, latent_frames=3, precision="float32")
    store = encode_episodes(counting_store, looking, tmp_path, config, groups=["video"])
    source = LatentWindowSource(
        store, {"video": 1.0}, latent_frames=3, conditioning="none", frames=True
    )
    batch = source.batch(0, 32)
    wanted = looking.encode(batch["frames"]).transpose(1, 2)
    torch.testing.assert_close(batch["latents"], wanted, atol=2e-3, rtol=2e-3)
    with pytest.raises(BadInputError, match="windows of up to 3 latent frames, not 4"):
        LatentWindowSource(store, {"video": 1.0}, latent_frames=4, conditioning="none")


def test_bfloat16_is_close_to_exact(
    counting_store: EpisodeStore, tokenizer: CausalTokenizer, latents: LatentStore, tmp_path: Path
) -> None:
    quick = encode_episodes(counting_store, tokenizer, tmp_path, groups=["robot"])
    near = torch.from_numpy(quick.group("robot").window(1, 3, 4)).float()
    exact = torch.from_numpy(latents.group("robot").window(1, 3, 4)).float()
    assert not torch.equal(near, exact)
    assert (near - exact).abs().max() < 0.03 * exact.abs().max()


def test_a_batch_is_of_the_networks_shape_and_repeats(latents: LatentStore) -> None:
    def source(seed: int) -> LatentWindowSource:
        return LatentWindowSource(latents, {"robot": 1.0}, latent_frames=4, seed=seed)

    batch = source(1).batch(3, 5)
    assert batch["latents"].shape == (5, 4, 4, 4, 4)
    assert batch["actions"].shape == (5, 12, 384)
    assert batch["latents"].dtype == batch["actions"].dtype == torch.float32
    again, other = source(1).batch(3, 5), source(2).batch(3, 5)
    assert torch.equal(batch["latents"], again["latents"])
    assert torch.equal(batch["actions"], again["actions"])
    assert not torch.equal(batch["latents"], other["latents"])


def test_actions_are_encoded_as_a_session_encodes_them(latents: LatentStore) -> None:
    source = LatentWindowSource(latents, {"robot": 1.0}, latent_frames=4, frames=True)
    batch = source.batch(0, 16)
    episodes = latents.episodes.group("robot")
    session = ActionEncoder(embodiment="arm", statistics=episodes.statistics())
    for frames, actions in zip(batch["frames"], batch["actions"], strict=True):
        episode, start = int(frames[0, 1, 0, 0]), int(frames[0, 2, 0, 0])
        own = torch.from_numpy(episodes.actions(episode, start, start + 12).copy())
        torch.testing.assert_close(actions, session.encode(own))
        assert actions[:, 202:207].any()
        assert not actions[:, :202].any()
        assert not actions[:, 207:].any()


def test_held_out_groups_are_normalised_by_the_training_groups_statistics(
    latents: LatentStore,
) -> None:
    training = LatentWindowSource(latents, {"robot": 1.0}, latent_frames=4, seed=1)
    wide = training.statistics["arm"]
    doubled = type(wide)(
        name="wide",
        minimum=wide.minimum * 2,
        maximum=wide.maximum * 2,
        mean=wide.mean,
        std=wide.std,
    )
    other = LatentWindowSource(
        latents, {"robot": 1.0}, latent_frames=4, statistics={"arm": doubled}, seed=1
    )
    first, second = training.batch(0, 4)["actions"], other.batch(0, 4)["actions"]
    torch.testing.assert_close(first[..., 202:206], 2 * second[..., 202:206])


def test_latent_actions_are_the_means_between_the_windows_frames(
    latents: LatentStore, lam: LatentActionModel
) -> None:
    source = LatentWindowSource(
        latents,
        {"person": 2.0, "video": 1.0},
        latent_frames=3,
        conditioning="latent",
        frames=True,
    )
    batch = source.batch(2, 24)
    assert {int(each) for each in batch["frames"][:, 0, 0, 0, 0]} == {1, 2}
    with torch.inference_mode():
        wanted = lam.latent_actions(fit_frames(batch["frames"], 12, 16))
    torch.testing.assert_close(batch["actions"][..., 352:384], wanted, atol=1e-5, rtol=1e-4)
    assert not batch["actions"][..., :352].any()


def test_withheld_actions_stand_in_the_hands_slots(latents: LatentStore) -> None:
    source = LatentWindowSource(
        latents, {"person": 1.0}, latent_frames=3, conditioning="withheld", frames=True
    )
    batch = source.batch(0, 4)
    people = latents.episodes.group("person")
    encoder = ActionEncoder(embodiment="hand", statistics=people.statistics(), columns=HAND_COLUMNS)
    frames = batch["frames"][0]
    episode, start = int(frames[0, 1, 0, 0]), int(frames[0, 2, 0, 0])
    own = torch.from_numpy(people.actions(episode, start, start + 8, withheld=True).copy())
    torch.testing.assert_close(batch["actions"][0], encoder.encode(own))
    assert batch["actions"][..., 213:218].any()


def test_action_free_and_absolute_actions(latents: LatentStore) -> None:
    none = LatentWindowSource(latents, {"robot": 1.0}, latent_frames=2, conditioning="none")
    assert not none.batch(0, 3)["actions"].any()
    relative, absolute = (
        LatentWindowSource(
            latents,
            {"robot": 1.0},
            latent_frames=4,
            actions=ActionConfig(relative=on),
            seed=4,
        ).batch(0, 3)["actions"]
        for on in (True, False)
    )
    torch.testing.assert_close(relative[:, :4, 202:206], absolute[:, :4, 202:206])
    assert not torch.equal(relative[:, 4:], absolute[:, 4:])


def test_missing_actions_are_named_before_training(latents: LatentStore) -> None:
    for conditioning, group, sentence in (
        ("latent", "robot", "no latent actions in"),
        ("actions", "person", "are withheld"),
        ("actions", "video", "has no actions"),
    ):
        with pytest.raises(BadInputError, match=sentence):
            LatentWindowSource(
                latents,
                {group: 1.0},
                latent_frames=4,
                conditioning=conditioning,  # type: ignore[arg-type]
            )
    with pytest.raises(BadInputError, match="nothing to predict"):
        LatentWindowSource(latents, {"robot": 1.0}, latent_frames=1)
    with pytest.raises(BadInputError, match="'every' is 1, 2 or 4"):
        LatentConfig(every=3)


def test_latents_of_another_tokenizer_or_of_other_episodes_are_refused(
    counting_store: EpisodeStore, tokenizer: CausalTokenizer, tmp_path: Path
) -> None:
    encode_episodes(counting_store, tokenizer, tmp_path, EXACT, groups=["video"])
    torch.manual_seed(9)
    other = CausalTokenizer(tokenizer.config).eval()
    with pytest.raises(BadInputError, match="were made with other 'tokenizer'"):
        encode_episodes(counting_store, other, tmp_path, EXACT, groups=["video"])
    described = tmp_path / "video" / "latents.json"
    told = described.read_text()
    described.write_text(told.replace(counting_store.group("video").digest, "sha256:0"))
    with pytest.raises(BadInputError, match="were made from other episodes"):
        LatentStore(counting_store, tmp_path).group("video")
    with pytest.raises(BadInputError, match="There are no latents in"):
        LatentWindowSource(LatentStore(counting_store, tmp_path), {"robot": 1.0}, latent_frames=3)


def test_encoding_goes_on_where_it_was_interrupted(
    counting_store: EpisodeStore, tokenizer: CausalTokenizer, tmp_path: Path
) -> None:
    encode_episodes(counting_store, tokenizer, tmp_path, EXACT, groups=["video"])
    kept, lost = (tmp_path / "video" / f"latents-0000{n}.npy" for n in (0, 1))
    whole, untouched = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    with pytest.raises(BadInputError, match="are not whole; run the stage 'latents' again"):
        LatentStore(counting_store, tmp_path).group("video")
    encode_episodes(counting_store, tokenizer, tmp_path, EXACT, groups=["video"])
    assert lost.read_bytes() == whole
    assert kept.stat().st_mtime_ns == untouched
