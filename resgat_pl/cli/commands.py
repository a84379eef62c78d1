"""The commands of ``resgat``: where each is implemented, what it does, and an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Tool(NamedTuple):
    """A command that needs no Trainer.

    Attributes:
        module: Module that holds the function.
        function: Its name; its parameters are the options.
        about: What it does, for ``resgat --help``.
        example: A command line that works after the steps of the README.
        places: Options that may also be given by position, in this order; one that ends in ``...`` takes all that
            follow as a list.
    """

    module: str
    function: str
    about: str
    example: str
    places: tuple[str, ...] = ()


TOOLS: Final[Mapping[str, Tool]] = {
    "synth": Tool(
        "resgat_pl.data.synth.generate",
        "synthesize",
        "write a small synthetic data set in the FF++, DFDC or Celeb-DF layout",
        "resgat synth datasets/tiny --videos 24",
        ("out",),
    ),
    "extract": Tool(
        "resgat_pl.data.extraction.command",
        "extract",
        "cut the faces out of a data set's videos",
        "resgat extract $FFPP_ROOT datasets/crops/ffpp --extraction.frames 32 --jobs 8",
        ("root", "out"),
    ),
    "blend": Tool(
        "resgat_pl.data.self_blends.held_out",
        "blend",
        "make self-blends of genuine crops, with masks, to validate and test on",
        "resgat blend datasets/crops/ffpp datasets/held_out --per_face 2",
        ("crops", "out"),
    ),
    "check": Tool(
        "resgat_pl.data.check.command",
        "check",
        "audit a data set: files, counts, leaks between splits",
        "resgat check datasets/crops/ffpp --json report.json",
        ("target",),
    ),
    "ensemble": Tool(
        "resgat_pl.evaluation.ensembling",
        "ensemble",
        "join checkpoints to one, with weights fitted on validation data",
        "resgat ensemble a.ckpt b.ckpt --out both.ckpt --crops datasets/crops/ffpp",
        ("members...",),
    ),
    "calibrate": Tool(
        "resgat_pl.evaluation.calibrate",
        "calibrate",
        "calibrate a checkpoint's scores as likelihood ratios, on videos it has not seen",
        "resgat calibrate best.ckpt --crops datasets/crops/pool --part all",
        ("ckpt_path",),
    ),
    "cross": Tool(
        "resgat_pl.evaluation.cross_dataset",
        "cross",
        "test checkpoints across data sets: a train × test matrix",
        "resgat cross --ckpt_path ffpp=a.ckpt,dfdc=b.ckpt --crops ffpp=crops/ffpp,celebdf=crops/celebdf",
    ),
    "robustness": Tool(
        "resgat_pl.evaluation.robustness",
        "robustness",
        "test a checkpoint on damaged or attacked pictures; table and plot",
        "resgat robustness --ckpt_path best.ckpt --crops datasets/crops/ffpp",
    ),
    "timeline": Tool(
        "resgat_pl.evaluation.timeline",
        "timeline",
        "measure when a detector says that a face was altered: frames and spans",
        "resgat timeline --ckpt_path best.ckpt --crops datasets/crops/clips",
    ),
    "benchmark-explainers": Tool(
        "resgat_pl.explain.benchmark.command",
        "benchmark_explainers",
        "score every explanation method on the same faces: a leaderboard",
        "resgat benchmark-explainers --ckpt_path best.ckpt --crops datasets/crops/ffpp --faces 50",
    ),
    "reproduce": Tool(
        "resgat_pl.reproduce.runs",
        "reproduce",
        "train and test every row of a table of the paper",
        "resgat reproduce experiments/table1.yaml --data synthetic",
        ("table",),
    ),
    "explain": Tool(
        "resgat_pl.explain.report.command",
        "explain",
        "judge your own images and videos, and show why",
        "resgat explain video.mp4 photos/ --ckpt_path best.ckpt --out explained",
        ("media...",),
    ),
    "verify": Tool(
        "resgat_pl.explain.report.verify",
        "verify",
        "check a report: hashes, signature and, with the media, its scores",
        "resgat verify explained/video.mp4/report.json --media video.mp4 --ckpt_path best.ckpt",
        ("report",),
    ),
    "app": Tool(
        "resgat_pl.explain.app.command",
        "app",
        "judge files in a browser, on this machine",
        "resgat app best.ckpt",
        ("ckpt_path",),
    ),
    "study": Tool(
        "resgat_pl.explain.study.command",
        "study",
        "make a user study of the maps, with and without them, and analyse it",
        "resgat study make explained --truth truth.csv --out study --participants 24",
        ("action", "folder"),
    ),
    "export": Tool(
        "resgat_pl.export.command",
        "export",
        "write a checkpoint as a file that runs without torch, also in int8",
        "resgat export --ckpt_path best.ckpt --out detector.onnx --int8",
    ),
    "figures": Tool(
        "resgat_pl.reproduce.figures",
        "figures",
        "draw the figures of the paper from trained checkpoints",
        "resgat figures experiments/figures.yaml --data synthetic",
        ("plan",),
    ),
    "configs": Tool(
        "resgat_pl.cli.configs",
        "configs",
        "list the configurations that come with the package, or copy one",
        "resgat configs copy dfdc_gatv1 my.yaml",
        ("action", "name", "dest"),
    ),
}
TRAINER: Final[Mapping[str, tuple[str, str]]] = {
    "fit": (
        "train a detector, validating after each epoch",
        "resgat fit --config configs/dfdc_gatv1.yaml --crops datasets/crops/dfdc",
    ),
    "validate": (
        "score a checkpoint on the validation split",
        "resgat validate --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt",
    ),
    "test": (
        "score a checkpoint on the test split; writes metrics, predictions and heat-maps",
        "resgat test --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt",
    ),
    "predict": (
        "write a checkpoint's scores per frame, track and video as CSV",
        "resgat predict --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt",
    ),
}
"""Commands of LightningCLI: what they do, and an example."""
