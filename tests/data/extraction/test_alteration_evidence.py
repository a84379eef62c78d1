"""Which face of a fake was altered, on arrays: noise everywhere, an alteration somewhere."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.extraction.alteration_evidence import Covered, Difference, Found, agreed

BOXES = {0: np.array([10, 20, 106, 116], np.int32), 1: np.array([130, 20, 226, 116], np.int32)}
FRAMES = 8


def clip(seed: int = 0) -> NDArray[np.uint8]:
    """Textured frames ``(T, 140, 240, 3)``."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(40, 200, (14, 24, 3), np.uint8), (240, 140), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.integers(0, 40, (70, 120, 1), np.uint8), (240, 140), interpolation=cv2.INTER_LINEAR)
    return np.stack([cv2.add(coarse, cv2.merge([fine] * 3))] * FRAMES)


def recompressed(frames: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Each frame through JPEG, after a little grain, so that no two encodings agree."""
    rng = np.random.default_rng(frames.sum() % 2**31)
    grained = np.clip(frames.astype(np.int16) + rng.integers(-2, 3, frames.shape), 0, 255).astype(np.uint8)
    coded = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for frame in grained]
    return np.stack([cv2.imdecode(code, cv2.IMREAD_COLOR) for code in coded])


def alter(frames: NDArray[np.uint8], face: int, amount: float, part: float = 1.0) -> NDArray[np.uint8]:
    """Brighten and darken stripes in the middle ``part`` of a face."""
    x0, y0, x1, y1 = BOXES[face]
    half = int((x1 - x0) * part / 3)
    middle_x, middle_y = (x0 + x1) // 2, (y0 + y1) // 2
    place = np.s_[:, middle_y - half : middle_y + half, middle_x - half : middle_x + half]
    stripes = np.where(np.arange(2 * half) // 6 % 2, amount, -amount)[None, None, :, None]
    changed = frames.astype(np.float32)
    changed[place] += stripes
    return np.clip(changed, 0, 255).astype(np.uint8)


def look(fake: NDArray[np.uint8], original: NDArray[np.uint8], faces: tuple[int, ...] = (0, 1)) -> Found:
    difference = Difference(1.3)
    for number in range(len(fake)):
        difference.add(number, fake[number], original[number], {face: BOXES[face] for face in faces})
    return difference.found()


@pytest.mark.parametrize(("face", "quality"), list(product((0, 1), (95, 75))))
def test_the_altered_face_is_found_and_the_other_one_is_untouched(face: int, quality: int) -> None:
    genuine = clip()
    found = look(recompressed(alter(genuine, face, 25), quality), recompressed(genuine, quality))
    assert found.faces == {face: True, 1 - face: False}
    assert set(found.crops) == set(product((0, 1), range(FRAMES)))
    assert all(altered is (number == face) for (number, _), altered in found.crops.items())
    assert found.strength[face] > 2 * found.strength[1 - face]


@pytest.mark.parametrize("quality", [95, 75, 30, 10])
def test_a_fake_that_was_only_encoded_again_tells_nothing(quality: int) -> None:
    """And none of its faces is untouched: one of them must be the fake one."""
    genuine = clip()
    found = look(recompressed(genuine, quality), genuine)
    assert False not in found.faces.values()
    assert False not in found.crops.values()


@pytest.mark.parametrize(("quality", "amount"), list(product((95, 75, 40, 15), (2, 4, 8, 16))))
def test_a_faint_alteration_is_never_called_untouched(quality: int, amount: int) -> None:
    """Beside an untouched face, and, where it can be seen at all, beside a glaring one."""
    genuine = clip()
    coded = recompressed(genuine, quality)
    for face in (0, 1):
        assert look(recompressed(alter(genuine, face, amount, 0.5), quality), coded).faces[face] is not False
        if amount >= 8:
            both = alter(alter(genuine, face, amount, 0.5), 1 - face, 60)
            assert look(recompressed(both, quality), coded).faces[face] is not False


def test_frames_in_which_a_face_was_left_as_it_was() -> None:
    genuine = clip()
    fake = alter(genuine, 0, 40)
    fake[3:5] = genuine[3:5]  # as where a method has lost the face
    found = look(recompressed(fake, 95), recompressed(genuine, 95))
    assert [found.crops[0, number] for number in range(FRAMES)] == [True] * 3 + [False] * 2 + [True] * 3


def test_one_face_alone() -> None:
    genuine = clip()
    assert look(recompressed(alter(genuine, 0, 25), 90), recompressed(genuine, 90), (0,)).faces == {0: True}
    assert look(recompressed(genuine, 90), genuine, (0,)).faces == {0: None}
    assert look(genuine, genuine).faces == {0: None, 1: None}


def test_what_cannot_be_compared_is_unknown() -> None:
    genuine = clip()
    difference = Difference(1.3)
    difference.add(0, genuine[0], genuine[0, :-2], BOXES)  # of another size
    difference.add(1, genuine[0], genuine[0], {})
    difference.add(2, genuine[0], genuine[0], {0: np.array([500, 500, 560, 560], np.int32)})
    assert difference.found() == Found({}, {}, {})


def masked(*faces: int, share: float = 0.3) -> NDArray[np.uint8]:
    mask = np.zeros((140, 240), np.uint8)
    for face in faces:
        x0, y0, x1, y1 = BOXES[face]
        half = int(share * (x1 - x0) / 2)
        mask[(y0 + y1) // 2 - half : (y0 + y1) // 2 + half, (x0 + x1) // 2 - half : (x0 + x1) // 2 + half] = 255
    return mask


def covered(*masks: NDArray[np.uint8]) -> Found:
    found = Covered(1.3)
    for number, mask in enumerate(masks):
        found.add(number, mask, BOXES)
    return found.found()


def test_masks_say_which_face_in_each_frame() -> None:
    found = covered(masked(0), masked(0), masked(0, 1), masked())
    assert found.faces == {0: True, 1: True}
    assert [found.crops[0, number] for number in range(4)] == [True, True, True, False]
    assert [found.crops[1, number] for number in range(4)] == [False, False, True, False]
    assert covered(masked(1)).faces == {0: False, 1: True}
    assert covered(masked(), masked()).faces == {0: None, 1: None}
    assert covered(masked(0), masked(0, share=0.1)).crops[0, 1] is None  # a speck is neither
    # A neighbour's mask that reaches into the corner of a crop.
    corner = masked(0)
    corner[20:28, 130:138] = 255
    assert covered(corner).faces == {0: True, 1: False}


def test_a_mask_decides_unless_the_pixels_show_the_contrary() -> None:
    genuine = clip()
    shown = look(recompressed(alter(genuine, 1, 30), 95), recompressed(genuine, 95))
    assert agreed(covered(*[masked(1)] * FRAMES), shown).faces == {0: False, 1: True}
    assert agreed(covered(*[masked()] * FRAMES), shown) == shown  # an empty mask says nothing
    wrong = agreed(covered(*[masked(0)] * FRAMES), shown)  # of another method, or another video
    assert wrong.faces == {0: None, 1: None}
    assert set(wrong.crops.values()) == {None}
    faint = look(recompressed(genuine, 40), genuine)
    assert agreed(covered(*[masked(1)] * FRAMES), faint).faces == {0: False, 1: True}
