"""The HTML report, in a real browser, from the disk."""

from __future__ import annotations

import hashlib
import html
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resgat_pl.report.document import Document
from resgat_pl.report.html import to_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Make = Callable[..., Document]
Write = Callable[[Document], Path]
Open = Callable[..., Any]
HOSTILE = (
    "<script>window.pwned = 1</script>.mp4",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>\u2028'\"\n`${window.pwned = 1}`.mp4",
    '"><img src=x onerror="window.pwned = 1">',
    "{{script}} & {{data}} &lt;b&gt; \udcff.mp4",
)


@pytest.fixture
def visit(browser: Browser, page_file: Write) -> Iterator[Open]:
    """Open a document's page from the disk; at the end no request, no error and no message may have been seen."""
    seen: list[str] = []
    pages: list[Page] = []

    def visit(document: Document, width: int = 1000, **options: Any) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        pages.append(page)
        file = page_file(document).as_uri()
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("data:", file)) or seen.append(request.url))
        page.goto(file)
        if document.tracks:
            page.wait_for_function("document.getElementById('face').hasAttribute('aria-label')")
        return page

    yield visit
    for page in pages:
        page.close()
    assert seen == []


def text(page: Page, place: str) -> str:
    return page.locator(place).inner_text().replace("\N{NO-BREAK SPACE}", " ")


def rows(page: Page) -> dict[str, Decimal]:
    """The region table as displayed."""
    cells = page.locator("#regions tr:has(td)").evaluate_all(
        "rows => rows.map(row => [row.cells[0].innerText, row.cells[2].innerText])"
    )
    return {name: Decimal(value.replace("−", "-").replace("+", "")) for name, value in cells}


def pixels(page: Page, canvas: str = "#face") -> str:
    """A digest of what is drawn."""
    return hashlib.sha256(page.locator(canvas).evaluate("canvas => canvas.toDataURL()").encode()).hexdigest()


def settled(page: Page, before: str) -> str:
    """Wait until the face is drawn otherwise than before; return its digest."""
    for _ in range(100):
        if (now := pixels(page)) != before:
            return now
        page.wait_for_timeout(20)
    raise AssertionError("The picture stayed as it was.")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_name_is_text(document: Make, visit: Open, name: str) -> None:
    made = document(frames=3, file=name, note=name)
    page = visit(replace(made, caveats=[name], methods=[replace(method, about=name) for method in made.methods]))
    shown = name.replace("\udcff", "\ufffd")
    for place in ("#file", "#notes li", "#caveats li", "#method-about"):
        assert page.locator(place).text_content().replace("\udcff", "\ufffd") == shown
    assert page.evaluate("window.pwned") is None
    assert page.locator("script").count() == 2
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_the_data_is_embedded_whole(document: Make, name: str) -> None:
    made = document(frames=2, file=name)
    page = to_html(made)
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert not set("<>&\u2028\u2029") & set(data)
    assert data.isascii()
    assert json.loads(data)["file"] == name
    assert json.loads(data)["tracks"][0]["frames"][1]["jpeg"] == b64encode(made.tracks[0].frames[1].jpeg).decode()


