"""``resgat verify``: does a report still fit its files, its signature and, with the media, its scores?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, VerificationError
from resgat_pl.core.text import first_few, printable, shorten
from resgat_pl.core.untrusted_paths import is_plain_name
from resgat_pl.explain.custody.record import FileHash, hash_file, hash_values
from resgat_pl.explain.custody.signing import SIGNATURE, check_signature, key_fingerprint, read_public_key
from resgat_pl.explain.report.custody import APART
from resgat_pl.explain.report.document import read_report
from resgat_pl.explain.report.rescore import Check, ledger, rescored
from resgat_pl.nn.checkpoint_file import file_fingerprint

_MOST: Final = 2**30
"""Bytes of a report at most, which is read into memory."""
_NAMED: Final = 5


def verify(
    report: Path,
    media: Path | None = None,
    ckpt_path: Path | None = None,
    signature: Path | None = None,
    public_key: Path | None = None,
    video_timeout: float = 600.0,
) -> str:
    """Check a report of resgat explain: its files, its sums, its signature, and the scores from the media.

    Without options the hash of every file that the report lists is computed again, that of its settings too, and the
    sums in the report are added up again. The media's hash is compared with that at intake, the checkpoint's with the
    one that judged. With both the file is judged again: on the same machine, with the same versions and number of
    threads, every number must be the same to the last digit in report.json; elsewhere logits may differ by 0.001
    times (1 + their size), probabilities by 0.001, boxes by 2 px, and the verdict not at all.
    A report without a signature shows that nothing was damaged, not that nobody changed file and hash together.
    Exit status: 0 all fits, 1 something does not (each is named), 2 it cannot be checked.

    Args:
        report: report.json, in its folder with the other files.
        media: The file that was judged, whatever its name is now.
        ckpt_path: The checkpoint that judged it.
        signature: Signature of report.json; with --public_key alone report.json.sig beside it.
        public_key: Key of the laboratory (ed25519, PEM), from the laboratory itself and not from the folder.
        video_timeout: Seconds that decoding the file and finding its faces may take.
    """
    content = _read(report)
    custody = content["custody"]
    if custody is None:
        raise ConfigError(f"{report} has no chain of custody: it is of an earlier version. Explain the file again.")
    if signature is not None and public_key is None:
        raise ConfigError("--signature needs --public_key, the key that it is checked with.")
    checks = [*_files(report, custody), *_settings(content, custody), *ledger(content)]
    if public_key is not None:
        checks.append(_signature(report, signature or report.with_name(SIGNATURE), public_key))
    elif report.with_name(SIGNATURE).is_file():
        checks.append(Check("signature", None, f"{SIGNATURE} is there; give --public_key to check it"))
    if media is not None:
        checks.append(_medium(media, custody))
    if ckpt_path is not None:
        checks.append(_checkpoint(ckpt_path, content))
    if media is not None and ckpt_path is not None:
        checks += rescored(content, media, ckpt_path, video_timeout)
    else:
        checks.append(Check("scores", None, "not computed again; give --media and --ckpt_path"))
    return _conclude(report, checks)


def _conclude(report: Path, checks: list[Check]) -> str:
    words = {True: "fits", False: "DOES NOT FIT", None: "not checked"}
    text = "\n".join(f"{words[check.fits]:<12}  {check.name}: {check.said}" for check in checks)
    wrong = [check for check in checks if check.fits is False]
    if not wrong:
        return f"{text}\n{report}: everything that was checked fits."
    tqdm.write(printable(text))
    raise VerificationError(
        f"{report} does not fit in {len(wrong)} of {len(checks)} points: "
        f"{'; '.join(f'{check.name}: {check.said}' for check in wrong[:_NAMED])}"
        f"{'; …' * (len(wrong) > _NAMED)}. Do not rely on it; ask whoever handed it on for the original."
    )


def _read(report: Path) -> dict[str, Any]:
    """The document, with a record of custody whose parts have the types that are needed; a report may be hostile."""
    if report.is_file() and report.stat().st_size > _MOST:
        raise ConfigError(f"{report} has {report.stat().st_size:,} bytes; no report of resgat explain is so large.")
    content = read_report(report)
    custody = content["custody"]
    if custody is None:
        return content
    try:
        for record in (custody["input"], *custody["outputs"]):
            FileHash(**record)
            if not all(isinstance(record[name], str) for name in ("name", "sha256")):
                raise TypeError("a hash is no text")
        if not isinstance(custody["configuration"], dict):
            raise TypeError("its configuration is no object")
        if not isinstance(content["checkpoint"]["fingerprint"], str) or not isinstance(content["tracks"], list):
            raise TypeError("checkpoint or tracks are of another type")
        for name in ("configuration_sha256", "command", "machine", "crops_sha256", "steps"):
            custody[name]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{report} has a damaged chain of custody ({shorten(error)}). Ask for the original."
        ) from None
    return content


def _files(report: Path, custody: Mapping[str, Any]) -> Iterator[Check]:
    """The outputs, each by its hash, and whatever else is in the folder."""
    folder, listed = report.parent, {record["name"]: record for record in custody["outputs"]}
    wrong = 0
    for name, record in listed.items():
        path = _inside(folder, name)
        found = None if path is None else hash_file(path, name)
        if found is None:
            wrong += 1
            reason = "leads out of the report's folder" if path is None else "is missing, or cannot be read"
            yield Check(f"file {shorten(name)}", False, reason)
        elif found.sha256 != record["sha256"]:
            wrong += 1
            yield Check(f"file {name}", False, f"SHA-256 is {found.sha256}, was {shorten(record['sha256'], 64)}")
    if not wrong:
        yield Check("files", True, f"{len(listed)} outputs have their SHA-256")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if more := sorted(there - set(listed) - APART - {report.name}):
        yield Check("other files", None, f"{len(more)} in the folder that the report does not list: {first_few(more)}")


def _inside(folder: Path, name: str) -> Path | None:
    """Path of an output by its name in an untrusted report; None where name or link lead elsewhere."""
    if not all(map(is_plain_name, name.split("/"))):
        return None
    path, root = folder / PurePosixPath(name), os.path.realpath(folder)
    return path if os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep) else None


def _settings(content: Mapping[str, Any], custody: Mapping[str, Any]) -> Iterator[Check]:
    found = hash_values(custody["configuration"])
    fits = found == custody["configuration_sha256"]
    yield Check("configuration", fits, f"SHA-256 {found}" + ("" if fits else ", another one is recorded"))
    named = custody["configuration"].get("checkpoint")
    if named != content["checkpoint"]["fingerprint"]:
        yield Check("configuration", False, "it is of another checkpoint than the report names")


def _signature(report: Path, signature: Path, public_key: Path) -> Check:
    fingerprint = key_fingerprint(read_public_key(public_key))
    if check_signature(report.read_bytes(), signature, public_key):
        return Check("signature", True, f"of the key with SHA-256 {fingerprint}")
    return Check("signature", False, f"{signature.name} is not of this report by the key with SHA-256 {fingerprint}")


def _medium(media: Path, custody: Mapping[str, Any]) -> Check:
    found, known = hash_file(media), custody["input"]
    if found is None:
        raise ConfigError(f"--media {media} is no file that can be read. Name the one file that the report is of.")
    if found.sha256 == known["sha256"]:
        return Check("media", True, f"{media.name} has the SHA-256 taken at intake")
    return Check(
        "media",
        False,
        f"{media.name} has SHA-256 {found.sha256} ({found.bytes} bytes); at intake {shorten(known['name'])} had "
        f"{shorten(known['sha256'], 64)} ({shorten(json.dumps(known['bytes']))} bytes)",
    )


def _checkpoint(ckpt_path: Path, content: Mapping[str, Any]) -> Check:
    known = content["checkpoint"]["fingerprint"]
    try:
        found = file_fingerprint(ckpt_path)
    except OSError as error:
        raise ConfigError(f"--ckpt_path {ckpt_path} cannot be read ({error.strerror}).") from None
    fits = found == known
    return Check("checkpoint", fits, f"SHA-256 {found}" + ("" if fits else f", was {shorten(known, 64)}"))
