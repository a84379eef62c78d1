"""What the source must not do, what it must refuse, and what others may see of the user."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import runpy
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from resgat_pl import __version__
from resgat_pl.core import privacy
from resgat_pl.core.errors import ManifestError, WeightsError
from resgat_pl.core.formats import check_version
from resgat_pl.core.text import printable

from .helpers.command import wandb_records
from .helpers.tiny_runs import pretend_test, untrained

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "resgat_pl").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])
FORBIDDEN = {
    "eval": "",
    "exec": "",
    "compile": "",
    "os.system": "",
    "os.popen": "",
    "yaml.load": "",
    "yaml.unsafe_load": "",
    "pickle.load": "",
    # this program's own functions and messages: on its own cluster, and from its own processes over their own pipe
    "pickle.loads": "resgat_pl/core/executors.py resgat_pl/core/isolated_process.py",
    "cloudpickle.loads": "",
    "marshal.loads": "",
    "shelve.open": "",
    "joblib.load": "",
    "tempfile.mktemp": "",
    "shutil.unpack_archive": "",
    "torch.hub.load": "",
    "torch.package.PackageImporter": "",
    "torch.export.load": "resgat_pl/export/runtime.py",  # behind trusted=True
}
"""Call → the files that may make it."""


def offences(source: str, name: str) -> list[str]:
    """Calls that run what a file says, as ``FUNCTION in NAME``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        wrong = called in FORBIDDEN and name not in FORBIDDEN[called]
        wrong |= "shell" in options and options["shell"] != "False"
        wrong |= called in {"torch.load", "load_from_checkpoint"} and options.get("weights_only") != "True"
        wrong |= called in {"np.load", "numpy.load"} and options.get("allow_pickle") == "True"
        wrong |= called.endswith(".extractall") and options.get("filter") != "'data'"
        found += [f"{called} in {name}"] * wrong
    return found


def test_the_source_runs_nothing_that_a_file_says() -> None:
    assert [o for path in SOURCES for o in offences(path.read_text(), path.relative_to(ROOT).as_posix())] == []


@pytest.mark.parametrize(
    "line",
    [
        "eval('1')", "subprocess.run('ls', shell=True)", "subprocess.run('ls', shell=x)", "torch.load('a')",
        "torch.load('a', weights_only=False)", "yaml.load(text)", "pickle.loads(b'')", "tempfile.mktemp()",
        "np.load('a', allow_pickle=True)", "tar.extractall('.')",
    ],
)  # fmt: skip
def test_the_test_of_the_source_sees_it(line: str) -> None:
    assert offences(line, "resgat_pl/a.py")


# --- formats ---------------------------------------------------------------------------------------------------------

junk = st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.lists(st.integers()), st.binary())


@given(st.integers(), st.integers(0, 100), junk)
def test_a_format_is_read_or_refused_by_name(found: int, current: int, writer: Any) -> None:
    if found == current:
        check_version(found, current, "a.bin", WeightsError, again="Make it again.", writer=writer)
        return
    with pytest.raises(WeightsError, match=r"^a\.bin has format") as refused:
        check_version(found, current, "a.bin", WeightsError, again="Make it again.", writer=writer)
    message = str(refused.value)
    assert f"format {found}" in message
    assert __version__ in message
    assert ("pip install" in message) == (found > current) != ("Make it again." in message)


@given(junk)
def test_what_is_no_number_is_refused(found: Any) -> None:
    with pytest.raises(ManifestError, match=r"a\.bin has [\s\S]*Make it again\."):
        check_version(found, 1, "a.bin", ManifestError, again="Make it again.")


def test_older_formats_can_be_read_on() -> None:
    check_version(2, 3, "a", WeightsError, again="", oldest=2)
    with pytest.raises(WeightsError, match="format 1"):
        check_version(1, 3, "a", WeightsError, again="", oldest=2)


@pytest.mark.parametrize(("writer", "reported"), [("3.1.0", "resgat-pl>=3.1.0"), ("3.1+cpu.1", 'resgat-pl>=3.1"')])
def test_a_newer_file_says_what_to_install(writer: str, reported: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(reported)):
        check_version(2, 1, "a", WeightsError, again="", writer=writer)


@pytest.mark.parametrize("writer", ["1; rm -rf ~", "evil @ https://a.b/c.whl", "0.0.0+unknown", "9" * 99, "\x1b[2J"])
def test_a_file_does_not_choose_what_is_installed(writer: str) -> None:
    with pytest.raises(WeightsError) as refused:
        check_version(2, 1, "a", WeightsError, again="", writer=writer)
    assert writer not in str(refused.value)
    assert "pip install --upgrade resgat-pl" in str(refused.value)


def test_results_of_another_format_are_refused(tmp_path: Path) -> None:
    from resgat_pl.reproduce.tables import Run

    folder = pretend_test(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    assert results["schema"] == 1
    for schema, remedy in ((2, "pip install"), (0, "Test again"), ("1", "Test again")):
        (folder / "results.json").write_text(json.dumps({**results, "schema": schema}))
        with pytest.raises(ManifestError, match=remedy):
            Run.read(folder)
    del results["schema"]  # as written before there was a number
    (folder / "results.json").write_text(json.dumps(results))
    assert Run.read(folder).results == results


# --- what is installed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["2.6.2", "2.6.3"])
def test_malicious_releases_are_excluded(release: str, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (lightning,) = (line for line in project["dependencies"] if re.match(r"lightning\b", line))
    assert f"!={release}" in lightning
    assert f"lightning=={release}" not in (ROOT / "constraints.txt").read_text()
    assert importlib.metadata.version("lightning") != release
    # as if it were installed: its metadata is found first, its code must not be imported
    about = tmp_path / f"lightning-{release}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lightning\nVersion: {release}\n")
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "__init__.py").write_text("print('STOLEN')\n")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import resgat_pl.training.module"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"lightning {release} is installed, a release with malicious code" in done.stderr
    assert "STOLEN" not in done.stdout


