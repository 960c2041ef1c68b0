"""Every planted fault is found and named, and a model without any is left in peace."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dojobench.protocol import ActionSpace
from dojobench.protocol.client import connect
from dojobench.protocol.conformance import (
    ConformanceSettings,
    Finding,
    Report,
    check_model,
    write_report,
)
from dojobench.protocol.server import serving

Step = Callable[[torch.Tensor], torch.Tensor]
SMALL = ConformanceSettings(resolution=(24, 32))


@pytest.fixture
def faulty(glide: Any) -> Callable[..., Any]:
    """Makes the clean model with another way to step, built on the clean one."""

    def make(around: Callable[[Any, Step, torch.Tensor], Any], **spec: Any) -> Any:
        class Faulty(glide):  # type: ignore[misc]
            def start(self, context: torch.Tensor, **rest: Any) -> Any:
                session = super().start(context, **rest)
                session.last = context[:, -1:]
                clean = session.step

                def step(actions: torch.Tensor) -> Any:
                    answer = around(session, clean, actions)
                    session.last = answer[:, -1:] if isinstance(answer, torch.Tensor) else None
                    return answer

                session.step = step
                return session

        return Faulty(**spec)

    return make


def failures(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.sentence for finding in findings if finding.failed}


def notes(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.sentence for finding in findings if finding.status == "note"}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"native_chunk": 3},
        {"native_chunk": 4, "any_chunk": False},
        {"native_chunk": 1},
        {"context_frames": 5, "resolution": (17, 40), "views": ("wrist",)},
        {"frame_rate": 10.0},
    ],
)
def test_a_clean_model_passes_everything(glide: Any, spec: dict[str, Any]) -> None:
    findings = check_model(glide(**spec), SMALL)
    assert [finding for finding in findings if finding.status != "pass"] == []
    assert {finding.check for finding in findings} >= {
        "spec", "answers", "range", "side effects", "alignment", "chunk borders", "seed", "batch",
        "isolation", "actions", "refusals",
    }  # fmt: skip


def test_a_clean_model_passes_over_the_wire(glide: Any) -> None:
    with serving(glide()) as address, connect(address) as remote:
        assert all(finding.status == "pass" for finding in check_model(remote, SMALL))


def context_first(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    """Each chunk begins with the frame before it, as in the published evaluator."""
    return torch.cat([session.last, clean(actions)[:, :-1]], dim=1)


def one_late(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    """The rollout begins with the context frame, and every frame stands one late."""
    frames = clean(actions)
    whole = torch.cat([getattr(session, "kept", session.last), frames[:, :-1]], dim=1)
    session.kept = frames[:, -1:]
    return whole


def global_noise(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    frames = clean(actions)
    return frames + torch.randint(0, 9, (1, 1, 3, 1, 1), dtype=torch.uint8)


def batch_noise(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    """Draws noise for the batch, so that a sample's noise depends on its place."""
    frames = clean(actions)
    generator = torch.Generator().manual_seed(int(frames[0, 0, 0, 0, 0]))
    return frames + torch.randint(0, 60, (len(frames), 1, 3, 1, 1), generator=generator).byte()


