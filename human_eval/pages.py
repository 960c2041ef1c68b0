"""Renders a rater's pages: templates and texts in, HTML out.

Everything that is put into a page is escaped. Addresses are relative, so that a study may lie
below any path of a server.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from dojobench.human_eval.texts import DEFAULT_LANGUAGE, fill, languages, load_texts
from dojobench.human_eval.training import ANSWERS, OPTIONS

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""The content security policy that all pages work under; sent as a header."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dojobench.human_eval", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fill"] = fill
    return environment


def render(
    page: str,
    language: str = DEFAULT_LANGUAGE,
    *,
    offered: tuple[str, ...] = (DEFAULT_LANGUAGE,),
    **values: Any,
) -> str:
    """Renders one page.

    The pages and what they take:

    - ``welcome``: ``study`` (``title``, ``trials``, ``minutes``, ``consent_version``) and
      ``missing``: whether the box was not ticked. Posts ``agree=yes`` to ``consent``.
    - ``training``: ``attempt`` (1 or 2), ``wrong`` (names of questions) and ``given`` (question
      to option). Posts one option per question to ``training``.
    - ``trial``: ``trial``, as the scheduler hands it out. Posts to ``vote``.
    - ``done``: ``done`` (``code``, ``url``, ``number``; each may be ``None``) and ``failed``:
      whether it ends here because of the training.
    - ``error``: ``message``, a sentence, and ``back``: whether going on makes sense. It may stand
      at any depth, so ``root`` leads from there to the study's own address.

    Args:
        page: Name of the template without its ending.
        language: Code of the rater's language.
        offered: Languages that the study offers.
        values: What the page takes; ``token`` goes into every form where it is given.

    Returns:
        HTML.
    """
    names = languages()
    common: Mapping[str, Any] = {
        "t": load_texts(language),
        "lang": language,
        "languages": [(code, names[code]) for code in offered if code in names],
        "questions": tuple(ANSWERS),
        "options": OPTIONS,
        "root": "",
    }
    return _environment().get_template(f"{page}.html").render({**common, **values})
