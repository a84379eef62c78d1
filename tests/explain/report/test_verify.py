"""``resgat verify``: what fits is said to fit, and what was changed in report, folder or media is named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, VerificationError
from resgat_pl.explain.custody.record import hash_file, hash_values
from resgat_pl.explain.report import rescore
from resgat_pl.explain.report.verify import verify
from resgat_pl.nn.checkpoint_file import read_file

from ...helpers.judged_media import Json, ask, table

OPENSSL = shutil.which("openssl")


def openssl(*words: object) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *map(str, words)], check=True, capture_output=True)


def make_keys(folder: Path, name: str = "lab") -> tuple[Path, Path]:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return private, public


@pytest.fixture(scope="module")
def judged(checkpoint: Path, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of one video."""
    out = tmp_path_factory.mktemp("judged") / "out"
    assert ask(checkpoint, media / "one.mp4", "--out", out, "--overlays", "--batch_size", "2") == 0
    return out / "one.mp4"


@pytest.fixture
def copy(judged: Path, tmp_path: Path) -> Path:
    """A copy of it to change, and its report.json."""
    shutil.copytree(judged, tmp_path / "case")
    return tmp_path / "case" / "report.json"


def change(report: Path, edit: Callable[[Json], Any]) -> None:
    content = json.loads(report.read_text())
    edit(content)
    report.write_text(json.dumps(content))


def move(report: Json, by: float) -> None:
    report["tracks"][0]["frames"][0]["probability"] += by


def test_the_record_names_every_file_and_step(judged: Path, media: Path) -> None:
    report = json.loads((judged / "report.json").read_text())
    custody = report["custody"]
    assert custody["input"] == vars(hash_file(media / "one.mp4"))
    names = {path.relative_to(judged).as_posix() for path in judged.rglob("*") if path.is_file()}
    assert {record["name"] for record in custody["outputs"]} == names - {"report.json", "SHA256SUMS"}
    assert custody["configuration_sha256"] == hash_values(custody["configuration"])
    assert [step["name"] for step in custody["steps"]] == [
        "hash the input",
        "find faces",
        "judge and explain",
        "read metadata and credentials",
        "hash the outputs",
    ]
    times = [custody["began"], *(step["began"] for step in custody["steps"]), custody["ended"]]
    assert times == sorted(times)
    assert "--frames 32 " in custody["command"]
    assert "--batch_size 2" in custody["command"]
    assert str(media.parent) not in json.dumps(report), "no folders of this machine"
    (row,) = table(judged.parent).values()
    assert row["sha256"] == custody["input"]["sha256"]
    sums = shutil.which("sha256sum")
    assert sums is not None
    subprocess.run([sums, "--check", "--strict", "SHA256SUMS"], cwd=judged, check=True, capture_output=True)
    assert custody["input"]["sha256"] in (judged / "report.html").read_text()


def test_all_that_fits_is_said_to_fit_bit_for_bit(
    judged: Path, media: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    renamed = tmp_path / "exhibit 7.mp4"
    shutil.copyfile(media / "one.mp4", renamed)
    report = judged / "report.json"
    assert main(["verify", str(report), "--media", str(renamed), "--ckpt_path", str(checkpoint)]) == 0
    said = capsys.readouterr().out
    assert "everything that was checked fits" in said
    assert "every pixel is the same" in said
    assert "the same to the last digit on this machine" in said
    assert "not checked" not in said


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda r: r.update(verdict="real" if r["verdict"] == "fake" else "fake"), "sums: the verdict is"),
        (lambda r: r["tracks"][0]["frames"][1].update(logit=9.0), "frame 1: the nodes of Contribution add up to"),
        (lambda r: r["decision"].update(score=0.9999), "sums"),
        (lambda r: r["custody"]["configuration"].update(seed=7), "configuration: SHA-256"),
        (lambda r: r["checkpoint"].update(fingerprint="0" * 64), "of another checkpoint"),
        (lambda r: r["custody"]["outputs"][0].update(sha256="0" * 64), "was 000"),
        (lambda r: r["custody"]["outputs"][0].update(name="../../out"), "leads out of"),
        (lambda r: r["custody"]["outputs"][0].update(name="/etc/passwd"), "leads out of"),
        (lambda r: r["tracks"][0]["frames"].append(3), "sums: a number is missing or of another type"),
    ],
)
def test_a_changed_report_is_named(edit: Callable[[Json], Any], said: str, copy: Path) -> None:
    change(copy, edit)
    with pytest.raises(VerificationError, match="does not fit") as caught:
        verify(copy)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda r: r.update(custody=None),
        lambda r: r.pop("custody"),
        lambda r: r.update(custody=[1]),
        lambda r: r["custody"].update(outputs=[{"name": 3, "bytes": 1, "sha256": "a"}]),
        lambda r: r["custody"].pop("configuration"),
        lambda r: r.update(tracks="none"),
    ],
)
def test_a_report_that_cannot_be_checked_is_an_error(edit: Callable[[Json], Any], copy: Path) -> None:
    change(copy, edit)
    with pytest.raises(ConfigError, match=r"report\.json has (no|a damaged) chain of custody"):
        verify(copy)


def test_changed_missing_and_further_files_are_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy.parent / "my notes.txt").write_text("seen by me")
    assert "my notes.txt" in verify(copy)
    with (copy.parent / "report.html").open("ab") as file:
        file.write(b" ")
    (copy.parent / "faces.png").unlink()
    assert main(["verify", str(copy)]) == 1
    said = capsys.readouterr().err
    assert "file report.html: SHA-256 is" in said
    assert "file faces.png: is missing" in said