def batch_mean(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    frames = clean(actions).float()
    return ((frames + frames.mean(dim=0, keepdim=True)) / 2).byte()


def forgets(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    """Starts anew with every step."""
    frames = clean(actions)
    session.offset = torch.zeros(len(actions))
    return frames


def in_place(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    frames = clean(actions)
    actions.mul_(2)
    return frames


def reused(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    """Answers with the same buffer every time."""
    frames = clean(actions)
    if getattr(session, "buffer", frames).shape != frames.shape:
        del session.buffer
    if not hasattr(session, "buffer"):
        session.buffer = frames
    return session.buffer.copy_(frames)


def ignores(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    return clean(actions * 0)


def unchecked(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
    return clean(actions[..., :7].nan_to_num())


ANSWERS: dict[str, tuple[Callable[[Any, Step, torch.Tensor], Any], str]] = {
    "one frame short": (lambda s, clean, a: clean(a)[:, 1:], "owes one frame an action"),
    "with the context": (
        lambda s, clean, a: torch.cat([s.last, clean(a)], dim=1), "without the context",
    ),
    "floats": (lambda s, clean, a: clean(a).float() / 255, "dtype float32 instead of uint8"),
    "NaN": (lambda s, clean, a: clean(a) / torch.tensor(0.0), "NaN or infinite values"),
    "channels last": (lambda s, clean, a: clean(a).movedim(2, -1), r"of shape \(2, 1, 24, 32, 3\)"),
    "smaller": (lambda s, clean, a: clean(a)[..., ::2], r"of shape \(2, 1, 3, 24, 16\)"),
    "one sample": (lambda s, clean, a: clean(a)[:1], r"of shape \(1, 1, 3, 24, 32\)"),
    "numpy": (lambda s, clean, a: clean(a).numpy(), "a ndarray, not a torch tensor"),
    "raises": (lambda s, clean, a: 1 // 0, "step raised ZeroDivisionError"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_are_none(faulty: Any, name: str) -> None:
    around, said = ANSWERS[name]
    findings = check_model(faulty(around), SMALL)
    assert list(failures(findings)) == ["answers"]
    assert re.search(said, failures(findings)["answers"])
    assert sum(finding.status == "skip" for finding in findings) == 9


@pytest.mark.parametrize(
    ("around", "check", "said"),
    [
        (context_first, "alignment", "A chunk begins with the last frame of the chunk before it"),
        (one_late, "alignment", "The first frame is the last context frame again"),
        (global_noise, "seed", "gave other frames the second time"),
        (batch_noise, "batch", "is not what it is alone"),
        (batch_mean, "batch", "is not what it is alone"),
        (forgets, "chunk borders", "8 steps of 1 and 1 step of 8 give other frames"),
        (in_place, "side effects", "changes the actions"),
        (reused, "side effects", "overwrites the frames of the step before"),
        (ignores, "actions", "ignores them, though its spec states an action space"),
        (lambda s, clean, a: clean(a) // 200, "range", "multiply by 255"),
        (unchecked, "refusals", "NaN actions are answered"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_planted_faults_are_found(
    faulty: Any, around: Callable[..., Any], check: str, said: str
) -> None:
    findings = check_model(faulty(around), SMALL)
    assert said in failures(findings)[check]


def test_faults_that_touch_one_thing_fail_one_check(faulty: Any) -> None:
    for around, check in (
        (batch_mean, "batch"), (forgets, "chunk borders"), (in_place, "side effects"),
        (ignores, "actions"), (unchecked, "refusals"), (one_late, "alignment"),
    ):  # fmt: skip
        assert list(failures(check_model(faulty(around), SMALL))) == [check]


@pytest.mark.parametrize("chunk", [2, 5])
def test_the_published_fault_in_native_chunks(faulty: Any, chunk: int) -> None:
    model = faulty(context_first, native_chunk=chunk, any_chunk=False)
    assert "chunk before it and the rollout" in failures(check_model(model, SMALL))["alignment"]


def test_a_wrong_width_that_is_answered(faulty: Any) -> None:
    sentences = [f.sentence for f in check_model(faulty(unchecked), SMALL) if f.failed]
    assert any("Actions of width 8 are answered with frames" in text for text in sentences)


def test_sessions_that_share_state(glide: Any) -> None:
    class Shared(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            session = super().start(context, **rest)
            self.generator = session.generator
            clean = session.step

            def step(actions: torch.Tensor) -> Any:
                session.generator = self.generator
                return clean(actions)

            session.step = step
            return session

    assert list(failures(check_model(Shared(), SMALL))) == ["isolation"]


def test_one_seed_for_the_whole_process(glide: Any) -> None:
    class Process(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            session = super().start(context, **rest)
            torch.manual_seed(rest["seed"])
            session.generator = torch.default_generator
            return session

    assert list(failures(check_model(Process(), SMALL))) == ["isolation"]


def test_a_context_that_is_changed(glide: Any) -> None:
    class Changes(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            session = super().start(context, **rest)
            context.zero_()
            return session

    assert "changes the context" in failures(check_model(Changes(), SMALL))["side effects"]


def test_starts_and_closes_that_raise(glide: Any) -> None:
    class NoWords(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, *, seed: int) -> Any:
            return super().start(context, seed=seed)

    class NoClose(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            session = super().start(context, **rest)
            session.close = lambda: 1 / 0
            return session

    class NoSession(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            return None

    for model, said in (
        (NoWords(), "start raised TypeError"), (NoClose(), "close raised ZeroDivisionError"),
        (NoSession(), "start answered a NoneType without step"),
    ):  # fmt: skip
        assert said in failures(check_model(model, SMALL))["answers"]


def test_objects_that_are_no_model() -> None:
    findings = check_model(object(), SMALL)  # type: ignore[arg-type]
    assert list(failures(findings)) == ["spec"]
    assert "with no spec and no start" in findings[0].sentence


def test_a_model_without_noise_says_so(glide: Any) -> None:
    class Still(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            return super().start(context, **{**rest, "seed": 0})

    found = {finding.check: finding for finding in check_model(Still(), SMALL)}
    assert found["seed"].sentence.endswith("another seed gives the same frames.")


def test_what_is_allowed_is_noted(faulty: Any) -> None:
    findings = check_model(faulty(ignores, action_space=None), SMALL)
    assert failures(findings) == {}
    assert "the model ignores them." in notes(findings)["actions"]

    hold = faulty(lambda s, clean, a: s.last.expand(-1, a.shape[1], -1, -1, -1), action_space=None)
    findings = check_model(hold, SMALL)
    assert "predicts no motion" in notes(findings)["range"]
    noted = [finding.sentence for finding in findings if finding.check == "refusals"]
    assert "NaN actions are answered with frames; who calls must check." in noted
    assert "A closed session still steps." in noted

    flips = faulty(
        lambda s, clean, a: clean(a.sum(1, keepdim=True).expand_as(a) / a.shape[1]), native_chunk=4
    )
    assert "give other frames" in notes(check_model(flips, SMALL))["chunk borders"]


def test_noise_is_no_answer_to_actions(faulty: Any) -> None:
    def noise_alone(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
        frames = clean(actions * 0)
        return (frames.int() + torch.randint(0, 6, frames.shape)).clamp(0, 255).byte()

    found = failures(check_model(faulty(noise_alone), SMALL))
    assert "change no more with the actions than they do by themselves" in found["actions"]
    assert "gave other frames the second time" in found["seed"]


def test_a_repeat_that_a_tokenizer_has_touched_is_found(faulty: Any) -> None:
    def touched(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
        """As ``context_first``, but the repeat is not equal to the bit."""
        frames = context_first(session, clean, actions)
        frames[:, 0] += torch.arange(frames.shape[-1]).remainder(3).byte()
        return frames

    found = failures(check_model(faulty(touched), SMALL))["alignment"]
    assert "begins with nearly the frame before it" in found
    findings = check_model(faulty(touched, deterministic=False), SMALL)
    assert "hardly moves" in notes(findings)["alignment"]


def test_acting_a_step_late_is_noted(faulty: Any) -> None:
    def delayed(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
        before = getattr(session, "before", torch.zeros_like(actions[:, :1]))
        session.before = actions[:, -1:].clone()
        assert bool(torch.isfinite(actions).all())
        return clean(torch.cat([before, actions], dim=1)[:, : actions.shape[1]])

    findings = check_model(faulty(delayed), SMALL)
    assert failures(findings) == {}
    assert "acts one step late, or its frames come one late" in notes(findings)["alignment"]


def test_a_random_model_is_not_asked_for_equality(faulty: Any) -> None:
    findings = check_model(faulty(global_noise, deterministic=False), SMALL)
    assert failures(findings) == {}
    skipped = {finding.check for finding in findings if finding.status == "skip"}
    assert skipped == {"seed", "batch", "isolation", "actions", "chunk borders"}
    assert "though the spec denies it" in notes(check_model(faulty(lambda s, clean, a: clean(a),
        deterministic=False), SMALL))["seed"]  # fmt: skip


def test_rounding_is_no_fault(faulty: Any) -> None:
    def rounds(session: Any, clean: Step, actions: torch.Tensor) -> torch.Tensor:
        frames = clean(actions)
        frames[..., 0] = frames[..., 0].clamp(max=200) + (len(actions) > 1)
        return frames

    findings = {finding.check: finding for finding in check_model(faulty(rounds), SMALL)}
    assert findings["batch"].status == "pass"
    assert findings["batch"].sentence.startswith("Samples of a batch are what they are alone, up")
    assert findings["batch"].sentence.endswith("1 at most).")


def test_models_without_actions(glide: Any) -> None:
    space = ActionSpace(dim=0, embodiment="hand", kind="none")

    findings = check_model(glide(action_space=space), SMALL)
    assert failures(findings) == {}
    found = {finding.check: finding for finding in findings}
    assert found["actions"].status == "skip"


def test_the_report(glide: Any, tmp_path: Path) -> None:
    findings = tuple(check_model(glide(), SMALL))
    report = Report(reference="lab:make", options={"a": "1"}, spec={"name": "g"}, findings=findings)
    for name in ("one.json", "two.json"):
        write_report(tmp_path / name, report)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    content = json.loads((tmp_path / "one.json").read_text())
    assert (content["format"], content["passed"], content["reference"]) == (1, True, "lab:make")
    assert content["findings"][0] == {
        "check": "spec", "status": "pass",
        "sentence": "glide 2 states any resolution, any rate, 1 context frame, actions of width 7 "
        "for arm.",
    }  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 2
