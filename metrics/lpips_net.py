"""LPIPS (Zhang et al. 2018, arXiv:1801.03924) through the ``lpips`` package, weights from disk.

The distance needs two sets of weights: the backbone (torchvision's ImageNet weights, 30 to
530 MB, never downloaded here) and the linear heads (a few kB, part of the ``lpips`` package).
The heads are version 0.1; those that piq downloads for ``piq.LPIPS`` are the same five published
layers for VGG16, so with one backbone the two agree, and ``lpips_vgg`` serves the ``dreamdojo``
convention as well. A net's name is part of the metric's name: AlexNet and VGG16 differ by up to a
factor of four on the same frames.

Both sets of weights are named by their SHA-256, because nothing else tells two files apart.
"""

import hashlib
import io
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, get_args

import torch

from dojobench.metrics.frames import check_pair, to_levels

Net = Literal["vgg", "alex", "squeeze"]

BACKBONE_FILES: Final[dict[str, str]] = {
    "vgg": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
"""File names of torchvision's weights; the part after the dash begins their SHA-256."""

_LEAST_SIDE: Final[dict[str, int]] = {"vgg": 16, "alex": 31, "squeeze": 17}
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_VALUES_AT_ONCE = 1 << 21


class LpipsNet:
    """The LPIPS distance with one backbone, or the reason why it cannot be computed.

    Attributes:
        net: ``vgg``, ``alex`` or ``squeeze``.
        name: The metric's name, such as ``lpips_vgg``.
        path: Where the backbone's weights are looked for.
        status: ``computed``, or the sentence that stands wherever a number would.
        weights_sha256: Hashes of ``backbone`` and ``heads``; ``None`` where weights are missing.
        published: Whether the backbone's hash begins as torchvision's file name says.
    """

    def __init__(
        self,
        net: Net = "vgg",
        *,
        weights: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Loads the weights where they exist; missing ones are no error.

        Args:
            net: Backbone.
            weights: Folder that holds the backbone's file under torchvision's name; torch's
                hub cache (``torch.hub.get_dir()``) where ``None``.
            device: Where to compute.

        Raises:
            ValueError: If the net is unknown or the file is not torchvision's state_dict of it.
        """
        if net not in get_args(Net):
            raise ValueError(f"there is no LPIPS net '{net}'; choose one of vgg, alex, squeeze.")
        folder = Path(torch.hub.get_dir()) / "checkpoints" if weights is None else Path(weights)
        self.net: Net = net
        self.name = f"lpips_{net}"
        self.path = folder / BACKBONE_FILES[net]
        self.device = torch.device(device)
        self.status = f"not computed: no weights for {net} at {_shown(self.path)}"
        self.weights_sha256: dict[str, str] | None = None
        self.published = False
        self._model: torch.nn.Module | None = None
        if self.path.is_file():
            self._load()

    @property
    def available(self) -> bool:
        """Whether distances can be computed."""
        return self._model is not None

    def least_side(self) -> int:
        """Gives the smallest height and width, in pixels, that the backbone can reduce."""
        return _LEAST_SIDE[self.net]

    @torch.no_grad()
    def __call__(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Measures the distance, one value a frame.

        Args:
            prediction: ``[..., 3, height, width]``, uint8 or floating point in 0 to 1; brought
                to -1 to 1 here.
            truth: The same shape and dtype.

        Returns:
            float64 ``[...]``, 0 for equal frames, lower is better.

        Raises:
            ValueError: If weights are missing or the frames cannot be compared.
        """
        if self._model is None:
            raise ValueError(f"{self.name} is {self.status}.")
        check_pair(prediction, truth)
        channels, height, width = prediction.shape[-3:]
        if channels != 3 or min(height, width) < self.least_side():
            raise ValueError(
                f"{self.name} needs 3 channels and at least {self.least_side()} pixels a side, "
                f"and the frames are {channels}x{height}x{width}."
            )
        left, right = (f.reshape(-1, 3, height, width) for f in (prediction, truth))
        at_once = max(1, _VALUES_AT_ONCE // (3 * height * width))
        values = [
            self._model(_signed(a.to(self.device)), _signed(b.to(self.device))).flatten()
            for a, b in zip(torch.split(left, at_once), torch.split(right, at_once), strict=True)
        ]
        return torch.cat(values).to(torch.float64).reshape(prediction.shape[:-3])

    def _load(self) -> None:
        import lpips  # here, because it is slow to import and often not needed

        heads = files("lpips").joinpath(f"weights/v0.1/{self.net}.pth").read_bytes()
        backbone = self.path.read_bytes()
        # On the meta device nothing is allocated for the classifier, which LPIPS never uses.
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            model = lpips.LPIPS(net=self.net, pretrained=False, pnet_rand=True, verbose=False)
        state = _state_dict(heads, f"the heads of {self.name}")
        state |= _renamed(_state_dict(backbone, str(self.path)), model)
        state["scaling_layer.shift"] = torch.tensor(_SHIFT)[None, :, None, None]
        state["scaling_layer.scale"] = torch.tensor(_SCALE)[None, :, None, None]
        try:
            model.load_state_dict(state, strict=False, assign=True)
        except RuntimeError as error:
            raise ValueError(
                f"{self.path} does not hold torchvision's weights of {self.net}; put the file "
                "that torchvision downloads there."
            ) from error
        self._model = model.eval().requires_grad_(requires_grad=False).to(self.device)
        digest = hashlib.sha256(backbone).hexdigest()
        self.weights_sha256 = {"backbone": digest, "heads": hashlib.sha256(heads).hexdigest()}
        self.published = digest.startswith(self.path.stem.rpartition("-")[2])
        self.status = "computed"


def _signed(frames: torch.Tensor) -> torch.Tensor:
    return to_levels(frames).div_(127.5).sub_(1)


def _state_dict(data: bytes, where: str) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{where} cannot be read as torch weights; replace the file.") from error
    if not isinstance(state, dict):
        raise ValueError(f"{where} does not hold a state_dict; replace the file.")
    return state


def _renamed(backbone: dict[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Gives torchvision's ``features.7.weight`` the name it has here: ``net.slice2.7.weight``.

    Raises:
        ValueError: If a layer of the model has no weights.
    """
    renamed = {}
    for name, _ in model.named_parameters():
        if not name.startswith("net."):
            continue
        original = "features." + name.split(".", 2)[2]
        if original not in backbone:
            raise ValueError(f"the backbone's weights lack '{original}'; replace the file.")
        renamed[name] = backbone[original].to(torch.float32)
    return renamed


def _shown(path: Path) -> str:
    """Writes a path under the home folder with ``~``: the sentence stands in tables."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
