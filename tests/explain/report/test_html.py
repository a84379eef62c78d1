"""The HTML report, in a real browser, from the disk: what it says, and that it runs nothing but itself."""

from __future__ import annotations

import hashlib
import html
import json
import math
import re
from base64 import b64encode
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resgat_pl.explain.report.first_page import percent
from resgat_pl.explain.report.html import to_html

from .browser_page import READ_ROWS, Make, Open, colour, numbers, pixels, rows, settled, text, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = (
    "<script>window.pwned = 1</script>.mp4",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>\u2028'\"\n`${window.pwned = 1}`.mp4",
    '"><img src=x onerror="window.pwned = 1">',
    "{{script}} & {{data}} &lt;b&gt; \udcff.mp4",
)


def test_a_file_name_is_text(document: Make, visit: Open) -> None:
    name = " ".join(HOSTILE)
    made = document(frames=3, file=name, note=name)
    page = visit(replace(made, caveats=[name], methods=[replace(method, about=name) for method in made.methods]))
    shown = name.replace("\udcff", "\ufffd")
    for place in ("#file", "#notes li:nth-last-child(2)", "#caveats li", "#method-about"):
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
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)

    def digest(code: str) -> str:
        return f"'sha256-{b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "script-src": digest(script),
        "style-src": digest(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_the_policy_stops_a_foreign_script(document: Make, tab: Page, tmp_path: Path) -> None:
    path = tmp_path / "changed.html"
    path.write_text(to_html(document(frames=1)).replace("</body>", "<script>window.pwned = 1</script></body>"))
    with tab.expect_console_message() as refused:
        tab.goto(path.as_uri())
    assert tab.evaluate("window.pwned") is None
    assert "Content Security Policy" in refused.value.text


def test_verdict_in_words_and_as_a_bar(document: Make, visit: Open) -> None:
    made = replace(document(frames=5), probability=0.834, interval=(0.71, 0.952), verdict="fake")
    page = visit(made)
    assert text(page, "#verdict-title") == "Detector's verdict: fake"
    assert page.title() == "clip.mp4: detector says fake, training data unknown, no proof"
    assert text(page, "#versions") == "resgat_pl 0.1.0 · torch 2.14.1"
    assert "score 83 %, above the threshold 50 %, a default that no data support." in text(page, "#verdict-text")
    assert "Other frames of this file would give 71 % to 95 %" in text(page, "#sure")
    assert "Not calibrated" in text(page, "#chips")
    track = page.locator("#gauge .track").bounding_box()
    band = page.locator("#gauge-interval").bounding_box()
    assert (band["x"] - track["x"]) / track["width"] == pytest.approx(0.71, abs=0.01)
    assert band["width"] / track["width"] == pytest.approx(0.242, abs=0.01)
    assert page.locator("#gauge-threshold").is_visible()


def test_the_threshold_is_on_the_scale_of_the_probability(document: Make, visit: Open) -> None:
    made = document(frames=3, temperature=1.7)
    decision = replace(made.decision, threshold=0.8, limit=0.693, chosen=True)
    page = visit(replace(made, probability=0.6927, verdict="real", decision=decision))
    assert {"Calibrated", "Error rate unknown"} <= set(text(page, "#chips").splitlines())
    track, mark = (page.locator(f"#gauge {name}").bounding_box() for name in (".track", "#gauge-threshold"))
    assert (mark["x"] - track["x"]) / track["width"] == pytest.approx(0.693, abs=0.01)
    assert "score 69.27 %, below the threshold 69.30 %." in text(page, "#verdict-text")  # not 69 % below 69 %


def test_borderline_is_shown(document: Make, visit: Open) -> None:
    made = document(frames=2)
    page = visit(replace(made, decision=replace(made.decision, borderline=True)))
    assert text(page, "#verdict-title").endswith(", borderline")


@pytest.mark.parametrize(
    ("recordings", "title", "limit"),
    [
        (True, "Detector's verdict", ""),
        (
            False,
            "Not valid for recordings. Detector's output",
            "on photographs and recordings its verdict means",
        ),
        (None, "Detector's verdict", "It is unknown whether the detector was trained on faces like this one"),
    ],
)
def test_who_was_not_judged_and_what_it_was_trained_on_stand_beside_the_verdict(
    document: Make, visit: Open, recordings: bool | None, title: str, limit: str
) -> None:
    made = document(faces=2, frames=2)
    words = {"trained_on": "Trained on <three> videos.", "validated_on": "Validated on 2."}
    trained = replace(made.checkpoint, recordings=recordings, **words)
    page = visit(replace(made, checkpoint=trained, faces_found=3))
    assert text(page, "#trained") == "Trained on <three> videos. Validated on 2."
    assert "2 of 3 faces judged" in text(page, "#chips")
    assert "Of 3 faces that were seen, 2 were judged." in text(page, "#verdict-text")
    assert text(page, "#verdict-title").startswith(f"{title}: ")
    assert limit in text(page, "#notes")
    assert ("doubtful" in page.locator("#verdict").get_attribute("class")) == (recordings is not True)
    assert text(page, "#notes").endswith("It is no proof.")


def test_keys_step_through_the_frames(document: Make, visit: Open) -> None:
    made = document(frames=6)
    page = visit(made)
    assert text(page, "#status").startswith("Mean of 6 frames")
    drawn, table = pixels(page), rows(page)
    for key, frame in (
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", 5),
        ("ArrowRight", 5),
    ):
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
    until(page, "document.getElementById('status').textContent.startsWith('Frame 6')")
    until(page, "document.getElementById('play').textContent === 'Play'")
    assert page.locator("#status").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("width", [400, 1600])
def test_a_click_chooses_the_frame_below_it(document: Make, visit: Open, width: int) -> None:
    made = document(times=[0.0, 0.2, 0.4, 0.6, 2.0, 2.2, 2.4])  # the face was lost for a while
    page = visit(made, width)
    strip = page.locator("#strip").bounding_box()
    first, last = -0.1, 2.5
    for frame, place in ((6, "#strip"), (0, "#curve"), (3, "#strip"), (4, "#curve")):
        time = made.tracks[0].frames[frame].time
        left = strip["x"] - page.locator(place).bounding_box()["x"]
        page.click(place, position={"x": left + (time - first) / (last - first) * strip["width"], "y": 35})
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
    page.get_by_role("button", name="Where the network looks").click()
    settled(page, drawn)
    assert "Sum of the map" in rows(page)


def test_the_table_adds_up_as_displayed(document: Make, visit: Open) -> None:
    made = document(frames=60, seed=3)
    page = visit(made)
    for number, method in enumerate(made.methods):
        tables = page.evaluate(f"""() => {{
            document.querySelectorAll("#method-picker button")[{number}].click();
            document.getElementById("mean").click();
            return Array.from({{ length: 61 }}, () => {{
                const shown = {READ_ROWS};
                document.dispatchEvent(new KeyboardEvent("keydown", {{ key: "ArrowRight" }}));
                return shown;
            }});
        }}""")
        for frame, cells in zip((made.tracks[0], *made.tracks[0].frames), tables, strict=True):
            shown = numbers(cells)
            total = shown.popitem()[1]
            assert sum(shown.values()) == total
            node_map = frame.maps[method.name]
            expected = sum(node_map.regions) if node_map.bias is None else frame.logit
            step = Decimal(1).scaleb(total.as_tuple().exponent)
            assert abs(float(total) - expected) <= float(step) / 2 + 1e-9
            for value, exact in zip(list(shown.values())[:9], node_map.regions, strict=True):
                assert abs(float(value) - exact) < float(step) + 1e-9
            assert ("Not accounted for by this method" in shown) == (method.unit == "logit" and not method.exact)


def test_an_exact_method_that_does_not_add_up_is_exposed(document: Make, visit: Open) -> None:
    made = document(frames=0)
    frame = made.tracks[0].frames[0]
    exact = frame.maps["Contribution"]
    wrong = replace(exact, regions=[exact.regions[0] + 0.5, *exact.regions[1:]])
    frame = replace(frame, maps=frame.maps | {"Contribution": wrong})
    page = visit(replace(made, tracks=[replace(made.tracks[0], frames=[frame])]))
    assert rows(page)["Not accounted for by this method"] == pytest.approx(Decimal("-0.5"), abs=Decimal("0.01"))


def test_unsigned_maps_have_no_direction(document: Make, visit: Open) -> None:
    page = visit(document(frames=3))
    assert "towards fake" in text(page, "#legend-words")
    page.get_by_role("button", name="Where the network looks").click()
    assert "speaks for neither class" in text(page, "#legend-words")
    assert page.locator("#regions .fake, #regions .real").count() == 0
    assert page.locator("#legend-ticks span").first.inner_text() == "0.00"
    assert "+" not in page.locator("#regions").inner_text()
    assert colour(page, "#strip", 0.01, 0.01)[:3] == pytest.approx([99, 40, 140], abs=25)  # neither class's colour


def test_colours_have_the_sign_and_the_fixed_scale(document: Make, visit: Open) -> None:
    made = document(frames=3)
    nodes = [[0.0] * 7 for _ in range(7)]
    nodes[1][1], nodes[5][5], nodes[5][1] = 0.5, -0.5, 50.0
    maps = {name: replace(node_map, nodes=nodes) for name, node_map in made.tracks[0].maps.items()}
    track = replace(made.tracks[0], maps=maps)
    methods = [replace(method, scale=1.0) for method in made.methods]
    page = visit(replace(made, tracks=[track], methods=methods))
    assert text(page, "#legend-ticks").split() == ["−1.00", "0.00", "+1.00"]

    def of_node(row: int, column: int) -> list[int]:
        return colour(page, "#face", (column - 0.25) / 7, (row - 0.25) / 7)[:3]  # the cell begins at - 0.4

    page.locator("#opacity").fill("100")
    grey, fake, real, beyond = of_node(3, 1), of_node(1, 1), of_node(5, 5), of_node(5, 1)
    assert max(grey) - min(grey) <= 2
    assert fake[0] - fake[2] > 40
    assert real[2] - real[0] > 40
    assert beyond == pytest.approx([178, 24, 43], abs=2)
    page.locator("#opacity").fill("0")
    assert of_node(5, 1) != beyond


def test_options_of_the_picture(document: Make, visit: Open) -> None:
    page = visit(document(frames=2, grid=(14, 14)), 400)
    before = pixels(page)
    for option in ("#numbers", "#smooth", "#points"):
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
    assert text(page, "#cell") == f"Here: row 5, column 3: {sign}{abs(value):.3f} log-odds, towards {side}."


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
    assert text(page, "#status").startswith("The image: score ")
    assert "It is one picture" in text(page, "#sure")
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


def test_sum_and_score_reconcile_step_by_step(document: Make, visit: Open) -> None:
    made = document(frames=9, temperature=1.7, seed=4)
    face = made.tracks[0]
    page = visit(made)
    read = "[...document.querySelectorAll('#ledger tr')].map(row => row.cells[1].innerText.replace('−', '-'))"
    total, averaging, odds, divided, score = page.evaluate(read)
    assert Decimal(total) + Decimal(averaging) == Decimal(odds)
    assert Decimal(total) == rows(page)["Sum = mean log-odds"].quantize(Decimal("0.01"))
    assert float(odds) == pytest.approx(math.log(face.score / (1 - face.score)), abs=0.006)
    assert float(divided) == pytest.approx(float(odds) / 1.7, abs=0.01)
    assert score.replace("\N{NO-BREAK SPACE}", " ") == percent(face.probability)
    page.keyboard.press("Home")
    total, divided, score = page.evaluate(read)
    assert float(total) == pytest.approx(face.frames[0].logit, abs=0.006)
    assert score.replace("\N{NO-BREAK SPACE}", " ") == percent(face.frames[0].probability)
