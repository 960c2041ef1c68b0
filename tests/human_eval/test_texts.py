"""What raters read is there in every language, and every page can be made of it."""

import html5lib
import pytest

from dojobench.human_eval.pages import render
from dojobench.human_eval.texts import (
    DEFAULT_LANGUAGE,
    check_texts,
    fill,
    flat,
    gaps,
    languages,
    load_texts,
)
from dojobench.human_eval.training import ANSWERS, OPTIONS, wrong_answers
from dojobench.protocol import BadInputError

TRIAL = {
    "id": "a1",
    "token": "token",
    "number": 3,
    "of": 12,
    "left": {"url": "media/l"},
    "right": {"url": "media/r"},
    "reference": {"url": "media/t", "kind": "truth"},
    "actions": {"url": "media/a"},
    "frames": 29,
    "rate": 10.0,
    "axes": ["physics", "action"],
    "questions": {"physics": "physics", "action": "action"},
}
PAGES = {
    "welcome": {"study": {"title": "S", "trials": 12, "minutes": 9, "consent_version": "1"}},
    "training": {"attempt": 2, "wrong": ("same",), "given": {"same": "left"}, "token": "x"},
    "trial": {"trial": TRIAL},
    "done": {
        "done": {"code": "C", "url": "https://panel.example/", "number": "7"},
        "failed": False,
    },
    "error": {"message": "No.", "back": True},
}


def test_english_and_chinese_are_there() -> None:
    assert languages()["en"] == "English"
    assert languages()["zh"] == "中文"


@pytest.mark.parametrize("language", [code for code in languages() if code != DEFAULT_LANGUAGE])
def test_all_languages_have_the_same_keys_and_gaps(language: str) -> None:
    ours, other = (dict(flat(load_texts(code))) for code in (DEFAULT_LANGUAGE, language))
    assert set(ours) == set(other)
    assert {key: gaps(text) for key, text in ours.items()} == {
        key: gaps(text) for key, text in other.items()
    }
    assert all(text.strip() for text in other.values())


def test_chinese_is_chinese() -> None:
    spoken = {
        key: text for key, text in flat(load_texts("zh")) if not key.startswith("trial.speed_")
    }
    assert [
        key for key, text in spoken.items() if not any("\u4e00" <= c <= "\u9fff" for c in text)
    ] == []


def test_an_unknown_language_is_refused_in_one_sentence() -> None:
    with pytest.raises(BadInputError, match="no texts in the language 'xx'"):
        load_texts("xx")
    with pytest.raises(BadInputError, match="no texts"):
        load_texts("../texts/en")


def test_a_question_without_a_text_is_refused_in_one_sentence() -> None:
    check_texts(languages(), ("physics", "action"))
    with pytest.raises(BadInputError, match=r"'taste' is missing below \[trial\] in .*en.toml"):
        check_texts(("en",), ("physics", "taste"))
    with pytest.raises(BadInputError, match="no texts in the language 'xx'"):
        check_texts(("en", "xx"), ("physics",))


def test_the_question_is_the_one_that_the_plan_names() -> None:
    questions = {"physics": "action", "action": "action"}
    html = render("trial", trial={**TRIAL, "questions": questions})
    texts = load_texts("en")["trial"]
    assert html.count(f"<legend>{texts['action']}</legend>") == 2
    assert f"<legend>{texts['physics']}</legend>" not in html


def test_gaps_are_filled_and_unfilled_ones_stay_visible() -> None:
    assert fill("Frame {frame} of {frames}", frame=3) == "Frame 3 of {frames}"


def test_every_training_question_has_its_texts_and_one_right_answer() -> None:
    for code in languages():
        questions = load_texts(code)["training"]["questions"]
        assert set(questions) == set(ANSWERS)
        for question in questions.values():
            assert set(question) == {"text", "hint", *OPTIONS}
    assert wrong_answers(dict(ANSWERS)) == ()
    assert wrong_answers({**ANSWERS, "same": "left"}) == ("same",)
    assert wrong_answers({}) == tuple(ANSWERS)


@pytest.mark.parametrize("language", list(languages()))
@pytest.mark.parametrize("page", list(PAGES))
def test_pages_are_valid_html_without_inline_script_or_style(page: str, language: str) -> None:
    html = render(page, language, offered=tuple(languages()), **PAGES[page])
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree = parser.parse(html)
    assert tree.get("lang") == language
    for element in tree.iter():
        if not isinstance(element.tag, str):
            continue
        assert not [name for name in element.keys() if name.startswith("on") or name == "style"]
        assert element.tag != "style"
        assert element.tag != "script" or element.get("src", "").startswith("static/")
        for name in ("src", "href", "action"):
            address = element.get(name, "")
            outside = address.startswith(("http", "//", "/"))
            assert not outside or address == "https://panel.example/", address
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_what_a_study_is_called_is_escaped() -> None:
    html = render(
        "welcome",
        study={"title": "<script>1</script>", "trials": 1, "minutes": 1, "consent_version": '"'},
    )
    assert "<script>1" not in html


def test_a_trial_without_truth_shows_the_first_frame() -> None:
    html = render("trial", trial={**TRIAL, "reference": {"url": "media/f", "kind": "first_frame"}})
    assert 'id="image-reference"' in html
    assert "video-reference" not in html


def test_a_study_of_one_question_uses_the_first_keys() -> None:
    html = render("trial", trial={**TRIAL, "axes": ["action"]})
    assert "question-physics" not in html
    assert "<kbd>1</kbd>" in html
    assert "<kbd>5</kbd>" not in html
