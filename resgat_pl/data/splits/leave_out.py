"""Leave-one-method-out: manipulations that training and validation never see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import REAL, Split, VideoRecord
from resgat_pl.data.splits.protocols import SplitProtocol, StrictSplit


class LeaveOut(SplitProtocol):
    """StrictSplit with some fakes in the test split only.

    The test split is the same whatever is left out, so that scores by method compare: those of a method that was left
    out are of manipulations never seen, on people never seen.

    Args:
        methods: Manipulation methods to leave out, by their name in the manifest, e.g. ``NeuralTextures``.
        videos: Fakes to leave out besides, by ``VideoRecord.key``.
        val: As in StrictSplit.
        test: As in StrictSplit.
        seed: As in StrictSplit.

    Example:
        >>> LeaveOut(["FaceSwap"]).methods
        ['FaceSwap']
    """

    name = "leave_out"

    def __init__(
        self,
        methods: list[str] | None = None,
        videos: list[str] | None = None,
        val: float = 0.14,
        test: float = 0.14,
        seed: int = 0,
    ) -> None:
        self.methods = methods or []
        self.videos = videos or []
        self.strict = StrictSplit(val, test, seed)

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class.

        Raises:
            SplitError: A method or a video to leave out is not there, or is genuine.
        """
        fakes = [video for video in videos if video.label != REAL]
        for what, wanted, known in (
            ("methods", self.methods, {video.method for video in fakes}),
            ("videos", self.videos, {video.key for video in fakes}),
        ):
            if absent := sorted(set(wanted) - known):
                some = ", ".join(sorted(known)[:8])
                raise SplitError(f"split.{what}: there is no fake {absent[0]!r} to leave out. There are: {some}.")
        chosen = self.strict.assign(videos)
        self.declares = self.strict.declares
        methods, keys = set(self.methods), set(self.videos)
        unseen = {video.key for video in fakes if video.method in methods or video.key in keys}
        return {key: split for key, split in chosen.items() if split == "test" or key not in unseen}

    @property
    def spec(self) -> dict[str, Any]:
        """See base class."""
        return {
            **self.strict.spec,
            **super().spec,  # of a derived class its class path
            "methods": self.methods,
            "videos": self.videos,
        }
