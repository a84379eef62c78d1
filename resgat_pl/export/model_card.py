"""The model card of a detector: filled from its checkpoint and its results; what is not known is said to be missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from resgat_pl import __version__
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.core.text import joined, shorten
from resgat_pl.core.types import Level
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import FEWEST
from resgat_pl.evaluation.metrics.scores import AT_VAL, CALIBRATED, CLIPS, POOLED
from resgat_pl.evaluation.train_test_overlap import describe
from resgat_pl.evaluation.training_data import trained_on
from resgat_pl.export.results import DataSetTest, Results, Row, describe_protocol
from resgat_pl.nn.hub_card import card_head, network_text

MISSING: Final = "**missing**"
_SHOWN: Final = {
    "auroc": "AUROC",
    "ap": "AP",
    "eer": "EER",
    f"balanced_accuracy{AT_VAL}": "balanced accuracy",
    f"ece{CALIBRATED}": "ECE, calibrated",
}
_EXACT: Final = (
    "The contributions of the nodes and the bias add up to the logit exactly, so a verdict can be traced to parts of "
    "the face."
)
_LEVELS: Final[tuple[Level, ...]] = ("video", "frame")
_USE: Final = """\
- **For** triage and research: to decide which faces of a video a person looks at. {exact}
- **Not as the only evidence** against a person or a recording. Of data, manipulations, compressions and groups of
  people that are not listed under *Results*, nothing is known.
