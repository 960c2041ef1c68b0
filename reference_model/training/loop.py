"""The training loop, one for all stages.

A run that was killed and started again ends with the weights of one that was not (bit by bit on
the CPU): the batch, the chance and the learning rate of a step are functions of the step alone,
and weights, moments and average are in the checkpoint. It is one process here; to shard it with
FSDP2, shard the modules before ``train`` and gather in ``checkpoint.collect`` and ``restore``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.checkpoint import (
    CHECKPOINT,
    Progress,
    collect,
    read_checkpoint,
    restore,
    write_checkpoint,
    writing,
)
from dojobench.reference_model.training.ema import AveragedWeights
from dojobench.reference_model.training.feeding import Feeder
from dojobench.reference_model.training.folder_lock import locked
from dojobench.reference_model.training.optimizer import SCALE, make_optimizer
from dojobench.reference_model.training.sample_video import write_sample
from dojobench.reference_model.training.schedule import learning_rate, step_generator
from dojobench.reference_model.training.settings import flat_settings
from dojobench.reference_model.training.stage import Stage
from dojobench.reference_model.training.stopping import StopSignals
from dojobench.reference_model.training.training_log import TrainingLog, TrainingProgress


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long and on what a stage is trained.

    Attributes:
        steps: Updates, of all players together.
        batch: Samples of a part of a step.
        accumulate: Parts whose gradients are averaged before an update.
        seed: Of all chance in training; the weights' first values are the stage's affair.
        precision: Of the arithmetic within the loss (``bfloat16`` by autocast); weights and
            moments are float32.
        log_every: Steps between lines of the log.
        validate_every: Steps between validations; 0 validates after the last only.
        sample_every: Steps between sample videos; 0 makes none.
        checkpoint_every: Most steps between checkpoints.
        checkpoint_minutes: Most minutes between checkpoints.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``.
        compile: Whether to compile the players' modules.
        threads: Of the CPU; torch's own choice where ``None``.
        prefetch: Batches made ahead of time.
        skip_limit: Steps in a row whose loss or gradient is no number before training stops.
        tensorboard: Whether to write for TensorBoard, where it is installed.
    """

    steps: int = 1000
    batch: int = 16
    accumulate: int = 1
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    log_every: int = 10
    validate_every: int = 500
    sample_every: int = 500
    checkpoint_every: int = 500
    checkpoint_minutes: float = 10.0
    device: str = "auto"
    compile: bool = False
    threads: int | None = None
    prefetch: int = 2
    skip_limit: int = 20
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "log_every", "checkpoint_every", "skip_limit"):
            if getattr(self, name) < 1:
                raise BadInputError(
                    f"The training loop's {name} is {getattr(self, name)}; it must be at least 1."
                )


class TrainResult(NamedTuple):
    """How a call of ``train`` ended.

    Attributes:
        exported: What the stage is for; ``None`` if training is not finished.
        step: Steps done.
        finished: Whether these are all.
    """

    exported: Path | None
    step: int
    finished: bool


def training_device(name: str) -> torch.device:
    """Gives the device that ``LoopConfig.device`` means.

    Raises:
        BadInputError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInputError(
            f"The device '{name}' is not available here; use auto or cpu."
        ) from error
    return device


def train(
    stage: Stage,
    config: LoopConfig,
    folder: Path,
    *,
    settings: object | None = None,
    until: Callable[[], bool] | None = None,
) -> TrainResult:
    """Trains a stage, from the checkpoint in its folder if there is one.

    Written there: ``train.jsonl`` and ``tensorboard/``, ``state.pt``, ``samples/``, and in the
    end what the stage exports, from the averaged weights. SIGTERM, SIGUSR1 and ``until`` end it
    after the step under way, with a checkpoint.

    Args:
        stage: What is trained; its modules are moved to the device.
        config: How long and on what.
        folder: Of the stage; it is made.
        settings: A dataclass or mapping of whatever else the result depends on; it is kept, and
            resuming with others is refused.
        until: Asked after each step whether to stop.

    Raises:
        BadInputError: If the folder belongs to another training or one is under way in it, the
            disk is full, or the loss is no number ``skip_limit`` times in a row; the last
            checkpoint stays.
        KeyboardInterrupt: After a checkpoint, if interrupted.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), StopSignals() as stop:
        run = _Run(stage, config, folder, settings)
        try:
            run.advance(lambda: stop.received is not None or (until is not None and until()))
            finished = run.progress.step >= config.steps
            exported = run.export() if finished else None
        finally:
            run.close()
    if not finished and stop.received is not None and stop.received.name == "SIGINT":
        raise KeyboardInterrupt
    return TrainResult(exported, run.progress.step, finished)


class _Update(NamedTuple):
    player: str
    rate: float
    norm: float
    losses: dict[str, Tensor]
    finite: bool


