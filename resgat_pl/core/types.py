"""Typed records that travel between the levels of the package.

Nothing here imports torch at run time, so that the command line and the extraction workers start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NotRequired, Protocol, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

FAKE = 1
"""Label of a manipulated face; the positive class everywhere in this project."""
REAL = 0
"""Label of a genuine face."""

Split = Literal["train", "val", "test"]
Level = Literal["frame", "video"]
"""Unit of a metric: crops, or videos (the mean over a face's frames, then the maximum over a video's faces)."""
AttentionVersion = Literal["gatv1", "gatv2", "gcn"]
"""``gcn`` has uniform weights: see ``nn.gat.GridGCNConv``."""
VIDEO_KEY: Final = ("dataset", "method", "compression", "video")
"""Fields of records and columns of tables that identify a video."""
MediaKind = Literal["video", "frames", "crops"]
"""``video``: a file to decode. ``frames``: full frames as image files. ``crops``: faces cut out already."""


@dataclass(frozen=True)
class Validation:
    """The videos that thresholds and temperatures were chosen on.

    Attributes:
        real: Genuine ones.
        fake: Fakes.
        fewest_faces: Faces judged in the video with the fewest.
        most_faces: In the video with the most.
    """

    real: int
    fake: int
    fewest_faces: int = 1
    most_faces: int = 1

    @property
    def faces(self) -> str:
        """Number of faces per video, in words."""
        if self.fewest_faces != self.most_faces:
            return f"{self.fewest_faces} to {self.most_faces} faces"
        return "1 face" if self.most_faces == 1 else f"{self.most_faces} faces"

    @property
    def text(self) -> str:
        """In words."""
        few = ", which are few" if min(self.real, self.fake) < 10 else ""
        return f"{self.real:,} genuine and {self.fake:,} fake videos of {self.faces} each{few}"

    def plain(self) -> dict[str, int]:
        """For checkpoints and JSON."""
        return asdict(self)

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Validation | None:
        """Undo ``plain``; None, as checkpoints of earlier versions have it, stays.

        Raises:
            ValueError: It is something else.
        """
        if stored is None:
            return None
        names = cls.__dataclass_fields__
        whole = isinstance(stored, Mapping) and set(stored) == set(names)
        if not whole or any(type(value) is not int or value < 0 for value in stored.values()):
            raise ValueError(f"needs a whole number for each of {', '.join(names)}")
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video of a data set as it is stored, before any pixel is read.

    Attributes:
        dataset: Name of the layout, ``ffpp``, ``dfdc``, ``dfdc_preview``, ``celebdf``, ``folder``, ``pairs`` or
            ``crop_lists``.
        method: Manipulation method, ``original`` for genuine videos.
        compression: ``raw``, ``c23``, ``c40``, or ``""`` where the data set has no such notion.
        video: Name that is unique within (dataset, method, compression), without the file's suffix.
        label: ``FAKE`` or ``REAL``.
        kind: What ``files`` holds.
        files: Absolute paths: the one video, or the image files of the video in frame order.
        identities: Names of the people, or of the source clips where people are unknown (``Layout.people``), whose
            pixels are in the video. Videos that share one must not stand on both sides of a split. Never empty; a
            video known by nothing else has its own name here.
        original: ``key`` of the genuine video this fake was made from, or None. It need not be in the index.
        part: DFDC part folder (``dfdc_train_part_0``), else ``""``.
        official_split: The split the data set itself prescribes for this video, or None.
        mask: Mask video of the manipulated pixels, or None.
        pairing: How the original is known. ``given`` by the data set, or ``asked`` for by the user; with ``name`` it
            and the identities are taken from the file's name alone, and hold only if the pixels agree; ``aligned`` is
            given, and where the pixels do not agree the fake is left out.
        people: Whether ``identities`` name people, where that is other than what the data set's layout says; None goes
            by the layout (``data.people``).

    Example:
        >>> record = VideoRecord("ffpp", "original", "c23", "003", REAL, "video", (), ("003",))
        >>> record.key
        'ffpp/original/c23/003'
    """

    dataset: str
    method: str
    compression: str
    video: str
    label: int
    kind: MediaKind
    files: tuple[Path, ...]
    identities: tuple[str, ...]
    original: str | None = None
    part: str = ""
    official_split: Split | None = None
    mask: Path | None = None
    pairing: Literal["given", "asked", "name", "aligned"] = "given"
    people: bool | None = None

    @property
    def key(self) -> str:
        """``dataset/method/compression/video``, unique in an index; ``-`` stands for an empty part."""
        return video_key(self.dataset, self.method, self.compression, self.video)


