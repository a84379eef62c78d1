"""The callback that writes a run's provenance and configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from torch import Tensor

from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.evaluation.provenance import environment, of_data, stored_provenance
from resgat_pl.evaluation.train_test_overlap import (
    REMEMBERED,
    check_unseen,
    hashes_to_store,
    merge_stored_hashes,
    people_unknown,
)
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.checkpoint_keys import PROVENANCE
from resgat_pl.training.lightning_internals import callbacks_of, data_module


class RunProvenance(SaveConfigCallback):
    """Saves the resolved configuration beside a run and the provenance in its checkpoints; checks before a test.

    Attributes:
        leaky: Kinds of leak that results are stamped with, known once training or testing starts.
        people_unknown: Lines of results on people who are unknown, one per data set, known likewise.
        tested: Path and provenance of the checkpoint under test, None in training.

    Example:
        >>> from lightning.pytorch.cli import LightningArgumentParser
        >>> parser = LightningArgumentParser()
        >>> callback = RunProvenance(parser, parser.parse_args([]))
        >>> callback.leaky, callback.tested
        ([], None)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leaky: list[str] = []
        self.tested: dict[str, Any] | None = None
        self.people_unknown: list[str] = []
        self._earlier: dict[str, Any] | None = None
        self._document: dict[str, Any] | None = None
        self._remembered: dict[str, Tensor] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save the configuration; not that of a test without a logger, which has the folder of its training."""
        self.save_to_log_dir = stage == "fit" or bool(trainer.loggers)
        super().setup(trainer, pl_module, stage)

    def document(self, trainer: Trainer) -> dict[str, Any]:
        """The provenance of this run as plain values; computed once."""
        if self._document is None:
            data = data_module(trainer)
            about = None if data is None else of_data(data)
            if about is not None and self._earlier:
                before = (self._earlier.get("data") or {}).get("people_unknown", {})
                about["people_unknown"] = {**before, **about["people_unknown"]}
            self._document = {
                **environment(),
                "seed": self.config.get("seed_everything"),
                "config": self.parser.dump(self.config, skip_none=False),
                "data": about,
            }
        return {**self._document, "leaky": self.leaky, "people_unknown": self.people_unknown}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the leaks that ``FaceDataModule.setup`` let pass."""
        data = data_module(trainer)
        self.leaky = [] if data is None else list(dict.fromkeys(leak.kind for leak in data.leaks))
        start = getattr(getattr(pl_module, "net", None), "started_from", None)
        if start is not None and data is not None:
            self._begin_from(start, data)
        self.people_unknown = [] if data is None else people_unknown(self._earlier, data.manifest)

    def _begin_from(self, start: Path, data: FaceDataModule) -> None:
        """Count what the detector that a network was started from has seen as seen; refuse it if that is in the test.

        Raises:
            LeakageError: Names the videos.
            WeightsError: The checkpoint carries no provenance.
        """
        stored = stored_provenance(Checkpoint.read(start).provenance, start)
        self.leaky = list(dict.fromkeys([*self.leaky, *check_unseen(start, stored, data.manifest, data.allow_leakage)]))
        if self._earlier is None:  # a checkpoint that is resumed counts it already
            self._earlier = stored or {}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store what was trained on before this resume: the split may have changed."""
        self._earlier = stored_provenance(checkpoint.get(PROVENANCE), "The checkpoint") or {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the provenance and the hashes of the training and validation videos."""
        data = data_module(trainer)
        if data is None:
            return
        if self._remembered is None:
            self._remembered = merge_stored_hashes(self._earlier, hashes_to_store(data.manifest))
        incomplete = len(self._remembered) < len(REMEMBERED)  # what it went on from does not say what it has seen
        checkpoint[PROVENANCE] = {**self.document(trainer), **self._remembered, "incomplete": incomplete}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to test on what the checkpoint was trained on, see ``check_unseen``.

        Raises:
            LeakageError: Names the videos.
            WeightsError: The checkpoint carries no provenance.
        """
        data, path = data_module(trainer), trainer.ckpt_path
        if data is None or path is None:
            return
        stored = stored_provenance(Checkpoint.read(path).provenance, path)
        self.leaky = check_unseen(path, stored, data.manifest, data.allow_leakage)
        self.people_unknown = people_unknown(stored, data.manifest)
        plain = {name: value for name, value in (stored or {}).items() if name not in REMEMBERED}
        self.tested = {"path": str(path), PROVENANCE: plain or None}


def provenance_of(trainer: Trainer) -> dict[str, Any]:
    """Provenance, leaks and tested checkpoint of a run, for its results file; empty without ``RunProvenance``."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, RunProvenance):
            document = callback.document(trainer)
            stamps = {name: document.pop(name) for name in ("leaky", "people_unknown")}
            return {**stamps, "checkpoint": callback.tested, PROVENANCE: document}
    return {}
