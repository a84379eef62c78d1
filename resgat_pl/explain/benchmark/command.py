"""``resgat benchmark-explainers``: all explanation methods on the same faces, scored by what they find and cost."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, ResGATError, SplitError
from resgat_pl.core.path_checks import require_folder
from resgat_pl.data.extraction.pairs_folder import crops_of
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.train_test_overlap import describe, people_unknown
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer, at_least
from resgat_pl.explain.benchmark.leaderboard import FaceScores, differences, summarise
from resgat_pl.explain.benchmark.leaderboard_files import write_leaderboard
from resgat_pl.explain.benchmark.prepare import DetectorBenchmark, ResultCache
from resgat_pl.explain.benchmark.scores import BASELINES, ORACLE
from resgat_pl.nn.video.net import VideoResGAT


def benchmark_explainers(
    ckpt_path: str | list[str],
    crops: Path,
    out: Path = Path("runs/explainers"),
    methods: list[str] | None = None,
    faces: int = 200,
    slow_faces: int = 32,
    sanity_faces: int = 16,
    split: SplitProtocol | None = None,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
    allow_leakage: bool = False,
    private: bool = False,
    common_faces: bool = True,
    trained_on: Path | None = None,
    false_alarms: float | None = None,
) -> str:
    """Score explanation methods against manipulation masks, by restoration, sanity checks and cost: a leaderboard.

    Every method explains the same evaluation-mode checkpoint and the same correctly detected fakes of the test split,
    on the same grid, for the class fake. Genuine faces are controls, and thresholds come from validation faces.
    Measurements are stored in OUT/cache, by checkpoint and method: the same command continues where it was stopped,
    and measures only what is new.

    Args:
        ckpt_path: Checkpoints of `resgat fit`, separated by commas or as a list; LABEL=PATH gives one a name. Those
            with the same label count as seeds of one detector: their mean is shown, and each by itself.
        crops: Folder that `resgat extract` made; with masks, and with the genuine videos the fakes were made from. Or a
            folder of pairs, original/ and fake/ (layout `pairs`), whose crops are cut into OUT/crops.
        out: Folder for leaderboard.md, .csv, .json and .png.
        methods: Names of classes in resgat_pl.explain, entry points of installed packages, or class paths; null takes
            all of the first two. The four baselines always take part.
        faces: Fakes to explain at most, spread over manipulation methods and videos.
        slow_faces: Fakes that methods with more than 30 passes an image explain; also those for deletion and insertion.
        sanity_faces: Fakes for the sanity checks; methods with more than 30 passes take an eighth.
        split: How the crops are divided; null takes what the checkpoint was trained under, or the manifest's.
        seed: Of the choice of faces, of methods that draw, and of the intervals.
        batch_size: Images at once.
        workers: Loading processes.
        allow_leakage: Test also on videos that the checkpoint was trained on.
        private: Nothing goes to W&B.
        common_faces: Of several checkpoints, explain only fakes that all of them detect, so that they are compared on
            the same faces; false takes each checkpoint's own.
        trained_on: Folder of the crops that the checkpoints were trained and validated on, for --crops that have no
            such splits: thresholds are chosen on its validation split, and its training split gives the mean mask.
        false_alarms: Share of the genuine test faces that may be called fake, such as 0.1: sets the threshold of the
            verdict, for sets on which all are called fake by the checkpoint's own, which null takes.

    Returns:
        The leaderboard as Markdown.
    """
    os.environ.setdefault("WANDB_MODE", "offline")  # nothing leaves the machine unless asked for
    at_least(1, **{"--faces": faces, "--slow_faces": slow_faces, "--sanity_faces": sanity_faces})
    if false_alarms is not None and not 0 <= false_alarms < 1:
        raise ConfigError(f"--false_alarms is {false_alarms}; it is a share, at least 0 and below 1.")
    checkpoints = _checkpoints(ckpt_path)
    classes = explainers(methods)
    require_folder(out, "--out")
    # Read everything before the long work, so that a refusal comes at once.
    tests = []
    for label, path in checkpoints:
        detector = Detector.load(path)
        if isinstance(detector.net, VideoResGAT):
            raise ConfigError(
                f"{path} holds a VideoResGAT, which judges clips, and methods are measured on single crops: measure it "
                "with resgat timeline, or the detector of frames that it was started from here."
            )
        crops = crops_of(crops, out / "crops")  # of a folder of pairs
        divided = detector.manifest(crops, split)
        home = None if trained_on is None else detector.manifest(trained_on)
        tests.append((label, detector, divided, detector.leaks_on(divided, allow_leakage), home))
    # Score all test splits before any face is chosen: all checkpoints explain the same ones.
    out.mkdir(parents=True, exist_ok=True)
    entries: list[FaceScores] = []
    detectors: list[dict[str, Any]] = []
    cache = ResultCache(out / "cache")
    benches = [
        DetectorBenchmark(detector, divided, cache, seed, batch_size, workers, home, false_alarms).prepare()
        for _, detector, divided, _, home in tests
    ]
    common = _common(benches) if common_faces and len(benches) > 1 else None
    # Measure; a method that cannot be had becomes a note and not the end.
    with tqdm(total=len(tests) * len(classes), unit="method", desc="benchmark") as bar:
        for (label, detector, _, leaky, _), bench in zip(tests, benches, strict=True):
            bench.choose(faces, common)
            about = bench.about(label)
            about["notes"] += describe(leaky, people_unknown(detector.provenance, divided))
            detectors.append(about)
            for name, method in classes.items():
                if methods is None and registry.is_variant(method) and method.refusal(detector.net):
                    bar.update()
                    continue
                bar.set_postfix_str(f"{label}: {name}")
                try:
                    scores = bench.measure(name, method, slow_faces, sanity_faces)
                except ResGATError as error:  # a package is missing, or a method cannot do with this data
                    about["notes"].append(f"{name} was not measured: {error}")
                else:
                    entries.append(bench.entry(label, name, scores))
                bar.update()
            if (oracle := bench.oracle(slow_faces)) is not None:
                entries.append(bench.entry(label, ORACLE, oracle))
            bench.forget()
    options = {"faces": faces, "slow_faces": slow_faces, "sanity_faces": sanity_faces, "seed": seed}
    compared = [] if common is None else differences(entries, seed=seed)
    return write_leaderboard(
        out, summarise(entries, seed=seed), compared, entries, detectors, options, publish=not private
    )


def explainers(names: Iterable[str] | None = None) -> dict[str, type[Explainer]]:
    """The methods to measure by name, the baselines first.

    Args:
        names: Of methods, entry points or class paths; None for all that are registered or installed.

    Raises:
        ConfigError: There is no such method.
    """
    if names is None:
        chosen = [*registry.methods().values(), *registry.installed_methods()]
    else:
        chosen = [registry.find(name) for name in names]
    return {method.__name__: method for method in (*map(registry.find, BASELINES), *chosen)}


def _common(benches: list[DetectorBenchmark]) -> set[int]:
    """Rows of the fakes that all detectors detect, and all test.

    Raises:
        SplitError: There is none.
    """
    common = set.intersection(*(bench.detected_rows for bench in benches))
    if not common:
        each = ", ".join(str(len(bench.detected_rows)) for bench in benches)
        raise SplitError(
            f"No fake is detected by all {len(benches)} checkpoints ({each} by each), so there are no faces to compare "
            "them on. Give --common_faces false to explain each one's own, or fewer checkpoints."
        )
    return common


def _checkpoints(given: str | list[str]) -> list[tuple[str, Path]]:
    """Read LABEL=PATH; what has no label is called by its path."""
    entries = [entry.strip() for entry in (given.split(",") if isinstance(given, str) else given) if entry.strip()]
    if not entries:
        raise ConfigError("--ckpt_path names nothing: give paths, separated by commas.")
    found = []
    for entry in entries:
        label, sign, path = entry.partition("=")
        # a sign behind a slash belongs to the path
        found.append((label, Path(path)) if sign and "/" not in label else (entry, Path(entry)))
    if len({path for _, path in found}) < len(found):
        raise ConfigError("--ckpt_path names a checkpoint twice: it would count as two seeds.")
    return found
