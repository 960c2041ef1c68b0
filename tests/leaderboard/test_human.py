"""Preferences of a human study, from its votes over ``submit pack`` to the people's page."""

import json
from collections.abc import Callable
from pathlib import Path

import html5lib
import pytest

from dojobench.leaderboard.card import CARD_TEMPLATE
from dojobench.leaderboard.pack import PackConfig, pack
from dojobench.leaderboard.site_build import BuildConfig, build
from dojobench.leaderboard.verdict import Verdict
from dojobench.protocol.errors import BadInputError

Make = Callable[..., object]
NAMES = ("gamma", "beta", "alpha")
"""Worst first, as the simulated raters see them."""


def keep(_: Path) -> Verdict:
    return Verdict(id="", submission_sha256="", findings=())


@pytest.fixture
def submissions(fake_run: Make, study: Make, tmp_path: Path) -> Path:
    """Two of the study's three models, each of which brings the whole study along."""
    preferences = study(tmp_path / "study", NAMES)
    for k, name in enumerate(("alpha", "beta")):
        card = tmp_path / f"{name}.toml"
        card.write_text(CARD_TEMPLATE.replace('name = "my-model"', f'name = "{name}"'))
        run = fake_run(name=name, seed=k).write(tmp_path / f"{name}-run")
        out = tmp_path / "in" / f"{name}-1"
        pack(PackConfig(runs=(run,), card=card, out=out, preferences=preferences), keep)
    return tmp_path / "in"


def test_a_submission_with_a_study_is_accepted(submissions: Path, verdict_of: Make) -> None:
    verdict = verdict_of(submissions / "alpha-1")
    assert verdict.accepted, verdict.findings


def test_the_page_has_every_models_strength_with_its_clustered_interval(
    submissions: Path, tmp_path: Path
) -> None:
    found = json.loads((submissions / "alpha-1" / "preferences.json").read_text())
    built = build(BuildConfig(submissions=submissions, out=tmp_path / "site", workers=1))
    assert built.left_out == ()
    page = html5lib.parse(
        (tmp_path / "site/human.html").read_text(encoding="utf-8"), namespaceHTMLElements=False
    )
    tables = page.findall(".//table[@class='board']")
    assert len(tables) == len(found["axes"]) == 2, "one study that came twice is shown once"
    for table, axis in zip(tables, found["axes"].values(), strict=True):
        stated = {each["model"]: each for each in axis["ranking"]["strengths"]}
        rows = table.findall(".//tbody/tr")
        assert [row.find("th").findtext("a") or row.findtext("th").strip() for row in rows] == [
            "alpha", "beta", "gamma",
        ]  # fmt: skip
        for row, name in zip(rows, reversed(NAMES), strict=True):
            clustered = stated[name]["strength"]["clustered"]
            cell = row.findall("td")[1]
            assert float(cell.get("data-order")) == clustered["value"]
            shown = [
                float(end.replace("−", "-"))
                for end in cell.findtext("span[@class='interval']").split(" to ")
            ]
            assert shown == pytest.approx([clustered["low"], clustered["high"]], abs=0.006)
            naive = stated[name]["strength"]["naive"]
            assert shown != pytest.approx([naive["low"], naive["high"]], abs=0.006)
            low, high = stated[name]["rank"]
            rank = row.findtext("td[@class='rank']/span")
            assert rank == (str(low) if low == high else f"{low}–{high}")
    text = "".join(page.itertext())
    assert "Krippendorff" in text
    front = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "Physical correctness" in front


def test_a_study_without_the_model_is_refused(
    fake_run: Make, study: Make, tmp_path: Path, codes: Make
) -> None:
    preferences = study(tmp_path / "study", ("one", "another"))
    card = tmp_path / "card.toml"
    card.write_text(CARD_TEMPLATE)
    run = fake_run().write(tmp_path / "run")
    config = PackConfig(
        runs=(run,), card=card, out=tmp_path / "my-model-1", preferences=preferences
    )
    assert codes(pack(config, keep)[0]) == {"DB-S012"}


def test_something_else_is_not_packed_as_a_study(fake_run: Make, tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text(CARD_TEMPLATE)
    (tmp_path / "mine.json").write_text('{"format": 1}')
    run = fake_run().write(tmp_path / "run")
    config = PackConfig(
        runs=(run,), card=tmp_path / "card.toml", out=tmp_path / "a-1",
        preferences=tmp_path / "mine.json",
    )  # fmt: skip
    with pytest.raises(BadInputError, match=r"mine\.json"):
        pack(config, keep)
    assert not (tmp_path / "a-1").exists()
