"""Explanations on real manipulations: aligned pairs of FaceForensics++, or of any folder, by method.

FFPP_ROOT (or --ffpp) is a copy of FaceForensics++: faces of its test split are cut out, with the masks of its mask
videos, or computed from the difference to the original where a method has none. --pairs is a folder of the layout
`pairs`. The detector is judged on them, and every explanation is scored; all is left under --out.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, ResGATError, Stopped
from resgat_pl.core.types import FAKE, VideoRecord
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.pairs_folder import crops_of
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.layouts.pairs import Pairs
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.explain.benchmark.command import benchmark_explainers


class FFPPTest(FFPP):
    """FaceForensics++ without the videos that are not in its official test split."""

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        records, problems = super().scan(root)
        return [record for record in records if record.official_split == "test"], problems


def main() -> int:
    """Extract, measure; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt", required=True, help="checkpoints, as --ckpt_path of resgat benchmark-explainers")
    parser.add_argument("--pairs", type=Path, help="folder with original/ and fake/, or crops of such")
    parser.add_argument("--cropped", action="store_true", help="the pictures of --pairs are cut out faces")
    parser.add_argument("--ffpp", default=os.environ.get("FFPP_ROOT"), help="FaceForensics++; FFPP_ROOT unless given")
    parser.add_argument("--compression", default="c23", help="of FaceForensics++: raw, c23 or c40")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--frames", type=int, default=8, help="frames of each video")
    parser.add_argument("--faces", type=int, default=200, help="fakes to explain at most")
    parser.add_argument("--methods", help="explanation methods, separated by commas; all unless given")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    try:
        sets = list(_sets(arguments))
        for name, crops in sets:
            print(_content(name, Manifest.read(crops)))
            methods = None if arguments.methods is None else arguments.methods.split(",")
            out = arguments.out / name
            print(benchmark_explainers(arguments.ckpt, crops, out, methods, faces=arguments.faces, private=True))
            print(f"{out}/leaderboard.md\n")
    except Stopped as stop:
        print("real: stopped; the same command goes on", file=sys.stderr)
        return stop.status
    except ResGATError as error:
        print(f"real: error: {error}", file=sys.stderr)
        return error.status
    return 0


def _sets(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    """Names and crops of the sets that are there.

    Raises:
        ConfigError: There is none.
    """
    found = []
    settings = Extraction(frames=arguments.frames)
    if arguments.pairs is not None:
        layout = Pairs(cropped=arguments.cropped)
        found.append(("pairs", crops_of(arguments.pairs, arguments.out / "crops_pairs", settings, layout)))
    if arguments.ffpp:
        crops = arguments.out / "crops_ffpp"
        masked = Extraction(frames=arguments.frames, difference_masks=True)
        layout_of_ffpp = FFPPTest(compressions=[arguments.compression])
        tqdm.write(str(extract(arguments.ffpp, crops, layout_of_ffpp, masked, jobs=arguments.jobs)), file=sys.stderr)
        found.append(("ffpp", crops))
    if not found:
        raise ConfigError("there is nothing real to test on: set FFPP_ROOT, or name a folder of pairs (PAIRS=DIR).")
    return found


def _content(name: str, manifest: Manifest) -> str:
    """Fakes of the test split by method, and how many of them have a mask."""
    rows = manifest.rows_of("test")
    fakes = rows[manifest.column("label")[rows] == FAKE]
    methods, masks = manifest.column("method")[fakes], manifest.column("mask_path")[fakes]
    lines = [f"{name}: {len(fakes)} fake and {len(rows) - len(fakes)} genuine crops to test on"]
    for method in sorted(set(methods)):
        known = np.array([mask is not None for mask in masks[methods == method]])
        lines.append(f"  {method}: {len(known)} crops, {int(known.sum())} with a mask")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
