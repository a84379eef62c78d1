"""Tables that commands write: Markdown, CSV, JSON without NaN, and Weights & Biases."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with columns of one width, so that it can be read on a terminal too.

    Args:
        header: Names of the columns.
        rows: Cells; numbers are shown as ``str`` shows them.

    Example:
        >>> print(markdown_table(["level", "AUC"], [["frame", "97.10"], ["video", "99.5"]]))
        | level   | AUC   |
        |---------|-------|
        | frame   | 97.10 |
        | video   | 99.5  |
    """
    body = [[_cell(value) for value in row] for row in rows]
    return tabulate(body, [_cell(name) for name in header], tablefmt="github", disable_numparse=True)


def _cell(value: object) -> str:
    """A cell's text on one line; a bar would begin the next cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


def csv_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""A CSV file's text.

    Example:
        >>> csv_table(["level", "AUC"], [["frame", 0.5]])
        'level,AUC\nframe,0.5\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def plain(value: Any) -> Any:
    """Nested values for JSON, which has no NaN: what is not finite becomes None, named tuples become objects.

    Example:
        >>> plain({"auroc": float("nan"), "counts": (1, 2)})
        {'auroc': None, 'counts': [1, 2]}
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(document: Mapping[str, Any]) -> str:
    """A JSON file's text, see ``plain``.

    Example:
        >>> print(json_text({"auroc": float("nan")}))
        {
          "auroc": null
        }
    """
    return json.dumps(plain(document), indent=2, allow_nan=False)


def wandb_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A ``wandb.Table``; imports W&B."""
    import wandb

    return wandb.Table(columns=list(header), data=[list(row) for row in rows])
