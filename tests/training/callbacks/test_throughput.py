"""Learning rate, speed and the wait for data: what is logged, when, and where it is not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from resgat_pl.training.callbacks import throughput
from resgat_pl.training.callbacks.throughput import RATE, SPEED, WAIT, Throughput
from resgat_pl.training.loggers.csv import AtomicCSVLogger

SLOW = 0.25
"""Seconds that a batch, or a step, is said to take."""


class Clock:
    """A clock that only waiting moves, so that a busy machine changes nothing."""

    now = 0.0

    @classmethod
    def perf_counter(cls) -> float:
        return cls.now

    @classmethod
    def wait(cls, seconds: float) -> None:
        cls.now += seconds


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "time", Clock)


class Remembering(Logger):
    """Stores what it is given, by step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int | None, dict[str, float]]] = []

    name = version = "test"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.seen.append((step, metrics))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


class Sleepy(LightningModule):
    """One weight, two groups of parameters, a schedule; a step and a validation of a given length."""

    def __init__(self, step: float = 0.0, validation: float = 0.0) -> None:
        super().__init__()
        self.one, self.other = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
        self.step_seconds, self.validation_seconds = step, validation

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        Clock.wait(self.step_seconds)
        loss = (self.one + self.other).sum()
        self.log("train/loss", loss, batch_size=4)
        return loss

    def validation_step(self, batch: dict[str, torch.Tensor], _: int) -> None:
        Clock.wait(self.validation_seconds)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD([{"params": [self.one], "lr": 0.1}, {"params": [self.other], "lr": 0.2}])
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Batches(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    def __init__(self, seconds: float = 0.0, batches: int = 6) -> None:
        self.seconds, self.batches = seconds, batches

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.batches):
            Clock.wait(self.seconds)
            yield {"label": torch.zeros(4)}


def fit(folder: Path, module: Sleepy, wait: float = 0.0, epochs: int = 1, **options: Any) -> Remembering:
    logger = Remembering()
    given = {"log_every_n_steps": 2, "enable_checkpointing": False, "enable_progress_bar": False, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises on the loaders
        trainer = Trainer(
            accelerator="cpu", logger=[AtomicCSVLogger(folder, name="", version=""), logger], max_epochs=epochs,
            callbacks=[Throughput(), *given.pop("callbacks", [])], enable_model_summary=False, default_root_dir=folder,
            **given,
        )  # fmt: skip
        loaders = [torch.utils.data.DataLoader(Batches(seconds), batch_size=None) for seconds in (wait, 0.0)]
        trainer.fit(module, *loaders)
    return logger


def logged(logger: Remembering) -> list[tuple[int | None, dict[str, float]]]:
    return [(step, values) for step, values in logger.seen if SPEED in values]


def test_rates_and_speed_are_logged_at_the_steps_of_the_loss(tmp_path: Path) -> None:
    found = logged(fit(tmp_path, Sleepy(step=SLOW), epochs=2))
    assert [(step, values["epoch"]) for step, values in found] == [(1, 0), (3, 0), (5, 0), (7, 1), (9, 1), (11, 1)]
    # that of the very step: the schedule halves it after each
    for step, values in found:
        assert step is not None
        assert values[RATE] == pytest.approx(0.1 * 0.5**step)
        assert values[f"{RATE}/1"] == pytest.approx(0.2 * 0.5**step)
    assert all(set(values) == {"epoch", RATE, f"{RATE}/1", SPEED, WAIT} for _, values in found)
    # what is not the same in every run stays out of metrics.csv
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "epoch,step,train/loss"


def test_waiting_and_working_are_distinguished(tmp_path: Path) -> None:
    slow = [values for _, values in logged(fit(tmp_path / "slow", Sleepy(), wait=SLOW))]
    busy = [values for _, values in logged(fit(tmp_path / "busy", Sleepy(step=SLOW)))]
    even = [values for _, values in logged(fit(tmp_path / "even", Sleepy(step=SLOW), wait=SLOW))]
    assert [values[WAIT] for values in slow] == [1, 1, 1]
    assert [values[WAIT] for values in busy] == [0, 0, 0]
    assert [values[SPEED] for values in busy] == [4 / SLOW] * 3
    assert (even[1][WAIT], even[1][SPEED]) == (0.5, 4 / (2 * SLOW))


def test_validations_do_not_count(tmp_path: Path) -> None:
    module = Sleepy(step=SLOW, validation=4 * SLOW)
    found = [values for _, values in logged(fit(tmp_path, module, epochs=2, val_check_interval=3))]
    assert [values[SPEED] for values in found] == [4 / SLOW] * 6
    assert [values[WAIT] for values in found] == [0] * 6


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    found = logged(fit(tmp_path, Sleepy(step=SLOW), accumulate_grad_batches=3, log_every_n_steps=1))
    assert [step for step, _ in found] == [0, 1]


def test_without_loggers_nothing_is_logged(tmp_path: Path) -> None:
    class Watch(Callback):
        def on_train_end(self, trainer: Trainer, _: LightningModule) -> None:
            assert trainer.global_step == 6

    module = Sleepy()
    trainer = Trainer(
        accelerator="cpu", logger=False, max_epochs=1, callbacks=[Throughput(), Watch()], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, *[torch.utils.data.DataLoader(Batches(), batch_size=None)] * 2)
