"""How sure a number is: everything that makes an interval or a p value, in one place.

Which one to use for what, and what each is worth with few episodes, is said with measured
coverage in ``docs/metrics/intervals.md``. Numpy in, numpy out; torch is never imported.
"""

from dojobench.metrics.bootstrap import (
    CurveBand,
    bootstrap_clusters,
    cluster_bootstrap,
    curve_band,
    paired_difference,
)
from dojobench.metrics.estimate import Interval
from dojobench.metrics.multiplicity import holm, paired_p_value
from dojobench.metrics.proportions import agresti_caffo, clustered_share, wilson
from dojobench.metrics.two_way import two_way_clustered

__all__ = [
    "CurveBand",
    "Interval",
    "agresti_caffo",
    "bootstrap_clusters",
    "cluster_bootstrap",
    "clustered_share",
    "curve_band",
    "holm",
    "paired_difference",
    "paired_p_value",
    "two_way_clustered",
    "wilson",
]
