"""``fit``, ``validate``, ``test`` and ``predict``: LightningCLI with ResGAT's parts.

A run's configuration has the groups ``net`` (the detector), ``model`` (its training), ``data``, ``trainer``,
``checkpoint``, ``early_stopping`` and ``heatmaps``. With ``--ckpt_path`` the configuration decides and the checkpoint
must fit it: nothing in a checkpoint overrides a YAML file or a flag.
"""

from __future__ import annotations

import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from jsonargparse import ActionYesNo, Namespace, set_parsing_settings
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl import privacy
from resgat_pl.callbacks import WANDB_ID, PredictionWriter, WandbRunId
from resgat_pl.checkpoints import CheckpointRoom, storing_run
from resgat_pl.data.datamodule import FaceDataModule, require_data
from resgat_pl.data.layouts import check_root
from resgat_pl.data.paths import require_files, require_folder
from resgat_pl.errors import ConfigError, ResGATError, values_refused
from resgat_pl.finite import FiniteGuard
from resgat_pl.hardware import advice
from resgat_pl.heatmaps import Heatmaps
from resgat_pl.mistakes import explain_mistake
from resgat_pl.module import ResGATModule
from resgat_pl.monitors import MonitorFallback
from resgat_pl.nn.resgat import ResGAT, check_compatible
from resgat_pl.nn.weights import read_file
from resgat_pl.provenance import PROVENANCE, RunProvenance
from resgat_pl.resumed import differences
from resgat_pl.safe_loading import SafeLoading

_GUARDED: Final = {
    "lightning.pytorch.loggers.CSVLogger": "resgat_pl.checkpoints.WholeCSVLogger",
    "lightning.pytorch.loggers.csv_logs.CSVLogger": "resgat_pl.checkpoints.WholeCSVLogger",
    "lightning.pytorch.loggers.WandbLogger": "resgat_pl.wandb_logger.LastingWandbLogger",
    "lightning.pytorch.loggers.wandb.WandbLogger": "resgat_pl.wandb_logger.LastingWandbLogger",
}


