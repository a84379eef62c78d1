"""Class paths of earlier versions, in what a run has saved and in options."""

from __future__ import annotations

from importlib import import_module

import pytest

from resgat_pl.cli.old_names import GONE, RENAMED, new_name, renewed
from resgat_pl.core.errors import ConfigError

AT_574AEB2 = (
    "resgat_pl.callbacks.Heatmaps",
    "resgat_pl.callbacks.PredictionWriter",
    "resgat_pl.callbacks.WandbRunId",
    "resgat_pl.checkpoints.AtomicCheckpointIO",
    "resgat_pl.checkpoints.CheckpointRoom",
    "resgat_pl.checkpoints.WholeCSVLogger",
    "resgat_pl.data.cutting.Extraction",
    "resgat_pl.data.datamodule.FaceDataModule",
    "resgat_pl.data.faces.FaceDetector",
    "resgat_pl.data.faces.MTCNN",
    "resgat_pl.data.faces.YuNet",
    "resgat_pl.data.faces.WholeFrame",
    "resgat_pl.data.layouts.base.Layout",
    "resgat_pl.data.layouts.celebdf.CelebDF",
    "resgat_pl.data.layouts.CelebDF",
    "resgat_pl.data.layouts.crop_lists.CropLists",
    "resgat_pl.data.layouts.CropLists",
    "resgat_pl.data.layouts.dfdc.DFDC",
    "resgat_pl.data.layouts.DFDC",
    "resgat_pl.data.layouts.dfdc_preview.DFDCPreview",
    "resgat_pl.data.layouts.ffpp.FFPP",
    "resgat_pl.data.layouts.FFPP",
    "resgat_pl.data.layouts.folder.Folder",
    "resgat_pl.data.layouts.Folder",
    "resgat_pl.data.leave_out.LeaveOut",
    "resgat_pl.data.splits.SplitProtocol",
    "resgat_pl.data.splits.IdentitySplit",
    "resgat_pl.data.splits.PartSplit",
    "resgat_pl.data.splits.OfficialSplit",
    "resgat_pl.data.splits.StrictSplit",
    "resgat_pl.data.splits.PaperSplit",
    "resgat_pl.data.transforms.Augmentation",
    "resgat_pl.data.transforms.DFDCAugmentation",
    "resgat_pl.data.transforms.FlipAugmentation",
    "resgat_pl.finite.FiniteGuard",
    "resgat_pl.heatmaps.Heatmaps",
    "resgat_pl.module.ResGATModule",
    "resgat_pl.monitors.MonitorFallback",
    "resgat_pl.provenance.RunProvenance",
    "resgat_pl.nn.resgat.ResGAT",
    "resgat_pl.recovery.Recovery",
    "resgat_pl.safe_loading.SafeLoading",
    "resgat_pl.safe_loading.SafeReading",
    "resgat_pl.wandb_logger.LastingWandbLogger",
)
"""Classes that a configuration of that commit can name: loggers, callbacks, plugins and the parts of ``data``."""


@pytest.mark.parametrize("path", AT_574AEB2)
def test_every_class_that_a_configuration_can_name_is_found(path: str) -> None:
    module, _, name = new_name(path).rpartition(".")
    assert isinstance(getattr(import_module(module), name), type)


@pytest.mark.parametrize("new", sorted(RENAMED.values()))
def test_the_new_names_exist_and_are_not_renamed_themselves(new: str) -> None:
    module, _, name = new.rpartition(".")
    if name[0].isupper():
        assert hasattr(import_module(module), name)
    else:
        import_module(new)
    assert new_name(new) == new


def test_what_is_gone_says_what_replaces_it() -> None:
    for module, instead in GONE.items():
        with pytest.raises(ConfigError, match=r"was of an earlier version") as reported:
            new_name(f"{module}.Engine")
        assert instead in str(reported.value)


def test_other_values_of_a_configuration_are_unchanged() -> None:
    values = {"a": [1, None, 0.5, True], "b": "resgat_pl", "c": "see resgat_pl.module.ResGATModule", "d": {"e": "x.y"}}
    assert renewed(values) == values
    assert renewed([{"class_path": "resgat_pl.data.leave_out.LeaveOut"}]) == [
        {"class_path": "resgat_pl.data.splits.LeaveOut"}
    ]
