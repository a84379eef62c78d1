"""A SLURM job that is queued again, or cannot be."""

from __future__ import annotations

import pytest

from resgat_pl.training.checkpoints.slurm import is_requeued, requeue


@pytest.mark.parametrize(
    ("name", "starts", "expected"), [("resgat", None, False), ("resgat", "1", True), ("interactive", "1", False)]
)
def test_a_later_start(name: str, starts: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    for key, value in {"NTASKS": "1", "JOB_NAME": name, "RESTART_COUNT": starts}.items():
        if value is not None:
            monkeypatch.setenv(f"SLURM_{key}", value)
    assert is_requeued() is expected


def test_a_job_that_cannot_be_queued_again_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.warns(UserWarning, match="scontrol requeue 7_2 failed .* queue the job again yourself"):
        assert not requeue()