def test_the_policy_allows_only_what_is_in_the_file(document: Make) -> None:
    page = to_html(document(frames=2))
    [policy] = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    rules = dict(rule.split(" ", 1) for rule in html.unescape(policy).split("; "))
    [script], [style] = re.findall(r"<script>(.*?)</script>", page, re.S), re.findall(r"<style>(.*?)</style>", page, re.S)
    digest = lambda code: f"'sha256-{b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"  # noqa: E731
    assert rules == {
        "default-src": "'none'",
        "script-src": digest(script),
        "style-src": digest(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_a_number_that_json_cannot_hold_is_refused(document: Make) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_html(replace(document(frames=1), seconds=float("nan")))


def test_the_policy_stops_a_foreign_script(document: Make, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "changed.html"
    path.write_text(to_html(document(frames=1)).replace("</body>", "<script>window.pwned = 1</script></body>"))
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(path.as_uri())
    assert page.evaluate("window.pwned") is None
    assert "Content Security Policy" in refused[0]
    page.close()


def test_verdict_in_words_and_as_a_bar(document: Make, visit: Open) -> None:
    made = replace(document(frames=5), probability=0.834, interval=(0.71, 0.952), verdict="fake")
    page = visit(made)
    assert text(page, "#verdict-title") == "Likely fake"
    assert "83 % (95 % interval 71 % to 95 %)" in text(page, "#verdict-text")
    assert "Not calibrated" in text(page, "#chips")
    track = page.locator("#gauge .track").bounding_box()
    band = page.locator("#gauge-interval").bounding_box()
    assert (band["x"] - track["x"]) / track["width"] == pytest.approx(0.71, abs=0.01)
    assert band["width"] / track["width"] == pytest.approx(0.242, abs=0.01)
    assert page.locator("#gauge-threshold").is_visible()


def test_calibration_is_told_and_its_threshold_is_not_on_the_bar(document: Make, visit: Open) -> None:
    page = visit(document(frames=3, temperature=1.7))
    assert "Calibrated" in text(page, "#chips").splitlines()
    assert not page.locator("#gauge-threshold").is_visible()


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"verdict": "fake", "probability": 0.4}, "Classed as fake"),
        ({"verdict": "real", "probability": 0.6}, "Classed as real"),
        ({"verdict": "real", "probability": 0.2}, "Likely real"),
    ],
)
def test_the_title_does_not_contradict_the_probability(
    document: Make, visit: Open, changes: dict[str, Any], title: str
) -> None:
    page = visit(replace(document(frames=2), **changes))
    assert text(page, "#verdict-title") == title
    assert ("threshold of 0.50" in text(page, "#verdict-text")) == title.startswith("Classed")


def test_borderline_is_told(document: Make, visit: Open) -> None:
    made = document(frames=2)
    page = visit(replace(made, decision=replace(made.decision, borderline=True)))
    assert text(page, "#verdict-title").startswith("Borderline, leaning")
    assert "other frames" in text(page, "#verdict-text")


