"""The app in a real browser: what it shows and says, that it loads nothing from elsewhere and leaves nothing behind."""

from __future__ import annotations

import json
import socket
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.app.command import POLICY, serving
from resgat_pl.explain.app.desk import Limits
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FaceFinder

from ...helpers.judged_media import ODD, drawn, save

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

with_gradio = pytest.mark.skipif(
    find_spec("gradio") is None, reason='Gradio is not installed: pip install "resgat-pl[app]"'
)
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served(NamedTuple):
    address: str
    uploads: Path


@pytest.fixture(scope="module")
def served(judges: tuple[Examiner, FaceFinder], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("app")
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limits = Limits(megabytes=5, seconds=60, files=2)
            with serving(*judges, "127.0.0.1", free_port(), limits) as address:
                (uploads,) = folder.glob("resgat_app_*")
                yield Served(address, uploads)
        assert not uploads.exists()
    finally:
        tempfile.tempdir = before


@pytest.fixture
def page(served: Served, browser: Browser) -> Iterator[Page]:
    """The app's page; whatever it asks for is the app's."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    elsewhere: list[str] = []
    errors: list[str] = []
    mine = (served.address, "data:", "blob:", "about:")
    page.on("request", lambda request: None if request.url.startswith(mine) else elsewhere.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(served.address)
    page.wait_for_selector("#judge")
    yield page
    page.close()
    assert (elsewhere, errors) == ([], [])


def give(page: Page, place: str, *files: Path) -> None:
    page.set_input_files(f"{place} input[type=file]", [str(file) for file in files])
    page.wait_for_function(
        "([place, name]) => document.querySelector(place).innerText.includes(name)", arg=[place, files[-1].suffix]
    )


def left(served: Served) -> list[Path]:
    """Uploads with content that lie about."""
    return [path for path in served.uploads.rglob("*") if path.is_file() and path.stat().st_size]


@with_gradio
def test_a_picture_is_judged_and_its_report_can_be_saved(page: Page, served: Served, tmp_path: Path) -> None:
    save(tmp_path / ODD, drawn(frames=1)[0])
    give(page, "#upload", tmp_path / ODD)
    page.click("#judge")
    page.wait_for_selector("#answer .verdict")
    title = page.locator("#answer h2").inner_text()
    assert "output: " in title or "verdict: " in title
    report = page.frame_locator("#answer iframe")
    assert report.locator("#verdict-title").inner_text() == title
    assert report.locator("#regions tbody tr").count() == 9
    saved: dict[str, str] = {}
    for link in page.locator("#answer .downloads a").all():
        with page.expect_download() as download:
            link.click()
        saved[download.value.suggested_filename] = Path(download.value.path()).read_text(encoding="utf-8")
    assert sorted(saved) == ["report.html", "report.json"]
    assert json.loads(saved["report.json"])["verdict"] in title
    assert "Content-Security-Policy" in saved["report.html"]
    assert left(served) == []


@with_gradio
def test_a_video_has_its_frames(page: Page, media: Path) -> None:
    give(page, "#upload", media / "one.mp4")
    page.click("#judge")
    report = page.frame_locator("#answer iframe")
    report.locator("#next").click()
    assert report.locator("#status").inner_text().startswith("Frame 1 of 3")
    assert report.locator("#curve svg").count() == 1


@with_gradio
def test_what_is_no_medium_is_said_to_be(page: Page, served: Served, tmp_path: Path) -> None:
    page.click("#judge")
    page.wait_for_selector("#answer .fault")
    assert page.locator("#answer").inner_text().strip() == "Choose a picture or a video first."
    letter = tmp_path / "<img src=x onerror=alert(1)>.txt"
    letter.write_text("a letter")
    give(page, "#upload", letter)
    page.click("#judge")
    page.wait_for_function("() => document.querySelector('#answer').innerText.includes('cannot be')")
    said = page.locator("#answer").inner_text()
    assert "not a video" in said and str(served.uploads) not in said
    assert page.locator("#answer img").count() == 0
    assert left(served) == []


@with_gradio
def test_many_files_are_a_table(page: Page, served: Served, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Many files").click()
    save(tmp_path / "face.png", drawn(frames=1)[0])
    (tmp_path / "=1+1.txt").write_text("a letter")
    give(page, "#uploads", tmp_path / "face.png", tmp_path / "=1+1.txt")
    page.click("#judge-all")
    page.wait_for_selector("#link a")
    assert "face.png" in page.locator("#table").inner_text() and "not judged" in page.locator("#table").inner_text()
    with page.expect_download() as download:
        page.locator("#link a").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert text.startswith("file,verdict,score,threshold,faces,limits\nface.png,")
    assert "\n=" not in text
    assert left(served) == []


@with_gradio
def test_too_many_at_once_are_refused(page: Page, served: Served, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Many files").click()
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        save(file, drawn(frames=1, seed=number)[0])
    give(page, "#uploads", *files)
    page.click("#judge-all")
    page.wait_for_selector("#link .fault")
    assert "3 files are more than the 2" in page.locator("#link").inner_text()
    assert left(served) == []


@with_gradio
def test_what_is_too_large_is_refused_while_it_is_uploaded(page: Page, served: Served, tmp_path: Path) -> None:
    (tmp_path / "large.mp4").write_bytes(b"0" * 6_000_000)
    page.set_input_files("#upload input[type=file]", str(tmp_path / "large.mp4"))
    page.get_by_text("exceed the maximum allowed size").first.wait_for()
    assert left(served) == []


@with_gradio
def test_a_path_of_the_machine_is_no_upload(page: Page, served: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    save(secret, drawn(frames=1)[0])
    answer = page.evaluate(
        """async path => (await (await fetch("/gradio_api/call/report", {
            method: "POST", headers: { "content-type": "application/json" },
            body: JSON.stringify({ data: [{ path, meta: { _type: "gradio.FileData" } }] }),
        })).json())""",
        str(secret),
    )
    events = page.evaluate(
        "async id => (await fetch('/gradio_api/call/report/' + id)).text()", answer.get("event_id", "none")
    )
    assert "probability" not in events
    assert secret.exists()


@with_gradio
def test_answers_carry_the_policy(page: Page, served: Served) -> None:
    answer: Any = page.request.get(served.address)
    assert answer.headers["content-security-policy"] == POLICY
    assert "default-src 'self'" in POLICY and "http" not in POLICY


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--max_mb", "0"], "--max_mb is 0; it must be more than 0"),
        (["--port", "0"], "--port is 0; it must be at least 1"),
        (["--video_timeout", "-1"], "--video_timeout is -1; it must be more than 0"),
    ],
)
def test_mistakes_are_named(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "a.ckpt", *given]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(find_spec("gradio") is not None, reason="Gradio is installed")
def test_without_gradio_it_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "a.ckpt"]) == 2
    assert 'pip install "resgat-pl[app]"' in capsys.readouterr().err


@with_gradio
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Gradio leaves the socket it tried open
def test_a_port_in_use_is_named(served: Served, judges: tuple[Examiner, FaceFinder]) -> None:
    port = int(served.address.rpartition(":")[2])
    with (
        pytest.raises(ConfigError, match=rf"--port {port} cannot be listened on"),
        serving(*judges, "127.0.0.1", port, Limits()),
    ):
        pass
    assert served.uploads.is_dir()