class ResGATCLI(LightningCLI):
    """LightningCLI with the detector as a group of its own, and checkpoints that never override the configuration."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the groups ``net``, ``checkpoint``, ``early_stopping`` and ``heatmaps``."""
        parser.add_class_arguments(ResGAT, "net")
        parser.link_arguments("net", "model.net", apply_on="instantiate")
        parser.link_arguments("data.image_size", "net.image_size")
        parser.link_arguments("model.mask_loss_weight", "data.masks", compute_fn=_needs_masks)
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(Heatmaps, "heatmaps")
        parser.add_argument(
            "--private",
            action=ActionYesNo(no_prefix="no_"),
            default=False,
            help="W&B gets metrics only: no pictures, names, paths, host, user, command line, code or packages.",
        )
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/video_auroc",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                "checkpoint.auto_insert_metric_name": False,
                # after the epoch is complete, so that a resumed run does not repeat its validation
                "checkpoint.save_on_train_epoch_end": True,
                "early_stopping.monitor": "val/video_auroc",
                "early_stopping.mode": "max",
                # NaN is an undefined metric here: numbers that went wrong end the run with the names of the crops
                "early_stopping.check_finite": False,
                "early_stopping.patience": 15,  # the paper trains 15 epochs: by default it is never cut short
            }
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and say in one sentence what cannot be parsed.

        Raises:
            ConfigError: Names the option, and the nearest right one.
        """
        given = [str(argument) for argument in args] if isinstance(args, Sequence) else []
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            options = self._parser(given[0]).get_defaults(skip_validation=True).keys() if given else ()
            known = [*options, "config", "ckpt_path"]
            raise ConfigError(
                f"{explain_mistake(str(error), known, given)} (resgat {' '.join(given[:1])} --help lists all options)"
            ) from None
        except ResGATError:
            raise
        except Exception as error:  # of the parsers below it, on text that they did not expect
            told = " ".join(str(error).split())[:500] or type(error).__name__
            raise ConfigError(f"The configuration cannot be read: {told}") from error

    def _parse_ckpt_path(self) -> None:
        """Do not merge a checkpoint's hyper-parameters into the configuration; only check that it can be read.

        Raises:
            WeightsError: It does not exist, is damaged, or holds code.
        """
        path = self._ckpt_path()
        if path is not None:
            read_file(path)

    def before_instantiate_classes(self) -> None:
        """Look for the data before weights are downloaded; let a resumed run go on in the same W&B run."""
        self._require_groups()
        data = self.config[self.config.subcommand].data
        require_data(data.root, data.crops)
        self._guard_loggers()
        self._without_validation()
        self._keep_private()
        path = self._ckpt_path()
        if self.config.subcommand != "fit" or path is None:
            return
        run = read_file(path).get(WANDB_ID)
        loggers = self.config.fit.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if isinstance(logger, Namespace) and str(logger.get("class_path", "")).endswith("WandbLogger"):
                arguments = logger.init_args
                if run is not None and arguments.get("id") is None and arguments.get("version") is None:
                    arguments.id = run

    def _guard_loggers(self) -> None:
        """Put loggers that outlast a full disk and a dead W&B in the place of Lightning's own."""
        loggers = self.config[self.config.subcommand].trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if isinstance(logger, Namespace):
                logger.class_path = _GUARDED.get(str(logger.get("class_path")), logger.get("class_path"))

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; say what a full disk has cost, and how to go on."""
        with storing_run(self.trainer):
            super()._run_subcommand(subcommand)

    def instantiate_classes(self) -> None:
        """Look at paths, hardware and checkpoint first; then build all parts.

        Raises:
            ResGATError: A path, or a value that a class refuses.
        """
        command, config = self.config.subcommand, self.config[self.config.subcommand]
        self._check_places(config)
        trainer, net = config.trainer, config.net
        for line in advice(str(trainer.accelerator), str(trainer.precision), net.encoder, net.image_size, command):
            rank_zero_warn(line)
        path = self._ckpt_path()
        if path is not None:
            self._compare(path)
        with values_refused("The configuration"):
            super().instantiate_classes()

    def _require_groups(self) -> None:
        """Refuse a configuration that sets a whole group to null or to one value.

        Raises:
            ConfigError: Names the group.
        """
        config = self.config[self.config.subcommand]
        for group in ("net", "model", "data", "trainer", "checkpoint", "early_stopping", "heatmaps"):
            if not isinstance(config.get(group), Namespace):
                raise ConfigError(
                    f"{group} cannot be {config.get(group)!r}: give it options, or leave it out for the defaults."
                )

    def _without_validation(self) -> None:
        """Let nothing go by a validation that does not take place: it would fail after the first epoch."""
        config = self.config[self.config.subcommand]
        if self.config.subcommand != "fit" or config.trainer.limit_val_batches != 0:
            return
        if str(config.checkpoint.monitor).startswith("val/"):
            rank_zero_warn("trainer.limit_val_batches is 0: best.ckpt will be that of the last epoch.")
            config.checkpoint.monitor = None
        if str(config.early_stopping.monitor).startswith("val/"):
            config.early_stopping.check_on_train_epoch_end = False

    def _check_places(self, config: Namespace) -> None:
        """Look at every path before anything is downloaded, extracted or computed.

        Raises:
            ResGATError: A path that is read does not exist, or one that is written to cannot be.
        """
        if config.data.root is not None:
            check_root(config.data.root)
            require_folder(config.data.crops, "data.crops")
        if config.net.weights not in {None, "imagenet"}:
            require_files({"net.weights": config.net.weights})
        if self.config.subcommand == "fit" and config.checkpoint.dirpath is not None:
            require_folder(config.checkpoint.dirpath, "checkpoint.dirpath")
        if config.trainer.fast_dev_run:
            return
        require_folder(config.trainer.default_root_dir or ".", "trainer.default_root_dir")
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            options = logger.get("init_args") if isinstance(logger, Namespace) else None
            if options is not None and options.get("save_dir") is not None:
                require_folder(options.save_dir, "trainer.logger.init_args.save_dir")

    def _compare(self, path: Path) -> None:
        """Say which value counts where the configuration and a checkpoint disagree.

        Raises:
            WeightsError: The checkpoint holds another network, or the state of another optimiser.
        """
        content = read_file(path)
        command, config = self.config.subcommand, self.config[self.config.subcommand]
        entry = content.get("resgat")
        if isinstance(entry, dict) and isinstance(entry.get("net"), dict):
            check_compatible(config.net.as_dict(), entry["net"])
        here = self._parser(command).dump(config, skip_none=False, skip_validation=True)
        there = str((content.get(PROVENANCE) or {}).get("config", ""))
        for line in differences(here, there, command):
            rank_zero_info(line)

    def _keep_private(self) -> None:
        """Decide what W&B gets, before it is started."""
        config = self.config[self.config.subcommand]
        privacy.settings(config.private)
        if config.private:
            config.heatmaps.log_images = False
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if config.private and isinstance(logger, Namespace) and "Wandb" in str(logger.get("class_path")):
                for name in ("name", "group", "job_type", "notes", "tags"):
                    if logger.init_args.get(name) is not None:
                        logger.init_args[name] = None
                logger.init_args.log_model = False
                logger.init_args.name = "private"

    def _ckpt_path(self) -> Path | None:
        value = self.config[self.config.subcommand].get("ckpt_path")
        return None if value in {None, "best", "last", "hpc", "registry"} else Path(value)


def _needs_masks(mask_loss_weight: float) -> bool:
    return mask_loss_weight > 0


def _last_checkpoint() -> ModelCheckpoint:
    """``last.ckpt`` after every epoch: ``save_last`` of the other callback writes only when the best changes."""
    return ModelCheckpoint(filename="last", monitor=None, save_on_train_epoch_end=True, enable_version_counter=False)


def parser_options() -> dict[str, Any]:
    """Arguments of ``ResGATCLI`` besides the command line's."""
    # Interpolations are resolved after files and flags are merged, so that ${...} never holds a stale value.
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    return {
        "model_class": ResGATModule,
        "datamodule_class": FaceDataModule,
        "seed_everything_default": 0,
        "save_config_callback": RunProvenance,
        "save_config_kwargs": {"overwrite": True},
        "trainer_defaults": {
            "callbacks": [
                FiniteGuard(),  # first: what is not finite goes nowhere
                MonitorFallback(),
                CheckpointRoom(),
                SafeLoading(),  # after the one that chooses how checkpoints are written
                _last_checkpoint(),
                PredictionWriter(),
                WandbRunId(),
            ]
        },
        "parser_kwargs": {
            "prog": "resgat",
            "parser_mode": "omegaconf+",
            # raise instead of printing two hundred lines of usage above the message
            **{key: {"exit_on_error": False} for key in ("fit", "validate", "test", "predict")},
            "exit_on_error": False,
        },
    }


def run(args: Sequence[str]) -> None:
    """Run one of Lightning's subcommands.

    Args:
        args: Subcommand and options.
    """
    _quiet()
    try:
        ResGATCLI(args=list(args), **parser_options())
    except ArgumentError as error:  # of a default, or of what the classes make of their arguments
        raise ConfigError(explain_mistake(str(error), (), args)) from None
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(f"The GPU ran out of memory. Use a smaller --data.batch_size. ({error})") from None


def _quiet() -> None:
    """Silence advice that does not apply here, so that what is left means something."""
    for message in (
        ".*args parameter is intended to run from within Python.*",  # the same function serves both
        ".*does not have many workers.*",  # the number of workers is the configuration's decision
        ".*persistent_workers.*",
        ".*isinstance.treespec, LeafSpec.*",  # Lightning's own use of a deprecated function of torch
        ".*The dirpath has changed from.*",  # testing and resuming write to a folder of their own
        ".*The number of training batches.*is smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message=message)
