"""A release holds the package and nothing else, says where it comes from, and is published without a secret."""

from __future__ import annotations

import re
import runpy
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ADDRESS, TAG = "https://example.org/owner/name", "v0.1.0"
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / ".ci" / name))


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    return found


def test_a_release_names_its_repository() -> None:
    changed = tomllib.loads(script("release_urls.py")["with_urls"](PYPROJECT, ADDRESS, f"v{PROJECT['version']}"))
    urls = changed["project"]["urls"]
    assert urls["Repository"] == ADDRESS
    assert urls["Changelog"].startswith(f"{ADDRESS}/blob/v")
    assert urls.items() >= PROJECT["urls"].items()
    assert {key: value for key, value in changed["project"].items() if key != "urls"}.items() <= PROJECT.items()


def test_a_tag_of_another_version_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"The tag is v9\.9, and pyproject\.toml has version"):
        script("release_urls.py")["with_urls"](PYPROJECT, ADDRESS, "v9.9")


def test_the_readme_of_a_release_has_no_relative_link() -> None:
    changed = script("release_urls.py")["with_absolute_links"](README, ADDRESS, TAG)
    links = re.findall(r"\]\(([^)\s]+)\)", changed)
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert f"]({ADDRESS}/raw/{TAG}/.github/demo_heatmaps.jpg)" in changed
    assert f"]({ADDRESS}/blob/{TAG}/docs/installation.md)" in changed


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[..., None], Path]:
    """A function that writes both files with these contents and checks them, without twine."""
    names = script("dist.py")
    check = names["check"]
    monkeypatch.setitem(check.__globals__, "DIST", tmp_path)
    monkeypatch.setitem(check.__globals__, "run", lambda command: None)
    wanted: set[str] = names["files_of_package"](ROOT)

    def write_and_check(missing: str = "", more: str = "", link: bool = False) -> None:
        found = sorted((wanted | {more} if more else wanted) - {missing})
        with zipfile.ZipFile(tmp_path / "a-1.whl", "w") as wheel:
            for name in [*found, "a-1.dist-info/METADATA"]:
                wheel.writestr(name, "")
        with tarfile.open(tmp_path / "a-1.tar.gz", "w") as sdist:
            for name in ["pyproject.toml", "PKG-INFO", *found]:
                entry = tarfile.TarInfo(f"a-1/{name}")
                if link and name.endswith(".yaml"):
                    entry.type, entry.linkname = tarfile.SYMTYPE, "../../configs"
                sdist.addfile(entry)
        check()

    return write_and_check, tmp_path


def test_a_complete_release_passes(dist: tuple[Callable[..., None], Path]) -> None:
    dist[0]()


@pytest.mark.parametrize(
    ("contents", "reported"),
    [
        ({"missing": "resgat_pl/cli/shipped/smoke.yaml"}, "missing: resgat_pl/cli/shipped/smoke.yaml"),
        ({"missing": "resgat_pl/explain/report/page.css"}, "missing: resgat_pl/explain/report/page.css"),
        ({"missing": "resgat_pl/data/layouts/ffpp_splits/test.json"}, "missing: resgat_pl/data/layouts/ffpp_splits"),
        ({"more": "tests/faces.npz"}, "too much: tests/faces.npz"),
        ({"link": True}, "link: a-1/resgat_pl/cli/shipped/smoke.yaml"),
    ],
)
def test_what_is_missing_or_too_much_is_named(
    contents: dict[str, Any], reported: str, dist: tuple[Callable[..., None], Path]
) -> None:
    with pytest.raises(SystemExit, match=re.escape(reported)):
        dist[0](**contents)


def test_two_wheels_are_refused(dist: tuple[Callable[..., None], Path]) -> None:
    (dist[1] / "b-1.whl").touch()
    with pytest.raises(SystemExit, match="must hold one sdist and one wheel"):
        dist[0]()


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert PROJECT["requires-python"] == f">={named[0]}"
    assert workflow("ci")["jobs"]["check"]["strategy"]["matrix"]["python"] == named
    assert workflow("release")["jobs"]["try"]["strategy"]["matrix"]["python"] == named
    assert f"Python {named[0]} to {named[-1]}" in README
    assert f"Python {named[0]} to {named[-1]}" in (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")


def test_publishing_needs_no_secret_and_builds_once() -> None:
    jobs = workflow("release")["jobs"]
    publish = jobs["publish"]
    assert (publish["environment"], publish["permissions"], publish["needs"]) == ("pypi", {"id-token": "write"}, "try")
    assert workflow("release")[True]["push"] == {"tags": ["v*"]}  # YAML reads the key `on` as true
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert sum("dist.py build" in step.get("run", "") for step in steps) == 1
    assert all("run" not in step for step in publish["steps"])
    for name in ("ci", "release"):
        assert "secrets." not in (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
        assert workflow(name)["permissions"] == {"contents": "read"}
        for job in workflow(name)["jobs"].values():
            used = [step["uses"] for step in job["steps"] if "uses" in step]
            assert all(re.fullmatch(r"[\w./-]+@v\d+(\.\d+)*", use) for use in used), used


def test_both_commands_are_the_same() -> None:
    assert PROJECT["scripts"]["resgat"] == PROJECT["scripts"][PROJECT["name"]]


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["version"] == PROJECT["version"]
    (paper,) = found["references"]
    assert paper["url"] == PROJECT["urls"]["Paper"]
    assert paper["title"] in README
    assert all(author["family-names"] in README for author in paper["authors"])
