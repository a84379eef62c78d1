from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import Split, VideoRecord
from resgat_pl.data.splits.leave_out import LeaveOut
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.data.splits.registry import from_spec


class MySplit(SplitProtocol):
    """As a user writes one."""

    name = "mine"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        return {video.key: "train" for video in videos}


def test_a_protocol_from_outside_is_known_by_its_class_path() -> None:
    path = f"{__name__}.MySplit"
    spec = MySplit(seed=3).spec
    assert spec == {"name": "mine", "class_path": path, "declares": [], "seed": 3}
    for given in (spec, {"name": path, "seed": 3}, {"class_path": path, "seed": 3}):
        found = from_spec(given)
        assert isinstance(found, MySplit)
        assert found.seed == 3
    assert from_spec({"name": path}).spec["seed"] == 0


@pytest.mark.parametrize(
    "name",
    ["nonsense", "mine", "antigravity.geohash", "json.loads", "json.decoder.JSONDecoder", "json.", ".", "", None, 3]
    + [f"{__name__}.{name}" for name in ("Nothing", "test_nothing_else_is_made", "from_spec")],
)
def test_nothing_else_is_made(name: Any) -> None:
    """What a checkpoint names is neither imported nor called."""
    refusals = (
        r"There is no split protocol .* There are: identity, |alone does not|no class derived|has no|must be a name"
    )
    with pytest.raises(ConfigError, match=refusals):
        from_spec({"name": name})


@pytest.mark.parametrize(
    "spec", [{"name": "strict", "x": 1}, {"class_path": f"{SplitProtocol.__module__}.SplitProtocol"}]
)
def test_options_of_another_protocol(spec: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="does not take"):
        from_spec(spec)


class Chosen(MySplit):
    def __init__(self, key: str = "source", methods: Sequence[str] = (), limit: float | None = None) -> None:
        self.key, self.methods, self.limit = key, tuple(methods), limit
        self.drawn = 7  # no argument
        self.table = {"a": 1}


def test_texts_and_lists_come_back_too() -> None:
    """Left out, a test would be on the split of the defaults."""
    spec = json.loads(json.dumps(Chosen("actor", ["a", "b"]).spec))
    assert {name: spec[name] for name in set(spec) - {"name", "class_path", "declares"}} == {
        "key": "actor",
        "methods": ["a", "b"],
        "limit": None,
    }
    found = from_spec(spec)
    assert isinstance(found, Chosen)
    assert (found.key, found.methods, found.limit) == ("actor", ("a", "b"), None)


class Without(LeaveOut):
    """Has the name of its base."""


def test_a_class_derived_from_ours_is_not_taken_for_it() -> None:
    found = from_spec(json.loads(json.dumps(Without(["FaceSwap"], seed=3).spec)))
    assert isinstance(found, Without)
    assert found.spec == Without(["FaceSwap"], seed=3).spec
    assert from_spec(LeaveOut(["FaceSwap"]).spec).spec == LeaveOut(["FaceSwap"]).spec
