"""The demo: synthesise, extract, train GATv2, test; everything to look at is left under runs/demo/."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from resgat_pl.core.errors import ResGATError, Stopped
from resgat_pl.data.synth.generate import synthesize
from resgat_pl.data.synth.portraits import list_images
from resgat_pl.evaluation.metrics.scores import CLIPS
from resgat_pl.reproduce.runs import train_and_test

CROPS = 1800  # genuine ones, so that training fits into three minutes
CONFIG = Path(__file__).parent.parent / "configs" / "smoke.yaml"


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, help="folder of portraits to forge instead of drawn faces")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--videos", type=int, default=900, help="genuine clips at most, each with one fake")
    arguments = parser.parse_args()
    out = arguments.out if arguments.faces is None else arguments.out.with_name(f"{arguments.out.name}_faces")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    started = time.perf_counter()
    try:
        videos = arguments.videos
        if arguments.faces is not None:
            videos = min(videos, len(list_images(arguments.faces)) // 2 * 2)  # one person a clip, clips in pairs
        frames = max(1, round(CROPS / max(1, videos)))
        # Many people and few frames of each: what a detector that starts from nothing learns most from. The forgeries
        # are plain to see, since two CPU cores have three minutes to learn them.
        synthesize(
            out / "videos",
            videos=videos,
            fakes_per_real=1,
            frames=frames,
            size=160,
            faces=arguments.faces,
            change=60,
            extent=2.4,
        )
        made = time.perf_counter()
        options = ["--config", str(CONFIG), "--data.root", str(out / "videos"), "--data.crops", str(out / "crops")]
        options += ["--data.extraction.frames", str(frames)]
        result = train_and_test(out, options)
    except Stopped as stop:
        print("demo: stopped; make demo starts again", file=sys.stderr)
        return stop.status
    except ResGATError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return error.status
    shutil.copy(out / "test" / "heatmaps" / "test.png", out / "heatmaps.png")
    lines = ["| metric (test split) | value in %, 95 % interval |", "|---|---|"]
    for level, scores in result.scores.items():
        lines += [f"| {level} {name} | {value} |" for name, value in scores.values.items() if name != "log_loss"]
    frames, videos = (result.scores[level].real + result.scores[level].fake for level in ("frame", "video"))
    lines += [
        "",
        f"{frames} crops of {videos} videos; seed 0. `at_val`: at the threshold chosen on validation data. "
        "`calibrated`: of the probability that `resgat explain` gives.",
    ]
    lines += ["", f"Intervals are over {CLIPS}."]
    text = "\n".join(lines)
    (out / "metrics.md").write_text(text + "\n")
    print(text)
    print(f"\n{made - started:.0f} s synthesis, {time.perf_counter() - made:.0f} s extraction, training and test")
    print(f"Look at {out}/heatmaps.png; metrics: {out}/metrics.md; W&B (offline): {out}/wandb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
