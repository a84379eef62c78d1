"""Records of videos that share people, originals or parts, and manifests of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from resgat_pl.core.types import FAKE, REAL, VIDEO_KEY, Split, VideoRecord, video_key
from resgat_pl.data.manifest.class_counts import SPLITS, class_counts
from resgat_pl.data.manifest.table import Manifest, merge, rows_to_table


def real(name: str, *people: str, dataset: str = "d", part: str = "", official: Split | None = None) -> VideoRecord:
    return VideoRecord(
        dataset, "original", "", name, REAL, "video", (), people or (name,), part=part, official_split=official
    )


def fake(name: str, target: str, source: str = "", *, dataset: str = "d", part: str = "") -> VideoRecord:
    people = (target, source) if source else (target,)
    original = video_key(dataset, "original", "", target)
    return VideoRecord(dataset, "swap", "", name, FAKE, "video", (), people, original=original, part=part)


def families(count: int, fakes: int = 4, parts: int = 0) -> list[VideoRecord]:
    """Like DFDC: real videos, each with its fakes."""
    videos = []
    for n in range(count):
        part = f"part_{n % parts}" if parts else ""
        videos.append(real(f"v{n:04d}", part=part))
        videos += [fake(f"v{n:04d}f{k}", f"v{n:04d}", part=part) for k in range(fakes)]
    return videos


def pairs(count: int, official: bool = False) -> list[VideoRecord]:
    """Like FaceForensics++: pairs of people who swap faces."""
    videos = []
    for n in range(count):
        a, b = f"{2 * n:03d}", f"{2 * n + 1:03d}"
        split = SPLITS[n % 3] if official else None
        four = [real(a), real(b), fake(f"{a}_{b}", a, b), fake(f"{b}_{a}", b, a)]
        videos += [replace(video, official_split=split) for video in four]
    return videos


def people_of(videos: list[VideoRecord], chosen: dict[str, Split]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {split: set() for split in SPLITS}
    for video in videos:
        found[chosen[video.key]] |= {*video.identities, video.original or video.key}
    return found


def assert_apart(videos: list[VideoRecord], chosen: dict[str, Split]) -> None:
    train, val, test = people_of(videos, chosen).values()
    assert not train & val
    assert not train & test
    assert not val & test


def count(videos: list[VideoRecord], chosen: dict[str, Split]) -> dict[Split, tuple[int, int]]:
    return {**class_counts([v.label for v in videos], [chosen[v.key] for v in videos])}


def crops_of(
    folder: Path, videos: Iterable[VideoRecord] | Mapping[VideoRecord, Split | None], **info: object
) -> Manifest:
    """A manifest of two crops of each video, in its split where there is one; no crop is there."""
    splits = videos if isinstance(videos, Mapping) else {}
    rows = [
        {**{name: getattr(v, name) for name in (*VIDEO_KEY, "label", "part", "official_split")}, "split": splits.get(v),
         "identities": list(v.identities), "source_video": v.original, "track": 0, "frame_index": frame,
         "box": [0, 0, 9, 9], "sharpness": 1.0, "crop_path": "x.png"}
        for v in videos for frame in range(2)
    ]  # fmt: skip
    return merge(folder, [rows_to_table(rows)], info)
