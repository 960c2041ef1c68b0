"""The stopping rule that needs the analysis: every win rate known as narrowly as planned.

The other rules only count votes, and the scheduler keeps them. This one is looked at now and
then while a study is served, off the event loop.
"""

import asyncio
import logging

from dojobench.human_eval.overview import current_log, quick_analysis
from dojobench.human_eval.preferences import Preferences
from dojobench.human_eval.running_study import RunningStudy
from dojobench.human_eval.site import off_loop

SECONDS_BETWEEN = 30.0
"""How often new votes are looked at."""

_log = logging.getLogger(__name__)


def is_precise(found: Preferences, half_width: float) -> bool:
    """Tells whether every pair has a win rate, and an interval no wider than planned.

    Args:
        found: The analysis.
        half_width: Most that half an interval may span, in (0, 0.5).
    """
    rates = [pair.rate for axis in found.axes.values() for pair in axis.pairs]
    pairs = len(found.models) * (len(found.models) - 1) // 2
    return len(rates) == pairs * len(found.axes) and all(
        rate.low is not None and rate.high is not None and (rate.high - rate.low) / 2 <= half_width
        for rate in rates
    )


def look(running: RunningStudy) -> None:
    """Ends the study if its plan has that rule and the votes so far fulfil it."""
    half_width = running.study.stopping.half_width
    if half_width is not None and not running.is_over:
        log, _ = current_log(running)
        running.is_over = is_precise(quick_analysis(running, log), half_width)


async def watch(running: RunningStudy) -> None:
    """Looks at new votes until cancelled; a failure is logged and ends nothing."""
    if running.study.stopping.half_width is None:
        return
    seen = -1
    while not running.is_over:
        try:
            end, _ = await off_loop(running.store.end)
            if end != seen:
                await off_loop(look, running)
            seen = end
        except Exception:
            _log.exception("the stopping rule could not be looked at")
        await asyncio.sleep(SECONDS_BETWEEN)
