"""Every finding of the checker by its stable code; ``docs/submit.md`` has the same table.

A code is never given another meaning and never used again; one that is retired leaves a gap.
"""

from typing import NamedTuple

LEVELS = ("error", "warning", "note")
"""An error refuses a submission, a warning asks a person to look, a note is for the reader."""


class Code(NamedTuple):
    """One kind of finding.

    Attributes:
        level: One of ``LEVELS``.
        title: What it is, in a few words.
    """

    level: str
    title: str


CODES: dict[str, Code] = {
    # S: the folder and its files
    "DB-S001": Code("error", "no submission folder or archive"),
    "DB-S002": Code("error", "a link or special file"),
    "DB-S003": Code("error", "a file that does not belong there"),
    "DB-S004": Code("error", "a missing file"),
    "DB-S005": Code("error", "too large or too many files"),
    "DB-S006": Code("error", "a name that is not allowed"),
    "DB-S007": Code("error", "no valid JSON or TOML"),
    "DB-S008": Code("error", "a field that is wrong"),
    "DB-S009": Code("error", "an unknown format version"),
    "DB-S010": Code("error", "a file that is not the one that was packed"),
    "DB-S011": Code("error", "card.toml and submission.json disagree"),
    "DB-S012": Code("error", "submission.json and run.json disagree"),
    "DB-S013": Code("error", "folder name and id differ"),
    "DB-S014": Code("error", "a file that only maintainers add"),
    "DB-S015": Code("error", "an unsafe archive"),
    "DB-S016": Code("error", "an impossible date"),
    "DB-S017": Code("error", "nothing to show"),
    "DB-S018": Code("error", "a part of the check that could not be made"),
    # V: suites, versions, seeds
    "DB-V101": Code("error", "a suite that the board does not know"),
    "DB-V102": Code("error", "suite and manifest disagree"),
    "DB-V103": Code("error", "an unknown or old metric version"),
    "DB-V104": Code("error", "fewer than three seeds"),
    "DB-V105": Code("error", "no fidelity run of the suite"),
    "DB-V106": Code("error", "LPIPS with weights that are not the published ones"),
    "DB-V107": Code("error", "a model that sees the truth"),
    "DB-V108": Code("error", "runs of different models"),
    # R: records and summary
    "DB-R201": Code("error", "a damaged record"),
    "DB-R202": Code("error", "missing records"),
    "DB-R203": Code("error", "a repeated or foreign record"),
    "DB-R204": Code("error", "a summary that does not follow from the records"),
    "DB-R205": Code("error", "a metric that was left out"),
    "DB-R206": Code("error", "a record that does not describe its clip"),
    # C: cheats, by name
    "DB-C301": Code("error", "copied ground truth"),
    "DB-C302": Code("error", "actions ignored"),
    "DB-C303": Code("error", "frozen frames"),
    "DB-C304": Code("error", "another model's records"),
    "DB-C305": Code("error", "edited records"),
    "DB-C306": Code("error", "dropped clips"),
    "DB-C307": Code("error", "best of many seeds"),
    "DB-C308": Code("error", "retrieval of training clips"),
    "DB-C309": Code("error", "predictions of another suite version"),
    "DB-C310": Code("error", "timings that the hardware cannot do"),
    # T: what the card declares
    "DB-T401": Code("error", "training on what is tested"),
    "DB-T402": Code("error", "no training data declared"),
    "DB-T403": Code("error", "the suite's data without splits"),
    "DB-H501": Code("error", "hardware that does not exist"),
    # W: a person should look
    "DB-W601": Code("warning", "near the truth"),
    "DB-W602": Code("warning", "actions hardly matter"),
    "DB-W603": Code("warning", "use of actions not checked"),
    "DB-W604": Code("warning", "changed code"),
    "DB-W605": Code("warning", "like another submission"),
    "DB-W606": Code("warning", "seeds that hardly differ"),
    "DB-W607": Code("warning", "errors that do not grow"),
    "DB-W608": Code("warning", "partly frozen"),
    "DB-W609": Code("warning", "unknown hardware"),
    "DB-W610": Code("warning", "suite without a reference"),
    # N: for the reader
    "DB-N701": Code("note", "a baseline that is on the board already"),
    "DB-N702": Code("note", "scored from compressed video"),
    "DB-N703": Code("note", "frames were resized"),
    "DB-N704": Code("note", "old metric version"),
    "DB-N705": Code("note", "code without a commit"),
    "DB-N706": Code("note", "training data not searched for copies"),
    "DB-N707": Code("note", "withdrawn or corrected"),
    "DB-N708": Code("note", "attested"),
    "DB-N709": Code("note", "reported elsewhere"),
    "DB-N710": Code("note", "no videos to audit"),
}
