"""Documents as ``resgat explain`` makes them, from random numbers that add up; and a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resgat_pl.data.synth.encode import write_video
from resgat_pl.explain.report.document import SCHEMA, Document, FaceFrame, FaceTrack, Method, NodeMap
from resgat_pl.explain.report.verdict_records import Calibration, Centres, Checkpoint, Decision
from resgat_pl.nn.checkpoint_file import read_file

from ...helpers.judged_media import ODD, drawn, save, turn
from ...helpers.tiny_runs import untrained

if TYPE_CHECKING:
    from playwright.sync_api import Page

REGIONS = ["left eye", "right eye", "nose", "mouth", "left cheek", "right cheek", "forehead", "chin", "background"]
POINTS = [[0.34, 0.42], [0.66, 0.42], [0.5, 0.58], [0.38, 0.74], [0.62, 0.74]]
METHODS = (
    # name, unit, signed, exact
    ("Contribution", "logit", True, True),
    ("GradCam", "logit", True, False),
    ("Attention", "attention", False, False),
)


def face_jpeg(seed: int, size: int = 112) -> bytes:
    """A JPEG of smooth colours."""
    colours = np.random.default_rng(seed).integers(60, 220, (6, 6, 3)).astype(np.uint8)
    picture = cv2.resize(colours, (size, size), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


class Maps:
    """Random maps of all methods: smooth over the grid, with every node shared out among the regions."""

    def __init__(self, grid: tuple[int, int], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.grid = grid
        shares = self.rng.random((len(REGIONS), grid[0] * grid[1])) ** 4
        self.shares = shares / shares.sum(axis=0)
        self.bias = float(self.rng.normal(0, 0.4))

    def draw(self, logit: float, unit: str, exact: bool) -> NodeMap:
        nodes = cv2.GaussianBlur(self.rng.normal(0, 1, self.grid), (3, 3), 1).astype(np.float64)
        if unit != "logit":
            return self.pack(np.abs(nodes), None, None)
        nodes += ((logit - self.bias) * (1.0 if exact else 0.7) - nodes.sum()) / nodes.size
        return self.pack(nodes, self.bias, abs(nodes.sum() + self.bias - logit) / (1 + abs(logit)))

    def pack(self, nodes: NDArray[np.float64], bias: float | None, gap: float | None) -> NodeMap:
        return NodeMap(nodes.tolist(), (self.shares @ nodes.ravel()).tolist(), bias, gap)


def _mean(maps: list[NodeMap]) -> NodeMap:
    biases, gaps = [m.bias for m in maps if m.bias is not None], [m.gap for m in maps if m.gap is not None]
    return NodeMap(
        np.mean([m.nodes for m in maps], axis=0).tolist(),
        np.mean([m.regions for m in maps], axis=0).tolist(),
        float(np.mean(biases)) if biases else None,
        max(gaps, default=None),
    )


def _track(number: int, times: list[float | None], size: int, maps: Maps) -> FaceTrack:
    frames, logit = [], float(maps.rng.normal(1, 1.5))
    pictures = [face_jpeg(number + i, size) for i in range(min(4, len(times)))]
    for i, time in enumerate(times):
        logit = 0.8 * logit + float(maps.rng.normal(0.2, 0.7))
        frames.append(
            FaceFrame(
                index=7 * i,
                time=time,
                box=[10, 10, 10 + size, 10 + size],
                landmarks=POINTS,
                landmarks_found=True,
                logit=logit,
                probability=sigmoid(logit),
                maps={name: maps.draw(logit, unit, exact) for name, unit, _, exact in METHODS},
                sentence=f"Sentence of face {number}, picture {i}.",
                jpeg=pictures[i % len(pictures)],
            )
        )
    probability = float(np.mean([frame.probability for frame in frames]))
    return FaceTrack(
        number=number,
        probability=probability,
        interval=(max(0.0, probability - 0.12), min(1.0, probability + 0.09)) if len(frames) > 1 else None,
        score=probability,
        logit=float(np.mean([frame.logit for frame in frames])),
        maps={name: _mean([frame.maps[name] for frame in frames]) for name, *_ in METHODS},
        sentence=f"Sentence of face {number}, all pictures.",
        frames=frames,
    )


def make_document(
    faces: int = 1,
    frames: int = 12,
    grid: tuple[int, int] = (7, 7),
    file: str = "clip.mp4",
    times: list[float | None] | None = None,
    temperature: float | None = None,
    size: int = 112,
    seed: int = 0,
    note: str = "A second face was seen in fewer than three frames and left out.",
) -> Document:
    """A document that keeps all that ``report.document`` promises; without frames it is of an image."""
    kind = "video" if frames else "image"
    times = times or ([round(i / 5, 3) for i in range(frames)] if frames else [None])
    tracks = [_track(number + 1, times, size, Maps(grid, seed + number)) for number in range(faces)]
    scales = {
        name: float(np.quantile(np.abs([f.maps[name].nodes for t in tracks for f in t.frames]), 0.995))
        if tracks
        else 1.0
        for name, *_ in METHODS
    }
    top = max(tracks, key=lambda track: track.probability, default=None)
    verdict = "no face" if top is None else "fake" if top.score > 0.5 else "real"
    return Document(
        schema=SCHEMA,
        file=file,
        kind=kind,
        size=(640, 480),
        frames_total=max(1, 7 * frames),
        frames_sampled=max(1, frames),
        verdict=verdict,
        probability=top and top.probability,
        interval=top and top.interval,
        decision=Decision(top and top.score, 0.5, "the default", False, limit=0.5, chosen=False),
        calibration=Calibration(temperature, "Not calibrated: the checkpoint has no temperature."),
        checkpoint=Checkpoint(
            "best.ckpt", "0123456789abcdef" * 4, {"encoder": "resnet50", "attention": "gatv2"}, {}, ["margin"]
        ),
        versions={"resgat_pl": "0.1.0", "git": None, "packages": {"torch": "2.14.1"}},
        seed=0,
        grid=grid,
        centres=Centres(*([(i + 0.1) / count for i in range(count)] for count in grid)),
        regions=REGIONS,
        landmarks=["left eye", "right eye", "nose", "left mouth corner", "right mouth corner"],
        edge_index=[[0], [0]],
        methods=[
            Method(name, unit, signed, exact, f"What {name} shows.", scales[name], 1, 0, 0, 12.5, exact)
            for name, unit, signed, exact in METHODS
        ],
        tracks=tracks,
        notes=[note] if note else [],
        caveats=["A node's receptive field is wider than the face, so a node is not a patch of pixels."],
        seconds=1.5,
    )


@pytest.fixture(scope="session")
def document() -> Callable[..., Document]:
    return make_document


@pytest.fixture
def page_file(tmp_path: Path) -> Callable[[Document], Path]:
    """Write a document's page and return its path."""
    from resgat_pl.explain.report.html import write_html

    def write(document: Document) -> Path:
        path = tmp_path / "report.html"
        write_html(document, path)
        return path

    return write


