from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resgat_pl.explain.clauses import verify_report
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.report.document import read_report
from resgat_pl.explain.report.outputs import common_kind, output_maps
from resgat_pl.explain.sentences import Finding
from resgat_pl.nn.outputs import NONE_OF_THESE
from resgat_pl.nn.resgat import ResGAT

from ...helpers.judged_media import ask, drawn, save
from ...helpers.tiny_runs import untrained

OUTPUTS = ["kind:FaceSwap", "kind:Face2Face", "region:*"]


def test_the_report_shows_why_this_kind_and_this_region(ffpp_crops: Path, tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops, outputs=OUTPUTS)
    content = torch.load(checkpoint)
    content["state_dict"]["net.outputs.linear.bias"][2:] = torch.tensor(
        [9.0, 9, *[-9] * 6]
    )  # both eyes are called manipulated
    content["state_dict"]["net.head.bias"] += 9
    content["resgat"]["limits"] = {"unknown_kind": -50.0}
    torch.save(content, checkpoint)
    save(tmp_path / "face.png", drawn(frames=1)[0])
    assert ask(tmp_path / "face.png", "--ckpt_path", checkpoint, "--out", tmp_path / "out") == 0
    report = read_report(tmp_path / "out" / "face.png" / "report.json")
    (face,) = report["tracks"]
    assert face["kind"] in {"FaceSwap", "Face2Face"}
    shown = [method["name"] for method in report["methods"] if method["name"].startswith("Why ")]
    assert shown == [f"Why {face['kind']}", "Why left eye", "Why right eye"]
    for name in shown:
        found = face["maps"][name]
        total = sum(map(sum, found["nodes"])) + found["bias"]
        assert total == pytest.approx(found["logit"], abs=1e-4 * (1 + abs(found["logit"])))
        assert sum(found["regions"]) + found["bias"] == pytest.approx(found["logit"], abs=1e-3)
        assert found["logit"] != pytest.approx(face["logit"])
    assert face["maps"]["Contribution"]["logit"] is None
    chance = 1 / (1 + 2.718281828 ** -face["maps"]["Why left eye"]["logit"])
    assert face["numbers"]["manipulated/left eye"] == pytest.approx(chance, abs=1e-5)
    assert f"Kind of manipulation: {face['kind']}" in face["sentence"]
    assert "Probably manipulated: the " in face["sentence"]
    checked = verify_report(report)
    assert len(checked) > 8 and all(one.holds for one in checked), checked
    page = (tmp_path / "out" / "face.png" / "report.html").read_text()
    assert "Why left eye" in page and json.dumps("unknown_kind") not in page


def test_maps_are_of_each_output(ffpp_crops: Path) -> None:
    torch.manual_seed(0)
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64, outputs=OUTPUTS)
    images = torch.rand(3, 3, 64, 64)
    found = output_maps(net, images, batch_size=2)
    assert found is not None and net.training  # its mode is restored
    assert found.node.shape == (3, 10, 4, 4)
    torch.testing.assert_close(found.node.sum((2, 3)) + found.bias, found.logit, atol=1e-5, rtol=1e-5)
    assert output_maps(ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64), images, 2) is None


@pytest.mark.parametrize(("threshold", "shown"), [(0.5, 0), (0.4, 1)])
def test_the_kind_of_a_face_called_fake_by_the_threshold_in_force_is_shown(threshold: float, shown: int) -> None:
    torch.manual_seed(0)
    net = ResGAT(encoder="resnet18", encoder_stage=[3, 4], heads=2, hidden=4, image_size=64, outputs=OUTPUTS[:2]).eval()
    images = torch.rand(1, 3, 64, 64)
    fake = replace(Contribution(net).attribute(images), logit=torch.tensor([-0.2]))  # a probability of .45
    found = output_maps(net, images, 1)
    assert found is not None
    unsure = replace(found, kind_probability=torch.tensor([[0.4, 0.35, 0.25]]))
    assert [name.startswith("Why ") for name in unsure.shown(fake, threshold)] == [True] * shown
    torch.testing.assert_close(found.node.sum((2, 3)) + found.bias, found.logit, atol=1e-5, rtol=1e-5)


def test_the_kind_of_a_face_over_its_frames() -> None:
    one = Finding(1.0, 1.0, {}, kind="a", kinds={"genuine": 0.1, "a": 0.5, "b": 0.4})
    other = replace(one, kind="b", kinds={"genuine": 0.1, "a": 0.3, "b": 0.6})
    unknown = replace(one, kind=NONE_OF_THESE)
    assert common_kind([one, other], "fake") == "b"  # 0.4 against 0.5
    assert common_kind([unknown, unknown, one], "fake") == NONE_OF_THESE
    assert common_kind([one], "real") == "genuine"
    assert common_kind([Finding(1.0, 1.0, {})], "fake") == ""