def test_keys_step_through_the_frames(document: Make, visit: Open) -> None:
    made = document(frames=6)
    page = visit(made)
    assert text(page, "#status").startswith("Mean of 6 frames")
    drawn, table = pixels(page), rows(page)
    for key, frame in (("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 5), ("ArrowRight", 5)):
        page.keyboard.press(key)
        expected = made.tracks[0].frames[frame]
        assert text(page, "#status").startswith(f"Frame {frame + 1} of 6 at {expected.time:.2f} s: ")
        assert text(page, "#sentence") == expected.sentence
        values = expected.maps["Contribution"].regions
        strongest = max(range(9), key=lambda i: abs(values[i]))
        assert text(page, "#regions .most th") == made.regions[strongest]
        assert page.locator("#scrub").input_value() == str(frame)
    assert rows(page) != table
    settled(page, drawn)
    page.click("#mean")
    assert rows(page) == table
    assert page.locator("#mean").get_attribute("aria-pressed") == "true"


def test_the_slider_and_the_buttons_step_too(document: Make, visit: Open) -> None:
    page = visit(document(frames=6))
    page.click("#next")
    assert text(page, "#status").startswith("Frame 1 of 6")
    page.focus("#scrub")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert text(page, "#status").startswith("Frame 3 of 6")
    page.click("#previous")
    assert text(page, "#status").startswith("Frame 2 of 6")
    page.click("#play")
    assert page.locator("#status").get_attribute("aria-live") == "off"
    page.wait_for_function("document.getElementById('status').textContent.startsWith('Frame 6')")
    page.wait_for_function("document.getElementById('play').textContent === 'Play'")
    assert page.locator("#status").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("width", [400, 1600])
def test_a_click_chooses_the_frame_below_it(document: Make, visit: Open, width: int) -> None:
    made = document(times=[0.0, 0.2, 0.4, 0.6, 2.0, 2.2, 2.4])  # the face was lost for a while
    page = visit(made, width)
    strip = page.locator("#strip").bounding_box()
    first, last = -0.1, 2.5
    for frame in (6, 0, 3, 4):
        time = made.tracks[0].frames[frame].time
        for place, y in (("#strip", 30), ("#curve", 40)):
            page.keyboard.press("Home" if frame else "End")
            left = strip["x"] - page.locator(place).bounding_box()["x"]
            page.click(place, position={"x": left + (time - first) / (last - first) * strip["width"], "y": y})
            assert text(page, "#status").startswith(f"Frame {frame + 1} of 7")
            cursor = page.locator("#cursor").bounding_box()
            middle = (cursor["x"] + cursor["width"] / 2 - strip["x"]) / strip["width"]
            assert middle == pytest.approx((time - first) / (last - first), abs=0.02)


def test_methods_are_switched_by_key_and_click(document: Make, visit: Open) -> None:
    made = document(frames=4)
    page = visit(made)
    page.keyboard.press("Home")
    drawn, table = pixels(page), rows(page)
    page.get_by_role("button", name="GradCam").focus()
    page.keyboard.press("Enter")
    assert text(page, "#method-about") == "What GradCam shows."
    assert page.get_by_role("button", name="GradCam").get_attribute("aria-pressed") == "true"
    drawn = settled(page, drawn)
    assert rows(page) != table
    page.keyboard.press("ArrowRight")  # still steps frames, whatever has the focus
    assert text(page, "#status").startswith("Frame 2 of 4")
    page.get_by_role("button", name="Attention").click()
    settled(page, drawn)
    assert "Sum of the map" in rows(page)


@pytest.mark.parametrize("grid", [(7, 7), (14, 14)])
def test_the_table_adds_up_as_displayed(document: Make, visit: Open, grid: tuple[int, int]) -> None:
    made = document(frames=25, grid=grid, seed=3)
    page = visit(made)
    for method in made.methods:
        page.get_by_role("button", name=method.name, exact=True).click()
        page.click("#mean")
        for frame in (made.tracks[0], *made.tracks[0].frames):
            shown = rows(page)
            total = shown.popitem()[1]
            assert sum(shown.values()) == total
            node_map = frame.maps[method.name]
            expected = sum(node_map.regions) if node_map.bias is None else frame.logit
            step = Decimal(1).scaleb(total.as_tuple().exponent)
            assert abs(float(total) - expected) <= float(step) / 2 + 1e-9
            for value, exact in zip(list(shown.values())[:9], node_map.regions, strict=True):
                assert abs(float(value) - exact) < float(step) + 1e-9
            assert ("Not accounted for by this method" in shown) == (method.unit == "logit" and not method.exact)
            page.keyboard.press("ArrowRight")


def test_unsigned_maps_have_no_direction(document: Make, visit: Open) -> None:
    page = visit(document(frames=3))
    assert "towards fake" in text(page, "#legend-words")
    page.get_by_role("button", name="Attention").click()
    assert "speaks for neither class" in text(page, "#legend-words")
    assert page.locator("#regions .fake, #regions .real").count() == 0
    assert page.locator("#legend-ticks span").first.inner_text() == "0.00"
    assert "+" not in page.locator("#regions").inner_text()
    red, green, blue = page.locator("#strip").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(2, 2, 1, 1).data].slice(0, 3)"
    )
    assert max(abs(red - 99), abs(green - 40), abs(blue - 140)) < 30  # neither class's colour


