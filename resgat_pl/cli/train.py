"""``fit``, ``validate``, ``test`` and ``predict``: LightningCLI with ResGAT's parts.

A run's configuration has the groups ``net`` (the detector), ``model`` (its training), ``data``, ``trainer``,
``checkpoint``, ``early_stopping``, ``heatmaps``, ``artifacts`` and ``recovery``. With ``--ckpt_path`` the configuration
decides and the checkpoint must fit it: nothing in a checkpoint overrides a YAML file or a flag.
"""

from __future__ import annotations

import logging
import shlex
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from jsonargparse import ActionYesNo, Namespace, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from resgat_pl.cli.mistakes import explain_mistake
from resgat_pl.cli.nets import named_net, reading_for, with_class_paths
from resgat_pl.cli.part_names import failure_in, named_parts
from resgat_pl.core.errors import ConfigError, ResGATError, Stopped, values_refused
from resgat_pl.data.datamodule import FaceDataModule, require_data
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.hub import hub_name, local_copy
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT
from resgat_pl.training import adjust, checks
from resgat_pl.training.callbacks.artifacts import WandbArtifacts
from resgat_pl.training.callbacks.heatmaps import Heatmaps
from resgat_pl.training.callbacks.mask_scores import MaskHeadScores
from resgat_pl.training.callbacks.monitor_fallback import MonitorFallback
from resgat_pl.training.callbacks.nonfinite import NonFiniteGuard
from resgat_pl.training.callbacks.outputs import OutputScores
from resgat_pl.training.callbacks.predictions import PredictionWriter, WandbRunId
from resgat_pl.training.callbacks.provenance import RunProvenance
from resgat_pl.training.callbacks.throughput import Throughput
from resgat_pl.training.checkpoints.find_last import find_last_checkpoint
from resgat_pl.training.checkpoints.full_disk import reporting_full_disk_in_run
from resgat_pl.training.checkpoints.recovery import Recovery
from resgat_pl.training.checkpoints.safe_io import SafeCheckpoints
from resgat_pl.training.checkpoints.slurm import is_requeued
from resgat_pl.training.lightning_internals import callbacks_of
from resgat_pl.training.loggers.csv import AtomicCSVLogger
from resgat_pl.training.losses.base import loss_classes
from resgat_pl.training.module import ResGATModule

_DOUBLED: Final = "Found more than one stateful callback"
_NET: Final = "Another detector (name, or class path such as resgat_pl.nn.PooledClassifier), or a configuration file."
_TOO_FEW_EPOCHS: Final = "You restored a checkpoint with current_epoch"


