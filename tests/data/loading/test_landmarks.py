from __future__ import annotations

from pathlib import Path

import albumentations as A
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.loading.landmarks import moved_landmarks
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.self_blends.blender import SelfBlend
from resgat_pl.data.transforms import Augmentation, DFDCAugmentation, FlipAugmentation, Steps

POINTS = np.array([[0.3, 0.4], [0.6, 0.4], [0.45, 0.55], [0.35, 0.7], [0.55, 0.7]], np.float32)
IMAGE = np.full((96, 96, 3), 128, np.uint8)


def moved(augmentation: Augmentation | None, points: NDArray[np.float32] = POINTS) -> NDArray[np.float32]:
    return moved_landmarks(tuple(points.flatten().tolist()), IMAGE, augmentation, 5)


def test_they_stay_where_nothing_is_changed() -> None:
    assert np.array_equal(moved(None), POINTS)
    assert np.array_equal(moved_landmarks(tuple(POINTS.flatten()), IMAGE, FlipAugmentation(1.0), None), POINTS)
    assert np.isnan(moved_landmarks(None, IMAGE, None, None)).all()


def test_left_and_right_are_the_pictures_after_mirroring() -> None:
    expected = (POINTS * [-1, 1] + [1, 0])[[1, 0, 2, 4, 3]]
    assert np.abs(moved(FlipAugmentation(1.0)) - expected).max() < 0.02


def test_a_transposed_face_lies_on_its_side_with_left_and_right_in_place() -> None:
    augmentation = DFDCAugmentation(blur=0, noise=0, transpose=1, rotate=0, resize=0)
    assert np.abs(moved(augmentation) - POINTS[[1, 0, 2, 4, 3]][:, ::-1]).max() < 0.02


def test_they_turn_with_the_picture() -> None:
    augmentation = DFDCAugmentation(blur=1, noise=1, transpose=0, rotate=1, resize=1)
    found = moved(augmentation)
    image = IMAGE.copy()
    image[40:42, 58:60] = [255, 0, 0]  # the right eye is there: (0.6, 0.4) of 96 px
    turned, mask = augmentation.with_mask(IMAGE, np.pad(np.ones((6, 6), np.uint8), ((36, 54), (55, 35))), 5)
    y, x = np.nonzero(mask)
    assert np.abs(found[1] - [(x.mean() + 0.5) / 96, (y.mean() + 0.5) / 96]).max() < 0.03
    assert np.abs(found - POINTS).max() > 0.02  # it did turn
    assert turned.shape == image.shape


def test_points_outside_and_changes_that_move_no_mask_leave_nothing() -> None:
    outside = POINTS.copy()
    outside[0, 0] = 1.2
    assert np.isnan(moved(FlipAugmentation(1.0), outside)[0]).all()
    gone = moved(Steps([A.CenterCrop(height=8, width=8, p=1)]))
    assert np.isnan(gone).any()
    assert np.isnan(moved_landmarks(tuple(POINTS.flatten()), IMAGE, lambda image, seed: image, 0)).all()


@pytest.mark.parametrize("blend", [False, True])
def test_samples_of_the_training_carry_them(ffpp_crops: Path, blend: bool) -> None:
    data = FaceDataModule(
        ffpp_crops, image_size=64, masks=True, landmarks=True, self_blend=SelfBlend() if blend else None
    )
    faces = data.faces("train", augmented=True)
    found = faces[Draw(0, 3)]["landmarks"].numpy()
    stored = Manifest.read(ffpp_crops).column("landmarks")[faces.rows[0]]
    assert np.allclose(found.flatten(), stored)
    assert "landmarks" not in data.faces("val")[0]
    assert "landmarks" not in FaceCrops(faces.manifest, faces.rows, 64)[0]
