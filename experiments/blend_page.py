"""Tables and a sheet of pictures of ``experiments/blend.py``, from the leaderboards that it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.output_tables import markdown_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.benchmark.faces import counterparts, load_pixels
from resgat_pl.explain.drawing.overlay import Scale, overlay, spread
from resgat_pl.explain.drawing.sheet import Strip, draw_sheet, outlined
from resgat_pl.explain.methods.gradient import GradCAM
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.registry import find

RECIPE, PLAIN = "recipe", "plain_head"
MEASURES: Final = (
    ("AUROC in face, parts", "auroc_face", "part"),
    ("pointing, parts", "pointing", "part"),
    ("IoU of the named area, parts", "iou", "part"),
    ("IoU of the named area, whole faces", "iou", "whole"),
    ("seam hits − chance", "seam_gain", "all"),
    ("flips, parts", "flips", "part"),
    ("flips, whole faces", "flips", "whole"),
    ("implanted", "implanted", "all"),
    ("sufficiency", "sufficiency", "all"),
    ("ρ with restoring single nodes", "effects", "all"),
    ("highest node, genuine / fake", "silence_top", "all"),
    ("false regions", "false_regions", "all"),
)
"""Rows of the table: title, name in ``explain.benchmark.scores``, extent of the forgeries."""
COLUMNS: Final = (
    (RECIPE, "Contribution"),
    (RECIPE, "GradCAM"),
    (PLAIN, "GradCAM"),
    (PLAIN, "Occlusion"),
    (PLAIN, "LIME"),
    (RECIPE, "CentrePrior"),
    (RECIPE, "MeanMask"),
    (RECIPE, "Random"),
)
FACES: Final = 8
"""Faces of a sheet."""


class Board:
    """A ``leaderboard.json``.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.content: dict[str, Any] = json.loads((folder / "leaderboard.json").read_text())
        self.name = folder.name.partition("_")[2]
        self.detectors: list[dict[str, Any]] = self.content["detectors"]
        pooled = [line for line in self.content["lines"] if line["checkpoint"] == "all"]
        self.lines = {
            (line["label"], line["method"], line["kind"], line["extent"], line["score"]): line for line in pooled
        }

    @property
    def labels(self) -> list[str]:
        """Its detectors."""
        return list(dict.fromkeys(each["label"] for each in self.detectors))

    def cell(self, label: str, method: str, score: str, extent: str = "all", kind: str = "all") -> str:
        """A score with its interval, or a dash."""
        line = self.lines.get((label, method, kind, extent, score))
        return "–" if line is None else with_interval(line["value"])

    def auroc(self, label: str, kind: str = "all") -> list[float]:
        """Detection AUROC per face of each seed, over the fakes of one kind or of all."""
        rows = [row for each in self.detectors if each["label"] == label for row in each["scores"]]
        return [row["values"]["auroc"][0] for row in rows if (row["level"], row["method"]) == ("frame", kind)]


def with_interval(value: dict[str, float | None]) -> str:
    """``.81 [.75, .86]``."""
    middle, low, high = (value[name] for name in ("value", "low", "high"))
    if middle is None:
        return "–"
    return f"{middle:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def over_seeds(values: Sequence[float]) -> str:
    """Mean and range of seeds."""
    if not values:
        return "–"
    reach = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{reach}"


def write_page(out: Path, sets: Mapping[str, Path]) -> str:
    """Write ``page.md`` and a sheet of pictures for each test set; return the page.

    Args:
        out: Folder of the experiment.
        sets: Crops of the test sets by name.
    """
    boards = [Board(path.parent) for path in sorted(out.glob("leaderboard_*/leaderboard.json"))]
    others = {
        board.name: board for path in sorted(out.glob("ablations_*/leaderboard.json")) for board in [Board(path.parent)]
    }
    parts = [detection(boards)]
    for board in boards:
        parts += [f"### {board.name}", counts(board), explanations(board)]
        parts += [changes(board, others[board.name])] if board.name in others else []
        for shows_faces in (True, False):
            name = f"sheet_{board.name}{'' if shows_faces else '_without_faces'}.png"
            write_atomic(out / name, sheet(board, sets[board.name], shows_faces))
    text = "\n\n".join(part for part in parts if part)
    write_atomic(out / "page.md", (text + "\n").encode())
    return text


def publish(page: str, place: Path, out: Path, about: str) -> None:
    """Write the page for a place where pictures of people may not go: its pictures are those without faces."""
    pictures = []
    for path in sorted(out.glob("sheet_*_without_faces.png")):
        name = f"{place.stem}_{path.stem.removeprefix('sheet_').removesuffix('_without_faces')}.png"
        write_atomic(place.parent / name, path.read_bytes())
        pictures.append(f"![Maps without the faces below them]({name})")
    write_atomic(place, "\n\n".join([about, page, *pictures, ""]).encode())


def detection(boards: Iterable[Board]) -> str:
    """Detection AUROC of all sets, and the difference from the plain head, seed by seed."""
    rows = []
    for board in boards:
        ours, plain = board.auroc(RECIPE), board.auroc(PLAIN)
        gaps = [a - b for a, b in zip(ours, plain, strict=False)]
        rows.append([board.name, over_seeds(ours), over_seeds(plain), over_seeds(gaps)])
    return markdown_table(["test set", "recipe", "plain head", "difference"], rows)


