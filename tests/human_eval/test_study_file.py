"""The plan: what is read is what was written, and every mistake is named."""

import hashlib
import tomllib

import pytest

from dojobench.human_eval.study_file import Study, parse_study, read_study, study_toml, write_study
from dojobench.human_eval.toml_writer import to_toml
from dojobench.protocol.errors import BadInputError

PLAIN = {
    "study": {"title": 'A "quoted" \\ title, 中文, \x7f\n', "suite": "dojo-v1"},
    "models": [{"name": "A", "source": "runs/a"}, {"name": "B", "source": "runs/b"}],
    "axes": {"physics": {"question": "physics.question"}},
    "trials": {"pairs": 50},
    "stopping": {"half_width": 0.05, "max_votes": 9000},
}


@pytest.fixture
def text():
    return study_toml(Study.model_validate(PLAIN))


def test_written_and_read_is_the_same(text, tmp_path):
    study = parse_study(text.encode())
    assert study == Study.model_validate(PLAIN)
    assert study_toml(study) == text
    assert study.axes.names == ("physics",)
    assert study.model_names == ("A", "B")
    digest = write_study(study, tmp_path)
    assert read_study(tmp_path).study == study
    content = (tmp_path / "study.toml").read_bytes()
    assert digest == read_study(tmp_path / "study.toml").hash
    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_any_change_of_the_bytes_changes_the_hash(text, tmp_path):
    (tmp_path / "study.toml").write_text(text)
    before = read_study(tmp_path).hash
    (tmp_path / "study.toml").write_text(text + "# a comment\n")
    assert read_study(tmp_path).hash != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gold_share", "gold_shar", "unknown key 'trials.gold_shar'; did you mean 'gold_share'?"),
        ("[ties]", "[tie]", "unknown key 'tie'; did you mean 'ties'?"),
        ("axes.physics", "axes.physic", "unknown key 'axes.physic'; did you mean 'physics'?"),
        ("pairs = 50", 'pairs = "50"', "'trials.pairs': Input should be a valid integer"),
        ("pairs = 50", "", "'trials.pairs' is missing"),
        ('rule = "half"', 'rule = "haf"', "should be 'half', 'drop' or 'own' (it is 'haf')"),
        ('name = "B"', 'name = "A"', "two models called 'A'"),
        ('source = "runs/b"', "", "'models.1.source' is missing"),
        ("[analysis]", '[analysis]\nanchor = "a"', "the anchor 'a', which is no model"),
        ("level = 0.95", "level = nan", "'analysis.level'"),
        ("gold_share = 0.1", "gold_share = 0.95", "leaves no ordinary trial"),
        ("format = 1", "format = 2", "'study.format'"),
        ("[study]", "[study", "is no TOML file"),
    ],
)
def test_every_mistake_is_one_sentence(text, old, new, said):
    assert old in text
    with pytest.raises(BadInputError) as caught:
        parse_study(text.replace(old, new, 1).encode(), "my/study.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("my/study.toml")
    assert "\n" not in str(caught.value).replace(r"\n", "")


def test_no_question_and_no_file(tmp_path):
    with pytest.raises(BadInputError, match="must ask about physics, action or both"):
        parse_study(study_toml(Study.model_validate(PLAIN)).split("[axes.physics]")[0].encode())
    with pytest.raises(BadInputError, match="'dojobench study create' writes one"):
        read_study(tmp_path / "none.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(BadInputError, match="no study file"):
        read_study(tmp_path / "big.toml")


def test_toml_is_what_tomllib_reads():
    table = {
        "a": 1, "b": [1.5, -2e300], "c": "x\ty\x00", "strange key": True, "d": {"e": {"f": "g"}},
        "g": [{"h": 1}, {"h": 2, "i": {"j": []}}],
    }  # fmt: skip
    assert tomllib.loads(to_toml(table, {"a": "a comment"})) == table
    with pytest.raises(ValueError, match="inf"):
        to_toml({"a": float("inf")})
    with pytest.raises(ValueError, match="NoneType"):
        to_toml({"a": [None]})


def test_what_is_not_set_can_be_read_and_set(text):
    assert "# votes in all\nmax_votes = 9000" in text
    assert "# ordinary votes per axis and pair (not set)\n# votes_per_pair =\n" in text
    assert parse_study(text.encode()).stopping.votes_per_pair is None
    chosen = parse_study(text.replace("# votes_per_pair =", "votes_per_pair = 5").encode())
    assert chosen.stopping.votes_per_pair == 5
