"""Plans: what is refused and in which words, the order of jobs, and the file."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojobench.protocol.errors import BadInputError
from dojobench.slurm.nano import nano_plan
from dojobench.slurm.plan import Job, Plan, Resources, plan_from_steps, plan_to_json, read_plan


def job(name: str, *after: str) -> Job:
    return Job(name=name, command=("data", "list"), after=after)


def plan(*jobs: Job) -> Plan:
    return Plan(name="p", jobs=jobs)


def test_jobs_come_after_what_they_wait_for_and_else_as_given() -> None:
    made = plan(job("c", "a"), job("z"), job("a"), job("d", "c", "z"), job("b"))
    assert [one.name for one in made.ordered()] == ["z", "a", "b", "c", "d"]
    assert made.upstream("d") == ["z", "a", "c"]


@given(st.data())
def test_the_order_holds_for_any_plan_without_a_circle(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    names = data.draw(st.permutations([f"j{index}" for index in range(count)]))
    jobs = [
        job(name, *data.draw(st.lists(st.sampled_from(names[:index]), unique=True)))
        if index
        else job(name)
        for index, name in enumerate(names)
    ]
    shuffled = data.draw(st.permutations(jobs))
    seen: set[str] = set()
    for one in plan(*shuffled).ordered():
        assert set(one.after) <= seen
        seen.add(one.name)
    assert len(seen) == count


def test_a_circle_is_named() -> None:
    with pytest.raises(BadInputError, match=r"'\w' waits for '\w' waits for") as caught:
        plan(job("a", "c"), job("b", "a"), job("c", "b"), job("d"))
    assert "'d'" not in str(caught.value)
    with pytest.raises(BadInputError, match="'a' waits for 'a'"):
        plan(job("a", "a"))


def test_an_unknown_dependency_is_named_with_what_there_is() -> None:
    with pytest.raises(BadInputError, match=r"'b' waits for 'tokeniser'.* jobs are a, b"):
        plan(job("a"), job("b", "tokeniser"))


def test_two_jobs_of_one_name_are_refused() -> None:
    with pytest.raises(BadInputError, match="two jobs called 'a'"):
        plan(job("a"), job("b"), job("a"))


@pytest.mark.parametrize("name", ["", "a b", "../a", "a.0", "-a", "a/b", "x" * 65])
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be called"):
        job(name)
    with pytest.raises(BadInputError, match="cannot be called"):
        Plan(name=name, jobs=(job("a"),))


def test_empty_things_are_refused() -> None:
    with pytest.raises(BadInputError, match="has no jobs"):
        plan()
    with pytest.raises(BadInputError, match="no command"):
        Job(name="a", command=())
    with pytest.raises(BadInputError, match="array of no tasks"):
        Job(name="a", command=("demo",), array=())


@pytest.mark.parametrize("wrong", [{"cpus": 0}, {"gpus": -1}, {"memory_gb": 0}, {"minutes": 0}])
def test_impossible_resources_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInputError, match="impossible"):
        Resources(**wrong)


def test_an_array_has_a_task_for_each_variation() -> None:
    made = Job(name="rows", command=("run", "hold"), array=(("--seeds", "0"), ("--seeds", "1")))
    first, second = made.tasks()
    assert (first.name, second.name) == ("rows.0", "rows.1")
    assert first.argv[:3] == (sys.executable, "-m", "dojobench.cli")
    assert second.argv[3:] == ("run", "hold", "--seeds", "1")
    assert second.folder == "rows/1"


def test_the_file_gives_the_same_plan_and_the_same_bytes(tmp_path: Path) -> None:
    made = plan(
        Job(
            name="a",
            command=("run", "hold"),
            array=(("--limit", "1"),),
            resources=Resources(gpus=1, partition="gpu"),
            folder="x/y",
        ),
        job("b", "a"),
    )
    path = tmp_path / "plan.json"
    path.write_bytes(plan_to_json(made))
    assert read_plan(path) == made
    assert plan_to_json(read_plan(path)) == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jobs": [{"name": "a"}]}, r"jobs\.0\.command"),
        ({"jobs": [{"name": "a", "command": ["x"], "afte": ["b"]}]}, r"jobs\.0\.afte"),
        ({"jobs": [{"name": "a", "command": "x"}]}, r"jobs\.0\.command"),
        ({"jobs": [{"name": "a", "command": ["x"], "resources": {"gpu": 1}}]}, r"resources\.gpu"),
        ({"jobs": [{"name": "a", "command": ["x"], "after": ["b"]}]}, "waits for 'b'"),
        ({"name": 3}, "name"),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"name": "p", "jobs": [{"name": "a", "command": ["x"]}]} | change))
    with pytest.raises(BadInputError, match=said) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_json_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        read_plan(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(BadInputError, match="is no plan"):
        read_plan(tmp_path / "bad.json")


@pytest.mark.parametrize("smoke", [False, True])
def test_the_reference_models_chain_is_a_plan(tmp_path: Path, smoke: bool) -> None:
    made = nano_plan(tmp_path / "run", smoke=smoke)
    names = [one.name for one in made.ordered()]
    assert made.name == ("smoke" if smoke else "nano")
    assert (names[0], names[-1]) == ("data", "report")
    assert set(made.upstream("report")) == set(names) - {"report"}
    assert all(one.tasks()[0].argv[1:3] == ("-m", "dojobench.cli") for one in made.jobs)


def test_the_plan_does_not_depend_on_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nano_plan(Path("run")) == nano_plan(tmp_path / "run")


@dataclass
class Step:
    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    resources: Resources | None = None


def test_steps_of_another_room_become_jobs() -> None:
    as_mappings = [
        {"name": "a", "argv": ["data", "list"], "resources": {"cpus": 3, "minutes": None}},
        {"name": "b", "argv": ["demo"], "after": ["a"], "array": [["--limit", 1]], "folder": "f"},
    ]
    first, second = plan_from_steps("p", as_mappings).jobs
    assert first.command == ("data", "list")
    assert (first.resources.cpus, first.resources.minutes) == (3, Resources().minutes)
    assert (second.after, second.array, second.folder) == (("a",), (("--limit", "1"),), "f")
    as_objects = [Step("a", ("data", "list"), resources=Resources(cpus=3))]
    assert plan_from_steps("p", as_objects).jobs[0] == first