# --- what others see -------------------------------------------------------------------------------------------------


@given(st.text())
def test_what_is_printed_steers_no_terminal(text: str) -> None:
    shown = printable(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    shown.encode()
    assert printable(shown) == shown


def test_escape_sequences_in_names_are_shown() -> None:
    assert (
        printable("a\x1b]0;owned\x07\x1b[2Jb\u202egpm.exe\n\tü") == r"a\x1b]0;owned\x07\x1b[2Jb\u202egpm.exe" + "\n\tü"
    )


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("/home/ann/data/crops", "crops"), ("~/crops/", "crops"), ("C:\\Users\\ann\\crops", "crops"),
        ("root: /home/ann/a b", "root: a b"), ("s3://bucket/crops", "s3://bucket/crops"), ("runs/demo", "runs/demo"),
        ("file:///home/ann/crops", "crops"), ("root: file:/home/ann/crops", "root: crops"), ("~ann/crops", "crops"),
        ("C:/Users/ann/crops", "crops"), ("file://C:/Users/ann/crops", "crops"), ("//server/ann/crops", "crops"),
        ("\\\\server\\ann\\crops", "crops"), ("a:/home/ann/crops:/home/ann/b", "b"), ("key:/home/ann/a", "key:a"),
        ("https://ann:pass@word@host/crops", "https://host/crops"), ("s3://key:secret@bucket/a", "s3://bucket/a"),
        ("http://host/~ann/a@b", "http://host/~ann/a@b"), ("gs://bucket:80/a", "gs://bucket:80/a"), ("1/2", "1/2"),
        (["/a/b", {"c": Path("/d/e")}], ["b", {"c": "e"}]), (3, 3), (None, None), (True, True),
    ],
)  # fmt: skip
def test_paths_are_cut_down_to_their_names(value: Any, kept: Any) -> None:
    assert privacy.without_paths(value) == kept


def uploaded(run: Path) -> tuple[list[str], str]:
    """Files that ``wandb sync`` uploads, and everything in its records but where these files lie here."""
    (folder,) = (run / "wandb").glob("offline-run-*")
    files = [path for path in (folder / "files").rglob("*") if path.is_file()]
    text = [path.read_text(errors="replace") for path in files if path.suffix in {".json", ".txt", ".yaml", ".log"}]
    for record in wandb_records(run):
        if record.WhichOneof("record_type") == "artifact":
            for entry in record.artifact.manifest.contents:
                entry.ClearField("local_path")  # for the uploading process, which does not upload it
        text.append(str(record))
    return [path.relative_to(folder / "files").as_posix() for path in files], "\n".join(text)


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "private"),
    [("fit", False), ("fit", True), ("validate", True), ("test", True), ("predict", True)],
)
def test_wandb_gets_no_paths_and_in_private_nothing_but_numbers(
    command: str, private: bool, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .helpers.command import TINY, resgat

    monkeypatch.setenv("WANDB_TAGS", "secret-tag")
    monkeypatch.setenv("WANDB_NOTES", "secret-note")
    more: list[Any] = ["--private"] if private else []
    if command != "fit":
        more += ["--ckpt_path", untrained(tmp_path / "secret-name.ckpt", ffpp_crops)]
    resgat(
        command, "--config", TINY, "--data.crops", ffpp_crops, "--trainer.default_root_dir", tmp_path,
        "--heatmaps.faces", 2, "--heatmaps.log_images", str(private).lower(), *more,
    )  # fmt: skip
    files, text = uploaded(tmp_path)
    if command != "predict":
        assert f"{'test' if command == 'test' else 'val'}/video_auroc" in text
    assert str(tmp_path) not in text
    assert str(ROOT) not in text
    assert sys.prefix not in text
    assert not re.search(r"/(tmp|home|root|usr)/", text)
    assert [name for name in files if re.search(r"\.(png|jpe?g|table\.json|log|diff|py|patch)$", name)] == []
    if command != "predict":
        assert list(
            (tmp_path / ("" if command == "fit" else command) / "heatmaps").glob("*.png")
        )  # here they are drawn all the same
    assert f'host: "{socket.gethostname()}"' not in text
    assert 'host: "private"' in text
    if private:
        assert files == []
        assert "secret" not in text
    else:
        assert "secret-tag" in text


@pytest.mark.parametrize(
    ("answer", "status", "reported"),
    [
        ((0, {"name": "a", "version": "1", "vulns": []}), 0, "1 packages audited, 0 skipped, 0 vulnerabilities"),
        (
            (1, {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}),
            1,
            "a 1: X-1, mended in 2",
        ),
        ((0, {"name": "a", "skip_reason": "not found"}), 0, "SKIPPED, nothing was audited"),
        ((1, None), 0, "SKIPPED, nothing was audited"),
    ],
)
def test_an_audit_of_nothing_is_not_called_clean(answer: tuple[int, Any], status: int, reported: str) -> None:
    audit = runpy.run_path(str(ROOT / ".ci" / "audit.py"))
    output = "" if answer[1] is None else json.dumps({"dependencies": [answer[1]]})
    found, shown = audit["judge"](answer[0], output, "ConnectionError: no route" if answer[1] is None else "")
    assert (found, reported in shown) == (status, True), shown
    assert audit["judge"](2, "", "No module named pip_audit")[0] == 1