def video_key(dataset: str, method: str, compression: str, video: str) -> str:
    """Join the four parts that identify a video; an empty part is written ``-``."""
    return "/".join(part or "-" for part in (dataset, method, compression, video))


class NetOutput(Protocol):
    """Fields that the output of every detector has; ``DetectorOutput`` and ``ResGATOutput`` are such outputs."""

    @property
    def logit(self) -> Tensor:
        """``(B,)`` float; positive means fake."""

    @property
    def probability(self) -> Tensor:
        """``(B,)`` float in [0, 1], the sigmoid of ``logit``."""


class DetectorOutput(NamedTuple):
    """Output of a detector that gives nothing but its verdict.

    Attributes:
        logit: ``(B,)`` float; positive means fake.
        probability: ``(B,)`` float in [0, 1], the sigmoid of ``logit``.

    Example:
        >>> import torch
        >>> DetectorOutput.of(torch.zeros(2)).probability
        tensor([0.5000, 0.5000])
    """

    logit: Tensor
    probability: Tensor

    @classmethod
    def of(cls, logit: Tensor) -> DetectorOutput:
        """The output for logits ``(B,)``."""
        return cls(logit, logit.sigmoid())


class ResGATOutput(NamedTuple):
    """Output of ``ResGAT.forward``.

    Attributes:
        logit: ``(B,)`` float; positive means fake.
        probability: ``(B,)`` float in [0, 1], the sigmoid of ``logit``.
        edge_index: ``(2, E)`` int64 of *one* grid, row 0 source and row 1 target, self-loops included
            (E = 217 for 7×7). Nodes are numbered row by row from the top left.
        attention: ``(B, E, heads)`` float in [0, 1]; for each target and head the values over its sources sum to 1.
    """

    logit: Tensor
    probability: Tensor
    edge_index: Tensor
    attention: Tensor


class FaceBatch(TypedDict):
    """A collated batch of face crops.

    Attributes:
        image: ``(B, 3, H, W)`` float32 in [0, 1], RGB; absent where ``nodes`` is there.
        nodes: ``(B, N, F)`` float32, cached features of the frozen encoder.
        label: ``(B,)`` float32, 1 = fake.
        row: ``(B,)`` int64, row of the crop in the data module's manifest table.
        video: ``(B,)`` int64, code of (dataset, method, compression, video).
        track: ``(B,)`` int64, code of (video, track): one face over time.
        untouched: ``(B,)`` bool, true for a face of a fake that is known not to have been altered: it counts for its
            video and not as a crop.
        mask: ``(B, H, W)`` float32 in [0, 1], the manipulated area; all zero for genuine faces. Only in training with
            masks, and in validation and test of a network with a mask head; like the next.
        mask_known: ``(B,)`` bool, false for a fake without a mask, or with one that covers nothing of the crop.
        landmarks: ``(B, 5, 2)`` float32 in [0, 1] of the crop, NaN where unknown. Only in training with a loss that
            needs them.
        frames: ``(B, T)`` int64, rows of the frames of clips, whose ``image`` and ``nodes`` have an axis T after B.
    """

    image: NotRequired[Tensor]
    nodes: NotRequired[Tensor]
    label: Tensor
    row: Tensor
    video: Tensor
    track: Tensor
    untouched: NotRequired[Tensor]
    mask: NotRequired[Tensor]
    mask_known: NotRequired[Tensor]
    landmarks: NotRequired[Tensor]
    frames: NotRequired[Tensor]
