"""``preferences.json``: what a study found, as the leaderboard reads it; format 1.

Rates and shares lie in [0, 1]; strengths and differences are in logits; a number that the votes
cannot bear is ``null``, and the interval's ``method`` or a statement says why.
"""

import json
import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dojobench.metrics.contrasts import Contrast
from dojobench.metrics.estimate import Interval
from dojobench.protocol.errors import BadInputError

FORMAT: Literal[1] = 1
KIND: Literal["dojobench-preferences"] = "dojobench-preferences"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Part):
    """A number with its interval."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str


class Ends(_Part):
    """The two ends of an interval."""

    low: float | None
    high: float | None


class Pair(_Part):
    """How often one model was preferred to another.

    Attributes:
        n: Votes, ties included.
        rate: Clustered by rater and clip: the interval to report.
        naive: As if votes were independent, by Wilson's formula.
    """

    first: str
    second: str
    n: int
    wins: int
    ties: int
    losses: int
    rate: Estimate
    naive: Estimate


class Logits(_Part):
    """A strength or a difference, with its three intervals; see ``metrics.contrasts``."""

    clustered: Estimate
    naive: Ends
    bootstrap: Ends


class Strength(_Part):
    """One model's place; ``rank`` is the range of ranks that the votes allow, 1 the best."""

    model: str
    votes: int
    strength: Logits
    rank: tuple[int, int]
    island: int


class Difference(_Part):
    """How much stronger one model is than another, all pairs considered at once."""

    first: str
    second: str
    difference: Logits
    distinguishable: bool


class Ranking(_Part):
    """Davidson's model: strengths, what cannot be told apart, and what cannot be said."""

    strengths: tuple[Strength, ...]
    differences: tuple[Difference, ...]
    groups: tuple[tuple[str, ...], ...]
    side: Logits
    nu: float
    connected: bool
    separated: bool


class Repeats(_Part):
    """What raters said when they saw a pair again with sides swapped.

    Attributes:
        same: Share of repeats with the same answer about the models.
        same_side: How many chose the same side again, and so the other model.
    """

    same: Estimate
    same_side: int


class Published(_Part):
    """A line of a published table, in percent, beside which ours is laid."""

    first: str
    second: str
    physics: float
    action: float


class Axis(_Part):
    """One question.

    Attributes:
        statements: What a reader has to be told, as sentences.
        votes: Votes that count, ties included.
        unsure: Answers "can't tell", which do not count.
        pairs: Rates of all pairs under the planned tie rule.
        random_pairs: The same from the random arm alone, for audit.
        anchor_rates: Every model's rate against the anchor, in preset ``dreamdojo``.
        position: Share of decided votes for the left.
        agreement: Krippendorff's alpha, nominal and ordinal.
        gold: Share of gold questions answered rightly.
    """

    statements: tuple[str, ...]
    votes: int
    raters: int
    clips: int
    unsure: int
    pairs: tuple[Pair, ...]
    random_pairs: tuple[Pair, ...]
    anchor_rates: tuple[Pair, ...]
    ranking: Ranking | None
    position: Estimate
    repeats: Repeats
    agreement: dict[Literal["nominal", "ordinal"], Estimate]
    gold: Estimate


class Reason(_Part):
    """Votes left out for one reason."""

    rule: str
    sentence: str
    raters: tuple[str, ...]
    votes: int


class Plan(_Part):
    """The study and its planned analysis; ``registered`` says whether the log names this plan."""

    title: str
    suite: str
    hash: str
    registered: bool
    consent_version: str
    ties: str
    preset: str
    anchor: str | None
    level: float
    bootstrap: int
    seed: int


class Log(_Part):
    """The vote log that was analysed."""

    hash: str
    events: int
    votes: int
    erased: int
    whole: bool
    faults: tuple[str, ...]
    first: str
    last: str


class Preferences(_Part):
    """The whole of ``preferences.json``.

    Attributes:
        counts: Votes by kind, and how many count.
        timeline: Votes by time, as the beginning of each span and their number.
    """

    format: Literal[1] = FORMAT
    kind: Literal["dojobench-preferences"] = KIND
    study: Plan
    log: Log
    models: tuple[str, ...]
    counts: dict[str, int]
    exclusions: tuple[Reason, ...]
    axes: dict[str, Axis]
    timeline: tuple[tuple[str, int], ...]
    published: tuple[Published, ...]


def to_json(found: Preferences) -> str:
    """Writes the file's text; equal findings give equal bytes."""
    return json.dumps(found.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def read_preferences(path: Path) -> Preferences:
    """Reads ``preferences.json``.

    Raises:
        BadInputError: If it is not there, or not in this format.
    """
    try:
        return Preferences.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInputError(
            f"{path} is no preferences file in format {FORMAT}: '{place}': {first['msg']}; make "
            "it again with 'dojobench study analyze'"
        ) from error


def estimate(interval: Interval) -> Estimate:
    """Turns an interval into its entry."""
    return Estimate(
        value=number(interval.mean), low=number(interval.low), high=number(interval.high),
        n=interval.n, method=interval.method,
    )  # fmt: skip


def logits(contrast: Contrast) -> Logits:
    """Turns a contrast into its entry."""
    low, high = contrast.bootstrap
    return Logits(
        clustered=estimate(contrast.clustered),
        naive=Ends(low=number(contrast.naive.low), high=number(contrast.naive.high)),
        bootstrap=Ends(low=number(low), high=number(high)),
    )


def number(value: float) -> float | None:
    """Rounds to what machines agree on; ``None`` for what is no number."""
    return round(float(value), 6) + 0.0 if math.isfinite(value) else None
