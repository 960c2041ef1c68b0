"""``dojobench study analyze``."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class AnalyzeCommand:
    """Turns a vote log into rates, ranks and a report."""

    votes: tyro.conf.Positional[Path]
    """The vote log that `dojobench study export` wrote (.jsonl)."""
    study: Path
    """The study's plan (study.toml), or the folder that holds it."""
    out: Path
    """Folder for preferences.json and report.html."""
    unplanned: bool = False
    """Go on where the log names another plan or is damaged; the result says so."""


def analyze(argv: list[str]) -> int:
    """Runs ``dojobench study analyze``."""
    command = parse(AnalyzeCommand, argv, "dojobench study analyze")
    from dojobench.human_eval.analysis import analyze as analyze_votes
    from dojobench.human_eval.preferences import to_json
    from dojobench.human_eval.study_file import read_study
    from dojobench.human_eval.study_report import render
    from dojobench.human_eval.vote_export import read_vote_log
    from dojobench.human_eval.whole_file import write_whole

    plan = read_study(command.study)
    found = analyze_votes(plan, read_vote_log(command.votes), unplanned=command.unplanned)
    page = render(found)
    try:
        command.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"the folder {command.out} cannot be made ({error.strerror}); choose another --out"
        ) from error
    results, report = command.out / "preferences.json", command.out / "report.html"
    write_whole(results, to_json(found).encode())
    write_whole(report, page.encode())
    for axis, each in found.axes.items():
        for statement in each.statements:
            print(f"{axis}: {statement}")
    print(f"{results}\n{report}\nOpen the report in a browser; submit the other with your model.")
    return 0
