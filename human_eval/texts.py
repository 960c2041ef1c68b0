"""What raters read, one file per language, all with the same keys and the same gaps to fill.

A language is added by adding a file; nothing else knows which languages there are.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from dojobench.protocol.errors import BadInputError

DEFAULT_LANGUAGE = "en"
"""The language whose keys all others must have."""

_GAP = re.compile(r"\{(\w+)\}")


@cache
def languages() -> dict[str, str]:
    """Gives all languages that there are texts in: code to its own name, in the codes' order."""
    folder = files("dojobench.human_eval").joinpath("texts")
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): load_texts(name.removesuffix(".toml"))["name"] for name in found
    }


@cache
def load_texts(language: str) -> dict[str, Any]:
    """Reads the texts of one language, nested as in its file.

    Args:
        language: Code such as ``en``.

    Returns:
        Sections of texts; do not change them.

    Raises:
        BadInputError: If there are none in that language.
    """
    entry = files("dojobench.human_eval").joinpath("texts", f"{language}.toml")
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", language) or not entry.is_file():
        raise BadInputError(
            f"there are no texts in the language '{language}'; name one of those in "
            "human_eval/texts, or add a file there"
        )
    return tomllib.loads(entry.read_text("utf-8"))


def check_texts(offered: Iterable[str], questions: Iterable[str]) -> None:
    """Makes sure that a study's questions are there in all languages that it offers.

    Args:
        offered: Codes of the languages.
        questions: Keys of the questions' texts, as ``study.toml`` names them.

    Raises:
        BadInputError: If a language or a question's text is missing.
    """
    asked = [key for question in questions for key in (question, f"{question}_help")]
    for language in offered:
        known = load_texts(language)["trial"]
        for key in asked:
            if not isinstance(known.get(key), str):
                raise BadInputError(
                    f"study.toml asks a question whose text '{key}' is missing below [trial] in "
                    f"human_eval/texts/{language}.toml; add it there, or ask 'physics' or 'action'"
                )


def flat(texts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields ``section.key`` and text of all texts; those of a list are numbered from 0."""
    for key, value in texts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif isinstance(value, list):
            for number, line in enumerate(value):
                yield f"{name}.{number}", str(line)
        else:
            yield name, str(value)


def gaps(text: str) -> set[str]:
    """Gives the names of the gaps in a text."""
    return set(_GAP.findall(text))


def fill(text: str, **values: object) -> str:
    """Fills the gaps of a text; a gap without a value stays, so that it is seen."""
    return _GAP.sub(lambda gap: str(values.get(gap[1], gap[0])), text)
