"""Reading a report's page as its reader does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from resgat_pl.explain.report.document import Document

if TYPE_CHECKING:
    from playwright.sync_api import Page

Make = Callable[..., Document]
Open = Callable[..., Any]


def until(page: Page, condition: str) -> None:
    """Wait for a condition: a function, since the page's policy forbids to evaluate the text of an expression."""
    page.wait_for_function(f"() => {condition}")


def text(page: Page, place: str) -> str:
    return page.locator(place).inner_text().replace("\N{NO-BREAK SPACE}", " ")


READ_ROWS = "[...document.querySelectorAll('#regions tr:has(td)')].map(row => [...row.cells].map(c => c.innerText))"


def rows(page: Page) -> dict[str, Decimal]:
    """The region table as displayed."""
    return numbers(page.evaluate(READ_ROWS))


def numbers(cells: list[list[str]]) -> dict[str, Decimal]:
    return {name: Decimal(value.replace("−", "-").replace("+", "")) for name, *_, value in cells}


def pixels(page: Page, canvas: str = "#face") -> str:
    """A digest of what is drawn."""
    return hashlib.sha256(page.locator(canvas).evaluate("canvas => canvas.toDataURL()").encode()).hexdigest()


def colour(page: Page, canvas: str, x: float, y: float) -> list[int]:
    """Red, green, blue and alpha at a point given in fractions, read from a copy: reading slows a canvas down."""
    found = page.locator(canvas).evaluate(
        """(canvas, [x, y]) => {
            const copy = new OffscreenCanvas(1, 1).getContext("2d");
            const height = canvas.id === "face" ? canvas.width : canvas.height;  // a caption is below the square face
            copy.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * height));
            return [...copy.getImageData(0, 0, 1, 1).data];
        }""",
        [x, y],
    )
    return list(found)


def settled(page: Page, before: str) -> str:
    """Wait until the face is drawn otherwise than before; return its digest."""
    for _ in range(100):
        if (now := pixels(page)) != before:
            return now
        page.wait_for_timeout(20)
    raise AssertionError("The picture stayed as it was.")
