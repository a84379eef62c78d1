"""The clock of periodic checkpoints: when ``last.ckpt`` is old enough to be written again."""

from __future__ import annotations

import time

from resgat_pl.core.errors import ConfigError


class SaveSchedule:
    """Decides when the next periodic checkpoint is due.

    Args:
        every_minutes: Maximum age of ``last.ckpt`` within an epoch; None for no limit.
        every_steps: The same in optimiser steps.

    Raises:
        ConfigError: A limit is not positive.
    """

    def __init__(self, every_minutes: float | None, every_steps: int | None) -> None:
        if (every_minutes is not None and not every_minutes > 0) or (every_steps is not None and every_steps < 1):
            raise ConfigError(
                f"recovery.every_minutes is {every_minutes} and every_steps {every_steps}: need more than 0, or null."
            )
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self.saved(0)

    def saved(self, step: int) -> None:
        """Note that a checkpoint of this step is being written."""
        self._saved_at, self._saved_step = time.monotonic(), step

    def is_due(self, step: int) -> bool:
        """True if the last checkpoint is too old, by either limit."""
        age = time.monotonic() - self._saved_at
        by_time = self.every_minutes is not None and age >= 60 * self.every_minutes
        return by_time or (self.every_steps is not None and step - self._saved_step >= self.every_steps)
