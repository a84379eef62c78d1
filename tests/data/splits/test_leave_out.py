from __future__ import annotations

from pathlib import Path

import pytest

from resgat_pl.core.errors import SplitError
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.leakage import manifest_leaks
from resgat_pl.data.splits.leave_out import LeaveOut
from resgat_pl.data.splits.protocols import SplitProtocol, StrictSplit, divide
from resgat_pl.data.splits.registry import PROTOCOLS, from_spec


def test_what_is_left_out_stands_in_the_test_split_only(ffpp_crops: Path) -> None:
    videos = Manifest.read(ffpp_crops).videos()
    fakes = [video for video in videos if video.label]
    strict = StrictSplit().assign(videos)
    splits = {method: {strict.get(v.key) for v in fakes if v.method == method} for method in {v.method for v in fakes}}
    method = next(name for name, found in sorted(splits.items()) if {"train", "test"} <= found)
    single = next(video.key for video in fakes if video.method != method and strict.get(video.key) == "train")
    chosen = LeaveOut([method], [single]).assign(videos)
    unseen = {video.key for video in fakes if video.method == method} | {single}
    assert {key: split for key, split in strict.items() if split == "test" or key not in unseen} == chosen
    assert {chosen.get(key) for key in unseen} == {"test", None}


def test_nothing_left_out_is_the_strict_split(ffpp_crops: Path) -> None:
    videos = Manifest.read(ffpp_crops).videos()
    assert LeaveOut().assign(videos) == StrictSplit().assign(videos)


def test_it_does_not_leak_and_comes_back_from_what_is_noted(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    methods = sorted({video.method for video in manifest.videos() if video.label})[:1]
    divided = divide(manifest, LeaveOut(methods, seed=3))
    assert manifest_leaks(divided) == []
    again = divide(manifest, from_spec(divided.info["protocol"]))
    assert again.split_fingerprint() == divided.split_fingerprint()
    assert again.info == divided.info


@pytest.mark.parametrize("options", [{"methods": ["Nonsense"]}, {"methods": ["original"]}, {"videos": ["a/b/c/d"]}])
def test_what_is_not_there_cannot_be_left_out(options: dict[str, list[str]], ffpp_crops: Path) -> None:
    with pytest.raises(SplitError, match="to leave out"):
        LeaveOut(**options).assign(Manifest.read(ffpp_crops).videos())  # type: ignore[arg-type]


def test_every_protocol_is_known_by_its_name() -> None:
    def below(kind: type[SplitProtocol]) -> set[type[SplitProtocol]]:
        return {kind}.union(*(below(each) for each in kind.__subclasses__()))

    ours = {kind for kind in below(SplitProtocol) if hasattr(kind, "name") and kind.__module__.startswith("resgat_pl.")}
    assert ours == set(PROTOCOLS)
