"""Commands with commands of their own: the table, the choice, what does not exist."""

import pytest

from dojobench.protocol.subcommands import Subcommand, dispatch, later

TABLE = {
    "short": Subcommand(lambda argv: len(argv), "counts its arguments"),
    "much-longer": Subcommand(later("nowhere.to_be:found"), "is not there"),
}


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["help"]])
def test_the_table_is_aligned(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch("dojo", TABLE, argv, kind="target", more="One more thing.") == 0
    assert capsys.readouterr().out == (
        "usage: dojobench dojo TARGET [ARGUMENTS]\n\ntargets:\n"
        "  short        counts its arguments\n  much-longer  is not there\n\n"
        "One more thing.\n`dojobench dojo TARGET --help` explains a target.\n"
    )


def test_the_rest_of_the_arguments_goes_on() -> None:
    assert dispatch("dojo", TABLE, ["short", "one", "--help"]) == 2


def test_what_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch("dojo", TABLE, ["shrot"]) == 2
    told = "dojobench: there is no 'dojo shrot'; there are short, much-longer\n"
    assert capsys.readouterr().err == told


def test_what_is_imported_later_is_imported_when_it_runs() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        dispatch("dojo", TABLE, ["much-longer"])
    assert later("builtins:len")([]) == 0
