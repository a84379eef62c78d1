"""Learning rate, speed and the wait for data: what is logged, when, and where it is not."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from resgat_pl.training.callbacks.throughput import RATE, SPEED, WAIT, Throughput
from resgat_pl.training.loggers.csv import AtomicCSVLogger

SLOW = 0.03
"""Seconds that a batch, or a step, is made to take."""


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
        time.sleep(self.step_seconds)
        return (self.one + self.other).sum()

    def validation_step(self, batch: dict[str, torch.Tensor], _: int) -> None:
        time.sleep(self.validation_seconds)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD([{"params": [self.one], "lr": 0.1}, {"params": [self.other], "lr": 0.2}])
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Batches(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    def __init__(self, seconds: float = 0.0, batches: int = 6) -> None:
        self.seconds, self.batches = seconds, batches

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.batches):
            time.sleep(self.seconds)
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
    found = logged(fit(tmp_path, Sleepy(), epochs=2))
    assert [(step, values["epoch"]) for step, values in found] == [(1, 0), (3, 0), (5, 0), (7, 1), (9, 1), (11, 1)]
    # the schedule has gone on by a step when the step's metrics are logged or has not: the same for both groups
    rates = [(values[RATE], values[f"{RATE}/1"]) for _, values in found]
    assert all(other == pytest.approx(2 * one) for one, other in rates)
    assert rates[1][0] == pytest.approx(rates[0][0] / 4)
    assert all(set(values) == {"epoch", RATE, f"{RATE}/1", SPEED, WAIT} for _, values in found)
    assert SPEED not in (tmp_path / "metrics.csv").read_text() if (tmp_path / "metrics.csv").exists() else True


def test_a_slow_loader_is_waited_for(tmp_path: Path) -> None:
    slow = [values for _, values in logged(fit(tmp_path / "slow", Sleepy(), wait=SLOW))]
    busy = [values for _, values in logged(fit(tmp_path / "busy", Sleepy(step=SLOW)))]
    assert min(values[WAIT] for values in slow) > 0.7
    assert max(values[WAIT] for values in busy[1:]) < 0.3
    for values in (*slow, *busy):
        assert 0 <= values[WAIT] <= 1
        assert values[SPEED] < 4 / SLOW
    assert max(values[SPEED] for values in (*slow[1:], *busy[1:])) > 4 / (4 * SLOW)


def test_validations_do_not_count(tmp_path: Path) -> None:
    module = Sleepy(step=SLOW, validation=4 * SLOW)
    found = [values for _, values in logged(fit(tmp_path, module, epochs=2, val_check_interval=3))]
    assert min(values[SPEED] for values in found) > 4 / (3 * SLOW)
    assert max(values[WAIT] for values in found[1:]) < 0.4


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    found = logged(fit(tmp_path, Sleepy(), accumulate_grad_batches=3, log_every_n_steps=1))
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