- It takes faces cut out as those that it was trained on ({cutting}). Other crops change scores.
- Read a score beside its threshold and its error rates; a calibrated probability holds for data as those of validation,
  with as many fakes."""


def model_card(detector: Detector, results: Results, note: str) -> str:
    """The text of ``README.md``, with the head that the hub reads.

    Args:
        detector: The detector.
        results: Its results.
        note: Sentence on the weights that are stored.
    """
    provenance = detector.provenance or {}
    data: Mapping[str, Any] = provenance.get("data") or {}
    config = dict(detector.checkpoint.net_config)
    missing: list[str] = []
    additive = getattr(detector.net, "has_contributions", True)  # a black box has none
    exact = _EXACT if additive else "It gives no parts of the face that add up to its verdict."
    # The parts that find something missing come first.
    parts = {
        "Intended use and limits": _USE.format(cutting=_cutting(data, missing), exact=exact),
        "Training data": _training(provenance, missing),
        "Results": _results(results, missing),
        "Thresholds and calibration": _thresholds(detector, missing),
        "Not tested on": _untested(results),
    }
    parts["Missing"] = "\n".join(f"- {line}" for line in missing) or "Nothing that this card asks for."
    usage = _USAGE if "class_path" not in config else _USAGE.replace(*_OF_RESGAT).replace(*_IMPORT)
    if not str(config.get("init_args", config).get("encoder", "")).startswith("timm/"):
        usage = usage.replace("[encoders,hub]", "[hub]")
    parts |= {"How to use it": usage, "Network": network_text(config, note), "Provenance": _provenance(provenance)}
    return "\n\n".join(
        [
            card_head(config, list(_index(results))),
            f"# {_title(config, data)}",
            "Gives each face crop a logit (positive: fake). This card was written by resgat_pl "
            f"{__version__} from the checkpoint and its results; README.md may be edited, the other files are checked "
            "against their hashes.",
            *(f"## {name}\n\n{text}" for name, text in parts.items()),
            "",
        ]
    )


def _title(config: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    options = config.get("init_args", config)
    kind = shorten(config.get("class_path", "ResGAT")).rpartition(".")[2]
    names = sorted({shorten(entry.get("dataset")) for entry in data.get("sets") or [] if isinstance(entry, dict)})
    encoder = f" on {shorten(options['encoder'])}" if "encoder" in options else ""
    return f"{kind}{encoder}" + (f", trained on {joined(names)}" if names else "")


def _training(provenance: Mapping[str, Any], missing: list[str]) -> str:
    data = provenance.get("data") or {}
    found = trained_on(provenance)
    if found.recordings is None:
        missing.append("whether the training data are recordings")
    counts = data.get("counts") or {}
    if not counts:
        missing.append("numbers of crops per split")
    rows = [[shorten(split), *(count.get(name, "?") for name in ("real", "fake"))] for split, count in counts.items()]
    leaks = describe([str(kind) for kind in provenance.get("leaky") or ()], [])
    lines = [
        found.statement,
        f"Split protocol: {describe_protocol(data.get('protocol'))}. "
        + (f"{leaks[0]}." if leaks else "Training found no undeclared leak between its splits." if provenance else ""),
    ]
    if incomplete := provenance.get("incomplete"):
        missing.append("videos that an earlier training saw, from which this one went on")
    lines += ["It went on from a checkpoint that does not list what it saw."] if incomplete else []
    lines += [f"{shorten(line, 300)}." for line in provenance.get("people_unknown") or ()]
    return "\n\n".join([*lines, *([markdown_table(["crops of", "genuine", "fake"], rows)] if rows else [])])


def _results(results: Results, missing: list[str]) -> str:
    if not results.tests:
        missing.append("all results: `resgat test` has not been run on this checkpoint, or its results were not given")
        return f"{MISSING}: no test of this checkpoint is known."
    blocks = [_tested(test, missing) for test in results.tests]
    if results.damaged:
        header = ["damage", "strength", "AUROC per video", "loss"]
        blocks.append(f"### Damaged pictures\n\n{markdown_table(header, results.damaged)}")
    if results.refused:
        refused = "\n".join(f"- {line}" for line in results.refused)
        blocks.append(f"### Refused tests\n\nThese would have been on what it was trained on:\n\n{refused}")
    unit = (
        f"All in %, with 95 % intervals over {CLIPS}. Intervals of error rates are Wilson's, in which each clip counts "
        "once. A video's score is the maximum over its faces of their mean over frames."
    )
    return "\n\n".join([*blocks, unit])


def _tested(test: DataSetTest, missing: list[str]) -> str:
    shown = {name: title for name, title in _SHOWN.items() if any(name in row.values for row in test.rows)}
    body = [
        [row.level, row.method, f"{row.real:,} / {row.fake:,}", f"{row.clips:,}"]
        + [row.values[name].brief if name in row.values else "" for name in shown]
        for row in _shown(test.rows)
    ]
    pooled = [row for row in test.rows if row.method == POOLED]
    if not any(row.values["auroc"].known for row in pooled if "auroc" in row.values):
        missing.append(f"intervals of AUROC on {test.data} (fewer than {FEWEST} genuine clips, or all resamples alike)")
    stamps = describe(test.leaky, test.people)
    leaks = "Leaks: none found." if not test.leaky else ""
    lines = [
        f"### {test.data}",
        f"Protocol: {test.protocol}. {test.coverage}. {leaks}".rstrip(),
        *(f"**{line}.**" if line.startswith("LEAK") else f"{line}." for line in stamps),
        markdown_table(["level", "fakes of", "real / fake", "clips", *shown.values()], body),
        _rates(test, missing),
    ]
    return "\n\n".join(lines)


def _rates(test: DataSetTest, missing: list[str]) -> str:
    chosen = any(f"accuracy{AT_VAL}" in row.values for row in test.rows)
    if not chosen:
        missing.append(f"error rates on {test.data} at a threshold chosen on validation data: there is none")
    rows = []
    for row in _shown(test.rows):
        found = row.errors(AT_VAL if chosen else "")
        if found is None:
            missing.append(f"error rates on {test.data} per {row.level}, fakes of {row.method}: a class is absent")
            continue
        # the genuine ones are the same for all methods
        alarms = ["", ""] if row.method != POOLED else [f"{found.false_alarms:,} of {row.real:,}", found.fpr.brief]
        rows.append([row.level, row.method, *alarms, f"{found.missed:,} of {row.fake:,}", found.fnr.brief])
    header = ["level", "fakes of", "genuine called fake", "FPR", "fakes missed", "FNR"]
    where = "the threshold chosen on validation data" if chosen else "the threshold 0.5, which nothing was chosen by"
    return f"Errors at {where}:\n\n{markdown_table(header, rows)}" if rows else f"Errors at a threshold: {MISSING}."


def _shown(rows: list[Row]) -> list[Row]:
    """Videos first, by method; of frames the pooled row."""
    chosen = [row for row in rows if row.level == "video" or row.method == POOLED]
    return sorted(chosen, key=lambda row: (row.level != "video", row.method != POOLED, row.method))


def _thresholds(detector: Detector, missing: list[str]) -> str:
    thresholds, temperatures = detector.thresholds, detector.temperatures
    if thresholds is None:
        missing.append("thresholds: nothing was chosen on validation data, and 0.5 is in force")
    if all(value is None for value in temperatures.values()):
        missing.append("calibration: probabilities are the network's own, without a temperature")
    if detector.validation is None:
        missing.append("the videos that thresholds and temperatures were chosen on")
    rows = [
        [
            level,
            MISSING if thresholds is None else f"{thresholds[level]:.4f}",
            MISSING if (value := temperatures.get(level)) is None else f"{value:.4f}",
        ]
        for level in _LEVELS
    ]
    chosen = MISSING if detector.validation is None else detector.validation.text
    table = markdown_table(["level", "threshold of the probability", "temperature of the logit"], rows)
    return f"Chosen on validation data: {chosen}.\n\n{table}"


def _untested(results: Results) -> str:
    tests = results.tests
    lines = []
    if not tests:
        lines.append("anything: there are no results")
    else:
        lines.append(f"data sets and recordings other than {joined([test.data for test in tests])}")
        methods, kinds = (frozenset[str]().union(*(getattr(test, name) for test in tests)) for name in _KNOWN)
        if methods:
            lines.append(f"manipulations other than {joined(sorted(map(shorten, methods)))}")
        if kinds:
            lines.append(f"compressions other than {joined(sorted(map(shorten, kinds)))}")
        if not any(test.recordings for test in tests):
            lines.append("recorded faces: none of its tests is known to be on any")
    if not results.damaged:
        lines.append("pictures damaged by JPEG, blur, noise, resizing or H.264 (`resgat robustness`)")
    lines += [
        "pictures altered to deceive it (adversarial attacks)",
        "differences between groups of people (age, sex, skin): the results do not divide by them",
    ]
    return "\n".join(f"- {line}" for line in lines)


_KNOWN: Final = ("methods", "compressions")


def _cutting(data: Mapping[str, Any], missing: list[str]) -> str:
    spec = data.get("extraction") or {}
    if not spec:
        missing.append("how the faces of the training were cut out")
        return f"how: {MISSING}"
    names = {"detector": "face detector", "margin": "margin", "size": "longer side in px"}
    return ", ".join(f"{title} {shorten(spec[name])}" for name, title in names.items() if name in spec) or "see below"


_USAGE: Final = """\
```bash
pip install "resgat-pl[encoders,hub]"
resgat explain video.mp4 --ckpt_path hf://OWNER/NAME --out explained
resgat cross --ckpt_path hf://OWNER/NAME --crops my_crops
```

