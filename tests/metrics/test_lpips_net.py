"""LPIPS with backbone weights made here, in torchvision's format, against piq and the package."""

import hashlib
from pathlib import Path

import lpips
import piq
import pytest
import torch
import torchvision
from piq.perceptual import VGG16_LAYERS, ContentLoss

from dojobench.metrics.clip_scorer import ClipScorer
from dojobench.metrics.lpips_net import BACKBONE_FILES, LpipsNet

FEATURES = {
    "vgg": lambda: torchvision.models.vgg.make_layers(
        torchvision.models.vgg.cfgs["D"], batch_norm=False
    ),
    "alex": lambda: torchvision.models.AlexNet(num_classes=2).features,
    "squeeze": lambda: torchvision.models.SqueezeNet("1_1", num_classes=2).features,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random backbones under torchvision's file names."""
    folder = tmp_path_factory.mktemp("weights")
    for net, make in FEATURES.items():
        torch.manual_seed(0)
        features = make()
        for module in features.modules():
            if isinstance(module, torch.nn.Conv2d):  # kept lively through sixteen layers
                torch.nn.init.kaiming_normal_(module.weight)
                torch.nn.init.normal_(module.bias, std=0.1)
        state = {f"features.{name}": value for name, value in features.state_dict().items()}
        state["classifier.6.bias"] = torch.zeros(1000)
        torch.save(state, folder / BACKBONE_FILES[net])
    return folder


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 256, (3, 3, 64, 72), dtype=torch.uint8, generator=generator)
    noise = torch.randn(truth.shape, generator=generator) * 40
    return (truth + noise).clamp(0, 255).to(torch.uint8), truth


def _package_net(net: str, folder: Path) -> torch.nn.Module:
    """The package's own way: build on ordinary memory, load each slice by hand."""
    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = torch.load(folder / BACKBONE_FILES[net], weights_only=True)
    for name, parameter in model.net.named_parameters():
        parameter.data.copy_(state["features." + name.split(".", 1)[1]])
    return model.eval()


@pytest.mark.parametrize("net", ["vgg", "alex", "squeeze"])
def test_agrees_with_the_package(
    net: str, weights: Path, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    ours = LpipsNet(net, weights=weights)  # type: ignore[arg-type]
    assert ours.name == f"lpips_{net}"
    assert ours.status == "computed"
    x, y = (frames / 127.5 - 1 for frames in pair)
    with torch.no_grad():
        theirs = _package_net(net, weights)(x, y).flatten()
    values = ours(*pair)
    assert float(values.min()) > 1e-3
    torch.testing.assert_close(values, theirs.double(), atol=1e-5, rtol=1e-4)


def test_vgg_agrees_with_piq_given_the_same_weights(
    weights: Path, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    heads = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth",
        map_location="cpu",
        weights_only=True,
    )
    features = FEATURES["vgg"]()
    state = torch.load(weights / BACKBONE_FILES["vgg"], weights_only=True)
    state.pop("classifier.6.bias")
    features.load_state_dict({name.removeprefix("features."): v for name, v in state.items()})
    names = ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]
    # piq.LPIPS is this ContentLoss with weights that its constructor downloads.
    theirs = ContentLoss(
        features.eval(),
        layers=[VGG16_LAYERS[name] for name in names],
        weights=[heads[f"lin{index}.model.1.weight"] for index in range(5)],
        normalize_features=True,
        reduction="none",
    )
    assert issubclass(piq.LPIPS, ContentLoss)
    x, y = (frames / 255 for frames in pair)
    values = LpipsNet("vgg", weights=weights)(*pair)
    torch.testing.assert_close(values, theirs(x, y).double().flatten(), atol=1e-5, rtol=1e-4)


