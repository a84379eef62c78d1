"""Training with Lightning, and runs that survive crashes, signals and full disks.

When one of several ranks dies, the others are ended by what started them; nothing here does. Measured with Lightning
2.6.6 and torch 2.14 on two ranks: Lightning's own launcher (``--trainer.devices 2``) kills the rest within 5 seconds
and names the rank and its status; if its rank 0, the parent, is killed, the others end with the error of the broken
connection (gloo at once, NCCL at the time limit of its process group, 30 minutes in Lightning). ``torchrun`` ends all
ranks within 3 seconds and names the first that failed, also on one machine: use it, or ``srun --kill-on-bad-exit``,
where a run is not watched. The next start with ``--ckpt_path last`` resumes it.
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
