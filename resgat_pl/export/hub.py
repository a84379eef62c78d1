"""``resgat export --format hub``: a checkpoint as a folder with a model card, ready to be shared."""

from __future__ import annotations

from pathlib import Path

from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.text import count_and_name
from resgat_pl.evaluation.detector import Detector
from resgat_pl.export.model_card import model_card
from resgat_pl.export.results import find_results
from resgat_pl.nn.hub_folder import require_own_folder, write_folder


def export_hub(ckpt_path: Path, out: Path, results: str | None = None) -> str:
    """Write the folder; arguments and errors are those of ``resgat_pl.export.command.export``.

    Returns:
        What was written, with the results on the card.
    """
    require_folder(out, "--out")
    require_own_folder(out)
    detector = Detector.load(ckpt_path)
    found = find_results(detector, results)
    written = write_folder(out, detector.checkpoint.take(), lambda note: model_card(detector, found, note))
    tests = count_and_name([test.data for test in found.tests], "test") or "no results (--results names them)"
    return (
        f"written: {out} ({written.size / 1e6:.1f} MB, all {written.stored + written.left_out} tensors as in the "
        f"checkpoint). {written.note}\nmodel card: {tests}. Look at {out}/README.md before you share it."
    )