def test_colours_have_the_sign_and_the_fixed_scale(document: Make, visit: Open) -> None:
    made = document(frames=3)
    nodes = [[0.0] * 7 for _ in range(7)]
    nodes[1][1], nodes[5][5], nodes[5][1] = 0.5, -0.5, 50.0
    maps = {name: replace(node_map, nodes=nodes) for name, node_map in made.tracks[0].maps.items()}
    track = replace(made.tracks[0], maps=maps)
    methods = [replace(method, scale=1.0) for method in made.methods]
    page = visit(replace(made, tracks=[track], methods=methods))
    assert text(page, "#legend-ticks").split() == ["−1.00", "0.00", "+1.00"]

    def colour(row: int, column: int) -> list[int]:
        found = page.locator("#face").evaluate(
            """(canvas, [row, column]) => [...canvas.getContext("2d").getImageData(
            (column + .15) * canvas.width / 7, (row + .15) * canvas.height / 7, 1, 1).data].slice(0, 3)""",
            [row, column],
        )
        return list(found)

    page.locator("#opacity").fill("100")
    grey, fake, real, beyond = colour(3, 1), colour(1, 1), colour(5, 5), colour(5, 1)
    assert max(grey) - min(grey) <= 2
    assert fake[0] - fake[2] > 40
    assert real[2] - real[0] > 40
    assert beyond == pytest.approx([178, 24, 43], abs=2)
    page.locator("#opacity").fill("0")
    assert colour(5, 1) != beyond


@pytest.mark.parametrize("option", ["#numbers", "#smooth", "#points"])
def test_options_of_the_picture(document: Make, visit: Open, option: str) -> None:
    page = visit(document(frames=2, grid=(14, 14)), 400)
    before = pixels(page)
    page.check(option)
    after = settled(page, before)
    assert ("Numbers are in units of" in text(page, "#cell")) == (option == "#numbers")
    page.uncheck(option)
    assert settled(page, after) == before


def test_pointing_at_a_cell_reads_its_value(document: Make, visit: Open) -> None:
    made = document(frames=2)
    page = visit(made)
    page.keyboard.press("Home")
    size = page.locator("#face").bounding_box()["width"]
    page.hover("#face", position={"x": size * 2.5 / 7, "y": size * 4.5 / 7})
    value = made.tracks[0].frames[0].maps["Contribution"].nodes[4][2]
    sign, side = ("−", "real") if value < 0 else ("+", "fake")
    assert text(page, "#cell") == f"Here: row 5, column 3: {sign}{abs(value):.3f} logit, towards {side}."


def test_several_faces(document: Make, visit: Open) -> None:
    made = document(faces=3, frames=4)
    page = visit(made)
    buttons = page.locator("#face-picker button")
    assert buttons.count() == 3
    drawn, table = pixels(page), rows(page)
    page.keyboard.press("End")
    buttons.nth(2).click()
    assert text(page, "#status").startswith("Mean of 4 frames")
    assert text(page, "#sentence") == "Sentence of face 3, all pictures."
    settled(page, drawn)
    assert rows(page) != table
    assert buttons.nth(2).get_attribute("aria-pressed") == "true"


def test_one_image_has_no_timeline(document: Make, visit: Open) -> None:
    made = document(frames=0)
    page = visit(made)
    assert not page.locator("#time").is_visible()
    assert not page.locator("#face-picker").is_visible()
    assert text(page, "#status").startswith("The image: probability of fake")
    assert "no interval" in text(page, "#verdict-text")
    before = text(page, "#status")
    page.keyboard.press("ArrowRight")
    assert text(page, "#status") == before


def test_no_face_is_neither_real_nor_fake(document: Make, visit: Open) -> None:
    page = visit(document(faces=0, frames=4))
    assert text(page, "#verdict-title") == "No face found"
    assert "neither real nor fake" in text(page, "#verdict-text")
    assert not page.locator("#gauge").is_visible()
    assert not page.locator("#faces").is_visible()
    assert page.locator("#caveats li").count() == 1


