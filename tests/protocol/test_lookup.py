"""A model is found by name, factory, folder or address, and what is wrong is said."""

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, Literal

import pytest

from dojobench.protocol import BadInputError
from dojobench.protocol.lookup import GROUP, load_model
from dojobench.protocol.options import bind_options, parse_pairs

MODULE = """
from pathlib import Path
from typing import Literal, Optional
from dojobench.protocol import ModelSpec

class Model:
    def __init__(self, **found):
        self.spec = ModelSpec(name="m")
        self.found = found
    def start(self, context, *, seed, instruction=None): ...

def make(count: int, rate: float = 1.5, flag: bool = False, kind: Literal["a", "b", 3] = "a",
         path: Optional[Path] = None, plain=4):
    return Model(**locals())

def fails(): return {}["missing"]
def half():
    class Half: spec = ModelSpec(name="half")
    return Half()
def wrong_spec():
    model = Model(); model.spec = None
    return model
def from_checkpoint(checkpoint: Path, size: int = 1): return Model(**locals())
ready = Model()
number = 3
"""


@pytest.fixture(autouse=True)
def module(lab: Path, request: pytest.FixtureRequest) -> str:
    name = "lab_" + "".join(c for c in request.node.name if c.isalnum())
    (lab / f"{name}.py").write_text(MODULE)
    return name


@pytest.fixture
def registered(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint(name=name, value=f"{module}:{target}", group=GROUP)
            for name, target in (
                ("glide", "make"), ("nano", "from_checkpoint"), ("gone", "gone"),
            )
        ]
    )  # fmt: skip
    monkeypatch.setattr("dojobench.protocol.lookup.entry_points", lambda group: points)


def found(model: Any) -> dict[str, Any]:
    values: dict[str, Any] = model.found
    return values


def said(reference: str, **options: str) -> str:
    with pytest.raises(BadInputError) as caught:
        load_model(reference, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_options_are_converted(module: str) -> None:
    options = {"count": "3", "rate": "2", "flag": "true", "kind": "3", "path": "a/b", "plain": "5"}
    assert found(load_model(f"{module}:make", options)) == {
        "count": 3, "rate": 2.0, "flag": True, "kind": 3, "path": Path("a/b"), "plain": 5,
    }  # fmt: skip
    assert found(load_model(f"{module}:make", {"count": "1", "path": "none"}))["path"] is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "needs the option count; add count=VALUE"),
        ({"count": "x"}, "takes count=int, not 'x'"),
        ({"count": "1", "flag": "maybe"}, "takes flag=bool, not 'maybe'"),
        ({"count": "1", "kind": "c"}, "takes kind=a or b or 3, not 'c'"),
        ({"cuont": "1"}, "has no option cuont; did you mean count"),
        ({"zzz": "1"}, "has no option zzz; it takes count, rate, flag, kind, path, plain"),
    ],
)
def test_options_that_do_not_fit(module: str, options: dict[str, str], expected: str) -> None:
    assert said(f"{module}:make", **options).endswith(expected)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("fails", "its factory raised KeyError: 'missing' (lab_"),
        ("half", "is a Half with no start"),
        ("wrong_spec", "has a spec of type NoneType"),
        ("mkae", "has no mkae; did you mean make"),
        ("number", "is a int with no spec and no start"),
    ],
)
def test_factories_that_fail(module: str, target: str, expected: str) -> None:
    assert expected in said(f"{module}:{target}")


def test_an_object_stands_for_itself(module: str) -> None:
    assert load_model(f"{module}:ready", {}).spec.name == "m"
    assert "takes no options" in said(f"{module}:ready", a="1")


def test_modules_that_fail(lab: Path) -> None:
    assert "there is no module nowhere_at_all" in said("nowhere_at_all.sub:make")
    (lab / "needs_more.py").write_text("import not_there_either")
    assert "No module named 'not_there_either' (needs_more.py line 1)" in said("needs_more:make")
    (lab / "broken_one.py").write_text("1 / 0")
    assert "fails to import: ZeroDivisionError" in said("broken_one:make")


