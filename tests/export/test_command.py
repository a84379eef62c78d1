"""An exported detector says what the checkpoint says, explains itself, and is refused where it does not."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, ManifestError, SplitError, WeightsError
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.export.command import export
from resgat_pl.export.graph import ExportGraph, compare
from resgat_pl.export.int8 import batches, encoder_nodes
from resgat_pl.export.runtime import ExportedDetector

from ..helpers.tiny_runs import untrained, variant

pytestmark = pytest.mark.long  # each file is compiled and compared: minutes

NETS = {"gatv1": {"attention": "gatv1", "head": "mlp"}, "gatv2": {"attention": "gatv2", "head": "linear"}}
THRESHOLDS = {"frame": 0.4, "video": 0.6}


@pytest.fixture(scope="module")
def checkpoints(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A detector of each kind, one with each attention and each head."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        name: untrained(folder / f"{name}.ckpt", ffpp_crops, thresholds=THRESHOLDS, **net) for name, net in NETS.items()
    }


@pytest.fixture(scope="module")
def files(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exported: ``gatv1.onnx``, ``gatv2.onnx``, ``gatv1.pt2``, ``gatv1_int8.onnx``."""
    folder = tmp_path_factory.mktemp("exported") / "new"
    for name, checkpoint in checkpoints.items():
        assert "MB, float32" in export(checkpoint, folder / f"{name}.onnx")
    export(checkpoints["gatv1"], folder / "gatv1.pt2", "torch")
    # 18 crops of an untrained detector: whatever it loses, chance is in it
    export(checkpoints["gatv1"], folder / "gatv1_int8.onnx", int8=True, samples=24, tolerance=0.5)
    return {path.name: path for path in folder.iterdir()}


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 64, 64), np.float32)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", ["gatv1.onnx", "gatv2.onnx", "gatv1.pt2"])
def test_it_says_what_the_checkpoint_says(
    files: dict[str, Path], checkpoints: dict[str, Path], name: str, batch: int
) -> None:
    net = Detector.load(checkpoints[name.partition(".")[0]]).net.cpu()
    faces = images(batch)
    found = ExportedDetector.load(files[name], trusted=True)(faces)
    with torch.inference_mode():
        plain = net(torch.from_numpy(faces))
        expected = ExportGraph(net)(torch.from_numpy(faces))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
    assert found.contribution.shape == (batch, 16)
    np.testing.assert_allclose(found.logit, plain.logit.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.contribution.sum(1) + found.bias, found.logit, rtol=1e-4, atol=1e-5)
    assert np.ptp(found.contribution) > 1e-3  # a map of nothing would add up as well


def test_it_knows_what_it_is(files: dict[str, Path], checkpoints: dict[str, Path]) -> None:
    onnx_file, torch_file = (
        ExportedDetector.load(files[name], 1, trusted=True) for name in ("gatv1.onnx", "gatv1.pt2")
    )
    assert onnx_file.properties == torch_file.properties
    properties = onnx_file.properties
    assert properties["thresholds"] == THRESHOLDS
    assert onnx_file.threshold == 0.4
    assert (onnx_file.image_size, onnx_file.grid) == (64, (4, 4))
    assert (properties["attention"], properties["classes"], properties["precision"]) == (
        "gatv1",
        ["real", "fake"],
        "float32",
    )
    assert properties["checkpoint_sha256"] == hashlib.sha256(checkpoints["gatv1"].read_bytes()).hexdigest()
    assert onnx_file.calibrated(np.array([-2000.0, 0.0, 1.0])).tolist() == pytest.approx([0, 0.5, 0.7310586], abs=1e-6)


