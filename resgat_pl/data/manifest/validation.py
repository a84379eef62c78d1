"""Validation of the rows and notes of a manifest, which any program may have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.text import shorten


def read_info(path: Path, metadata: Mapping[bytes, bytes] | None, newest: int) -> dict[str, Any]:
    """Read and check the notes in a manifest's metadata.

    Args:
        path: The manifest, for messages.
        metadata: Of its Parquet file.
        newest: The format that this program reads; the notes of another one are not looked at.

    Raises:
        ManifestError: It is no JSON object, names another format, or its notes about protocol or extraction have
            another form.
    """
    try:
        info = json.loads((metadata or {}).get(b"resgat", b"{}"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path} has damaged notes ({error}). Extract again.") from None
    if not isinstance(info, dict):
        raise ManifestError(f"{path} has notes that are no names and values: {_short(info)}. Extract again.")
    version = info.get("version", 0)
    if not isinstance(version, int) or isinstance(version, bool):
        raise ManifestError(f"{path} has the manifest version {_short(version)}, which is no number. Extract again.")
    check_version(info.get("version"), newest, path, ManifestError, again="Extract again.", writer=info.get(WRITER))
    for name in ("protocol", "extraction"):
        if not isinstance(info.get(name, {}), dict):
            raise ManifestError(f"{path} has the {name} {_short(info[name])}, no names and values. Extract again.")
    declares = info.get("protocol", {}).get("declares", [])
    if not (isinstance(declares, list) and all(isinstance(kind, str) for kind in declares)):
        raise ManifestError(f"{path} declares the leaks {_short(declares)}, which is no list of names. Extract again.")
    return info


def checked_rows(path: Path, table: pa.Table, schema: pa.Schema, again: str = "Extract again.") -> pa.Table:
    """The rows in the types they should have; columns that are not there are not looked at.

    Args:
        path: The manifest, for messages.
        table: Its rows; text may be dictionary-encoded.
        schema: The types; a field that is not nullable must have a value in each row.
        again: The remedy, for messages.

    Raises:
        ManifestError: A column holds other things, a value is missing, text is not UTF-8, or a label is not 0 or 1.
    """
    for field in schema:
        if field.name not in table.column_names:
            continue
        column = table.column(field.name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not pa.types.is_null(kind) and _holds(kind) != _holds(field.type):  # without any value it has no type
            raise ManifestError(f"{path}, column {field.name}: holds {kind}, not {field.type}. {again}")
        try:
            column.validate(full=True)
            if kind != field.type:
                column = column.cast(field.type)
                table = table.set_column(table.column_names.index(field.name), field, column)
        except (pa.ArrowException, ValueError) as error:
            raise ManifestError(
                f"{path}, column {field.name}: {kind} cannot be read as {field.type} ({_short(error)}). {again}"
            ) from None
        if column.null_count and not field.nullable:
            raise ManifestError(f"{path}, column {field.name}: {column.null_count:,} values are missing. {again}")
    labels = pc.unique(table.column("label")).to_pylist() if "label" in table.column_names else []
    if wrong := sorted(set(labels) - {0, 1}):
        raise ManifestError(f"{path} has the label {wrong[0]}; 0 is real, 1 is fake. {again}")
    return table


def _holds(kind: pa.DataType) -> str:
    """The kind of values of a type, whatever its width: other programs that rewrite a manifest choose other widths."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list of {_holds(kind.value_type)}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "integer" if pa.types.is_integer(kind) else "float" if pa.types.is_floating(kind) else str(kind)


def _short(value: object) -> str:
    return repr(shorten(value))