class ResGATCLI(LightningCLI):
    """LightningCLI with the detector as a separate group, and checkpoints that never override the configuration.

    Args:
        args: The command line; the detector's class is taken from it before the parser is made, see ``cli.nets``.
        **options: As of LightningCLI.
    """

    def __init__(self, args: Sequence[str], **options: Any) -> None:
        self._net = named_net(args)
        with reading_for(self._net):
            super().__init__(args=with_class_paths(args), **options)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the groups ``net``, ``checkpoint``, ``early_stopping``, ``heatmaps``, ``artifacts`` and ``recovery``."""
        self._add_net(parser)
        parser.link_arguments("net", "model.net", apply_on="instantiate")
        parser.link_arguments(("model.mask_loss_weight", "model.losses"), "data.masks", compute_fn=_needs_masks)
        parser.link_arguments("model.losses", "data.landmarks", compute_fn=_needs_landmarks)
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(Heatmaps, "heatmaps")
        parser.add_argument(
            "--private",
            action=ActionYesNo(no_prefix="no_"),
            default=False,
            help="W&B gets metrics only: no pictures, names, paths, host, user, command line, code or packages.",
        )
        parser.add_lightning_class_args(WandbArtifacts, "artifacts")
        parser.add_lightning_class_args(Recovery, "recovery")
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

    def _add_net(self, parser: LightningArgumentParser) -> None:
        if self._net is not None:
            parser.add_subclass_arguments(DetectorNet, "net", required=True, help="Class of the detector.")
            parser.link_arguments("data.image_size", "net.init_args.image_size")
            if issubclass(self._net, VideoResGAT):
                parser.link_arguments("data.clip_frames", "net.init_args.clip_frames")
            return
        parser.add_class_arguments(ResGAT, "net")
        parser.link_arguments("data.image_size", "net.image_size")
        for action in parser._actions:
            if action.dest == "net":
                action.metavar, action.help = "CLASS or FILE", _NET

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the options; report in one sentence what cannot be parsed.

        Raises:
            ConfigError: Names the option, and the nearest right one.
        """
        given = [str(argument) for argument in args] if isinstance(args, Sequence) else []
        try:
            with named_parts():
                super().parse_arguments(parser, args)
        except ResGATError:
            raise
        except Exception as error:
            raise (failure_in(error) or self._mistake(error, given)) from None

    def _mistake(self, error: Exception, given: Sequence[str]) -> ConfigError:
        """The message about a command line that a parser refuses."""
        if isinstance(error, ArgumentError):
            options = self._parser(given[0]).get_defaults(skip_validation=True).keys() if given else ()
            known = [*options, "config", "ckpt_path"]
            return ConfigError(
                f"{explain_mistake(str(error), known, given)} (resgat {' '.join(given[:1])} --help lists all options)"
            )
        # of the parsers below it, on text that they did not expect
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        return ConfigError(f"The configuration cannot be read: {reason}")

    def _parse_ckpt_path(self) -> None:
        """Do not merge a checkpoint's hyper-parameters into the configuration; only check that it can be read.

        Raises:
            ConfigError: Training would overwrite the checkpoints of another run.
            WeightsError: It does not exist, is damaged, or holds code.
        """
        command, options = self._command, self._config
        checks.require_groups(options)
        given = options.get("ckpt_path")
        if given == "last" or (command == "fit" and is_requeued()):
            options.ckpt_path = find_last_checkpoint(options, command) or (None if given == "last" else given)
            return
        if given is not None and hub_name(given):
            options.ckpt_path = str(local_copy(given))
        checks.check_new_run(command, options)
        if (path := self._ckpt_path()) is not None:
            Checkpoint.read(path)

    def _set_seed(self) -> None:
        """Seed all generators.

        Raises:
            ConfigError: A generator does not take such a number.
        """
        with values_refused("seed_everything"):
            super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Check data and configuration before weights are downloaded, and adjust what the parts are built with."""
        command, config = self._command, self._config
        require_data(config.data.root, config.data.crops)
        adjust.use_safe_loggers(config)
        adjust.let_sweep_name_runs(config)
        checks.warn_of_sweep(command, config)
        checks.check_trainer(command, config)
        checks.check_callbacks(command, config)
        checks.check_schedule(command, config)
        checks.check_features_cache(command, config)
        adjust.name_kinds(config)
        adjust.without_validation(command, config)
        adjust.keep_what_is_validated(command, config)
        adjust.write_best_in_place(config)
        adjust.restore_default_devices(config)
        adjust.keep_private(config)
        path = self._ckpt_path()
        if command == "fit" and path is not None:
            adjust.same_wandb_run(config, Checkpoint.read(path).wandb_run_id)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command; a full disk is reported in one message."""
        try:
            with reporting_full_disk_in_run(self.trainer):
                super()._run_subcommand(subcommand)
        except SystemExit as left:  # Lightning makes status 1 of Ctrl-C
            if isinstance(left.__context__, KeyboardInterrupt):
                raise left.__context__ from None
            raise

    def instantiate_classes(self) -> None:
        """Look at paths, hardware and checkpoint first; then build all parts. A test logs into ``test`` and so on.

        Raises:
            ResGATError: A path, or a value that a class refuses.
        """
        command, config = self._command, self._config
        checks.check_places(command, config)
        checks.warn_of_hardware(config)
        path = self._ckpt_path()
        if path is not None:
            here = self._parser(command).dump(config, skip_none=False, skip_validation=True)
            checks.check_checkpoint(command, config, here, Checkpoint.read(path))
        try:
            with values_refused("The configuration"):
                super().instantiate_classes()
        except ConfigError as error:
            raise failure_in(error.__cause__) or error from None
        for logger in self.trainer.loggers:
            if isinstance(logger, AtomicCSVLogger) and command != "fit":
                logger.subfolder = command
        for callback in callbacks_of(self.trainer) if config.private else ():
            if isinstance(callback, PredictionWriter):
                callback.log_figures = False

    @property
    def _command(self) -> str:
        return str(self.config.subcommand)

    @property
    def _config(self) -> Namespace:
        """The configuration of the command."""
        config: Namespace = self.config[self.config.subcommand]
        return config

    def _ckpt_path(self) -> Path | None:
        value = self._config.get("ckpt_path")
        return None if value in {None, "best", "last", "hpc", "registry"} else Path(value)


def _needs_masks(mask_loss_weight: float, losses: Sequence[Any] | None) -> bool:
    return mask_loss_weight > 0 or any(loss.needs_masks for loss in loss_classes(losses or ()))