@pytest.mark.parametrize("width", [400, 760, 1000, 1600])
def test_the_layout_holds(document: Make, visit: Open, width: int) -> None:
    page = visit(document(faces=6, frames=60, file="a_very_long_name_without_any_space" * 5 + ".mp4"), width)
    for _ in ("mean", "frame"):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        beyond = page.evaluate("""() => [...document.querySelectorAll("main *")].filter(node => {
            const box = node.getBoundingClientRect();
            return box.width && !node.closest(".scroll, svg, .unseen") && (box.right > innerWidth + 1 || box.left < -1);
        }).map(node => node.tagName + "#" + node.id)""")
        assert beyond == []
        overlaps = page.evaluate("""() => {
            const boxes = [...document.querySelectorAll(
                "h1, h2, h3, button, label, canvas, #status, #sentence, #gauge, #chips li, #curve, .hint, #rounding, tr, dt")]
                .filter(node => node.offsetParent).map(node => [node, node.getBoundingClientRect()]);
            return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([b, q]) => !a.contains(b) && !b.contains(a)
                && Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
                && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1
            ).map(([b]) => `${a.tagName}#${a.id} ${b.tagName}#${b.id}`));
        }""")
        assert overlaps == []
        page.keyboard.press("End")


def test_the_pictures_follow_the_window(document: Make, visit: Open) -> None:
    page = visit(document(frames=10), 1600)
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function("document.getElementById('strip').width < 350")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator("#face").evaluate("canvas => canvas.width / canvas.clientWidth") == pytest.approx(1, abs=0.01)


CONTRAST = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, box = node.getBoundingClientRect();
    if (!walker.currentNode.textContent.trim() || !box.width || ["SCRIPT", "NOSCRIPT"].includes(node.tagName)) continue;
    let behind = node;
    while (behind && parse(getComputedStyle(behind).backgroundColor)[3] < 1) behind = behind.parentElement;
    const style = getComputedStyle(node);
    const [a, b] = [parse(node.closest("svg") ? style.fill : style.color), parse(getComputedStyle(behind).backgroundColor)]
      .map(light).sort((p, q) => q - p);
    found.push([(a + .05) / (b + .05), walker.currentNode.textContent.trim()]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_all_text(document: Make, visit: Open, scheme: str) -> None:
    page = visit(document(faces=2, frames=8), color_scheme=scheme)
    page.keyboard.press("End")
    found = page.evaluate(CONTRAST)
    assert len(found) > 60
    assert [entry for entry in found if entry[0] < 4.5] == []


def test_everything_has_a_name(document: Make, visit: Open) -> None:
    page = visit(document(faces=2, frames=4))
    tree = page.locator("body").aria_snapshot()
    for line in ("banner", "main", 'group "Face"', 'group "Explainer"', 'slider "Frame"', 'button "Previous frame"'):
        assert line in tree
    unnamed = re.findall(r"- (?:button|slider|checkbox|img|region)(?::| \[|$)", tree, re.MULTILINE)
    assert unnamed == []
    order = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(node => Number(node.tagName[1]))")
    assert all(after - before <= 1 for before, after in zip(order, order[1:], strict=False))


def test_focus_is_visible(document: Make, visit: Open) -> None:
    page = visit(document(faces=2, frames=4))
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate("""() => { const style = getComputedStyle(document.activeElement);
            return [document.activeElement.tagName, style.outlineStyle, parseFloat(style.outlineWidth)]; }""")
        assert outline[1] == "solid", outline
        assert outline[2] >= 2, outline


def test_print_leaves_out_what_is_for_hands(document: Make, visit: Open) -> None:
    page = visit(document(frames=4))
    page.emulate_media(media="print")
    assert not page.locator("#play").is_visible()
    assert not page.locator("#opacity").is_visible()
    assert page.locator("#regions").is_visible()


def test_three_hundred_frames_paint_at_once(document: Make, visit: Open) -> None:
    page = visit(document(frames=300, grid=(14, 14)))
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < 2000
    drawn = pixels(page)
    took = page.evaluate("""() => { const start = performance.now();
        for (let i = 0; i < 50; i++) document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
        return (performance.now() - start) / 50; }""")
    assert text(page, "#status").startswith("Frame 50 of 300")
    assert took < 50
    settled(page, drawn)


def test_without_javascript_the_verdict_is_there(document: Make, browser: Browser, page_file: Write) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file(replace(document(frames=3), probability=0.83, interval=(0.7, 0.9), verdict="fake")).as_uri())
    assert "clip.mp4: fake, probability of fake 83%, 95 % interval 70% to 90%" in page.locator("noscript").inner_text()
    context.close()
