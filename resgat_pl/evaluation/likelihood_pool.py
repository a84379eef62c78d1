"""``likelihood.json`` beside a checkpoint: its likelihood ratios, and the pool that they were calibrated on.

The checkpoint itself stays as it is, and with it its SHA-256, which results and reports name. The file holds hashes of
the pool's videos and of their people and originals, as a checkpoint does of its training, so that a test leaves them
out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import WRITER, check_version, stamp
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.text import first_line, shorten
from resgat_pl.core.types import Level, VideoRecord
from resgat_pl.evaluation.familiarity import Familiarity
from resgat_pl.evaluation.metrics.likelihood import LikelihoodRatios
from resgat_pl.evaluation.train_test_overlap import link_hashes, video_hashes

LIKELIHOOD_VERSION: Final = 1
"""Format of ``likelihood.json``."""
NAME: Final = "likelihood.json"
_AGAIN: Final = "Calibrate again: resgat calibrate CHECKPOINT --crops POOL."


@dataclass(frozen=True)
class LikelihoodPool:
    """Likelihood ratios of a checkpoint with what is known of their pool.

    Attributes:
        checkpoint: SHA-256 of the checkpoint.
        ratios: By level; None where the pool gave none.
        statement: The pool in words.
        familiarity: Of its faces; None where there is none.
        about: Further facts for reports, plain values: ``crops``, ``manifest``, ``videos``, ``people_unknown``.
        videos: Hashes of its videos, see ``train_test_overlap.video_hashes``.
        links: Hashes of their links.

    Example:
        >>> pool = LikelihoodPool("00", {"frame": None, "video": None}, "no videos", None)
        >>> pool.knows(VideoRecord("d", "original", "", "a", 0, "video", (), ("a",)))
        False
    """

    checkpoint: str
    ratios: Mapping[Level, LikelihoodRatios | None]
    statement: str
    familiarity: Familiarity | None
    about: Mapping[str, Any] = field(default_factory=dict)
    videos: frozenset[int] = frozenset()
    links: frozenset[int] = frozenset()

    def knows(self, video: VideoRecord) -> bool:
        """True for a video of the pool, and for one that shares a person, original or source clip with one."""
        return bool(
            self.videos & set(video_hashes([video.key]).tolist()) or self.links & set(link_hashes([video]).tolist())
        )

    @property
    def plain_ratios(self) -> dict[str, dict[str, float] | None]:
        """By level, for JSON."""
        return {level: None if found is None else found.plain() for level, found in self.ratios.items()}

    def write(self, path: Path) -> None:
        """Write the file."""
        content = {
            **stamp(LIKELIHOOD_VERSION),
            "checkpoint_sha256": self.checkpoint,
            "ratios": self.plain_ratios,
            "statement": self.statement,
            "about": dict(self.about),
            "familiarity": None if self.familiarity is None else self.familiarity.plain(),
            "pool_videos": sorted(self.videos),
            "pool_links": sorted(self.links),
        }
        write_atomic(path, json.dumps(content, allow_nan=False).encode())

    @classmethod
    def read(cls, path: Path) -> LikelihoodPool:
        """Read a file that ``write`` wrote; it may be untrusted.

        Raises:
            ConfigError: It is damaged, something else, or of a newer version.
        """
        try:
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict):
                raise TypeError("it is no object")
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"{path} holds no likelihood ratios ({first_line(error)}). {_AGAIN}") from None
        check_version(
            content.get("schema"), LIKELIHOOD_VERSION, path, ConfigError, again=_AGAIN, writer=content.get(WRITER)
        )
        try:
            ratios = content["ratios"]
            about = content["about"]
            return cls(
                str(content["checkpoint_sha256"]),
                {level: LikelihoodRatios.read(ratios[level]) for level in get_args(Level)},
                shorten(content["statement"], 600),
                Familiarity.read(content["familiarity"]),
                dict(about) if isinstance(about, dict) else {},
                frozenset(map(int, content["pool_videos"])),
                frozenset(map(int, content["pool_links"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path} holds no likelihood ratios ({first_line(error)}). {_AGAIN}") from None


def likelihood_path(checkpoint: Path) -> Path:
    """``best.likelihood.json`` beside ``best.ckpt``; ``likelihood.json`` in a folder of ``--format hub``.

    Example:
        >>> likelihood_path(Path("run/best.ckpt")).name
        'best.likelihood.json'
    """
    return checkpoint / NAME if checkpoint.is_dir() else checkpoint.with_name(f"{checkpoint.stem}.{NAME}")


def pool_of(checkpoint: Path, fingerprint: str) -> tuple[LikelihoodPool | None, str]:
    """The likelihood ratios of a checkpoint, or None and the reason.

    Args:
        checkpoint: Its file or folder.
        fingerprint: Its SHA-256.

    Raises:
        ConfigError: As ``LikelihoodPool.read``.
    """
    path = likelihood_path(checkpoint)
    if not path.is_file():
        return None, (
            "No likelihood ratio is given: this detector was not calibrated on a pool of videos apart from training, "
            "validation and test (resgat calibrate)."
        )
    found = LikelihoodPool.read(path)
    if found.checkpoint != fingerprint:
        return None, (
            f"No likelihood ratio is given: {path.name} is of another checkpoint (SHA-256 "
            f"{shorten(found.checkpoint)[:16]}…), which was replaced since. Calibrate this one."
        )
    return found, ""


def hashes_of(videos: list[VideoRecord]) -> tuple[frozenset[int], frozenset[int]]:
    """Hashes of videos, and of their links."""
    own = video_hashes([video.key for video in videos]) if videos else torch.zeros(0, dtype=torch.int64)
    return frozenset(own.tolist()), frozenset(link_hashes(videos).tolist() if videos else ())
