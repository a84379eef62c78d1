"""Two folders, genuine/ and forged/, with videos."""

from pathlib import Path

from resgat_pl.core.types import FAKE, REAL, VideoRecord
from resgat_pl.data.layouts.base import Layout, videos_in


class TwoFolders(Layout):
    """Videos in genuine/ and forged/."""

    name = "two_folders"
    expected = "genuine/ and forged/ with videos"

    def matches(self, root: Path) -> bool:
        """See ``Layout``."""
        return (root / "genuine").is_dir() and (root / "forged").is_dir()

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See ``Layout``."""
        kinds = (("genuine", "original", REAL), ("forged", "forged", FAKE))
        records = [
            VideoRecord(self.name, method, "", name, label, "video", (path,), identities=(name.partition("_")[0],))
            for folder, method, label in kinds
            for name, path in videos_in(root / folder)
        ]
        return records, []
