"""What reads media in processes of its own starts fast."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    *("resgat_pl.explain.report.decoding", "resgat_pl.explain.report.media", "resgat_pl.explain.report.original"),
    *("resgat_pl.explain.custody.claims", "resgat_pl.data.check.pictures", "resgat_pl.data.extraction.extract_video"),
)


def test_processes_that_decode_start_without_torch() -> None:
    """Unpickling a function imports its module: with torch, 2 to 5 seconds for each process."""
    code = f"import sys, {', '.join(MODULES)}; sys.exit(bool({{'torch', 'lightning'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