def test_onnx_runs_without_torch(files: dict[str, Path]) -> None:
    code = (
        "import sys, numpy as np; from resgat_pl.export.runtime import ExportedDetector; "
        "found = ExportedDetector.load(sys.argv[1])(np.zeros((2, 3, 64, 64))); "
        "sys.exit('torch' in sys.modules or found.logit.shape != (2,))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(files["gatv1.onnx"])], check=False).returncode == 0


def elsewhere(detector: ExportedDetector, faces: np.ndarray) -> list[np.ndarray]:
    return list(detector(faces))


@pytest.mark.parametrize("name", ["gatv2.onnx", "gatv1.pt2"])
def test_copies_in_this_process_and_in_a_spawned_one_say_the_same(
    files: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files[name].parent)
    detector = ExportedDetector.load(name, 1, trusted=True)
    monkeypatch.chdir(Path(__file__).parents[2])
    faces = images(2)
    expected = detector(faces)
    for copied in (copy.copy(detector), copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):  # noqa: S301
        assert copied.properties == detector.properties
        assert copied._run is detector._run  # the file is open once
        for ours, theirs in zip(copied(faces), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for ours, theirs in zip(pool.submit(elsewhere, detector, faces).result(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_copy_of_a_file_that_was_replaced_or_removed_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(files["gatv2.onnx"].read_bytes())
    packed = pickle.dumps(ExportedDetector.load(path))
    path.write_bytes(files["gatv1.onnx"].read_bytes())
    with pytest.raises(WeightsError, match="another file than it was"):
        pickle.loads(packed)  # noqa: S301
    path.unlink()
    with pytest.raises(WeightsError, match="gone"):
        pickle.loads(packed)  # noqa: S301


def test_the_execution_provider_is_the_one_asked_for(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    path, faces = files["gatv2.onnx"], images(1)
    expected = ExportedDetector.load(path, 1)(faces).logit
    for providers in ("CPUExecutionProvider", ["CPUExecutionProvider"], [("CPUExecutionProvider", {})]):
        np.testing.assert_array_equal(ExportedDetector.load(path, 1, providers=providers)(faces).logit, expected)
    with pytest.raises(ConfigError, match=r"no execution provider 'NoSuchProvider'. It has .*CPUExecutionProvider"):
        ExportedDetector.load(path, providers=["NoSuchProvider"])
    there = [*onnxruntime.get_available_providers(), "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    with warnings.catch_warnings(), pytest.raises(ConfigError, match="CUDAExecutionProvider could not be started"):
        warnings.simplefilter("ignore")  # as on a machine whose driver is missing: onnxruntime takes the CPU instead
        ExportedDetector.load(path, providers=["CUDAExecutionProvider"])
    for wrong in ([], 5, [("CPUExecutionProvider", None)], {"CPUExecutionProvider": {}}):
        with pytest.raises(ConfigError, match="providers is"):
            ExportedDetector.load(path, providers=wrong)  # type: ignore[arg-type]  # as users do
    with pytest.raises(ConfigError, match="runs in torch"):
        ExportedDetector.load(files["gatv1.pt2"], trusted=True, providers="CPUExecutionProvider")


def test_it_says_where_its_nodes_are(files: dict[str, Path]) -> None:
    detector = ExportedDetector.load(files["gatv2.onnx"])
    assert detector.centres == ([0.5, 16.5, 32.5, 48.5],) * 2
    del detector.properties["centres"]  # as in files of earlier versions
    assert detector.centres is None


def test_int8_agrees_and_adds_up(files: dict[str, Path], ffpp_crops: Path) -> None:
    exact, integer = (ExportedDetector.load(files[name]) for name in ("gatv1.onnx", "gatv1_int8.onnx"))
    (faces,) = batches(Manifest.read(ffpp_crops), np.arange(0, 126, 8), 64)
    one, other = exact(faces), integer(faces)
    assert 0 < np.abs(one.logit - other.logit).max() < 0.25 * np.ptp(one.logit)
    assert np.corrcoef(one.logit, other.logit)[0, 1] > 0.98
    np.testing.assert_allclose(other.contribution.sum(1) + other.bias, other.logit, rtol=1e-4, atol=1e-5)
    assert files["gatv1_int8.onnx"].stat().st_size < 0.35 * files["gatv1.onnx"].stat().st_size
    assert integer.properties["precision"] == "int8"
    assert integer.properties["calibration"]["manifest"] == Manifest.read(ffpp_crops).fingerprint()
    assert integer.properties["calibration"]["crops"] == 24


def test_only_the_encoder_becomes_int8(files: dict[str, Path]) -> None:
    model = onnx.load(files["gatv1.onnx"])
    chosen = set(encoder_nodes(model))
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert convolutions <= chosen
    assert "Relu" in {node.op_type for node in model.graph.node if node.name in chosen}
    behind = [node.name for node in model.graph.node if node.op_type in {"Softmax", "Gemm", "MatMul", "LeakyRelu"}]
    assert behind
    assert not chosen & set(behind)
    last = max(place for place, node in enumerate(model.graph.node) if node.op_type == "Conv")
    assert not chosen & {node.name for node in model.graph.node[last + 1 :]}


def test_another_network_does_not_agree(files: dict[str, Path], checkpoints: dict[str, Path]) -> None:
    net = Detector.load(checkpoints["gatv2"]).net.cpu()
    compare(net, ExportedDetector.load(files["gatv2.onnx"])).require(Path("out.onnx"))
    with torch.no_grad():
        net.gat.att.add_(0.5)
    with pytest.raises(ConfigError, match="does not agree"):
        compare(net, ExportedDetector.load(files["gatv2.onnx"])).require(Path("out.onnx"))


def test_what_does_not_agree_leaves_no_file(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resgat_pl.export.graph.TOLERANCE", -1.0)  # nothing agrees so well
    with pytest.raises(ConfigError, match="was not written"):
        export(checkpoints["gatv1"], tmp_path / "a.pt2", "torch")
    assert list(tmp_path.iterdir()) == []


def test_int8_that_loses_too_much_leaves_no_file(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([{"auroc": 0.9}, {"auroc": 0.88}])
    monkeypatch.setattr("resgat_pl.export.int8.measure", lambda *_: next(scores))
    with pytest.raises(ConfigError, match=r"AUROC 0\.8800 instead of 0\.9000 \(-0\.0200\)"):
        export(checkpoints["gatv1"], tmp_path / "a.onnx", int8=True, samples=4)
    assert list(tmp_path.iterdir()) == []


def test_calibration_needs_training_crops(checkpoints: dict[str, Path], ffpp_crops: Path, tmp_path: Path) -> None:
    splits = [split if split != "train" else None for split in Manifest.read(ffpp_crops).column("split")]
    # other crops than the checkpoint was trained on, else its own split would be in force
    without = variant(ffpp_crops, tmp_path / "crops", splits, compression="c40")
    with pytest.raises(SplitError, match="'train' has no real"):
        export(checkpoints["gatv1"], tmp_path / "a.onnx", int8=True, calibration=without)
    with pytest.raises(ManifestError, match="no manifest"):
        export(checkpoints["gatv1"], tmp_path / "a.onnx", int8=True, calibration=tmp_path / "nothing")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("out", "options", "match"),
    [
        ("a.pt2", {}, r"must end in \.onnx"),
        ("a.onnx", {"format": "tflite"}, "onnx or torch"),
        ("a.pt2", {"format": "torch", "int8": True}, "--format onnx only"),
        ("a.onnx", {"calibration": Path("x")}, "--int8 true"),
        ("a.onnx", {"int8": True, "samples": 1}, "at least 2"),
    ],
)
def test_options_that_contradict(tmp_path: Path, out: str, options: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        export(tmp_path / "not_even_read.ckpt", tmp_path / out, **options)


def test_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ckpt").write_text("nothing")
    assert main(["export", str(tmp_path / "a.ckpt"), str(tmp_path / "a.onnx")]) == 2
    assert str(tmp_path / "a.ckpt") in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf'{name}.* not installed: pip install "resgat-pl\[export\]"'):
        export(checkpoints["gatv1"], tmp_path / "a.onnx")


def test_runtime_is_named_if_missing(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"resgat-pl\[export\]"):
        ExportedDetector.load(files["gatv1.onnx"])


def test_files_that_are_no_detector(files: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a.onnx", "a.pt2", "a.txt"):
        with pytest.raises(WeightsError, match="no exported detector"):
            ExportedDetector.load(tmp_path / name, trusted=True)
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(WeightsError, match=name):
            ExportedDetector.load(tmp_path / name, trusted=True)
    foreign = onnx.load(files["gatv1.onnx"])
    foreign.ClearField("metadata_props")
    onnx.helper.set_model_props(foreign, {"made by": "somebody else"})
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(WeightsError, match="not written by resgat export"):
        ExportedDetector.load(tmp_path / "foreign.onnx")
    for threads in (0, 10**6):
        with pytest.raises(ConfigError, match=f"threads is {threads}; it must be an int of 1 to 1024"):
            ExportedDetector.load(files["gatv1.onnx"], threads=threads)


@pytest.mark.parametrize(
    ("faces", "match"),
    [
        (np.zeros((2, 3, 32, 32), np.float32), r"\(2, 3, 32, 32\)"),
        (np.zeros((3, 64, 64), np.float32), r"\(3, 64, 64\)"),
        (np.zeros((0, 3, 64, 64), np.float32), r"\(0, 3, 64, 64\)"),
        (np.zeros((1, 3, 64, 64), np.uint8), "Divide bytes by 255"),
        (np.full((1, 3, 64, 64), 255.0), "255"),
        (np.full((1, 3, 64, 64), np.nan), "nan"),
    ],
)
def test_images_it_cannot_take(files: dict[str, Path], faces: np.ndarray, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        ExportedDetector.load(files["gatv1.onnx"])(faces)
