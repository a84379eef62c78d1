"""Training with Lightning, and runs that survive crashes, signals and full disks.

When one of several ranks dies, the others are ended by what started them; nothing here does. Measured with Lightning
2.6.6 and torch 2.14 on two ranks: Lightning's own launcher (``--trainer.devices 2``) looks every 5 seconds, names the
rank and its status, and kills the rest; often they end before with the error of the broken connection ("remote
worker"). If its rank 0, the parent, is killed, only that error ends the others: gloo raises it at once, NCCL at the
time limit of its process group, 30 minutes in Lightning. ``torchrun`` ends all ranks within 3 seconds and names the
first that failed, also on one machine: use it, or ``srun --kill-on-bad-exit``, where nobody watches a run. The same
command with ``--ckpt_path last`` resumes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.module import ResGATModule as ResGATModule

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ResGATModule": "module",
    },
)