A local folder with these files does as well as `hf://OWNER/NAME`. In Python:

```python
from resgat_pl import Detector, ResGAT

net = ResGAT.from_pretrained("OWNER/NAME")  # the network alone
detector = Detector.load("hf://OWNER/NAME")  # with thresholds, temperatures and provenance
```

`resgat test --config FILE --ckpt_path FOLDER` needs the network's arguments, below, in its configuration."""


_OF_RESGAT: Final = (
    """\
from resgat_pl import Detector, ResGAT

net = ResGAT.from_pretrained("OWNER/NAME")  # the network alone
detector = Detector.load("hf://OWNER/NAME")  # with thresholds, temperatures and provenance
""",
    """\
from resgat_pl import Detector

detector = Detector.load("hf://OWNER/NAME")  # the network is detector.net
""",
)
_IMPORT: Final = (
    "A local folder",
    "A class or a part that is not of resgat_pl must be installed as an entry point, or named by `--import MODULE`; in "
    "Python, import it first. A local folder",
)
"""Changes of ``_USAGE`` for other detectors than ResGAT."""


def _provenance(provenance: Mapping[str, Any]) -> str:
    if not provenance:
        return f"{MISSING}: the checkpoint carries none."
    data, git = provenance.get("data") or {}, provenance.get("git") or {}
    packages = provenance.get("packages") or {}
    commit = shorten(git.get("commit", "unknown")) + (", with changes" if git.get("changed") else "")
    rows = [
        ["resgat_pl", f"{shorten(provenance.get('resgat_pl', 'unknown'))} (commit {commit})"],
        ["torch", shorten(packages.get("torch", "unknown"))],
        ["device", shorten(provenance.get("device", "unknown"))],
        ["seed", shorten(provenance.get("seed", "unknown"))],
        ["manifest", f"`{shorten(data.get('manifest', 'unknown'), 64)}`"],
        ["splits", f"`{shorten(data.get('splits', 'unknown'), 64)}`"],
    ]
    table = markdown_table(["of the training", ""], rows)
    return (
        f"{table}\n\n`config.json` has the whole configuration, and `model.safetensors` hashes of the videos that "
        "training and validation saw: a test on them is refused."
    )


def _index(results: Results) -> Iterator[dict[str, Any]]:
    """Entries of ``model-index``: AUROC and error rates per video, of all manipulations."""
    for test in results.tests:
        for row in test.rows:
            auroc = row.values.get("auroc")
            if (row.level, row.method) != ("video", POOLED) or auroc is None or auroc.value != auroc.value:
                continue
            found = row.errors()
            metrics = [{"type": "roc_auc", "name": "AUROC per video", "value": round(auroc.value, 4)}]
            rates = {} if found is None else {"false_positive_rate": found.fpr, "false_negative_rate": found.fnr}
            for name, rate in rates.items():
                metrics.append({"type": name, "name": f"{name} per video", "value": round(rate.value, 4)})
            leaks = f", leaky: {', '.join(test.leaky)}" if test.leaky else ""
            yield {
                "task": {"type": "image-classification", "name": "deepfake detection"},
                "dataset": {"type": "deepfakes", "name": f"{test.data}{leaks}"},
                "metrics": metrics,
            }
