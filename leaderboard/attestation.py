"""``attestation.json``: what an audit recomputed, and how far it was from what was sent."""

import hashlib
import json
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dojobench.leaderboard.card import Digest, Line, Paragraphs, Part
from dojobench.leaderboard.dates import parse_date


def _date(text: str) -> str:
    parse_date(text)
    return text


class Round(Part):
    """A round of audits; its seed is published after the submissions were sent in.

    Attributes:
        name: Such as ``2026-12``.
        seed: Public, such as a hash that nobody can choose.
    """

    name: Line
    seed: Annotated[str, Field(min_length=8, max_length=200)]


class Comparison(Part):
    """One number of one clip and seed.

    Attributes:
        submitted: What the records say.
        recomputed: What came out.
        tolerance: Largest difference that is no contradiction.
        within: Whether they agree.
    """

    run: Line
    clip: Line
    seed: int
    metric: Line
    submitted: float
    recomputed: float
    tolerance: float
    within: bool


def mean_comparison(
    chosen: Sequence[Comparison], tolerance: float, *, backwards: float = math.inf
) -> Comparison:
    """Compares means over drawn clips, which are known better than any one clip.

    Args:
        chosen: Of one run and metric.
        tolerance: By how much the records may say more than what came out.
        backwards: How many tolerances they may say less.
    """
    said = fmean(each.submitted for each in chosen)
    found = fmean(each.recomputed for each in chosen)
    return Comparison(
        run=chosen[0].run,
        clip=f"mean of {len(chosen)}",
        seed=-1,
        metric=chosen[0].metric,
        submitted=said,
        recomputed=found,
        tolerance=tolerance,
        within=-backwards * tolerance <= said - found <= tolerance,
    )


class Floor(Part):
    """What the truth scores against its own copy in the videos' codec: the codec floor.

    Attributes:
        psnr: dB; lossless files have none.
        ssim: 0 to 1.
    """

    clip: Line
    psnr: float
    ssim: float


class PrivateScore(Part):
    """What a model scored on private clips beside public ones of the same splits."""

    metric: Line
    split: Line
    public: float
    private: float
    private_clips: int
    tolerance: float
    within: bool


class Attestation(Part):
    """``attestation.json``.

    Attributes:
        format: 1.
        submission_sha256: Hash of the audited ``submission.json``.
        draw: Hash that the clips were drawn by: of the submission's hash and the round's seed.
        method: ``videos`` (scores recomputed from them) or ``model`` (run again).
        suites: Version of each audited suite.
        comparisons: Number by number.
        floors: Codec floors, where videos were compressed.
        private: Of the private split, where one was run.
        private_commitment: The private suite's published commitment.
        checks: What else was looked at: name to sentence.
        failures: Sentences; the audit passed where there are none.
        passed: Whether it passed.
        code: Version and commit of the auditing code.
        packages: Versions.
        hardware: The machine, in words.
        audited: When.
        auditor: Who.
        previous: Hash of the attestation that this one takes the place of.
        sha256: Hash of all of this, with this field left out.
    """

    format: Literal[1] = 1
    submission_id: Line
    submission_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    round: Round
    draw: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    method: Literal["videos", "model"]
    suites: dict[str, str]
    comparisons: tuple[Comparison, ...]
    floors: tuple[Floor, ...] = ()
    private: tuple[PrivateScore, ...] = ()
    private_commitment: Digest | None = None
    checks: dict[str, Paragraphs] = Field(default_factory=dict)
    failures: tuple[Paragraphs, ...] = ()
    passed: bool
    code: dict[str, str | bool | None]
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: Line
    audited: Annotated[str, AfterValidator(_date)]
    auditor: Line
    previous: str | None = None
    sha256: str = ""

    def digest(self) -> str:
        """Hashes everything but ``sha256`` itself."""
        fields = self.model_dump(mode="json", exclude={"sha256"})
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def sealed(self) -> "Attestation":
        """Gives a copy that carries its own hash."""
        return self.model_copy(update={"sha256": self.digest()})

    @property
    def whole(self) -> bool:
        """Whether it is as it was sealed."""
        return self.sha256 == self.digest()