def test_equal_frames_are_at_no_distance_and_floats_are_the_same_frames(
    weights: Path, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    net = LpipsNet("squeeze", weights=weights)
    prediction, truth = pair
    assert net(truth, truth).tolist() == [0.0, 0.0, 0.0]
    scaled = net(prediction / 255, truth / 255)
    torch.testing.assert_close(scaled, net(prediction, truth), atol=1e-5, rtol=1e-4)
    assert net(prediction[None], truth[None]).shape == (1, 3)


def test_weights_are_pinned_by_hash(weights: Path) -> None:
    net = LpipsNet("alex", weights=weights)
    assert net.weights_sha256 is not None
    content = (weights / BACKBONE_FILES["alex"]).read_bytes()
    assert net.weights_sha256["backbone"] == hashlib.sha256(content).hexdigest()
    heads = (Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth").read_bytes()
    assert net.weights_sha256["heads"] == hashlib.sha256(heads).hexdigest()
    assert not net.published  # random weights do not hash to torchvision's name


def test_missing_weights_are_a_sentence_everywhere(
    tmp_path: Path, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    net = LpipsNet("vgg", weights=tmp_path)
    sentence = f"not computed: no weights for vgg at {tmp_path / 'vgg16-397923af.pth'}"
    assert (net.status, net.available, net.weights_sha256) == (sentence, False, None)
    with pytest.raises(ValueError, match="not computed: no weights for vgg at"):
        net(*pair)
    scorer = ClipScorer(metrics=("psnr", "lpips_vgg"), lpips=net)
    scorer.start(pair[1][:1])
    scorer.update(*pair)
    scores = scorer.finish()
    assert scores.not_computed["lpips_vgg"] == sentence
    assert "lpips_vgg" not in scores.values
    assert "psnr" in scores.values


def test_torch_hubs_cache_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    expected = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    assert LpipsNet("alex").path == expected


def test_the_scorer_measures_it_frame_by_frame(
    weights: Path, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    net = LpipsNet("squeeze", weights=weights)
    scorer = ClipScorer(metrics=("psnr", "lpips_squeeze"), lpips=net)
    scorer.start(pair[1][:1])
    scorer.update(*pair)
    scores = scorer.finish()
    expected = net(*pair).tolist()
    assert scores.curves["lpips_squeeze"] == pytest.approx(expected, rel=1e-4)
    assert scores.values["lpips_squeeze"] == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_frames_too_small_for_the_backbone(weights: Path) -> None:
    net = LpipsNet("vgg", weights=weights)
    frame = torch.zeros(1, 3, 15, 40, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at least 16 pixels"):
        net(frame, frame)
    scorer = ClipScorer(lpips=net)
    scorer.start(frame)
    scorer.update(frame, frame)
    assert "16x16" in scorer.finish().not_computed["lpips_vgg"]


@pytest.mark.parametrize("net", ["vgg", "alex", "squeeze"])
def test_the_smallest_frame_is_what_the_backbone_can_reduce(net: str, weights: Path) -> None:
    distance = LpipsNet(net, weights=weights)  # type: ignore[arg-type]
    side = distance.least_side()
    small = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    assert float(distance(small, small)) == 0.0
    with pytest.raises(ValueError, match="at least"):
        distance(small[..., 1:], small[..., 1:])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not weights", "cannot be read as torch weights"),
        ([1, 2], "does not hold a state_dict"),
        ({"features.0.weight": torch.zeros(1)}, "lack"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / BACKBONE_FILES["vgg"]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=words):
        LpipsNet("vgg", weights=tmp_path)


def test_another_nets_weights_are_refused(tmp_path: Path, weights: Path) -> None:
    wrong = torch.load(weights / BACKBONE_FILES["vgg"], weights_only=True)
    wrong["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(wrong, tmp_path / BACKBONE_FILES["vgg"])
    with pytest.raises(ValueError, match="does not hold torchvision's weights of vgg"):
        LpipsNet("vgg", weights=tmp_path)
    with pytest.raises(ValueError, match="no LPIPS net 'resnet'"):
        LpipsNet("resnet")  # type: ignore[arg-type]
