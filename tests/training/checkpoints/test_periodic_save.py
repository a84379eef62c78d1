"""When a periodic checkpoint is due."""

from __future__ import annotations

import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.checkpoints import periodic_save
from resgat_pl.training.checkpoints.periodic_save import SaveSchedule


def test_by_time_or_by_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(periodic_save.time, "monotonic", lambda: now)
    schedule = SaveSchedule(every_minutes=2, every_steps=10)
    schedule.saved(5)
    assert not schedule.is_due(14)
    assert schedule.is_due(15)
    now += 120
    assert schedule.is_due(6)
    schedule.saved(6)
    assert not schedule.is_due(6)
    assert not SaveSchedule(None, None).is_due(10**9)


@pytest.mark.parametrize(("minutes", "steps"), [(0, None), (-1, None), (float("nan"), None), (None, 0)])
def test_limits_must_be_positive(minutes: float | None, steps: int | None) -> None:
    with pytest.raises(ConfigError, match="need more than 0"):
        SaveSchedule(minutes, steps)
