"""Training of a detector as a LightningModule; the mathematics is in ``resgat_pl.nn``."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torchmetrics import MeanMetric, Metric, MetricCollection

from resgat_pl import __version__
from resgat_pl.core.errors import ConfigError, values_refused
from resgat_pl.core.formats import WRITER
from resgat_pl.core.types import FaceBatch, Level, NetOutput, Validation
from resgat_pl.evaluation.metrics.extra import ExtraMetrics
from resgat_pl.evaluation.metrics.torch_metrics import DetectionMetrics, detection_metrics
from resgat_pl.nn.checkpoint_file import CHECKPOINT_VERSION, Checkpoint, check_state
from resgat_pl.nn.checkpoint_keys import MASK_THRESHOLD, RESGAT
from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.nets import check_same_net
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.callbacks.weight_averaging import check_averaging, check_same, fingerprint
from resgat_pl.training.feature_cache import prepare_features
from resgat_pl.training.from_checkpoint import FromCheckpoint
from resgat_pl.training.lightning_internals import restore_loader_states
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput
from resgat_pl.training.net_checks import check_losses, check_samples, prepare_losses
from resgat_pl.training.schedules import Maker, expected_steps, rehearse, scale_rate, schedule

_LARGEST_RATE = 1e30
"""Adam divides the rate by up to 0.001, which must not leave float32."""


def _adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=3e-4, fused=True)  # the paper's optimiser, in one pass over the parameters


class ResGATModule(FromCheckpoint):
    """Trains a detector, such as ResGAT, with binary cross-entropy on logits.

    Logs F1, AUROC and accuracy per frame and per video.

    Args:
        net: The detector: a ResGAT, or another ``DetectorNet``.
        optimizer: Made from the parameters; the default is the paper's Adam with learning rate 3e-4.
        lr_scheduler: Made from the optimiser; null keeps the rate.
        lr_interval: Whether the schedule advances every ``epoch`` or every ``step``.
        lr_batch: The effective batch (crops a step over all processes, accumulation included) that the learning rate
            is for; with another one it is scaled. Null takes the rate as it is given.
        lr_scaling: How, with k times the batch: by √k (``sqrt``), which keeps the noise of Adam's steps the same
            (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022; of their
            rule the learning rate alone, not β and ε), or by k (``linear``), the rule for SGD (Goyal et al.,
            "Accurate, Large Minibatch SGD", 2017).
        pos_weight: Weight of the fake class in the loss; 1 is the paper's.
        mask_loss_weight: Weight of ``nn.mask_guidance``, which trains the nodes' contributions to lie on the
            manipulation masks, where there are any; 0 as in the paper. Of a ResGAT alone.
        losses: Further losses of a ResGAT, see ``training.losses``.
        channels_last: Store images and convolution weights with channels last: faster on most CPUs and GPUs.
        compile_net: Compile the network with ``torch.compile``.
        metrics: Of torchmetrics, or your own, of the probabilities and labels of frames; logged by the class's name.

    Attributes:
        thresholds: By level (``frame``, ``video``), the probability above which balanced accuracy was highest in the
            latest validation; None before one, or where it had one class. Stored in checkpoints, for ``resgat test``.
        temperature: Calibrates the probabilities of frames, see ``evaluation.metrics.calibration``; of the latest
            validation, None before one or where it gave none. Stored in checkpoints, for ``resgat explain``.
        video_temperature: Likewise those of videos.
        validation: The videos that all three were chosen on. Sanity checks choose nothing.
        mask_threshold: Of a mask head, and ``mask_results``, of the latest test: see ``callbacks.MaskHeadScores``.
        limits: Further limits that it chose, such as ``unknown_kind``, see ``callbacks.outputs``; in checkpoints, too.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT("gatv2", "resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64)
        >>> module = ResGATModule(net)
        >>> module(torch.rand(2, 3, 64, 64)).logit.shape
        torch.Size([2])
    """

    def __init__(
        self,
        net: DetectorNet,
        optimizer: OptimizerCallable = _adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "epoch",
        lr_batch: int | None = None,
        lr_scaling: Literal["sqrt", "linear"] = "sqrt",
        pos_weight: float = 1.0,
        mask_loss_weight: float = 0.0,
        losses: list[AuxiliaryLoss] | None = None,
        channels_last: bool = False,
        compile_net: bool = False,
        metrics: list[Metric] | None = None,
    ) -> None:
        super().__init__()
        self.losses = check_losses(net, mask_loss_weight, losses or [])
        if not 0 < pos_weight < math.inf:
            raise ConfigError(f"model.pos_weight is {pos_weight}; it must be more than 0.")
        if lr_batch is not None and lr_batch < 1:
            raise ConfigError(f"model.lr_batch is {lr_batch}; it must be at least 1, or null.")
        self.net = net
        self.optimizer = Maker(optimizer)
        self.lr_scheduler = None if lr_scheduler is None else Maker(lr_scheduler)
        self.lr_interval = lr_interval
        self.lr_batch = lr_batch
        self.lr_scaling = lr_scaling
        self.pos_weight = pos_weight
        self.mask_loss_weight = mask_loss_weight
        self.channels_last = channels_last
        self.compile_net = compile_net
        self.extra_metrics = ExtraMetrics(metrics or ())
        stages = detection_metrics(self.extra_metrics)
        self.val_metrics = stages.clone(prefix="val/")
        self.test_metrics = stages.clone(prefix="test/")
        self.thresholds: dict[Level, float] | None = None
        self.temperature: float | None = None
        self.mask_threshold: float | None = None
        self.mask_results: dict[str, float | None] = {}
        self._warned_of_undefined = False
        self._validated: tuple[int, dict[str, Tensor]] | None = None
        self.video_temperature: float | None = None
        self.validation: Validation | None = None
        self.limits: dict[str, float] = {}
        self.val_loss = MeanMetric()
        self.test_loss = MeanMetric()

    @property
    def temperatures(self) -> dict[Level, float | None]:
        """By level."""
        return {"frame": self.temperature, "video": self.video_temperature}

    def forward(self, images: Tensor) -> NetOutput:
        """See ``DetectorNet.forward``."""
        return cast("NetOutput", self.net(self._in_format(images)))

    def configure_model(self) -> None:
        """Apply memory format and compilation, once."""
        if self.channels_last:
            self.net.to(memory_format=torch.channels_last)
        if self.compile_net and self.net._compiled_call_impl is None:
            self.net.compile()

    def _progress(self) -> float:
        """Share of the training that is done, by epochs or steps, whichever ends it first; 1 where neither does."""
        try:
            epochs, steps = self.trainer.max_epochs or -1, self.trainer.max_steps
        except RuntimeError:  # a loop without a Trainer
            return 1.0
        done = [self.current_epoch / epochs] if epochs > 0 else []
        done += [self.global_step / steps] if steps > 0 else []
        return min(1.0, max(done, default=1.0))

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """One step; logs ``train/loss``, the detection loss, and each of ``losses``."""
        if not self.losses:
            total = loss = self._losses(self._output(batch).logit, batch["label"]).mean()
        else:
            net = cast("ResGAT", self.net)  # see check_net
            graph = net.graph(self._nodes(batch))
            step = LossInput(net, batch, graph, decompose(net, graph), self._encode, self._progress())
            total = loss = self._losses(step.found.output.logit, batch["label"]).mean()
            for term in self.losses:
                value = term(step)
                self.log(f"train/{term.name}", value, prog_bar=True, batch_size=len(batch["label"]))
                total = total + term.weight * value
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["label"]))
        return total

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> dict[str, Tensor]:
        """Collect predictions, from which metrics are computed over all processes; returns as ``predict_step``."""
        if batch_idx == 0 and not self.trainer.sanity_checking:
            self._validated = self.trainer.global_step, fingerprint(dict(self.named_parameters()))
        return self._evaluate(batch, self.val_metrics, self.val_loss)

    def test_step(self, batch: FaceBatch, batch_idx: int) -> dict[str, Tensor]:
        """Like ``validation_step``."""
        return self._evaluate(batch, self.test_metrics, self.test_loss)

    def predict_step(self, batch: FaceBatch, batch_idx: int) -> dict[str, Tensor]:
        """Return ``row (B,)`` int64, ``logit (B,)`` float32 and, of a net with outputs, ``outputs (B, P)`` float32."""
        return self._score(batch)

    def setup(self, stage: str) -> None:
        """Check that the data are of the kind that the network takes, see ``net_checks.check_samples``."""
        check_samples(self.net, getattr(self.trainer, "datamodule", None))

    def on_fit_start(self) -> None:
        """Check that the validated weights will be the stored ones; compute what is cached of a frozen encoder.

        Raises:
            ResGATError: See ``weight_averaging.check_averaging``, ``net_checks.prepare_losses`` and
                ``feature_cache.prepare_features``.
        """
        check_averaging(self.trainer)
        prepare_losses(self.trainer, self.net, self.losses)
        prepare_features(self.trainer, self.net, self._in_format)

    def on_train_start(self) -> None:
        """Check that a restored schedule lasts for the rest of the training.

        Raises:
            ConfigError: It ends earlier.
        """
        # Asking how many steps there will be makes the loaders before their states are there: they would begin again.
        restore_loader_states(self.trainer)
        for config in self.trainer.lr_scheduler_configs if self.trainer.global_step > 0 else ():
            if self.lr_scheduler is not None:
                expected = expected_steps(self.lr_interval, self.trainer)
                rehearse(self.optimizer, self.lr_scheduler, expected, config.scheduler.state_dict())

    def on_validation_epoch_start(self) -> None:
        """Give all ranks the same buffers once, then keep them from meeting in every forward pass.

        ``DistributedDataParallel.forward`` broadcasts buffers in evaluation too. Ranks with different numbers of
        batches would wait for each other for ever; and ranks must not evaluate with different batch statistics. A
        callback has put averaged weights in place before.
        """
        if (wrapped := self._wrapped()) is not None:
            for buffer in self.net.buffers():
                torch.distributed.broadcast(buffer, src=0)
            wrapped.broadcast_buffers = False

    def on_validation_epoch_end(self) -> None:
        """Log ``val/loss``, ``val/frame_*`` and ``val/video_*``."""
        self._log_stage(self.val_metrics, self.val_loss, "val/loss")
        if self.trainer.sanity_checking:
            return
        levels = {metric.level: metric for metric in self.val_metrics.values() if isinstance(metric, DetectionMetrics)}
        chosen = {level: metric.best_threshold for level, metric in levels.items()}
        self.thresholds = {level: value for level, value in chosen.items() if value is not None} or None
        self.temperature, self.video_temperature = levels["frame"].temperature, levels["video"].temperature
        self.validation = levels["video"].validation

    def on_validation_end(self) -> None:
        """Undo ``on_validation_epoch_start``."""
        if (wrapped := self._wrapped()) is not None:
            wrapped.broadcast_buffers = True

    def on_test_epoch_end(self) -> None:
        """Log ``test/loss``, ``test/frame_*`` and ``test/video_*``."""
        self._log_stage(self.test_metrics, self.test_loss, "test/loss")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the injected optimiser, scale its rate to the effective batch, and build the scheduler.

        Raises:
            ConfigError: ``lr_batch`` is set and the data do not say their batch size, or gradients are to be clipped
                in mixed precision and the optimiser is fused, which Lightning cannot do; or the optimiser or the
                schedule refuses a value or would not last, or the rate is beyond float32.
        """
        with values_refused("model.optimizer"):
            optimizer: torch.optim.Optimizer = self.optimizer([one for one in self.parameters() if one.requires_grad])
        clipped = bool(self.trainer.gradient_clip_val) and "mixed" in str(self.trainer.precision)
        if clipped and any(group.get("fused") for group in optimizer.param_groups):
            raise ConfigError(
                f"trainer.gradient_clip_val is {self.trainer.gradient_clip_val}, with precision "
                f"{self.trainer.precision} and a fused optimiser, which do not go together: set "
                "--model.optimizer.init_args.fused false."
            )
        scale_rate(optimizer, self.trainer, self.lr_batch, self.lr_scaling)
        for group in optimizer.param_groups:
            if not float(group["lr"]) < _LARGEST_RATE:
                raise ConfigError(
                    f"The learning rate is {float(group['lr']):g} (as given, or scaled by model.lr_batch): no weight "
                    "in 32 bits survives it. The paper's is 3e-4."
                )
        if self.lr_scheduler is None:
            return optimizer
        with values_refused("model.lr_scheduler"):
            scheduler = self.lr_scheduler(optimizer)
        entry = schedule(scheduler, self.lr_interval, self.trainer)
        rehearse(self.optimizer, self.lr_scheduler, expected_steps(self.lr_interval, self.trainer))
        return cast("OptimizerLRScheduler", {"optimizer": optimizer, "lr_scheduler": entry})

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Advance a schedule; one that monitors a metric not while that is undefined."""
        if metric is None or not torch.as_tensor(metric).isnan():
            super().lr_scheduler_step(scheduler, metric)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the network's class and arguments, from which ``load_net`` rebuilds it, and what validation gave.

        Raises:
            ConfigError: The checkpoint holds other weights than were validated at this step.
        """
        if self._validated is not None and self._validated[0] == checkpoint.get("global_step"):
            check_same(self._validated[1], checkpoint["state_dict"], self.trainer)
        checkpoint[RESGAT] = {
            "version": CHECKPOINT_VERSION,
            WRITER: __version__,
            "net": self.net.spec,
            "thresholds": self.thresholds,
            "temperature": self.temperature,
            "video_temperature": self.video_temperature,
            "validation": None if self.validation is None else self.validation.plain(),
            **({} if self.mask_threshold is None else {MASK_THRESHOLD: self.mask_threshold}),
            "limits": self.limits,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another architecture: the configuration decides, the checkpoint must fit it.

        Raises:
            WeightsError: Names each value that differs, or the weights that do not fit.
        """
        found = Checkpoint.of(checkpoint, "The checkpoint")
        check_same_net(self.net.spec, found.net_config)
        if self.strict_loading:
            check_state(self, found.state, "The checkpoint")
        self.thresholds = None if found.thresholds is None else dict(found.thresholds)
        self.validation, self.mask_threshold, self.limits = found.validation, found.mask_threshold, dict(found.limits)
        self.temperature, self.video_temperature = found.temperatures["frame"], found.temperatures["video"]

    def _in_format(self, images: Tensor) -> Tensor:
        pictures = self.channels_last and images.ndim == 4  # of clips the network makes them
        return images.contiguous(memory_format=torch.channels_last) if pictures else images

    def _nodes(self, batch: FaceBatch) -> Tensor:
        """Nodes ``(B, N, F)``: cached, or of the images."""
        if "nodes" in batch:
            return batch["nodes"].to(next(self.net.parameters()).dtype)
        return self._encode(batch["image"])

    def _encode(self, images: Tensor) -> Tensor:
        return cast("EncoderNet", self.net).encode(self._in_format(images))

    def _output(self, batch: FaceBatch) -> NetOutput:
        if "nodes" in batch:
            return cast("EncoderNet", self.net).forward_nodes(self._nodes(batch))
        return cast("NetOutput", self(batch["image"]))

    def _losses(self, logit: Tensor, label: Tensor) -> Tensor:
        weight = None if self.pos_weight == 1 else logit.new_tensor(self.pos_weight)
        return F.binary_cross_entropy_with_logits(logit, label, pos_weight=weight, reduction="none")

    def _evaluate(self, batch: FaceBatch, metrics: MetricCollection, mean_loss: MeanMetric) -> dict[str, Tensor]:
        found, label = self._score(batch), batch["label"]
        untouched = batch.get("untouched")
        losses = self._losses(found["logit"], label)
        mean_loss.update(losses if untouched is None else losses[~untouched])
        metrics.update(found["logit"], label, batch["row"], batch["video"], batch["track"], untouched)
        return found

    def _score(self, batch: FaceBatch) -> dict[str, Tensor]:
        """Results of ``predict_step``, computed in 32 bits whatever ``trainer.precision`` trains in.

        ``explain``, ``cross`` and ``robustness`` compute so, and use the threshold and temperature found here. In
        bfloat16 a logit has three digits.
        """
        with torch.autocast(batch["label"].device.type, enabled=False):
            if not isinstance(self.net, ResGAT) or self.net.outputs is None:
                return {"row": batch["row"], "logit": self._output(batch).logit.float()}
            graph = self.net.graph(self._nodes(batch))
            logit, outputs = self.net.classify(graph).logit, self.net.outputs(graph)
        return {"row": batch["row"], "logit": logit.float(), "outputs": outputs.float()}

    def _log_stage(self, metrics: MetricCollection, mean_loss: MeanMetric, name: str) -> None:
        # Metric.compute gathers over all processes, so every rank logs the same numbers.
        values = {name: mean_loss.compute(), **metrics.compute()}
        deciding = [
            *self.trainer.checkpoint_callbacks,
            *self.trainer.early_stopping_callbacks,
            *self.trainer.lr_scheduler_configs,
        ]
        monitored = {getattr(one, "monitor", None) for one in deciding}
        self._warn_of_undefined([key for key in sorted(values) if key in monitored and values[key].isnan()])
        for key, value in values.items():
            # Undefined metrics stay out of tables and dashboards, but callbacks fail without what they monitor.
            if not value.isnan() or key in monitored:
                self.log(key, value.to(self.device, torch.float32), prog_bar=key.endswith("auroc"))
        metrics.reset()
        mean_loss.reset()

    def _warn_of_undefined(self, names: list[str]) -> None:
        """Warn once that a metric that the run decides by has no value."""
        if names and not self._warned_of_undefined and not self.trainer.sanity_checking:
            self._warned_of_undefined = True
            rank_zero_warn(
                f"{' and '.join(names)} is undefined (NaN): the crops that were validated are of one class, and "
                "nothing can be chosen by it. Validate more of them (trainer.limit_val_batches), or monitor val/loss."
            )

    def _wrapped(self) -> DistributedDataParallel | None:
        model = self.trainer.model
        return model if isinstance(model, DistributedDataParallel) else None