@pytest.mark.usefixtures("registered")
def test_registered_names() -> None:
    assert found(load_model("glide", {"count": "2"}))["count"] == 2
    assert "did you mean glide" in said("glibe")
    assert "registered are glide, gone, nano" in said("xyzzy")
    assert "AttributeError" in said("gone")
    assert said("./no/such").startswith("there is no folder ./no/such")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["model.json", "dojobench.toml"])
def test_checkpoint_folders(lab: Path, name: str) -> None:
    folder = lab / "weights"
    folder.mkdir()
    text = '{"format": 1, "factory": "nano", "options": {"size": 4}}'
    if name == "dojobench.toml":
        text = 'format = 1\nfactory = "nano"\n[options]\nsize = 4'
    (folder / name).write_text(text)
    assert found(load_model("weights", {})) == {"checkpoint": Path("weights"), "size": 4}
    assert found(load_model(str(folder), {"size": "5"}))["size"] == 5


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, "holds no model.json"),
        ({"factory": "os:system"}, "'os:system', which is not registered"),
        ({"factory": "nano", "extra": 1}, "model.json: extra: "),
        ({"options": {}}, "model.json: factory: "),
        ({"factory": "nano", "options": {"size": [1]}}, "model.json: options.size"),
        ({"factory": "nano", "format": 2}, "has format 2"),
        ("[" * 70000, "is longer than 65536 bytes"),
        ("[" * 60000, "cannot be read"),
        ("{", "cannot be read"),
    ],
)
def test_folders_that_are_no_checkpoint(lab: Path, card: object, expected: str) -> None:
    (lab / "w").mkdir()
    if card is not None:
        (lab / "w" / "model.json").write_text(card if isinstance(card, str) else json.dumps(card))
    assert expected in said("w")


def test_a_folder_never_brings_code(lab: Path, module: str) -> None:
    (lab / "w").mkdir()
    (lab / "w" / "model.json").write_text(json.dumps({"factory": f"{module}:make"}))
    assert "a folder may not bring code of its own" in said("w")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ftp://host", "has the scheme ftp"),
        ("ws://", "names no host"),
        ("http://:80", "names no host"),
        ("ws://user:secret@host", "would be recorded; put the token into the variable"),
        ("ws://host:notaport", "is no address"),
        ("ws://127.0.0.1:1", "cannot be reached"),
        ("http://127.0.0.1:1", "cannot be reached"),
    ],
)
def test_addresses(address: str, expected: str) -> None:
    message = said(address)
    assert expected in message
    assert "secret" not in message


def test_options_of_addresses() -> None:
    assert "has no option timeuot; did you mean timeout" in said("ws://127.0.0.1:1", timeuot="3")
    assert "must be above 0 seconds" in said("ws://127.0.0.1:1", timeout="0")
    assert "takes history_actions=refuse or zeros" in said(
        "http://127.0.0.1:1", history_actions="x"
    )
    assert "cannot be read" in said("http://127.0.0.1:1", token_file="nowhere")  # noqa: S106


def test_pairs() -> None:
    assert parse_pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for words in (["a"], ["=1"], ["a-b=1"], ["a=1", "a=2"]):
        with pytest.raises(BadInputError):
            parse_pairs(words)


def test_binding_by_annotation() -> None:
    def factory(a: int | str, *, b: Literal["x"] | None = None, **rest: str) -> None: ...

    def typed(callback: Callable[[], None]) -> None: ...

    assert bind_options(factory, {"a": "3", "b": "none", "c": "4"}, who="m") == {
        "a": "3", "b": None, "c": "4",
    }  # fmt: skip
    with pytest.raises(BadInputError, match="not 'f'"):
        bind_options(typed, {"callback": "f"}, who="m")
