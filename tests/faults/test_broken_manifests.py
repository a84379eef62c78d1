"""Manifests that lack columns, hold other types, or break off: one error that names the file and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resgat_pl.cli.main import main
from resgat_pl.data.manifest.schema import SCHEMA

from .conftest import Ledger

Damage = Callable[[Path, pa.Table], str]
"""Damages a manifest; returns a word that the error must have."""


def without(name: str) -> Damage:
    def damage(path: Path, table: pa.Table) -> str:
        pq.write_table(table.drop_columns([name]), path)
        return name

    return damage


def as_text(name: str) -> Damage:
    def damage(path: Path, table: pa.Table) -> str:
        other = (
            pa.array(["x"] * len(table))
            if SCHEMA.field(name).type != pa.string()
            else pa.array(list(range(len(table))))
        )
        pq.write_table(table.set_column(table.schema.get_field_index(name), name, other), path)
        return name

    return damage


def cut(share: float) -> Damage:
    def damage(path: Path, _: pa.Table) -> str:
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        return path.name

    return damage


def test_broken_manifests_are_told_in_one_error(
    ffpp_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    path = tmp_path / "manifest.parquet"
    whole = (ffpp_crops / "manifest.parquet").read_bytes()
    table = pq.read_table(ffpp_crops / "manifest.parquet")
    # Manifests of earlier versions lack this column, and are read.
    damages = {f"without {name}": without(name) for name in SCHEMA.names if name != "altered"}
    damages |= {f"{name} of another type": as_text(name) for name in SCHEMA.names}
    damages |= {f"cut at {share}": cut(share) for share in (0.0, 0.1, 0.5, 0.9, 0.999)}
    wrong = {}
    for kind, damage in damages.items():
        path.write_bytes(whole)
        word = damage(path, table)
        try:
            status = main(["check", str(tmp_path), "--duplicates", "false"])
        except Exception as error:
            wrong[kind] = repr(error)
            continue
        reported = capsys.readouterr().err.splitlines()[-1]
        if (
            status != 2
            or not reported.startswith("resgat: error: ")
            or str(path) not in reported
            or word not in reported
        ):
            wrong[kind] = reported
        elif "Extract again." not in reported:
            wrong[kind] = f"no remedy: {reported}"
    ledger(
        "manifest of missing columns, wrong types, or cut off",
        tries=len(damages),
        lost=len(wrong),
        recovered=len(damages) - len(wrong),
    )
    assert wrong == {}
