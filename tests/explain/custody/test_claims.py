"""What a file says of itself: shown as text, never believed, and whatever is broken or hostile is named."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from resgat_pl.explain.custody import claims
from resgat_pl.explain.custody.claims import container_metadata, read_credentials


def picture(path: Path, **options: Any) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG with a manifest, signed by a certificate that nobody trusts."""
    c2pa = pytest.importorskip("c2pa")
    folder = tmp_path_factory.mktemp("signed")
    chain, key = certificates()
    info = c2pa.C2paSignerInfo(b"es256", chain, key, None)
    action = {
        "action": "c2pa.created",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalArt",
    }
    manifest = {
        "claim_generator_info": [{"name": "a\u202e maker <b>", "version": "1"}],
        "title": "<script>" + "x" * 500,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    made = io.BytesIO()
    with picture(folder / "plain.jpg").open("rb") as source, c2pa.Builder(manifest) as builder:
        builder.sign(c2pa.Signer.from_info(info), "image/jpeg", source, made)
    (folder / "signed.jpg").write_bytes(made.getvalue())
    return folder / "signed.jpg"


def certificates() -> tuple[bytes, bytes]:
    """A chain, leaf first, and the leaf's key, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def name(text: str) -> x509.Name:
        oid = x509.NameOID
        return x509.Name([x509.NameAttribute(oid.ORGANIZATION_NAME, text), x509.NameAttribute(oid.COMMON_NAME, text)])

    def certificate(subject: str, public: Any, is_root: bool) -> Any:
        usage = {"digital_signature": True, "key_cert_sign": is_root, "crl_sign": is_root}
        others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        others = (*others, "encipher_only", "decipher_only")
        made = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("Test Root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others, False)), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if not is_root:
            made = made.add_extension(
                x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return made.sign(root_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    chain = [certificate("Test Signer", key.public_key(), False), certificate("Test Root", root_key.public_key(), True)]
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(each.public_bytes(pem) for each in chain), private


def test_a_manifest_is_shown_with_its_signer_and_actions(signed: Path) -> None:
    found = read_credentials(signed)
    facts = {fact.name: fact.value for fact in found.facts}
    assert found.state == "valid", found
    assert "who can be anybody" in found.sentence
    assert "the verdict does not use it" in found.sentence
    assert facts["signed by"] == "Test Signer"
    assert facts["actions"] == "c2pa.created"
    assert facts["made with"] == "a maker <b> 1", "text directions are no text"
    assert len(facts["title"]) == 200


def test_a_changed_file_is_named(signed: Path, tmp_path: Path) -> None:
    content = bytearray(signed.read_bytes())
    content[-100] ^= 255
    (tmp_path / "changed.jpg").write_bytes(content)
    found = read_credentials(tmp_path / "changed.jpg")
    assert found.state == "invalid"
    assert "does not fit the file" in found.sentence
    assert any("mismatch" in fact.value for fact in found.facts if fact.name == "failed checks")


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_a_broken_manifest_is_named(cut: float, signed: Path, tmp_path: Path) -> None:
    content = signed.read_bytes()
    at = content.index(b"c2pa")
    broken = bytearray(content)
    rng = np.random.default_rng(0)
    for place in rng.integers(at, at + int(cut * 4000), 60):
        broken[place] ^= 255
    (tmp_path / "broken.jpg").write_bytes(broken)
    assert read_credentials(tmp_path / "broken.jpg").state in {"broken", "invalid"}


def test_a_file_that_only_names_c2pa_and_one_without(tmp_path: Path) -> None:
    assert read_credentials(picture(tmp_path / "a.jpg")).state == "none"
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert read_credentials(tmp_path / "empty.jpg").state == "none"
    pytest.importorskip("c2pa")
    (tmp_path / "text.bin").write_bytes(b"c2pa" * 100)
    found = read_credentials(tmp_path / "text.bin")
    assert found.state == "broken"
    assert "type of file" in found.sentence


def sleeps(path: Path) -> Iterator[str]:
    time.sleep(60)
    yield "{}"


def dies(path: Path) -> Iterator[str]:
    import os

    os.abort()
    yield "{}"


def nests(path: Path) -> Iterator[str]:
    yield "[" * 100_000


def misses(path: Path) -> Iterator[str]:
    yield '{"manifests": {"a": {"signature_info": 3, "assertions": [1]}}, "active_manifest": "a"}'


@pytest.mark.parametrize(
    ("reader", "limit", "said"),
    [
        (sleeps, 1.5, "longer than 1.5 s"),
        (dies, 20.0, "SIGABRT"),
        (nests, 20.0, "recursion depth"),
        (misses, 20.0, "no attribute"),
    ],
)
def test_a_hostile_manifest_stops_nothing(
    reader: Any, limit: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("c2pa")
    monkeypatch.setattr(claims, "_manifest", reader)
    path = picture(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + b"c2pa")
    started = time.monotonic()
    found = read_credentials(path, timeout=limit)
    assert found.state == "broken"
    assert re.search(said, found.sentence), found.sentence
    assert time.monotonic() - started < 40


def test_without_the_extra_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    path = picture(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + b"c2pa")
    found = read_credentials(path)
    assert (found.state, "resgat-pl[custody]" in found.sentence) == ("not read", True)


def test_metadata_of_pictures_and_videos_is_text_within_limits(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0131] = "An editor\x1b" + "y" * 999
    found = {s.name: s.value for s in container_metadata(picture(tmp_path / "a.jpg", exif=exif), "image")}
    assert found["format"] == "JPEG, RGB"
    assert found["Software"].startswith("An editor y")
    assert len(found["Software"]) == 200
    many = PngInfo()
    for number in range(99):
        many.add_text(f"key {number}", "z")
    listed = container_metadata(picture(tmp_path / "b.png", pnginfo=many), "image")
    assert (len(listed), listed[-1].name) == (61, "more")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (said,) = container_metadata(tmp_path / "c.jpg", "image")
    assert said.name == "error"
    from resgat_pl.data.synth.encode import write_video

    write_video(tmp_path / "v.mp4", np.zeros((3, 64, 64, 3), np.uint8))
    video = {s.name: s.value for s in container_metadata(tmp_path / "v.mp4", "video")}
    assert video["stream 0"] == "video, h264"
    assert video["major_brand"] == "isom"