@pytest.fixture
def visit(tab: Page, page_file: Callable[[Document], Path]) -> Iterator[Callable[..., Page]]:
    """Open a document's page from the disk; at the end no request, no error and no message may have been seen."""
    seen: list[str] = []
    files: list[str] = []
    watch: dict[Any, Callable[[Any], None]] = {
        "console": lambda message: seen.append(message.text),
        "pageerror": lambda error: seen.append(str(error)),
        "request": lambda request: None if request.url.startswith(("data:", *files)) else seen.append(request.url),
    }
    for event, listener in watch.items():
        tab.on(event, listener)

    def visit(document: Document, width: int = 1000, scheme: Any = "light") -> Page:
        files.append(page_file(document).as_uri())
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme=scheme, media="screen")
        tab.mouse.move(0, 0)
        tab.goto(files[-1])
        if document.tracks:
            tab.wait_for_selector("#face[aria-label]")
        return tab

    yield visit
    for event, listener in watch.items():
        tab.remove_listener(event, listener)
    assert seen == []


@pytest.fixture(scope="module")
def checkpoint(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random detector, trained at 64 px as far as anybody knows, with a temperature and thresholds."""
    path = untrained(tmp_path_factory.mktemp("weights") / "a.ckpt", ffpp_crops, thresholds={"frame": 0.5, "video": 0.4})
    content = read_file(path)
    content["resgat"]["temperature"] = 2.0
    content["resgat"]["video_temperature"] = 0.5
    content["resgat"]["validation"] = {"real": 12, "fake": 30, "fewest_faces": 1, "most_faces": 1}
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what people have: good and odd files, and some that cannot be judged."""
    folder = tmp_path_factory.mktemp("media") / "mine"
    one = drawn()
    save(folder / ODD, one[0])
    save(folder / "sub" / "grey.png", cv2.cvtColor(one[0], cv2.COLOR_RGB2GRAY).astype(np.uint8))
    alpha = cv2.cvtColor(one[0][..., ::-1], cv2.COLOR_BGR2BGRA)
    (folder / "sub" / "alpha.png").write_bytes(cv2.imencode(".png", alpha)[1].tobytes())
    write_video(folder / "one.mp4", one)
    write_video(folder / "two.mp4", drawn(2, 3, 288))
    write_video(folder / "turned.mp4", np.ascontiguousarray(np.rot90(one, 1, (1, 2))))
    turn(folder / "turned.mp4")
    save(folder / "empty wall.jpg", np.full((80, 120, 3), 127, np.uint8))
    (folder / "broken.mp4").write_bytes((folder / "one.mp4").read_bytes()[:300])
    (folder / "no picture.jpg").write_text("a letter")
    (folder / "nothing.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden.png").write_text("not looked at")
    return folder
