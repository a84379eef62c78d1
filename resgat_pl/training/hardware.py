"""Settings for a GPU that are asked for on a CPU."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

import torch

_BF16: Final = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "avx512dq", "bf16")
"""How Linux calls a processor's instructions for bfloat16, on x86 and on ARM, or those that make up for them: with
AVX-512 alone a step took 0.8 times as long as in 32 bits, with AVX2 12 times (ResNet-18, 112 px)."""
_LARGE: Final = ("resnet50", "resnet101", "resnet152", "resnext", "wide_resnet", "efficientnet")


def advice(accelerator: str, precision: str, encoder: str, image_size: int, command: str) -> list[str]:
    """Warnings about what would crawl here.

    Args:
        accelerator: ``trainer.accelerator``.
        precision: ``trainer.precision``.
        encoder: ``net.encoder``.
        image_size: ``data.image_size``, px.
        command: ``fit`` or another.
    """
    if not _on_cpu(accelerator):
        return []
    found = []
    if precision.startswith(("bf16", "16")) and not has_bf16():
        found.append(
            f"trainer.precision is {precision}, but this run is on a CPU with neither AVX-512 nor bfloat16 "
            "instructions, where training was measured to take 12 to 35 times as long. Set --trainer.precision 32."
        )
    if command == "fit" and accelerator == "auto" and encoder.startswith(_LARGE) and image_size >= 160:
        found.append(
            f"No GPU was found: {encoder} at {image_size} px will train on the CPU, which takes days on a full data "
            "set. configs/smoke.yaml trains a small detector; --trainer.accelerator cpu says that this is meant."
        )
    return found


def has_bf16() -> bool:
    """Whether the processor computes in bfloat16 at no loss of time; true where that cannot be found out."""
    if platform.system() != "Linux":
        return True
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return True
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), None)
    return flags is None or not set(_BF16).isdisjoint(flags)


def _on_cpu(accelerator: str) -> bool:
    if accelerator != "auto":
        return accelerator == "cpu"
    others = torch.cuda.is_available() or torch.backends.mps.is_available() or "XRT_TPU_CONFIG" in os.environ
    return not others
