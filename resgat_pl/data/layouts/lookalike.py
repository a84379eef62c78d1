"""Advice for a folder that has no known layout: which data set it resembles, and what to move where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from resgat_pl.data.layouts.base import Entries, entries, is_image, is_video, split_name

_REAL: Final = re.compile(r"real|genuine|authentic|original|pristine|bona_?fide|youtube", re.IGNORECASE)
_FAKE: Final = re.compile(r"fake|forged|manipulat|synthe|altered|generated|swap|spoof|deep_?fake", re.IGNORECASE)
_NAMED: Final = (
    (
        re.compile(r"\d{3}_\d{3}"),
        "holds videos named like fakes of FaceForensics++ (000_003.mp4). Move them to "
        "manipulated_sequences/METHOD/COMPRESSION/videos/ (for example Deepfakes/c23), the genuine ones "
        "(000.mp4) to original_sequences/youtube/COMPRESSION/videos/, and give the folder that holds both; or "
        "put each method into a folder of its name (Deepfakes/, Face2Face/, …) beside original/.",
    ),
    (
        re.compile(r"metadata\.json|labels?\.csv"),
        "holds a list of labels as DFDC has it: put the videos beside their metadata.json (or labels.csv), rename the "
        "folder to dfdc_train_part_<n> if it is a training part, and give it or the folder above it.",
    ),
    (
        re.compile(r"dataset\.json"),
        "holds a dataset.json as the DFDC preview has it: put it beside original_videos/, method_A/ and method_B/, and "
        "give the folder that holds them.",
    ),
    (
        re.compile(r"id\d+_id\d+_\d{4}"),
        "holds videos named like fakes of Celeb-DF (id0_id1_0000.mp4): call their folder Celeb-synthesis/, that of "
        "id0_0000.mp4 Celeb-real/, that of 00000.mp4 YouTube-real/, and give the folder that holds them.",
    ),
)
"""Names of files, those of videos without their suffix, and the advice for a folder that holds one."""
_MOST: Final = 40


def advice(root: Path) -> str:
    """Say which set a folder looks like and the moves that make it so; empty where nothing is like one.

    Folders are listed, at most three levels deep and 40 a level; no file is opened.
    """
    found = list(_walk(root))
    for pattern, words in _NAMED:
        for folder, names in found:
            if any(pattern.fullmatch(split_name(name)[0] if is_video(name) else name) for name in names.files):
                return f"{_below(root, folder)} {words}"
    return _classes(root, found)


def _walk(root: Path) -> Iterator[tuple[Path, Entries]]:
    level = [root]
    for _ in range(3):
        deeper = []
        for folder in level[:_MOST]:
            names = entries(folder)
            yield folder, names
            deeper += [folder / name for name in names.folders]
        level = deeper


def _classes(root: Path, found: list[tuple[Path, Entries]]) -> str:
    """Folders whose names say real and fake in other words, side by side."""
    with_media = {folder for folder, names in found if any(is_video(name) or is_image(name) for name in names.files)}
    for folder, names in found:
        below = {name: folder / name for name in names.folders}
        holding = [name for name, path in below.items() if any(path == m or path in m.parents for m in with_media)]
        fakes = [name for name in holding if _FAKE.search(name)]
        reals = [name for name in holding if _REAL.search(name) and name not in fakes]
        if reals and fakes:
            moves = [f"{name}/ to real/" for name in reals[:1]]
            moves += [f"{name}/ to fake/" + ("" if len(fakes) == 1 else f"{name}/") for name in fakes[:3]]
            return (
                f"{_below(root, folder)} looks like folders of real and fake media under other names: rename "
                f"{', '.join(moves)}, and give the folder that holds real/ and fake/ (or train/, val/ and test/ with "
                "these in each)."
            )
    return ""


def _below(root: Path, folder: Path) -> str:
    return "It" if folder == root else f"{folder.relative_to(root)}/"
