"""The figures of the paper, drawn from whatever checkpoints there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
import pytest
import torch
import yaml

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import VIDEO_KEY
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.drawing.sheet import Strip, outlined
from resgat_pl.explain.face_set import choose_faces
from resgat_pl.nn.contribution import contributions
from resgat_pl.reproduce import figures as module
from resgat_pl.reproduce.experiment import Condition, Experiment, read_settings
from resgat_pl.reproduce.figures import Lime, Plan, choose_pairs, explain, figures

from ..helpers.tiny_runs import untrained

SHIPPED = Path(__file__).parents[2] / "experiments" / "figures.yaml"
ALL = ["attention ffpp_gatv1", "contribution ffpp_gatv2", "grad_cam ffpp_gatv2", "lime ffpp_gatv2"]


class Trained(NamedTuple):
    """What ``reproduce.run`` returns, as far as figures look at it."""

    checkpoint: Path


def planned(path: Path, *plans: dict[str, Any], **settings: Any) -> Path:
    """Write a plan file of figures over the shipped table; a setting that is None is left out."""
    default = {"name": "one", "title": "Faces", "faces": "balanced", "count": 4, "columns": ALL[:2]}
    content: dict[str, Any] = {
        "table": str(SHIPPED.parent / "table1.yaml"),
        "protocol": "strict",
        "preset": "corrected",
        "seed": 0,
        "lime": {"samples": 20, "segments": "squares"},
        "figures": [{**default, **plan} for plan in plans or ({},)],
        **settings,
    }
    path.write_text(yaml.safe_dump({name: value for name, value in content.items() if value is not None}))
    return path


@pytest.fixture(scope="module")
def checkpoints(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("checkpoints")
    return {name: untrained(base / f"{name}.ckpt", ffpp_crops, attention=name) for name in ("gatv1", "gatv2")}


@pytest.fixture
def asked(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> list[Condition]:
    """The runs that are asked for; a tiny detector stands in for each."""
    seen: list[Condition] = []

    def pretend(_: Experiment, condition: Condition, *__: object) -> Trained:
        seen.append(condition)
        return Trained(checkpoints[condition.row.attention])

    monkeypatch.setattr(module, "run", pretend)
    return seen


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Strip], str]]:
    """What is handed over to be drawn: strips and heading."""
    seen: list[tuple[list[Strip], str]] = []

    def pretend(strips: list[Strip], title: str, *_: Any, **__: Any) -> list[bytes]:
        seen.append((strips, title))
        return [b"png", b"pdf"]

    monkeypatch.setattr(module, "draw_sheet", pretend)
    return seen


def faces_of(crops: Path) -> FaceCrops:
    manifest = Manifest.read(crops)
    return FaceCrops(manifest, np.flatnonzero(manifest.column("split") == "test"), 64)


@pytest.mark.long
def test_each_figure_is_a_png_and_a_pdf(
    asked: list[Condition], ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFPP_ROOT", "/data")
    plans = (
        {"columns": ALL},
        {"name": "two", "faces": "pairs", "count": 2},
        {"name": "absent", "columns": ["lime dfdc_gatv1"]},
    )
    out = tmp_path / "new" / "figures"
    text = figures(planned(tmp_path / "plan.yaml", *plans), out=out)
    assert text.splitlines() == [
        f"one: {out / 'one.png'} and one.pdf",
        f"two: {out / 'two.png'} and two.pdf",
        "absent: not drawn, DFDC_ROOT is not set",
    ]
    assert sorted(path.name for path in out.iterdir()) == ["one.pdf", "one.png", "two.pdf", "two.png"]
    for name, rows, columns in (("one", 4, 5), ("two", 2, 3)):
        picture = cv2.imread(str(out / f"{name}.png"))
        assert picture is not None
        assert picture.std() > 20
        assert picture.shape[0] > rows * 300  # pixels
        assert picture.shape[1] > columns * 300
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    # each checkpoint is asked for once, however many columns and figures show it
    assert [(c.row.name, c.protocol, c.preset, c.seed, c.data) for c in asked] == [
        ("ffpp_gatv1", "strict", "corrected", 0, "real"),
        ("ffpp_gatv2", "strict", "corrected", 0, "real"),
    ]


def test_all_maps_are_of_the_same_faces(
    asked: list[Condition], drawn: list[Any], checkpoints: dict[str, Path], ffpp_crops: Path, tmp_path: Path
) -> None:
    plan = planned(tmp_path / "plan.yaml", {"columns": ALL})
    assert figures(plan, data="synthetic", out=tmp_path).startswith("one: ")
    (((shown_faces, *maps), heading),) = drawn
    assert heading == "Faces (SYNTHETIC data); p by ffpp_gatv2"
    faces = faces_of(ffpp_crops)
    chosen = choose_faces(faces, 4).tolist()
    images = [faces[place]["image"].permute(1, 2, 0).numpy() for place in chosen]
    expected = [outlined(image, faces.mask(place)) for image, place in zip(images, chosen, strict=True)]
    assert all((one == other).all() for one, other in zip(shown_faces.panels, expected, strict=True))
    kinds = [title.split("\n")[0] for title in shown_faces.titles]
    assert kinds == ["real", "real", "fake, Deepfakes", "fake, Face2Face"]
    assert [strip.name.split("\n")[1] for strip in maps] == [name.split()[1] for name in ALL]
    assert [strip.scale.colormap for strip in maps] == ["magma", "RdBu_r", "magma", "RdBu_r"]
    # the contributions of the second row's checkpoint on one scale for all faces, and the last column's probability
    net = Detector.load(checkpoints["gatv2"]).net
    pixels = torch.stack([faces[place]["image"] for place in chosen]).float() / 255
    explained = contributions(net, pixels)
    assert maps[1].scale.high == pytest.approx(float(explained.node.detach().abs().max()), abs=1e-5)
    shown = [float(title.rpartition("= ")[2]) for title in shown_faces.titles]
    assert shown == pytest.approx(explained.output.probability.tolist(), abs=0.0051)
    drawn.clear()
    figures(plan, data="synthetic", out=tmp_path)
    (((again, *_), _),) = drawn
    assert again.titles == shown_faces.titles
    assert all((one == other).all() for one, other in zip(again.panels, shown_faces.panels, strict=True))


def test_maps_are_those_of_their_method(checkpoints: dict[str, Path], ffpp_crops: Path) -> None:
    net = Detector.load(checkpoints["gatv2"]).net
    pixels = torch.stack([faces_of(ffpp_crops)[place]["image"] for place in range(2)]).float() / 255
    maps = {method: explain(method, net, pixels, 20, "squares") for method in get_args(module.Method)}
    assert {method: found.shape for method, found in maps.items()} == {
        "attention": (2, 4, 4), "contribution": (2, 4, 4), "grad_cam": (2, 4, 4), "lime": (2, 64, 64)
    }  # fmt: skip
    assert maps["contribution"].reshape(2, -1) == pytest.approx(
        contributions(net, pixels).node.detach().numpy(), abs=1e-5
    )
    # attention's nodes have the mean 1, as the unit says; LIME is constant on each square
    assert maps["attention"].reshape(2, -1).mean(axis=1) == pytest.approx(np.ones(2), abs=1e-5)
    table = net.backbone.lattice(64, 64).cells(64, 64).numpy()
    assert all((np.ptp(maps["lime"][:, table == node], axis=1) == 0).all() for node in range(16))


def test_maps_that_are_not_finite_are_refused(
    asked: list[Condition], ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "explain", lambda *_: np.full((4, 4, 4), np.nan, np.float32))
    with pytest.raises(ConfigError, match="attention of ffpp_gatv1 has values that are not finite"):
        figures(planned(tmp_path / "plan.yaml"), data="synthetic", out=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_faces_are_balanced(ffpp_crops: Path) -> None:
    faces = faces_of(ffpp_crops)
    for count in (2, 4, 6):
        chosen = choose_faces(faces, count)
        assert len(set(chosen.tolist())) == len(chosen)
        assert (faces.labels[chosen] == 1).sum() == count // 2
        assert (faces.labels[chosen] == 0).sum() == min(2, count // 2)  # there are two genuine videos


def test_pairs_are_the_same_frame_of_an_original_shown_once(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    for rows in (np.flatnonzero(manifest.column("split") == "train"), np.arange(len(manifest))):
        faces = FaceCrops(manifest, rows, 64)
        table = manifest.table.take(rows).to_pylist()
        for count in (1, 3, 100):
            chosen = choose_pairs(faces, count).reshape(-1, 2)
            assert 1 <= len(chosen) <= count
            assert (chosen == choose_pairs(faces, count).reshape(-1, 2)).all()
            assert len(set(chosen[:, 0].tolist())) == len(chosen)
            for real, fake in chosen.tolist():
                assert (table[real]["label"], table[fake]["label"]) == (0, 1)
                assert table[fake]["source_video"] == "/".join(table[real][name] for name in VIDEO_KEY)
                assert table[real]["frame_index"] == table[fake]["frame_index"]
                assert table[real]["track"] == table[fake]["track"]
        methods = [table[fake]["method"] for _, fake in choose_pairs(faces, 4).reshape(-1, 2).tolist()]
        assert len(set(methods)) == len(methods)  # spread over methods first
        assert len(choose_pairs(faces, 2)) == 4


def test_no_pair_is_there(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    fakes = FaceCrops(manifest, np.flatnonzero(manifest.column("label") == 1), 64)
    with pytest.raises(ConfigError, match=r"No fake .* choose faces: balanced"):
        choose_pairs(fakes, 2)


def test_figures_can_be_chosen(
    asked: list[Condition], drawn: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path / "plan.yaml", *({"name": name, "title": name} for name in ("a", "b", "c")))
    options = ("--data", "synthetic", "--only", "c, a", "--out", str(tmp_path / "out"))
    assert main(["figures", str(plan), *options]) == 0
    assert [title.partition(" ")[0] for _, title in drawn] == ["c", "a"]
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["c", "a"]
    for only, message in (("d", "--only: d is not in the file.*a, b, c"), (" , ", "--only names nothing.*a, b, c")):
        with pytest.raises(ConfigError, match=message):
            figures(plan, only=only, out=tmp_path)


def test_without_data_nothing_is_trained(asked: list[Condition], tmp_path: Path) -> None:
    text = figures(SHIPPED, out=tmp_path)
    assert text.splitlines() == [
        "fig2: not drawn, FFPP_ROOT is not set",
        "fig3: not drawn, DFDC_ROOT is not set",
        "fig4: not drawn, FFPP_ROOT is not set",
    ]
    assert not asked


def test_the_shipped_plan_fits_its_table() -> None:
    plan = read_settings(SHIPPED, Plan, "")
    experiment = Experiment.read(SHIPPED.parent / plan.table)
    assert {name for figure in plan.figures for _, name in figure.maps} <= {row.name for row in experiment.rows}
    assert plan.lime == Lime(samples=1000, segments="quickshift")
    # the runs of `resgat reproduce` as it comes: nothing is trained again for a figure
    assert plan.protocol in experiment.protocol
    assert plan.preset in experiment.preset
    assert plan.seed in experiment.seeds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ["attention"]}, r"METHOD ROW, METHOD one of attention, contribution, grad_cam, lime"),
        ({"columns": ["shap ffpp_gatv1"]}, "METHOD ROW"),
        ({"columns": []}, "METHOD ROW"),
        ({"columns": [[]]}, r"\[\] is no text"),
        ({"columns": [{"attention": "ffpp_gatv1"}]}, "is no text"),
        ({"columns": "lime ffpp_gatv1"}, "columns"),
        ({"columns": ["lime ffpp_gatv3"]}, "no row 'ffpp_gatv3' in .*table1.yaml.*ffpp_gatv1"),
        ({"faces": "random"}, "random.*balanced"),
        ({"colour": "red"}, "colour"),
        ({"name": "a/b"}, "a/b"),
        ({"count": 0}, "count is 0"),
        ({"count": "six"}, "six.*count"),
        ({"count": 1, "faces": "pairs"}, "count is 1, must be at least 2"),
    ],
    ids=str,
)
def test_figures_that_cannot_be_drawn(
    changes: dict[str, Any], message: str, asked: list[Condition], tmp_path: Path
) -> None:
    """All are found before anything is trained, also where the first figure is right."""
    with pytest.raises(ConfigError, match=rf"plan\.yaml.*{message}"):
        figures(planned(tmp_path / "plan.yaml", {}, {"name": "two", **changes}), data="synthetic", out=tmp_path / "out")
    assert not asked
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(({name: None}, f"lacks {name}.*experiments/figures.yaml") for name in ("table", "preset", "lime", "figures")),
        ({"lime": {"samples": 20}}, "lacks lime.segments"),
        ({"lime": {"samples": "many", "segments": "squares"}}, "many.*lime.samples"),
        ({"lime": {"samples": 0, "segments": "squares"}}, "lime.samples is 0"),
        ({"lime": {"samples": 20, "segments": "triangles"}}, "triangles.*squares"),
        ({"lime": 20}, "20"),
        ({"protocol": "papr"}, "no protocol 'papr' in .*table1.yaml.*strict"),
        ({"preset": "fast"}, "no preset 'fast' in .*table1.yaml.*corrected"),
        ({"seed": "zero"}, "zero.*seed"),
        ({"figures": []}, "figures must not be empty"),
        ({"size": 3}, "size"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used(
    settings: dict[str, Any], message: str, asked: list[Condition], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"plan\.yaml.*{message}"):
        figures(planned(tmp_path / "plan.yaml", **settings), data="synthetic", out=tmp_path)
    assert not asked


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*absent\.yaml.*experiments/figures\.yaml"):
        figures(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"no file .*other\.yaml.*experiments/table1\.yaml"):
        figures(planned(tmp_path / "plan.yaml", table="other.yaml"))
