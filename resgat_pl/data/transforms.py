"""Augmentation with albumentations, seeded sample by sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError

if TYPE_CHECKING:  # only what augments imports it: it takes as long as half of this package
    import albumentations as A


class Transform(ABC):
    """Any transform of albumentations, recognised by its bases, so that albumentations need not be imported for it.

    Example:
        >>> import albumentations as A
        >>> isinstance(A.HorizontalFlip(), Transform), isinstance(FlipAugmentation(), Transform)
        (True, False)
    """

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        return cls is Transform and any(
            base.__module__.startswith("albumentations.") and base.__name__ == "BasicTransform"
            for base in other.__mro__
        )

    @abstractmethod
    def set_random_seed(self, seed: int) -> None:
        """As of albumentations."""


class Augmentation(ABC):
    """Changes a training crop. The same (image, seed) gives the same result in any process.

    albumentations has a separate random state and ignores the global seeds, so that by default every worker would
    draw the same numbers in every epoch; here each sample of each epoch brings its seed.
    """

    def __init__(self) -> None:
        self._steps: list[A.BasicTransform] | None = None

    @abstractmethod
    def transforms(self) -> list[A.BasicTransform]:
        """The steps, in order; each with its own probability."""

    def __call__(self, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """Return the changed image, ``(H, W, 3)`` uint8 RGB in and out; sides may be swapped by a transposition."""
        changed: NDArray[np.uint8] = self._apply({"image": image}, seed)["image"]
        return changed

    def with_mask(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the image changed as by a call, and its mask ``(H, W)`` moved along: turned, but not blurred."""
        changed = self._apply({"image": image, "mask": mask}, seed)
        return changed["image"], changed["mask"]

    def _apply(self, data: dict[str, Any], seed: int) -> dict[str, Any]:
        """Go through the steps, each with a separate seed.

        ``albumentations.Compose`` is left out: its seed gives every step the same numbers, so that all of them would
        happen or none, and its checks and a numpy generator a step cost more than the steps that do happen.
        """
        if self._steps is None:
            self._steps = self.transforms()
        # two numbers a step: whether it happens, and the seed of how; a generator costs more than some of the steps
        words = np.random.SeedSequence(seed).generate_state(2 * len(self._steps)).tolist()
        for step, chance, own in zip(self._steps, words[::2], words[1::2], strict=True):
            if chance < step.p * 2**32:
                step.set_random_seed(own)
                data = step(force_apply=True, **data)
        image = data["image"]
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise ConfigError(
                f"The augmentation gives an image {image.shape} {image.dtype}; it must be (H, W, 3) uint8, as it came: "
                "leave out steps such as Normalize, ToFloat and ToGray with one channel."
            )
        return data


class DFDCAugmentation(Augmentation):
    """The paper's augmentation for DFDC: blur, noise, transposition, rotation, resizing.

    The paper names the five steps but not their strength; the defaults are ours.

    Args:
        blur: Probability of a Gaussian blur.
        blur_sigma: Range of its standard deviation in px.
        noise: Probability of additive Gaussian noise.
        noise_std: Range of its standard deviation as a fraction of the full scale.
        transpose: Probability of swapping rows and columns.
        rotate: Probability of a rotation.
        rotate_limit: Largest angle in degrees, either way.
        resize: Probability of scaling down and up again.
        resize_scale: Range of that scale.
    """

    def __init__(
        self,
        blur: float = 0.2,
        blur_sigma: tuple[float, float] = (0.5, 2.0),
        noise: float = 0.2,
        noise_std: tuple[float, float] = (0.01, 0.06),
        transpose: float = 0.2,
        rotate: float = 0.3,
        rotate_limit: float = 20.0,
        resize: float = 0.2,
        resize_scale: tuple[float, float] = (0.4, 0.9),
    ) -> None:
        super().__init__()
        for name, value in (
            ("blur", blur),
            ("noise", noise),
            ("transpose", transpose),
            ("rotate", rotate),
            ("resize", resize),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"augmentation.{name} is {value}, but a probability lies between 0 and 1")
        self.blur = blur
        self.blur_sigma = blur_sigma
        self.noise = noise
        self.noise_std = noise_std
        self.transpose = transpose
        self.rotate = rotate
        self.rotate_limit = rotate_limit
        self.resize = resize
        self.resize_scale = resize_scale

    def transforms(self) -> list[A.BasicTransform]:
        """See ``Augmentation.transforms``."""
        import albumentations as A

        from resgat_pl.data.transform_steps import GaussNoise, Rotate, Transpose

        return [
            A.GaussianBlur(blur_limit=0, sigma_limit=self.blur_sigma, p=self.blur),
            GaussNoise(std_range=self.noise_std, p=self.noise),
            Transpose(p=self.transpose),
            Rotate(limit=self.rotate_limit, border_mode=cv2.BORDER_REFLECT_101, p=self.rotate),
            A.Downscale(
                scale_range=self.resize_scale,
                interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR},
                p=self.resize,
            ),
        ]


class FlipAugmentation(Augmentation):
    """Mirror images only: adds variety and leaves every trace of forgery as it is.

    Args:
        probability: How often to mirror.
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = probability

    def transforms(self) -> list[A.BasicTransform]:
        """See ``Augmentation.transforms``."""
        import albumentations as A

        return [A.HorizontalFlip(p=self.probability)]


class Steps(Augmentation):
    """Transforms of albumentations in order, each with its own probability ``p``.

    Args:
        steps: Transforms such as ``albumentations.GaussianBlur(p=0.2)`` that take and give uint8 images. A single one
            can also be named as the augmentation itself.

    Raises:
        ConfigError: A step is something else, such as ``albumentations.Compose``, whose steps can be named one by one.

    Example:
        >>> import albumentations as A
        >>> flip = Steps([A.HorizontalFlip(p=1.0)])
        >>> flip(np.arange(6, dtype=np.uint8).reshape(1, 2, 3), seed=0).tolist()
        [[[3, 4, 5], [0, 1, 2]]]
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        super().__init__()
        if wrong := [type(step).__name__ for step in steps if not isinstance(step, Transform)]:
            raise ConfigError(
                f"augmentation.steps has a {wrong[0]}; each must be a single transform of albumentations."
            )
        self.steps = list(steps)

    def transforms(self) -> list[A.BasicTransform]:
        """See ``Augmentation.transforms``."""
        return cast("list[A.BasicTransform]", self.steps)


def as_augmentation(given: Augmentation | Transform | None) -> Augmentation | None:
    """An augmentation as it is, or a single transform of albumentations as one.

    Example:
        >>> import albumentations as A
        >>> type(as_augmentation(A.HorizontalFlip())).__name__
        'Steps'
    """
    return Steps([given]) if isinstance(given, Transform) else given
