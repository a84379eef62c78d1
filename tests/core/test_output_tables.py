from __future__ import annotations

import csv
import json
import math
from typing import NamedTuple

from resgat_pl.core.output_tables import csv_table, json_text, markdown_table, plain


class Pair(NamedTuple):
    a: float
    b: float


def test_markdown_has_columns_of_one_width_and_text_as_it_is() -> None:
    lines = markdown_table(["name", "n"], [["a|b", "007"], ["two\nlines", 1e-9], ["", "–"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.replace("\\|", "/")[1:-1].split("|")] for line in lines]
    assert cells[0] == ["name", "n"]
    assert cells[2:] == [["a/b", "007"], ["two lines", "1e-09"], ["", "–"]]
    assert len(markdown_table(["name"], []).splitlines()) == 2


def test_csv_is_read_back() -> None:
    rows = [["a,b", "1"], ['"', ""]]
    assert list(csv.reader(csv_table(["x", "y"], rows).splitlines())) == [["x", "y"], *rows]


def test_json_has_no_nan() -> None:
    document = {"a": [math.nan, (1, math.inf)], "pair": Pair(1.0, math.nan), "n": 3, "text": "nan"}
    expected = {"a": [None, [1, None]], "pair": {"a": 1.0, "b": None}, "n": 3, "text": "nan"}
    assert json.loads(json_text(document)) == plain(document) == expected
