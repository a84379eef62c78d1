"""Checkpoints of some hundred bytes that would take all memory, or end in a traceback: refused in one sentence."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.evaluation.provenance import stored_provenance
from resgat_pl.explain.report.media import cutting_of
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.checkpoints.config_diff import compare_configs

from ..helpers.tiny_runs import tiny, untrained
from .conftest import Ledger

NAME = "small checkpoint that would take all memory"
_MEGABYTES = 30


@contextmanager
def within_memory() -> Iterator[None]:
    """Python's own memory; torch's does not count here."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < _MEGABYTES * 10**6
    finally:
        tracemalloc.stop()


def aliases(depth: int) -> str:
    """YAML of 100 bytes a level, each of which stands for ten of the level before."""
    lines = ["a0: &a0 {" + ", ".join(f"x{i}: 1" for i in range(10)) + "}"]
    lines += [f"a{n}: &a{n} {{" + ", ".join(f"x{i}: *a{n - 1}" for i in range(10)) + "}" for n in range(1, depth)]
    return "\n".join(lines)


def test_configurations_that_grow(ledger: Ledger) -> None:
    texts = {
        "aliases": aliases(7),
        "brackets": "[" * 5000,
        "a date": "a: 2024-99-99",
        "long paths": "".join(" " * n + f"{'k' * 150}{n}:\n" for n in range(100)) + " " * 100 + "x: 1",
        "a long key": f"? {'k' * 60_000}\n: {{{', '.join(f'x{n}: 1' for n in range(9000))}}}",
        "a large number": "a: 0x" + "f" * 100_000,
        "sixties": "a: 1" + ":59" * 20_000,
        "long": "a: 1\n" * 100_000,
        "no text": "- *a",
    }
    for name, text in texts.items():
        with within_memory():
            lines = compare_configs("net: {a: 1}", text, "test")
        assert len("".join(lines)) < 500, name
    assert compare_configs("net: {a: 1}", "net: {a: 1.5}", "test") == [
        "net.a is 1 here and 1.5 in the checkpoint: the configuration's counts"
    ]
    ledger(NAME, tries=len(texts), lost=0, recovered=len(texts))


PROVENANCES: list[Any] = [
    [],
    "x",
    {"config": ["a"]},
    {"leaky": "video"},
    {"train_videos": [1]},
    {"train_videos": torch.zeros(2, 2, dtype=torch.int64)},
    {"train_videos": torch.zeros(2)},
    {"data": [1]},
    {"data": {"extraction": [1]}},
    {"data": {"splits": 3}},
    {"data": {"protocol": "strict"}},
]


def test_a_provenance_of_other_types(ffpp_crops: Path, tmp_path: Path, ledger: Ledger) -> None:
    for wrong in PROVENANCES:
        with pytest.raises(WeightsError, match=r"was not written by resgat fit: its provenance"):
            stored_provenance(wrong, "a.ckpt")
    assert stored_provenance(None, "a.ckpt") is None
    path = untrained(tmp_path / "a.ckpt", ffpp_crops)
    torch.save({**read_file(path), "provenance": "x"}, path)
    for command in ("validate", "test"):
        done = tiny(command, tmp_path, ffpp_crops, "--ckpt_path", path)
        assert done.status == 2
        assert "its provenance is a str" in done.errors
    ledger("checkpoint whose provenance is of another type", tries=len(PROVENANCES) + 2, lost=0, recovered=13)


def test_crops_that_no_memory_holds(ledger: Ledger) -> None:
    spec = {"detector": "MTCNN", "size": 64, "margin": 1.3, "image": "png"}
    assert cutting_of({"data": {"extraction": spec}})[0].size == 64
    wrong = [{"size": size} for size in (10**9, "x", -1, 50_000, None, [1], True)]
    wrong += [{"margin": 1e9}, {"margin": float("nan")}, {"min_face": "a"}, {"max_side": 0}]
    for values in wrong:
        with pytest.raises(WeightsError, match=f"extraction.{next(iter(values))} = "):
            cutting_of({"data": {"extraction": {**spec, **values}}})
    for image in ("jpg-x", "jpg-10000", "jpg", 3, "jpg-" + "9" * 5000):
        assert 1 <= cutting_of({"data": {"extraction": {**spec, "image": image}}})[0].quality <= 100
    assert cutting_of({"data": {"crops": "http://192.0.2.1/crops"}})[1]  # without asking the server
    ledger(NAME, tries=len(wrong), lost=0, recovered=len(wrong))


def test_a_grid_that_no_memory_holds(tmp_path: Path, ledger: Ledger) -> None:
    net = {"encoder": "resnet18", "encoder_stage": 3, "heads": 1, "hidden": 1, "image_size": 65_536}
    path = tmp_path / "large.ckpt"
    torch.save({"resgat": {"version": 1, "net": net}, "state_dict": {"net.a": torch.zeros(1)}}, path)
    with pytest.raises(WeightsError, match="image_size is 65536; it must be a whole number from 1 to 2,048"):
        ResGAT.load(path)
    with pytest.raises(ConfigError, match="image_size is 65536; it must be a whole number from 1 to 2,048"):
        ResGAT(encoder="resnet18", image_size=65_536)
    ledger(NAME, tries=1, lost=0, recovered=1)
