"""Makes the comparison of a clip with its truth, and the record that comes of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from dojobench.benchmarks.records import LpipsEntry, Record, Timings
from dojobench.datasets.suite import ClipRecord
from dojobench.metrics.clip_scorer import ClipScorer
from dojobench.metrics.conventions import convention_named, metric_version
from dojobench.metrics.lpips_net import LpipsNet, Net
from dojobench.protocol import BadInputError, Frames

PLAIN_METRICS = ("psnr", "ssim")
LPIPS_PREFIX = "lpips_"


@dataclass(frozen=True, kw_only=True)
class Scorers:
    """Makes the scorers of one run, all alike.

    Attributes:
        convention: Name of the metric convention.
        metrics: Metrics asked for.
        lpips: The LPIPS net, where asked for.
        chunk: Frames that the model makes at once, for conventions that depend on it.
        device: Where frames are compared.
    """

    convention: str
    metrics: tuple[str, ...]
    lpips: LpipsNet | None
    chunk: int | None
    device: torch.device

    @property
    def version(self) -> str:
        """Names the code that makes the numbers."""
        return metric_version(self.convention)

    @property
    def lpips_entry(self) -> LpipsEntry | None:
        """Which LPIPS, and what became of it."""
        if self.lpips is None:
            return None
        return LpipsEntry(
            net=self.lpips.net,
            status=self.lpips.status,
            weights_sha256=self.lpips.weights_sha256,
        )

    def open(self, context: Frames, *, metrics: Sequence[str] | None = None) -> ClipScorer:
        """Starts the comparison of one clip.

        Args:
            context: True context frames, uint8 ``[c, 3, height, width]``.
            metrics: Metrics instead of all that the run asked for; without LPIPS.
        """
        plain = [name for name in self.metrics if name in PLAIN_METRICS]
        scorer = ClipScorer(
            self.convention,
            metrics=tuple(plain if metrics is None else metrics),
            lpips=self.lpips if metrics is None else None,
            chunk=self.chunk,
            device=self.device,
        )
        scorer.start(context)
        return scorer

    def record(
        self, scorer: ClipScorer, clip: ClipRecord, seed: int, frames: int, timings: Timings
    ) -> Record:
        """Ends the comparison of one clip; what has no finite value says why."""
        scores = scorer.finish()
        undefined = {
            name: "not defined on this clip"
            for name, value in scores.values.items()
            if not math.isfinite(value)
        }
        return Record(
            clip=clip.id,
            seed=seed,
            split=clip.split,
            episode=clip.episode,
            source=clip.source,
            embodiment=clip.embodiment,
            frames=frames,
            values={k: float(v) for k, v in scores.values.items() if k not in undefined},
            curves={k: tuple(map(float, v)) for k, v in scores.curves.items()},
            not_computed=undefined | dict(scores.not_computed),
            timings=timings,
        )


def make_scorers(
    convention: str,
    metrics: Sequence[str],
    *,
    weights: Path | None,
    chunk: int | None,
    device: torch.device,
) -> Scorers:
    """Looks up convention and metrics, and loads LPIPS where it is asked for.

    Raises:
        BadInputError: If a name is unknown or the weights are not what they should be.
    """
    nets = [name.removeprefix(LPIPS_PREFIX) for name in metrics if name.startswith(LPIPS_PREFIX)]
    known = (*PLAIN_METRICS, *(LPIPS_PREFIX + net for net in get_args(Net)))
    for name in metrics:
        if name not in known:
            raise BadInputError(
                f"there is no metric {name} to ask for; known are {', '.join(known)}"
            )
    if len(nets) > 1:
        raise BadInputError("one run computes one LPIPS; ask for a second in another run")
    try:
        convention_named(convention)
        net = _net(nets[0], weights, device) if nets else None
    except ValueError as error:
        raise BadInputError(str(error)) from error
    return Scorers(
        convention=convention,
        metrics=tuple(dict.fromkeys(metrics)),
        lpips=net,
        chunk=chunk,
        device=device,
    )


def _net(name: str, weights: Path | None, device: torch.device) -> LpipsNet:
    for net in get_args(Net):
        if net == name:
            return LpipsNet(net, weights=weights, device=device)
    raise ValueError(f"there is no LPIPS net {name}")
