"""The figures of the paper, drawn from whatever checkpoints there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import VIDEO_KEY
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.drawing.comparison import Column
from resgat_pl.explain.face_set import choose_faces
from resgat_pl.nn.contribution import contributions
from resgat_pl.reproduce import figures as module
from resgat_pl.reproduce.experiment import Condition, Experiment
from resgat_pl.reproduce.figures import choose_pairs, figures

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
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[NDArray[np.uint8], list[str], list[Column], str]]:
    """What is handed over to be drawn: images, titles, columns, heading."""
    seen: list[tuple[NDArray[np.uint8], list[str], list[Column], str]] = []

    def pretend(images: Any, titles: Any, columns: Any, path: Path, title: str, masks: Any) -> tuple[Path, Path]:
        assert len(masks) == len(images)
        seen.append((images, titles, columns, title))
        return path.with_suffix(".png"), path.with_suffix(".pdf")

    monkeypatch.setattr(module, "draw_comparison", pretend)
    return seen


def faces_of(crops: Path) -> FaceCrops:
    manifest = Manifest.read(crops)
    return FaceCrops(manifest, np.flatnonzero(manifest.column("split") == "test"), 64)


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
    for name, panels in (("one", 5), ("two", 3)):
        picture = cv2.imread(str(out / f"{name}.png"))
        assert picture is not None
        assert picture.std() > 20
        assert picture.shape[1] > panels * 200  # pixels
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    # each checkpoint is asked for once, however many columns and figures show it
    assert [(c.row.name, c.protocol, c.preset, c.seed, c.data) for c in asked] == [
        ("ffpp_gatv1", "strict", "corrected", 0, "real"),
        ("ffpp_gatv2", "strict", "corrected", 0, "real"),
    ]


def test_all_columns_are_of_the_same_faces(
    asked: list[Condition], drawn: list[Any], checkpoints: dict[str, Path], ffpp_crops: Path, tmp_path: Path
) -> None:
    text = figures(planned(tmp_path / "plan.yaml", {"columns": ALL}), data="synthetic", out=tmp_path)
    assert text.startswith("one: ")
    ((images, titles, columns, heading),) = drawn
    assert heading == "Faces (SYNTHETIC data); p by ffpp_gatv2"
    faces = faces_of(ffpp_crops)
    chosen = choose_faces(faces, 4).tolist()
    expected = np.stack([faces[place]["image"].permute(1, 2, 0).numpy() for place in chosen])
    assert (images == expected).all()
    assert [title.split("\n")[0] for title in titles] == ["real", "real", "fake, Deepfakes", "fake, Face2Face"]
    assert [column.title.split("\n")[1] for column in columns] == [name.split()[1] for name in ALL]
    assert [column.signed for column in columns] == [False, True, False, True]
    assert [column.maps.shape for column in columns] == [(4, 4, 4)] * 3 + [(4, 64, 64)]
    # the contributions of the second row's checkpoint, and the last column's probability
    import torch

    net = Detector.load(checkpoints["gatv2"]).net
    pixels = torch.stack([faces[place]["image"] for place in chosen]).float() / 255
    explained = contributions(net, pixels)
    assert columns[1].maps.reshape(4, -1) == pytest.approx(explained.node.detach().numpy(), abs=1e-5)
    shown = [float(title.rpartition("= ")[2]) for title in titles]
    assert shown == pytest.approx(explained.output.probability.tolist(), abs=0.0051)
    # attention's nodes have the mean 1, as the unit says; LIME is constant on each square
    assert columns[0].maps.reshape(4, -1).mean(axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    table = net.backbone.lattice(64, 64).cells(64, 64).numpy()
    assert all((np.ptp(columns[3].maps[:, table == node], axis=1) == 0).all() for node in range(16))
    assert [None if column.lattice is None else column.lattice.shape for column in columns] == [(4, 4)] * 3 + [None]


def test_the_same_faces_every_time(asked: list[Condition], drawn: list[Any], ffpp_crops: Path, tmp_path: Path) -> None:
    for kind in ("balanced", "pairs"):
        plan = planned(tmp_path / "plan.yaml", {"faces": kind, "columns": ALL[:1]})
        for _ in range(2):
            figures(plan, data="synthetic", out=tmp_path)
        (first, second) = drawn
        assert (first[0] == second[0]).all()
        assert first[1] == second[1]
        drawn.clear()


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
    assert [title.partition(" ")[0] for *_, title in drawn] == ["c", "a"]
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["c", "a"]
    with pytest.raises(ConfigError, match=r"--only: there is no figure 'd'.*a, b, c"):
        figures(plan, only="d", out=tmp_path)


def test_without_data_nothing_is_trained(asked: list[Condition], tmp_path: Path) -> None:
    text = figures(SHIPPED, out=tmp_path)
    assert text.splitlines() == [
        "fig2: not drawn, FFPP_ROOT is not set",
        "fig3: not drawn, DFDC_ROOT is not set",
        "fig4: not drawn, FFPP_ROOT is not set",
    ]
    assert not asked


def test_the_shipped_plan_fits_its_table() -> None:
    settings, plans = module._read(SHIPPED)
    experiment = Experiment.read(SHIPPED.parent / settings["table"])
    rows = {row.name for row in experiment.rows}
    assert {name for plan in plans for _, name in plan.columns} <= rows
    assert settings["protocol"] in experiment.protocols
    assert settings["preset"] in experiment.presets
    assert settings["seed"] in experiment.defaults["seeds"]
    assert settings["lime"] == {"samples": 1000, "segments": "quickshift"}
    # the runs of `resgat reproduce` as it comes: nothing is trained again for a figure
    assert settings["protocol"] in experiment.defaults["protocol"]
    assert settings["preset"] in experiment.defaults["preset"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ["attention"]}, r"METHOD ROW, METHOD one of attention, contribution, grad_cam, lime"),
        ({"columns": ["shap ffpp_gatv1"]}, "METHOD ROW"),
        ({"columns": "lime ffpp_gatv1"}, "METHOD ROW"),
        ({"faces": "random"}, "faces: random, expected balanced or pairs"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_figures_that_cannot_be_drawn(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"plan\.yaml cannot be used.*{message}.*experiments/figures\.yaml"):
        figures(planned(tmp_path / "plan.yaml", changes), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_plans_that_cannot_be_used(asked: list[Condition], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no figures at .*absent\.yaml.*experiments/figures\.yaml"):
        figures(tmp_path / "absent.yaml")
    for lacking in ("table", "protocol", "preset", "seed", "lime", "figures"):
        with pytest.raises(ConfigError, match=rf"plan\.yaml cannot be used \('{lacking}'\)"):
            figures(planned(tmp_path / "plan.yaml", **{lacking: None}))
    with pytest.raises(ConfigError, match=r"no table at .*other\.yaml"):
        figures(planned(tmp_path / "plan.yaml", table="other.yaml"))
    with pytest.raises(ConfigError, match=r"plan\.yaml, one: no row 'ffpp_gatv3' in .*table1\.yaml"):
        figures(planned(tmp_path / "plan.yaml", {"columns": ["lime ffpp_gatv3"]}), out=tmp_path / "out")
    assert not asked


@pytest.mark.parametrize(
    "plan",
    [{"count": 0}, {"count": "six"}, {"count": -2}, {"count": 1, "faces": "pairs"}, {"columns": []}],
    ids=str,
)
def test_counts_and_columns_that_are_none(
    plan: dict[str, Any], asked: list[Condition], drawn: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"plan\.yaml"):
        figures(planned(tmp_path / "plan.yaml", plan), data="synthetic", out=tmp_path)
    assert not asked


@pytest.mark.parametrize(
    "settings",
    [
        {"lime": {"sample": 20}},
        {"lime": {"samples": "many"}},
        {"lime": 20},
        {"protocol": "papr"},
        {"preset": "fast"},
        {"seed": "zero"},
        {"table": 3},
        {"figures": []},
    ],
    ids=str,
)
def test_settings_that_are_none(
    settings: dict[str, Any], asked: list[Condition], drawn: list[Any], tmp_path: Path
) -> None:
    plan = planned(tmp_path / "plan.yaml", {"columns": ["lime ffpp_gatv1"]})
    plan.write_text(yaml.safe_dump({**yaml.safe_load(plan.read_text()), **settings}))
    with pytest.raises(ConfigError, match=r"plan\.yaml"):
        figures(plan, data="synthetic", out=tmp_path)
    assert not asked


def test_an_unknown_row_is_found_before_anything_is_trained(
    asked: list[Condition], drawn: list[Any], tmp_path: Path
) -> None:
    plan = planned(tmp_path / "plan.yaml", {}, {"name": "two", "columns": ["lime ffpp_gatv3"]})
    with pytest.raises(ConfigError, match="two: no row 'ffpp_gatv3'"):
        figures(plan, data="synthetic", out=tmp_path)
    assert not asked


@pytest.mark.parametrize("text", ["figures: [", "a: b: c", "3"])
def test_what_is_no_yaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"plan\.yaml"):
        figures(tmp_path / "plan.yaml", out=tmp_path)


def test_only_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--only names nothing.*one"):
        figures(planned(tmp_path / "plan.yaml"), only=" , ", data="synthetic", out=tmp_path)