def counts(board: Board) -> str:
    """Faces behind the numbers of a set."""
    first = board.detectors[0]
    return (
        f"{first['fakes']} fakes, {first['faces']} of them explained (parts {first['part']}, whole faces "
        f"{first['whole']}), beside {first['genuine']} genuine faces; {first['nodes']} nodes."
    )


def explanations(board: Board) -> str:
    """All measures of the methods in ``COLUMNS``."""
    columns = [column for column in COLUMNS if any(key[:2] == column for key in board.lines)]
    body = [[title, *(board.cell(*column, score, extent) for column in columns)] for title, score, extent in MEASURES]
    heads = [method if label == RECIPE and _is_prior(method) else f"{method}, {label}" for label, method in columns]
    return markdown_table(["", *heads], body)


def changes(main: Board, others: Board) -> str:
    """Detectors with a part left out or changed, beside the recipe; those without a family on that family alone."""
    rows, apart = [], []
    for board, label in [(main, RECIPE), *((others, label) for label in others.labels)]:
        family = label.removeprefix("without_")
        if family == label:
            scores = [board.cell(label, "Contribution", score, extent) for _, score, extent in _CHANGED]
            rows.append([label, over_seeds(board.auroc(label)), *scores])
        else:
            pairs = [(main, RECIPE), (board, label)]
            apart.append(
                [family]
                + [over_seeds(each.auroc(name, family)) for each, name in pairs]
                + [each.cell(name, "Contribution", "auroc_face", kind=family) for each, name in pairs]
            )
    tables = [markdown_table(["", "detection", *(title for title, _, _ in _CHANGED)], rows)] if len(rows) > 1 else []
    if apart:
        heads = ["family", "detection, trained with it", "without", "AUROC in face, trained with it", "without"]
        tables.append(markdown_table(heads, apart))
    return "\n\n".join(tables)


_CHANGED: Final = [row for row in MEASURES if row[1] in {"auroc_face", "iou", "flips", "effects", "silence_top"}]


def _is_prior(method: str) -> bool:
    return find(method) in {find(name) for name in ("CentrePrior", "MeanMask", "Random")}


def sheet(board: Board, crops: Path, shows_faces: bool) -> bytes:
    """Fakes of a set with the mask, contributions, Grad-CAM of the plain head, and their genuine partners; a PNG file.

    The faces are those that both detectors explain, one of each kind of forgery in turn. Without faces a grey square
    stands for each, with the outline of the mask and the landmarks: pictures of people are not everyone's to publish.

    Args:
        board: Its leaderboard.
        crops: The set.
        shows_faces: Whether there are faces.
    """
    paths = {
        label: next(each["checkpoint"] for each in board.detectors if each["label"] == label) for label in board.labels
    }
    detector = Detector.load(paths[RECIPE])
    manifest = detector.manifest(crops)
    faces = FaceCrops(manifest, manifest.rows_of("test"), detector.net.image_size)
    partner = counterparts(faces)
    rows = next(each["rows"] for each in board.detectors if each["label"] == RECIPE)
    places = [place for place in np.searchsorted(faces.rows, rows).tolist() if place in partner][:FACES]
    fakes, genuine = (load_pixels(faces, some) for some in (places, [partner[place] for place in places]))
    kinds = [str(manifest.column("method")[faces.rows[place]]) for place in places]
    methods: list[tuple[str, Explainer, torch.Tensor]] = [
        ("contributions", Contribution(detector.net), fakes),
        ("contributions, genuine partner", Contribution(detector.net), genuine),
    ]
    if PLAIN in paths:
        methods.insert(1, ("Grad-CAM, plain head", GradCAM(Detector.load(paths[PLAIN]).net), fakes))
    explained = [(name, images, method.attribute(images.float() / 255)) for name, method, images in methods]
    low_high = np.concatenate([found.node_map.cpu().numpy() for name, _, found in explained if "contribution" in name])
    strips: list[Strip] = []
    for name, images, found in explained:
        maps = found.node_map.cpu().numpy()
        scale = Scale.of(low_high if "contribution" in name else maps)
        pictures = [_picture(faces, place, image, shows_faces) for place, image in zip(places, images, strict=True)]
        masks = [None if images is genuine else faces.mask(place) for place in places]
        drawn = [
            outlined(overlay(picture, spread(each, found.lattice, picture.shape[:2]), scale), mask)
            for picture, each, mask in zip(pictures, maps, masks, strict=True)
        ]
        if not strips:
            plain = [outlined(picture, mask) for picture, mask in zip(pictures, masks, strict=True)]
            strips.append(Strip("fake, outline: manipulated", plain, kinds))
        logits = [f"logit {value:+.1f}" for value in found.logit.tolist()]
        strips.append(Strip(name, drawn, logits, scale=scale, unit="logit" if found.unit == "logit" else ""))
    return draw_sheet(strips, f"{board.name}: faces by rule, not chosen; one colour scale for contributions")[0]


def _picture(faces: FaceCrops, place: int, image: torch.Tensor, shows_faces: bool) -> NDArray[np.uint8]:
    """A face ``(S, S, 3)`` uint8, or grey with its landmarks."""
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    if shows_faces:
        return picture
    picture[:] = 200
    side = len(picture)
    for x, y in np.asarray(faces.manifest.column("landmarks")[faces.rows[place]], np.float32).reshape(-1, 2):
        centre = (round(float(x) * side), round(float(y) * side))
        cv2.circle(picture, centre, max(2, side // 50), (90, 90, 90), -1, cv2.LINE_AA)
    return picture
