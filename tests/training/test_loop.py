"""The loop on a stage of its own: a small net that learns, and what may befall its training."""

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.model_file import write_model
from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player
from dojobench.reference_model.training.training_log import read_log


class Slopes:
    """Points of a line, drawn by the index of the batch alone."""

    def batch(self, step: int, size: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(size, 4, generator=generator)
        return {"inputs": inputs, "targets": inputs.sum(1, keepdim=True)}


class Tiny:
    """Two nets that take turns; the noise and the dropout try both sources of chance.

    Step ``held`` lasts until there is a file ``let_go``.
    """

    name = "tiny"

    def __init__(
        self,
        *,
        wait: float = 0.0,
        poison: range = range(0),
        rate: float = 1e-2,
        held: int | None = None,
        let_go: Path = Path(),
    ) -> None:
        self.held, self.let_go = held, let_go
        torch.manual_seed(7)
        optimizer = OptimizerConfig(lr=rate, warmup=3, ema=0.9)
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1))
        self.players = {
            "net": Player(module=net, optimizer=optimizer),
            "critic": Player(module=nn.Linear(4, 1), optimizer=optimizer),
        }
        self.source = Slopes()
        self.wait, self.poison, self.seen = wait, poison, 0

    def turn(self, step: int) -> str:
        self.seen = step
        return "critic" if step % 3 == 2 else "net"

    def loss(
        self, player: str, batch: Batch, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        time.sleep(self.wait)
        while self.seen == self.held and not self.let_go.exists():
            time.sleep(0.02)
        inputs = batch["inputs"]
        noise = 0.1 * torch.randn(inputs.shape, generator=generator)
        error = (self.players[player].module(inputs + noise) - batch["targets"]).square().mean()
        if self.seen in self.poison:
            error = error * float("nan")
        return {"total": error, "error": error}

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        assert not module.training
        batch = self.source.batch(10**6, 64)
        return {"mse": float((module(batch["inputs"]) - batch["targets"]).square().mean())}

    def show(self, module: nn.Module) -> torch.Tensor:
        return (
            torch.arange(5 * 3 * 33 * 31, dtype=torch.int64)
            .remainder(256)
            .to(torch.uint8)
            .reshape(5, 3, 33, 31)
        )

    def export(self, module: nn.Module, folder: Path) -> Path:
        path = folder / "tiny.safetensors"
        write_model(path, module, kind="tiny", config=OptimizerConfig())
        return path


def loop(**changed: object) -> LoopConfig:
    values: dict[str, object] = {
        "steps": 30,
        "batch": 4,
        "log_every": 1,
        "validate_every": 10,
        "sample_every": 0,
        "checkpoint_every": 7,
        "device": "cpu",
        "tensorboard": False,
    }
    return LoopConfig(**(values | changed))  # type: ignore[arg-type]


def weights(folder: Path) -> bytes:
    return (folder / "tiny.safetensors").read_bytes()


def steps_logged(folder: Path) -> list[int]:
    return [one["step"] for one in read_log(folder / "train.jsonl") if "losses" in one]


def losses(folder: Path) -> list[dict[str, float]]:
    return [one["losses"] for one in read_log(folder / "train.jsonl") if "losses" in one]


def told(folder: Path) -> list[object]:
    """The log without what the clock says."""
    clock = ("seconds", "rate")
    lines = [one for one in read_log(folder / "train.jsonl") if one.get("event") != "resume"]
    return [{k: v for k, v in one.items() if k not in clock} for one in lines]


def test_it_learns_and_writes_everything(tmp_path: Path) -> None:
    config = loop(steps=400, batch=32, sample_every=200, tensorboard=True, log_every=50)
    result = train(Tiny(), config, tmp_path)
    assert result.finished
    assert result.step == 400
    assert result.exported == tmp_path / "tiny.safetensors"
    scores = [
        line["validation"]["mse"]
        for line in read_log(tmp_path / "train.jsonl")
        if "validation" in line
    ]
    assert scores[-1] < 0.1 * scores[0]
    assert sorted(one.name for one in (tmp_path / "samples").iterdir()) == [
        "step-0000200.mp4",
        "step-0000400.mp4",
    ]
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert not list(tmp_path.glob("**/.*"))


def test_stopped_at_any_step_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    train(Tiny(), loop(), tmp_path / "straight")
    for stops in ([1], [2, 3, 9], [7, 14], [29]):
        folder = tmp_path / str(stops)
        for stop in [*stops, 30]:
            stage = Tiny()
            result = train(stage, loop(), folder, until=lambda s=stage, n=stop: s.seen + 1 >= n)
            assert (result.step, result.finished) == (stop, stop == 30)
        assert weights(folder) == weights(tmp_path / "straight")
        assert told(folder) == told(tmp_path / "straight")


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts this file's own training in another process; none outlives the test."""
    children = []

    def begin(folder: Path, *words: str) -> subprocess.Popen[bytes]:
        children.append(subprocess.Popen([sys.executable, __file__, str(folder), *words]))
        return children[-1]

    yield begin
    for child in children:
        child.kill()
        child.wait()


def wait_for_steps(child: subprocess.Popen[bytes], folder: Path, steps: int) -> None:
    while child.poll() is None and len(steps_logged(folder)) < steps:
        time.sleep(0.01)


def test_killed_at_random_moments_it_resumes_exactly(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    train(Tiny(), loop(), tmp_path / "straight")
    folder = tmp_path / "killed"
    for steps, held in ((1, 7), (9, 15)):
        child = start(folder, "slow", f"held={held}")
        wait_for_steps(child, folder, steps)
        time.sleep(random.uniform(0.0, 1.0))
        assert child.poll() is None, "it ended before it could be killed"
        child.kill()
        child.wait()
    assert start(folder).wait() == 0
    assert not [one for one in folder.iterdir() if one.name.startswith(".")]
    assert weights(folder) == weights(tmp_path / "straight")
    assert steps_logged(folder) == list(range(1, 31))
    assert told(folder) == told(tmp_path / "straight")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_it_with_a_checkpoint(
    tmp_path: Path, number: signal.Signals, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    child = start(tmp_path, "slow", "held=5")
    wait_for_steps(child, tmp_path, 3)
    child.send_signal(number)
    (tmp_path / "let_go").touch()
    assert child.wait() == 75
    done = steps_logged(tmp_path)
    assert done[-1] in (3, 4, 5, 6)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["progress"]["step"] == done[-1]


def test_only_one_process_trains_in_a_folder(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    child = start(tmp_path, "slow", "held=3")
    wait_for_steps(child, tmp_path, 1)
    with pytest.raises(BadInputError, match="Another process is training in"):
        train(Tiny(), loop(), tmp_path)
    child.kill()
    child.wait()
    assert train(Tiny(), loop(), tmp_path).finished


def test_bfloat16_resumes_exactly_too(tmp_path: Path) -> None:
    config = loop(precision="bfloat16", accumulate=2)
    train(Tiny(), config, tmp_path / "straight")
    stage = Tiny()
    train(stage, config, tmp_path / "stopped", until=lambda: stage.seen == 12)
    train(Tiny(), config, tmp_path / "stopped")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")


@pytest.mark.slow
def test_compiled_it_learns_the_same(tmp_path: Path) -> None:
    class Plain(Tiny):
        """No dropout, whose compiled chance is another one."""

        def __init__(self) -> None:
            super().__init__()
            self.players["net"].module[2].p = 0.0

    eager, compiled = Plain(), Plain()
    train(eager, loop(), tmp_path / "eager")
    train(compiled, loop(compile=True), tmp_path / "compiled", until=lambda: compiled.seen == 9)
    train(Plain(), loop(compile=True), tmp_path / "compiled")
    for one, other in zip(losses(tmp_path / "eager"), losses(tmp_path / "compiled"), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_trains_and_resumes_on_a_gpu(tmp_path: Path, precision: str) -> None:
    class OnGpu(Tiny):
        """Its chance is drawn on the batch's device."""

        def loss(
            self, player: str, batch: Batch, generator: torch.Generator
        ) -> dict[str, torch.Tensor]:
            assert batch["inputs"].is_cuda
            noise = torch.randn(batch["inputs"].shape, generator=generator, device="cuda")
            made = self.players[player].module(batch["inputs"] + 0.1 * noise)
            self.seen += 1
            return {"total": (made - batch["targets"]).square().mean()}

        def validate(self, module: nn.Module) -> dict[str, float]:
            return {}

    config = loop(device="cuda", precision=precision)
    train(OnGpu(), config, tmp_path / "straight")
    stage = OnGpu()
    train(stage, config, tmp_path / "stopped", until=lambda: stage.seen >= 11)
    assert train(OnGpu(), config, tmp_path / "stopped").finished
    told_straight = read_log(tmp_path / "straight" / "train.jsonl")[-1]
    told_stopped = read_log(tmp_path / "stopped" / "train.jsonl")[-1]
    assert told_straight["step"] == told_stopped["step"] == 30
    a, b = (load_file(tmp_path / name / "tiny.safetensors") for name in ("straight", "stopped"))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_batches_made_ahead_change_nothing(tmp_path: Path) -> None:
    for ahead in (0, 1, 5):
        train(Tiny(), loop(prefetch=ahead), tmp_path / str(ahead))
    assert weights(tmp_path / "0") == weights(tmp_path / "1") == weights(tmp_path / "5")


def test_parts_of_a_step_add_up_to_the_whole(tmp_path: Path) -> None:
    class Fixed(Tiny):
        """The same sixteen samples, at once or in four parts; no chance and no batch norm."""

        def __init__(self) -> None:
            super().__init__()
            net = nn.Linear(4, 1)
            nn.init.zeros_(net.weight)
            nn.init.zeros_(net.bias)
            self.players = {"net": Player(module=net, optimizer=OptimizerConfig(clip=1e3))}
            self.source = self  # type: ignore[assignment]

        def turn(self, step: int) -> str:
            return "net"

        def batch(self, step: int, size: int) -> Batch:
            whole = Slopes().batch(0, 16)
            part = step * size % 16
            return {name: value[part : part + size] for name, value in whole.items()}

        def loss(
            self, player: str, batch: Batch, generator: torch.Generator
        ) -> dict[str, torch.Tensor]:
            error = self.players["net"].module(batch["inputs"]) - batch["targets"]
            return {"total": error.square().mean()}

    once, parts = Fixed(), Fixed()
    train(once, loop(batch=16), tmp_path / "once")
    train(parts, loop(batch=4, accumulate=4), tmp_path / "parts")
    for a, b in zip(
        once.players["net"].module.parameters(),
        parts.players["net"].module.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_no_number_is_skipped(tmp_path: Path) -> None:
    stage = Tiny(poison=range(10, 13))
    result = train(stage, loop(), tmp_path)
    assert result.finished
    lines = read_log(tmp_path / "train.jsonl")
    assert [one["step"] for one in lines if one.get("event") == "skipped"] == [11, 12, 13]
    assert all(bool(one.isfinite().all()) for one in stage.players["net"].module.parameters())
    assert [one["losses"]["total"] for one in lines if "losses" in one][10:13] == [None] * 3


def test_too_many_in_a_row_end_it_and_keep_the_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no number 5 times in a row"):
        train(Tiny(poison=range(12, 30)), loop(skip_limit=5), tmp_path)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["progress"]["step"] == 7


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    stage = Tiny()
    train(stage, loop(), tmp_path, until=lambda: stage.seen == 8, settings={"shift": 10})
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(BadInputError, match=r"trained with loop\.batch = 4, .* asks for 5"):
        train(Tiny(), loop(batch=5), tmp_path, settings={"shift": 10})
    with pytest.raises(BadInputError, match=r"players\.critic\.lr = 0\.01, .* 0\.5"):
        train(Tiny(rate=0.5), loop(), tmp_path, settings={"shift": 10})
    with pytest.raises(BadInputError, match=r"stage\.shift = 10, .* asks for 5"):
        train(Tiny(), loop(), tmp_path, settings={"shift": 5})
    assert (tmp_path / "state.pt").read_bytes() == before
    assert train(Tiny(), loop(log_every=3), tmp_path, settings={"shift": 10}).finished


def test_a_checkpoint_cut_short_is_named(tmp_path: Path) -> None:
    stage = Tiny()
    train(stage, loop(), tmp_path, until=lambda: stage.seen == 3)
    whole = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=r"state\.pt is no whole checkpoint"):
        train(Tiny(), loop(), tmp_path)


@pytest.mark.parametrize("board", ["board", "bare"])
def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, board: str) -> None:
    child = subprocess.run(
        [sys.executable, __file__, str(tmp_path), "full", board], capture_output=True, text=True
    )
    assert child.returncode == 2, child.stderr
    assert "cannot be written" in child.stderr
    assert "last checkpoint is whole" in child.stderr
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["progress"]["step"] == 7
    assert [one.name for one in tmp_path.glob(".*")] == []
    assert "Traceback" not in child.stderr
    assert train(Tiny(), loop(), tmp_path).finished
    train(Tiny(), loop(), tmp_path / "straight")
    assert weights(tmp_path) == weights(tmp_path / "straight")


def test_the_first_losses_are_what_they_were(golden: Callable[..., None]) -> None:
    golden("tiny", Tiny(), loop(steps=8))


def test_the_players_own_gradients_alone_move_them(tmp_path: Path) -> None:
    class Entangled(Tiny):
        """Whoever's turn it is, both have gradients."""

        def loss(
            self, player: str, batch: Batch, generator: torch.Generator
        ) -> dict[str, torch.Tensor]:
            mine = super().loss("net", batch, generator)["total"]
            return {"total": mine + super().loss("critic", batch, generator)["total"]}

        def turn(self, step: int) -> str:
            return "critic"

    stage = Entangled()
    before = {name: one.clone() for name, one in stage.players["net"].module.named_parameters()}
    critic = stage.players["critic"].module.weight.clone()
    train(stage, loop(), tmp_path)
    for name, one in stage.players["net"].module.named_parameters():
        assert torch.equal(one, before[name])
    assert not torch.equal(stage.players["critic"].module.weight, critic)


def test_an_error_of_the_source_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(Slopes):
        def batch(self, step: int, size: int) -> Batch:
            if step == 4:
                raise BadInputError("The file is gone; fetch it again.")
            return super().batch(step, size)

    stage = Tiny()
    stage.source = Broken()
    with pytest.raises(BadInputError, match="file is gone"):
        train(stage, loop(), tmp_path)
    assert steps_logged(tmp_path) == [1, 2, 3, 4]


def test_bfloat16_trains_and_keeps_float32_weights(tmp_path: Path) -> None:
    stage = Tiny()
    assert train(stage, loop(precision="bfloat16"), tmp_path).finished
    assert all(one.dtype == torch.float32 for one in stage.players["net"].module.parameters())
    straight = Tiny()
    train(straight, loop(), tmp_path / "straight")
    assert weights(tmp_path) != weights(tmp_path / "straight")


def test_a_finished_training_is_only_exported_again(tmp_path: Path) -> None:
    train(Tiny(), loop(), tmp_path)
    log, product = (tmp_path / "train.jsonl").read_bytes(), weights(tmp_path)
    (tmp_path / "tiny.safetensors").unlink()
    stage = Tiny()
    assert train(stage, loop(), tmp_path).finished
    assert stage.seen == 0
    assert weights(tmp_path) == product
    assert (tmp_path / "train.jsonl").read_bytes() == log


def _child(folder: Path, words: list[str]) -> int:
    def fill_disk() -> bool:
        state = folder / "state.pt"
        if "full" in words and state.exists():
            half = state.stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))
        return False

    try:
        held = next((int(word[5:]) for word in words if word.startswith("held=")), None)
        wait = 0.2 if "slow" in words else 0.0
        stage = Tiny(wait=wait, held=held, let_go=folder / "let_go")
        result = train(stage, loop(tensorboard="board" in words), folder, until=fill_disk)
    except BadInputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0 if result.finished else 75


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(_child(Path(sys.argv[1]), sys.argv[2:]))
