"""Jobs that need nothing of each other, and their division into parts."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

from hypothesis import given, settings, strategies as st

from resgat_pl.data.extraction.jobs import Part, families_of, jobs_of, parse_part, requests_of, videos_of_part
from resgat_pl.data.layouts.detect import detect_layout


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=60), total=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_parts_are_everything_once_and_even(sizes: list[int], total: int) -> None:
    families = {f"v{i}": [f"v{i}/{j}" for j in range(size)] for i, size in enumerate(sizes)}
    parts = [videos_of_part(families, Part(number, total)) for number in range(1, total + 1)]
    assert Counter(key for part in parts for key in part) == Counter(k for keys in families.values() for k in keys)
    for keys in families.values():
        assert sum(bool(part & set(keys)) for part in parts) == 1
    loads = sorted(len(part) for part in parts)
    assert loads[-1] - loads[0] <= max(sizes)
    again = dict(sorted(families.items(), reverse=True))
    assert [videos_of_part(again, Part(number, total)) for number in range(1, total + 1)] == parts


def test_an_original_stands_before_its_fakes(ffpp_root: Path) -> None:
    records = {record.key: record for record in detect_layout(ffpp_root).index(ffpp_root).records}
    families = families_of(records)
    assert sorted(key for keys in families.values() for key in keys) == sorted(records)
    for name, keys in families.items():
        assert keys[0] == name
        assert {records[key].original for key in keys[1:]} <= {name}
    assert len(families) == 14
    assert len(pickle.dumps(jobs_of(records, families, requests_of(records, {}), records))) < 2000 * 42


def test_parse_part() -> None:
    assert parse_part(" 3/50 ") == Part(3, 50)
    assert str(Part(3, 50)) == "3/50"