class _Run:
    """A training under way: modules, optimisers, log and checkpoint."""

    def __init__(
        self, stage: Stage, config: LoopConfig, folder: Path, settings: object | None
    ) -> None:
        self.stage, self.config, self.folder = stage, config, folder
        self._threads = torch.get_num_threads()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.device = training_device(config.device)
        self.players = dict(stage.players)
        for player in self.players.values():
            player.module.to(self.device)
        self.optimizers = {
            name: make_optimizer(player.module, player.optimizer)
            for name, player in self.players.items()
        }
        self.first = next(iter(self.players))
        lead = self.players[self.first]
        self.average = AveragedWeights(lead.module, lead.optimizer.ema)
        self.settings = flat_settings(
            {
                "loop": config,
                "players": {name: one.optimizer for name, one in self.players.items()},
                "stage": settings,
            }
        )
        self.progress = self._resume()
        if config.compile:
            for player in self.players.values():
                player.module.compile()
        step = self.progress.step
        self.log = TrainingLog(folder, step=step, tensorboard=config.tensorboard)
        self.bar = TrainingProgress(stage.name, step=step, steps=config.steps)
        self._saved_at = self._ticked = time.monotonic()
        self._saved_step = step

    def _modules(self) -> dict[str, tuple[torch.nn.Module, torch.optim.Optimizer]]:
        return {name: (one.module, self.optimizers[name]) for name, one in self.players.items()}

    def _resume(self) -> Progress:
        found = read_checkpoint(self.folder / CHECKPOINT, self.settings)
        if found is None:
            return Progress()
        state, progress = found
        restore(state, self._modules(), self.average)
        return progress

    def save(self) -> None:
        """Writes a checkpoint of the steps done, if there is none."""
        if self._saved_step == self.progress.step:
            return
        self.log.sync()
        state = collect(self._modules(), self.average)
        write_checkpoint(self.folder / CHECKPOINT, state, self.progress, self.settings)
        self._saved_at, self._saved_step = time.monotonic(), self.progress.step

    def advance(self, stop: Callable[[], bool]) -> None:
        """Trains to the end, or until told to stop; either way the last step is saved."""
        config, progress = self.config, self.progress
        if progress.step >= config.steps:
            return
        self._say(
            event="resume" if progress.step else "start",
            device=str(self.device),
            attention=self._attention(),
        )
        parts = config.accumulate
        with Feeder(
            self.stage.source,
            config.batch,
            first=progress.step * parts,
            stop=config.steps * parts,
            ahead=config.prefetch,
            device=self.device,
        ) as feeder:
            self._ticked = time.monotonic()
            while progress.step < config.steps:
                self._count(self._update(progress.step, feeder))
                self._now_and_then()
                if stop():
                    break
        self.save()

    def _attention(self) -> str | None:
        """Says which attention backend runs, where a module has one."""
        with self._autocast():
            found: str | None = getattr(self.players[self.first].module, "attention_backend", None)
        return found

    def _update(self, step: int, feeder: Feeder) -> _Update:
        config = self.config
        name = self.stage.turn(step)
        player, optimizer = self.players[name], self.optimizers[name]
        generator = step_generator(config.seed, step, self.device)
        for one in self.optimizers.values():
            one.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for _ in range(config.accumulate):
            with self._autocast():
                losses = self.stage.loss(name, feeder.next(), generator)
            (losses["total"] / config.accumulate).backward()  # type: ignore[no-untyped-call]
            for key, value in losses.items():
                share = value.detach().float() / config.accumulate
                sums[key] = sums[key] + share if key in sums else share
        rate = learning_rate(step, config.steps, player.optimizer)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get(SCALE, 1.0)
        weights = [one for group in optimizer.param_groups for one in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, player.optimizer.clip)
        finite = bool(torch.isfinite(norm) & torch.isfinite(sums["total"]))
        if finite:
            optimizer.step()
            if name == self.first:
                self.average.update()
        return _Update(name, rate, float(norm), sums, finite)

    def _autocast(self) -> torch.autocast:
        wanted = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted)

    def _count(self, update: _Update) -> None:
        """Counts a step, logs it where it is due, and gives up on a loss that is no number."""
        config, progress = self.config, self.progress
        progress.step += 1
        now = time.monotonic()
        progress.seconds += now - self._ticked
        self._ticked = now
        due = progress.step % config.log_every == 0 or progress.step == config.steps
        losses = {k: float(v) for k, v in update.losses.items()} if due else {}
        self.bar.show(progress.step, losses.get("total"))
        if due:
            self._say(
                player=update.player,
                lr=update.rate,
                norm=update.norm,
                rate=self.bar.rate,
                skipped=progress.skipped + (not update.finite),
                losses=losses,
            )
        if update.finite:
            progress.skipped_in_row = 0
            return
        progress.skipped += 1
        progress.skipped_in_row += 1
        self._say(event="skipped", player=update.player)
        if progress.skipped_in_row >= config.skip_limit:
            raise BadInputError(
                f"{self.stage.name} stopped at step {progress.step}: its loss or gradient was no "
                f"number {progress.skipped_in_row} times in a row; the last checkpoint is kept, "
                "lower the learning rate and start in another folder."
            )

    def _now_and_then(self) -> None:
        config, step = self.config, self.progress.step
        last = step == config.steps
        if last or (config.validate_every and step % config.validate_every == 0):
            self.validate()
        if config.sample_every and (last or step % config.sample_every == 0):
            self.sample()
        minutes = (time.monotonic() - self._saved_at) / 60
        due = step - self._saved_step >= config.checkpoint_every
        # Amid steps that came to nothing the former checkpoint is the good one.
        if self.progress.skipped_in_row == 0 and (due or minutes >= config.checkpoint_minutes):
            self.save()

    def validate(self) -> None:
        """Scores the averaged weights and logs the scores."""
        with self.average.swapped_in() as module, self._autocast():
            scores = self.stage.validate(module)
        self._say(validation=scores)

    def sample(self) -> None:
        """Writes a video that the averaged weights make."""
        with self.average.swapped_in() as module, self._autocast():
            video = self.stage.show(module)
        if video is not None:
            write_sample(self.folder / "samples" / f"step-{self.progress.step:07d}.mp4", video)

    def export(self) -> Path:
        """Writes what the stage is for."""
        with self.average.swapped_in() as module:
            return self.stage.export(module, self.folder)

    def _say(self, **values: object) -> None:
        progress = self.progress
        self.log.write(
            progress.step,
            stage=self.stage.name,
            steps=self.config.steps,
            seconds=progress.seconds,
            **values,
        )

    def close(self) -> None:
        """Closes log and bar."""
        self.bar.close()
        self.log.close()
        torch.set_num_threads(self._threads)