def _needs_landmarks(losses: Sequence[Any] | None) -> bool:
    return any(loss.needs_landmarks for loss in loss_classes(losses or ()))


def parser_options() -> dict[str, Any]:
    """Arguments of ``ResGATCLI`` besides the command line's."""
    # Interpolations are resolved after files and flags are merged, so that ${...} never holds a stale value.
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    # After every epoch: save_last of the other callback writes only when the best changes.
    last = ModelCheckpoint(filename="last", monitor=None, save_on_train_epoch_end=True, enable_version_counter=False)
    return {
        "model_class": ResGATModule,
        "datamodule_class": FaceDataModule,
        "seed_everything_default": 0,
        "save_config_callback": RunProvenance,
        "save_config_kwargs": {"overwrite": True},
        "trainer_defaults": {
            "callbacks": [
                NonFiniteGuard(),
                MonitorFallback(),
                SafeCheckpoints(),
                last,
                MaskHeadScores(),
                PredictionWriter(),
                WandbRunId(),
                Throughput(),
                OutputScores(),
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


def run(args: Sequence[str], modules: Sequence[str] = ()) -> None:
    """Run one of Lightning's subcommands.

    Args:
        args: Subcommand and options.
        modules: What ``--import`` named, to be repeated when the command is to be given again.
    """
    _quiet()
    try:
        ResGATCLI(args=list(args), **parser_options())
    except Stopped as stop:
        raise type(stop)(f"{stop} Continue with: {_continuing(args, stop.checkpoint, modules)}") from None
    except ArgumentError as error:  # of a default, or of what the classes make of their arguments
        raise ConfigError(explain_mistake(str(error), (), args)) from None
    except MisconfigurationException as error:  # what Lightning finds only when it begins
        reason = " ".join(str(error).split())[:600]
        if _TOO_FEW_EPOCHS in reason:
            raise ConfigError(
                f"{reason} Raise --trainer.max_epochs to train on, or train elsewhere without --ckpt_path."
            ) from error
        raise ConfigError(f"The configuration cannot be used: {reason}") from error
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(f"The GPU ran out of memory. Use a smaller --data.batch_size. ({error})") from None
    except RuntimeError as error:
        if _DOUBLED in str(error):
            raise ConfigError(
                "trainer.callbacks has a callback that goes by the same metric in the same way as another of its kind, "
                "and a checkpoint could not distinguish the two. The groups checkpoint and early_stopping have one "
                f"each: set those, or let the other differ in monitor or frequency. ({' '.join(str(error).split())})"
            ) from None
        raise


def _continuing(args: Sequence[str], checkpoint: str | None = None, modules: Sequence[str] = ()) -> str:
    """The command that resumes this one, from the given checkpoint or from the last."""
    words: list[str] = []
    given = iter(args)
    for word in given:
        if word == "--ckpt_path":
            next(given, None)
        elif not word.startswith("--ckpt_path="):
            words.append(word)
    imports = ["--import", ",".join(modules)] if modules else []
    return shlex.join(["resgat", *words, *imports, "--ckpt_path", checkpoint or "last"])


def _quiet() -> None:
    """Silence advice that does not apply here, so that what is left means something."""
    for message in (
        ".*args parameter is intended to run from within Python.*",  # the same function serves both
        ".*does not have many workers.*",  # the number of workers is the configuration's decision
        ".*persistent_workers.*",
        ".*WeightAveraging callback with a model that overrides the configure_model.*",  # which shards nothing here
        ".*WeightAveraging callback, but loading a checkpoint outside.*",  # it is to be tested, with its average
        ".*isinstance.treespec, LeafSpec.*",  # Lightning's own use of a deprecated function of torch
        ".*The dirpath has changed from.*",  # a run may be moved, or resumed from another one
        ".*Checkpoint directory .* exists and is not empty.*",  # its own, or the command was refused
        ".*module.s. in eval mode at the start of training.*",  # a frozen encoder
        ".*The number of training batches.*is smaller than the logging interval.*",
        ".*recommended to use `self.log.*sync_dist=True.*",  # torchmetrics has brought the ranks' counts together
    ):
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer.connectors.checkpoint_connector"):
        logging.getLogger(name).addFilter(_concerns_the_user)


def _concerns_the_user(record: logging.LogRecord) -> bool:
    """True for a line of Lightning's that is news: no advertisement, no absent TPU, no default, nothing twice."""
    noise = ("litlogger", "TPU available: False", "`weights_only` was not set", "Detected KeyboardInterrupt")
    return not any(part in record.getMessage() for part in noise)
