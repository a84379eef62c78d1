"""Which pictures of a video ``resgat check`` compares."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.core.types import MediaKind
from resgat_pl.data.check.pictures import PictureSource, places, read_fingerprints
from resgat_pl.data.splits.fingerprints import Fingerprints, fingerprint
from resgat_pl.data.splits.near_duplicates import find_duplicates
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.synth.encode import write_video


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """A drawn person, 20 frames."""
    return np.stack(draw_clip([np.random.default_rng(1)], np.random.default_rng(2), 20, 128).frames)


def looked(path: Path) -> Fingerprints:
    found = read_fingerprints(PictureSource((path,), "video"))
    assert not isinstance(found, str), found
    return found


@pytest.mark.parametrize("black", [1, 12, 13, 60])
def test_a_video_that_begins_black_is_found(frames: NDArray[np.uint8], tmp_path: Path, black: int) -> None:
    write_video(tmp_path / "a.mp4", frames)
    start = np.zeros((black, *frames.shape[1:]), np.uint8)
    write_video(tmp_path / "b.mp4", np.concatenate([start, frames]))
    (leak,) = find_duplicates(
        {"train": (["a"], looked(tmp_path / "a.mp4")), "test": (["b"], looked(tmp_path / "b.mp4"))}
    )
    assert leak.names[0].startswith("a ~ b")


def test_a_fade_in_is_waited_for(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    faded = [np.asarray(frames[0] * min(1, n / 20), np.uint8) for n in range(30)]
    write_video(tmp_path / "faded.mp4", np.stack(faded))
    found, plain = looked(tmp_path / "faded.mp4"), fingerprint(frames[0])
    assert found["thumb"].std() > 0.5 * plain["thumb"].std(), "frame 12 or 25, not 0"
    assert find_duplicates({"train": (["a"], plain), "test": (["b"], found)})


def test_a_video_that_stays_dark_is_no_error(tmp_path: Path) -> None:
    write_video(tmp_path / "dark.mp4", np.full((30, 64, 64, 3), 3, np.uint8))
    found = looked(tmp_path / "dark.mp4")
    assert find_duplicates({"train": (["a"], found), "test": (["b"], found)}) == []


def test_an_ordinary_video_is_decoded_no_further_than_its_first_frame(
    frames: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", frames)
    asked: list[list[int]] = []
    monkeypatch.setattr(
        "resgat_pl.data.check.pictures.fingerprint", lambda image: asked.append(list(image.shape)) or fingerprint(image)
    )
    looked(tmp_path / "a.mp4")
    assert len(asked) == 1


def test_of_pictures_two_are_compared(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    assert [places(count) for count in (1, 2, 3, 4, 6, 32)] == [[0], [1], [1, 2], [2, 3], [3, 5], [16, 26]]
    files = tuple(tmp_path / f"{place}.png" for place in range(6))
    for file, frame in zip(files, frames, strict=False):
        cv2.imwrite(str(file), frame[..., ::-1])
    found = read_fingerprints(PictureSource(files, "frames"))
    assert not isinstance(found, str)
    assert found.tobytes() == np.concatenate([fingerprint(frames[place]) for place in (3, 5)]).tobytes()
    files[5].write_bytes(b"no picture")
    assert "5.png: is not an image" in str(read_fingerprints(PictureSource(files, "frames")))


@pytest.mark.parametrize(("name", "kind"), [("a.mp4", "video"), ("a.png", "crops")])
def test_what_is_not_compared_is_decoded_all_the_same(
    frames: NDArray[np.uint8], tmp_path: Path, name: str, kind: MediaKind
) -> None:
    write_video(tmp_path / "a.mp4", frames)
    cv2.imwrite(str(tmp_path / "a.png"), frames[0])
    source = PictureSource((tmp_path / name,), kind, stored=True, compared=False)
    assert len(read_fingerprints(source)) == 0
    (tmp_path / name).write_bytes(b"broken")
    assert isinstance(read_fingerprints(source), str)
