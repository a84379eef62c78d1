"""Layout and accessibility of the HTML report: widths, contrast, names, focus, print, speed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resgat_pl.explain.report.document import Document

from .browser_page import Make, Open, pixels, settled, text, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.mark.parametrize("width", [400, 1000, 1600])
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
              "h1, h2, h3, button, label, canvas, tr, dt, #status, #sentence, #gauge, #chips li, #curve, .hint, #cell")]
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
    until(page, "document.getElementById('strip').width < 350")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator("#face").evaluate("canvas => canvas.width / canvas.clientWidth") == pytest.approx(1, abs=0.01)


FIRST_PAINT = """() => new Promise((found) => {
  const look = () => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    if (paint) found(paint.startTime);
    else requestAnimationFrame(look);
  };
  look();
})"""
CONTRAST = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const light = rgba => rgba.slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, box = node.getBoundingClientRect();
    if (!walker.currentNode.textContent.trim() || !box.width || ["SCRIPT", "NOSCRIPT"].includes(node.tagName)) continue;
    let behind = node;
    while (behind && parse(getComputedStyle(behind).backgroundColor)[3] < 1) behind = behind.parentElement;
    const style = getComputedStyle(node);
    const colours = [node.closest("svg") ? style.fill : style.color, getComputedStyle(behind).backgroundColor];
    const [a, b] = colours.map(parse).map(light).sort((p, q) => q - p);
    found.push([(a + .05) / (b + .05), walker.currentNode.textContent.trim()]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_all_text(document: Make, visit: Open, scheme: str) -> None:
    page = visit(document(faces=2, frames=8), scheme=scheme)
    page.keyboard.press("End")
    found = page.evaluate(CONTRAST)
    assert len(found) > 60
    assert [entry for entry in found if entry[0] < 4.5] == []


def test_everything_has_a_name(document: Make, visit: Open) -> None:
    page = visit(document(faces=2, frames=4))
    tree = page.locator("body").aria_snapshot()
    for line in ("banner", "main", 'group "Face"', 'group "Map"', 'slider "Frame"', 'button "Previous frame"'):
        assert line in tree
    unnamed = re.findall(r"- (?:button|slider|checkbox|img|region)(?::| \[|$)", tree, re.MULTILINE)
    assert unnamed == []
    order = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(node => Number(node.tagName[1]))")
    assert all(after - before <= 1 for before, after in pairwise(order))


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
    # against a page of three frames, not a clock: the machine may have other work
    first = [visit(document(frames=frames, grid=(14, 14))).evaluate(FIRST_PAINT) for frames in (3, 300)]
    assert first[1] < 10 * first[0] + 1000
    page = visit(document(frames=300, grid=(14, 14)))
    drawn = pixels(page)
    took = page.evaluate("""() => { const start = performance.now();
        for (let i = 0; i < 50; i++) document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
        return (performance.now() - start) / 50; }""")
    assert text(page, "#status").startswith("Frame 50 of 300")
    assert took < 1000  # ms: it does not hang; a step takes a few
    settled(page, drawn)


def test_without_javascript_the_verdict_is_there(
    document: Make, browser: Browser, page_file: Callable[[Document], Path]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file(replace(document(frames=3), probability=0.83, interval=(0.7, 0.9), verdict="fake")).as_uri())
    said = "clip.mp4: The detector calls the face in this video fake: score 83 %, above the threshold 50 %, a default"
    shown = page.locator("noscript").inner_text()
    assert said in shown and "It is no proof." in shown and "Trained on: unknown." in shown
    context.close()
