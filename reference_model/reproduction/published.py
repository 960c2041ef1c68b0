"""The paper's figures, to stand beside ours (DreamDojo, arXiv 2602.06949 v1).

The paper scores a Fourier GR-1; its evaluation sets and those of the dojo that are made after
their pattern go by the dojo's names here.
"""

from collections.abc import Mapping
from typing import NamedTuple

SOURCE = "arXiv 2602.06949 v1"

SETS: Mapping[str, str] = {
    "in-lab": "In-lab Eval",
    "egodex": "EgoDex Eval",
    "dojo-hv": "DreamDojo-HV Eval",
    "counterfactual": "Counterfactual Eval",
    "val": "GR-1 Val",
    "long": "GR-1 Long Eval",
}
"""The paper's name of each set, by the dojo's split."""


class Score(NamedTuple):
    """A row's figures on one set; PSNR in dB."""

    psnr: float
    ssim: float
    lpips_vgg: float


Rows = Mapping[str, Mapping[str, Score]]

ACTION_SIGNAL: Rows = {
    "none": {"in-lab": Score(20.576, 0.774, 0.222), "egodex": Score(19.952, 0.787, 0.219)},
    "action-free": {"in-lab": Score(20.797, 0.773, 0.222), "egodex": Score(19.924, 0.783, 0.222)},
    "latent": {"in-lab": Score(20.913, 0.776, 0.219), "egodex": Score(20.344, 0.790, 0.214)},
    "ground-truth": {"in-lab": Score(20.960, 0.773, 0.219), "egodex": Score(20.474, 0.795, 0.211)},
}
"""Table 2: what pretraining is conditioned on. The last row is retargeted or MANO motion."""

DATA_MIXTURE: Rows = {
    "none": {
        "in-lab": Score(20.576, 0.774, 0.222),
        "egodex": Score(19.952, 0.787, 0.219),
        "dojo-hv": Score(18.274, 0.754, 0.236),
        "counterfactual": Score(20.472, 0.802, 0.190),
    },
    "in-lab": {
        "in-lab": Score(20.913, 0.776, 0.219),
        "egodex": Score(20.267, 0.785, 0.218),
        "dojo-hv": Score(18.621, 0.754, 0.233),
        "counterfactual": Score(20.755, 0.796, 0.187),
    },
    "egodex": {
        "in-lab": Score(20.972, 0.778, 0.216),
        "egodex": Score(20.334, 0.791, 0.215),
        "dojo-hv": Score(18.706, 0.762, 0.230),
        "counterfactual": Score(20.797, 0.796, 0.188),
    },
    "dojo-hv": {
        "in-lab": Score(21.016, 0.781, 0.215),
        "egodex": Score(20.414, 0.790, 0.216),
        "dojo-hv": Score(18.724, 0.759, 0.232),
        "counterfactual": Score(20.852, 0.799, 0.188),
    },
}
"""Table 3, its upper part: human video of more and more kinds."""

ABLATION: Rows = {
    "base": {"val": Score(16.199, 0.557, 0.315), "counterfactual": Score(19.448, 0.768, 0.211)},
    "relative-actions": {
        "val": Score(16.522, 0.576, 0.304),
        "counterfactual": Score(19.482, 0.772, 0.212),
    },
    "chunked-injection": {
        "val": Score(17.626, 0.620, 0.267),
        "counterfactual": Score(20.783, 0.790, 0.193),
    },
    "temporal-loss": {
        "val": Score(17.630, 0.622, 0.266),
        "counterfactual": Score(20.980, 0.796, 0.189),
    },
}
"""Table 5: design choices, each row adding one to the row before."""

DISTILLATION: Rows = {
    "teacher": {"long": Score(14.086, 0.442, 0.412)},
    "student": {
        "long": Score(13.146, 0.379, 0.485),
        "in-lab": Score(20.733, 0.782, 0.220),
        "egodex": Score(19.313, 0.765, 0.235),
        "dojo-hv": Score(18.195, 0.740, 0.254),
        "counterfactual": Score(19.891, 0.746, 0.234),
    },
    "student-scratch": {
        "in-lab": Score(20.304, 0.770, 0.230),
        "egodex": Score(19.119, 0.762, 0.240),
        "dojo-hv": Score(17.869, 0.736, 0.259),
        "counterfactual": Score(19.782, 0.758, 0.232),
    },
}
"""Tables 6 (long rollouts of 600 frames) and 7 (the student with and without human video)."""

SPEED: Mapping[str, float] = {"teacher": 2.72, "student": 10.81}
"""Table 6: frames a second on an H100 at 640x480. The teacher's includes a guidance pass of no
use."""
