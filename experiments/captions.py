"""A learned captioner against sentences made of numbers: which regions they name, and what of it the numbers confirm.

The detector stays as it is. A decoder over its nodes, weighted by their contributions, is trained on texts that name
the regions under the manipulation masks of the training split, and writes about the test split. Each clause is then
held against the numbers of its face, as ``report.json`` has them; what they do not confirm is dropped.

    python experiments/captions.py --ckpt runs/kinds/checkpoints/best.ckpt --crops datasets/crops --out runs/captions
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError, ResGATError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.core.formats import stamp
from resgat_pl.core.output_tables import json_text, markdown_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import VIDEO_KEY, Split
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.calibration import calibrated_score
from resgat_pl.evaluation.metrics.scores import SOURCE, clip_codes
from resgat_pl.evaluation.provenance import environment
from resgat_pl.explain.captions import (
    Answers,
    Vocabulary,
    bleu,
    cider,
    named_regions,
    read_dd_vqa,
    region_precision_recall,
    template_text,
    verified,
)
from resgat_pl.explain.clauses import Checked, hallucination_rate, is_altered, verify
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.report.run_methods import run
from resgat_pl.explain.sentences import Finding, findings
from resgat_pl.nn.captioner import PAD, Captioner
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.callbacks.outputs import manipulated_regions

WORDINGS: Final = 4
BATCH: Final = 32


@dataclass
class Faces:
    """Faces of a split, as the captioner sees them, with what is true of them."""

    nodes: Tensor
    contribution: Tensor
    lattice: Lattice
    said: list[Finding]
    altered: list[set[str]]
    texts: list[list[str]]
    clips: list[int]
    """Codes of the genuine clips behind them."""


def prepare(detector: Detector, crops: Path, split: Split, answers: Sequence[Answers]) -> Faces:
    """Encode the faces of a split of which it is known what was altered.

    Raises:
        ConfigError: There is none.
    """
    net = detector.net
    if not isinstance(net, ResGAT) or not net.has_contributions:
        raise ConfigError("Captions rest on contributions: give the checkpoint of a ResGAT with an additive head.")
    manifest = detector.manifest(crops)
    faces = FaceCrops(manifest, manifest.rows_of(split), net.image_size)
    manipulated, known = manipulated_regions(faces)
    known &= ~faces.untouched
    if not known.any():
        raise ConfigError(f"The {split} split of {crops} has no masks and landmarks, so no region is known altered.")
    places = np.flatnonzero(known)
    images = torch.stack([faces[int(place)]["image"] for place in places]).float() / 255
    points = np.stack(manifest.column("landmarks")[faces.rows[places]]).astype(np.float32)
    explained = run(net, images, [Contribution], BATCH)
    if explained.contribution is None:
        raise ConfigError("The network has no contributions.")
    temperature = detector.temperatures["frame"]
    limit = calibrated_score((detector.thresholds or {}).get("frame", 0.5), temperature)  # as the probabilities are
    landmarks = torch.from_numpy(points).reshape(-1, 5, 2)
    said = findings(explained.contribution, landmarks, temperature=temperature, limit=limit)
    if explained.outputs is not None:
        said = explained.outputs.findings(said, detector.checkpoint.limits.get("unknown_kind"))
    with torch.no_grad():
        device = next(net.parameters()).device
        nodes = torch.cat([net.encode(batch.to(device)).float().cpu() for batch in torch.split(images, BATCH)])
    altered = [{FACE_REGIONS[i] for i in np.flatnonzero(row)} for row in manipulated[places]]
    theirs = {(one.method, one.video): list(one.texts) for one in answers}
    names = zip(*(manifest.column(name)[faces.rows[places]] for name in ("method", "video")), strict=True)
    texts = [
        theirs.get((method, video)) or [template_text(sorted(regions), seed) for seed in range(WORDINGS)]
        for (method, video), regions in zip(names, altered, strict=True)
    ]
    contribution = explained.contribution.node_map.flatten(1)
    table = manifest.take(faces.rows[places], [*VIDEO_KEY, SOURCE]).to_pydict()
    clips = clip_codes(list(zip(*(table[name] for name in VIDEO_KEY), strict=True)), table[SOURCE]).tolist()
    return Faces(nodes, contribution, explained.contribution.lattice, said, altered, texts, clips)


def train(net: Captioner, words: Vocabulary, faces: Faces, epochs: int, rate: float, seed: int) -> None:
    """Fit the captioner to one of the texts of each face, another in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    net.train()
    for _ in range(epochs):
        for places in torch.randperm(len(faces.nodes), generator=generator).split(BATCH):
            draws = torch.randint(2**31, (len(places),), generator=generator).tolist()
            texts = [faces.texts[int(at)] for at in places]
            rows = [
                words.tokens(known[draw % len(known)])[: net.longest] for known, draw in zip(texts, draws, strict=True)
            ]
            longest = max(map(len, rows))
            tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
            logits = net(tokens[:, :-1], faces.nodes[places], faces.contribution[places], faces.lattice)
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    net.eval()


