"""Videos of one source, such as a camera, on one side only."""

from collections.abc import Sequence
from hashlib import sha256

from resgat_pl.core.types import Split, VideoRecord
from resgat_pl.data.splits import SplitProtocol


class BySource(SplitProtocol):
    """Divides by the first part of a video's name: cam1_0001 and cam1_0002 stay together."""

    name = "by_source"

    def __init__(self, test: float = 0.2, seed: int = 0) -> None:
        self.test = test
        self.seed = seed

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See ``SplitProtocol``."""
        return {video.key: self._side(video.video.partition("_")[0]) for video in videos}

    def _side(self, source: str) -> Split:
        drawn = int.from_bytes(sha256(f"{self.seed} {source}".encode()).digest()[:4]) / 2**32
        return "test" if drawn < self.test else "val" if drawn < 1.5 * self.test else "train"
