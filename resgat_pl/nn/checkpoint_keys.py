"""Keys of a checkpoint; no other module spells them."""

from __future__ import annotations

from typing import Final

RESGAT: Final = "resgat"
"""``{"version": CHECKPOINT_VERSION, "resgat_pl": …, "net": ResGAT.config, "thresholds": …, "temperature": …, …}``."""
MASK_THRESHOLD: Final = "mask_threshold"
"""In the entry ``RESGAT``, of a network with a mask head."""
STATE_DICT: Final = "state_dict"
PROVENANCE: Final = "provenance"
"""Also the key in results files; see ``evaluation.provenance``."""
RECOVERY: Final = "recovery"
WANDB_ID: Final = "wandb_run_id"
LIGHTNING: Final = "pytorch-lightning_version"
EPOCH: Final = "epoch"
STEP: Final = "global_step"
TRAINING: Final = frozenset({"optimizer_states", "lr_schedulers", "loops"})
"""Keys that Lightning needs to resume training."""
NET_PREFIX: Final = "net."
"""Of the network's weights in the state dict of the LightningModule."""