def score(texts: Sequence[str], checked: Sequence[Sequence[Checked]], faces: Faces) -> dict[str, float]:
    """Precision and recall of the regions named, hallucination rate, BLEU-4 and CIDEr."""
    precision, recall = region_precision_recall([named_regions(text) for text in texts], faces.altered)
    return {
        "precision": precision,
        "recall": recall,
        "hallucination_rate": hallucination_rate([one for face in checked for one in face]),
        "bleu4": bleu(texts, faces.texts),
        "cider": cider(texts, faces.texts),
    }


def from_numbers(finding: Finding) -> str:
    """The text of the regions that the numbers call altered, in the first wording."""
    fake = finding.verdict == "fake"
    return template_text([name for name in FACE_REGIONS if fake and is_altered(name, finding.numbers)], 0)


def compare(
    detector: Detector, crops: Path, options: argparse.Namespace
) -> tuple[dict[str, Any], Captioner, Vocabulary]:
    """Train, write about the test split, and score."""
    answers = [one for path in options.dd_vqa for one in read_dd_vqa(path)]
    leaky = detector.leaks_on(detector.manifest(crops), allow_leakage=False)
    known, test = (prepare(detector, crops, split, answers) for split in ("train", "test"))
    words = Vocabulary.of([text for texts in known.texts for text in texts])
    torch.manual_seed(options.seed)
    net = Captioner(len(words.words), known.nodes.shape[-1], options.width)
    train(net, words, known, options.epochs, options.rate, options.seed)
    batches = zip(test.nodes.split(BATCH), test.contribution.split(BATCH), strict=True)
    written = [words.text(row) for nodes, c in batches for row in net.write(nodes, c, test.lattice)]
    kept, found = zip(*(verified(text, one.numbers) for text, one in zip(written, test.said, strict=True)), strict=True)
    plain = [from_numbers(one) for one in test.said]
    sure = [[one for one in face if one.holds] for face in found]
    by_numbers = [verify(one.clauses, one.numbers) for one in test.said]
    about = {
        "sentence made of numbers": score(plain, by_numbers, test),
        "learned": score(written, found, test),
        "learned, verified": score(kept, sure, test),
    }
    captions = {"numbers": (plain, by_numbers), "learned": (written, found), "verified": (kept, sure)}
    result = {
        "checkpoint_sha256": detector.checkpoint.fingerprint,
        "leaky": leaky,
        "faces": {"train": len(known.said), "test": len(test.said)},
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "scores": about,
        "faces_named": [
            {"clip": clip, "altered": sorted(regions), **{who: _face(*both, at) for who, both in captions.items()}}
            for at, (clip, regions) in enumerate(zip(test.clips, test.altered, strict=True))
        ],
        "examples": [
            {"altered": sorted(regions), "learned": text, "verified": true}
            for regions, text, true in zip(test.altered, written, kept, strict=True)
        ][:20],
    }
    return result, net, words


def _face(texts: Sequence[str], checked: Sequence[Sequence[Checked]], at: int) -> dict[str, Any]:
    """One face's caption: regions that it names, clauses, and those of them that the numbers do not confirm."""
    found = checked[at]
    false = sum(not one.holds for one in found)
    return {"named": sorted(named_regions(texts[at])), "clauses": len(found), "false": false}


def table(scores: dict[str, dict[str, float]]) -> str:
    """The scores as Markdown, in percent but for CIDEr."""
    names = ("precision", "recall", "hallucination_rate", "bleu4")
    lines = [
        [who, *("undefined" if math.isnan(row[n]) else f"{100 * row[n]:.1f}" for n in names), f"{row['cider']:.2f}"]
        for who, row in scores.items()
    ]
    return markdown_table(["captions", "precision", "recall", "hallucination rate", "BLEU-4", "CIDEr"], lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and write ``captions.json``, ``captions.md`` and the captioner."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True, help="checkpoint of resgat fit")
    parser.add_argument("--crops", type=Path, required=True, help="crops with masks and landmarks")
    parser.add_argument("--out", type=Path, default=Path("runs/captions"))
    parser.add_argument("--dd_vqa", type=Path, nargs="*", default=[], help="files of DD-VQA, for crops of FF++")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        found, net, words = compare(Detector.load(options.ckpt), options.crops, options)
    except ResGATError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    document = {**stamp(1), "provenance": environment(), "seed": options.seed, "epochs": options.epochs, **found}
    write_atomic(options.out / "captions.json", json_text(document).encode())
    text = table(found["scores"])
    write_atomic(options.out / "captions.md", (text + "\n").encode())
    torch.save(net.state_dict(), options.out / "captioner.pt")
    write_atomic(options.out / "words.json", json.dumps(words.words).encode())
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