def test_other_media_and_another_checkpoint_are_named(
    judged: Path, media: Path, checkpoint: Path, tmp_path: Path
) -> None:
    content = read_file(checkpoint)
    content["state_dict"] = {name: value + 0.01 for name, value in content["state_dict"].items()}
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(VerificationError) as caught:
        verify(judged / "report.json", media / "one.mp4", tmp_path / "other.ckpt")
    assert "checkpoint: SHA-256" in str(caught.value)
    assert "scores: " in str(caught.value)
    assert "media" not in str(caught.value)
    with pytest.raises(VerificationError, match=r"media: turned\.mp4 has SHA-256"):
        verify(judged / "report.json", media / "turned.mp4")


def test_elsewhere_numbers_have_a_tolerance_and_no_more(
    copy: Path, media: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = rescore.machine()
    monkeypatch.setattr(rescore, "machine", lambda: {**here, "processor": "another"})
    change(copy, lambda report: move(report, 9e-4))
    said = verify(copy, media / "one.mp4", checkpoint)
    assert "within 0.001 elsewhere (processor differ)" in said
    change(copy, lambda report: move(report, 9e-4))
    with pytest.raises(VerificationError, match="face 1, frame 0: probability is"):
        verify(copy, media / "one.mp4", checkpoint)


def test_on_this_machine_the_last_digit_counts(copy: Path, media: Path, checkpoint: Path) -> None:
    change(copy, lambda report: move(report, 1e-7))
    with pytest.raises(VerificationError, match="face 1, frame 0: probability is"):
        verify(copy, media / "one.mp4", checkpoint)


def test_a_report_imports_nothing_that_it_names(copy: Path, media: Path, checkpoint: Path) -> None:
    def edit(report: Json) -> None:
        settings = report["custody"]["configuration"]
        settings["methods"] = ["antigravity.Fly", "Contribution"]
        report["custody"]["configuration_sha256"] = hash_values(settings)

    change(copy, edit)
    assert "everything that was checked fits" in verify(copy, media / "one.mp4", checkpoint)


def test_a_signature_is_of_one_report_and_one_key(
    checkpoint: Path, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography")
    if OPENSSL is None:
        pytest.skip("no openssl to make keys")
    private, public = make_keys(tmp_path)
    _, others = make_keys(tmp_path, "other")
    out = tmp_path / "out"
    assert ask(checkpoint, media / "sub" / "grey.png", "--out", out, "--sign", private) == 0
    report = out / "grey.png" / "report.json"
    signature = report.with_name("report.json.sig")
    words = ("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", report, "-sigfile", signature)
    openssl(*words)  # without this program
    assert "signature: of the key with SHA-256" in verify(report, public_key=public)
    assert "give --public_key to check it" in verify(report)
    with pytest.raises(VerificationError, match=r"report\.json\.sig is not of this report"):
        verify(report, public_key=others)
    with pytest.raises(ConfigError, match="private key"):
        verify(report, public_key=private)
    with pytest.raises(ConfigError, match="has 3 bytes"):
        (tmp_path / "short.sig").write_bytes(b"abc")
        verify(report, signature=tmp_path / "short.sig", public_key=public)
    with pytest.raises(ConfigError, match="needs --public_key"):
        verify(report, signature=signature)
    report.write_bytes(report.read_bytes().replace(b'"seed": 0', b'"seed": 1', 1))
    assert main(["verify", str(report), "--public_key", str(public)]) == 1
    assert "signature: report.json.sig is not of this report" in capsys.readouterr().err


def test_a_key_that_cannot_sign_is_an_error_before_the_work(
    checkpoint: Path, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography")
    if OPENSSL is None:
        pytest.skip("no openssl to make keys")
    private, public = make_keys(tmp_path)
    locked, rsa = tmp_path / "locked.key", tmp_path / "rsa.key"
    openssl("pkey", "-in", private, "-aes256", "-passout", "pass:secret", "-out", locked)
    openssl("genpkey", "-algorithm", "RSA", "-out", rsa)
    for key, said in (
        (public, "no readable private key"),
        (tmp_path, "is no file"),
        (locked, "set its password as RESGAT_KEY_PASSWORD"),
        (rsa, "of another kind than ed25519"),
    ):
        assert ask(checkpoint, media / "one.mp4", "--out", tmp_path / "out", "--sign", key) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    from resgat_pl.explain.custody.signing import read_private_key

    monkeypatch.setenv("RESGAT_KEY_PASSWORD", "secret")
    assert read_private_key(locked) is not None


def test_what_a_file_says_of_itself_changes_no_number(
    checkpoint: Path, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resgat_pl.explain.custody.claims import Credentials, Statement
    from resgat_pl.explain.report import command

    loud = Credentials("trusted", "Signed: <b>genuine</b>.", [Statement("title", "</script><script>alert(1)</script>")])
    reports = []
    for name in ("plain", "loud"):
        assert ask(checkpoint, media / "sub" / "grey.png", "--out", tmp_path / name) == 0
        folder = tmp_path / name / "grey.png"
        reports.append(json.loads((folder / "report.json").read_text()))
        monkeypatch.setattr(command, "read_credentials", lambda path: loud)
    said = [report.pop("claims")["credentials"]["state"] for report in reports]
    assert said == ["none", "trusted"]
    for report in reports:
        for part in (report, *report["methods"]):
            for key in ("custody", "seconds", "milliseconds"):
                part.pop(key, None)
    assert reports[0] == reports[1]
    assert "<script>alert" not in (folder / "report.html").read_text()
