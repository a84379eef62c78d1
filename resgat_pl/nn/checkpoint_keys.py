"""Keys of a checkpoint: the only place where they stand as text."""

from __future__ import annotations

from typing import Final

RESGAT: Final = "resgat"
"""``{"version": CHECKPOINT_VERSION, "resgat_pl": …, "net": ResGAT.config, "thresholds": …, "temperature": …, …}``."""
STATE_DICT: Final = "state_dict"
PROVENANCE: Final = "provenance"
"""Also the key in results files; ``evaluation.provenance`` gives it its meaning."""
RECOVERY: Final = "recovery"
WANDB_ID: Final = "wandb_run_id"
LIGHTNING: Final = "pytorch-lightning_version"
EPOCH: Final = "epoch"
STEP: Final = "global_step"
OPTIMIZERS: Final = "optimizer_states"
TRAINING: Final = frozenset({OPTIMIZERS, "lr_schedulers", "loops"})
"""What Lightning needs of a checkpoint to resume training."""
NET_PREFIX: Final = "net."
"""Of the network's weights in the state dict of the LightningModule."""
