"""The report's page on an inconclusive verdict, the likelihood ratio, and error rates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resgat_pl.evaluation.error_rates import ErrorRate
from resgat_pl.explain.report.html import to_html
from resgat_pl.explain.report.strength_records import Likelihood, Strength

from .browser_page import Make, Open, text

RATES = [
    ErrorRate("all", "all", 20, 2, (0.1, 0.03, 0.3), 10, 40, 4, (0.1, 0.04, 0.23), 20),
    ErrorRate("kind", "<b>Deepfakes</b>", 0, 0, None, 0, 40, 4, (0.1, 0.04, 0.23), 40),
]
FOUND = Strength(
    Likelihood(0.5, "3.2", "weak support for fake", -1.0, 1.2, False, 0.3, "20 videos"),
    "Likelihood ratio 3.2: such a score is 3.2 times as probable.",
    RATES,
    "Error rates of this checkpoint's own test.",
    ["sound"],
)


@pytest.mark.parametrize("width", [400, 1600])
def test_reasons_ratio_and_rates_are_shown(document: Make, visit: Open, width: int) -> None:
    made = document(frames=12)
    decision = replace(made.decision, leaning="fake", reasons=["The evidence is weak.", "<i>The face is dark.</i>"])
    made = replace(made, verdict="inconclusive", probability=0.6, decision=decision, strength=FOUND)
    page = visit(made, width)
    assert text(page, "#verdict-title") == "Detector's verdict: inconclusive, leaning fake"
    assert "leans to fake, without reason enough" in text(page, "#verdict-text")
    assert text(page, "#sure").splitlines()[:4] == [
        "Inconclusive: The evidence is weak.",
        "Inconclusive: <i>The face is dark.</i>",
        f"In its own test: {FOUND.rates[0].text}. Below: for files like this one.",
        FOUND.statement,
    ]
    assert text(page, "#likelihood") == FOUND.statement
    cells = page.evaluate(
        "[...document.querySelectorAll('#rates tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    )
    assert [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in cells] == [
        [
            "all",
            "2 of 20: 10 % (3 % to 30 %, 10 independent clips)",
            "4 of 40: 10 % (4 % to 23 %, 20 independent clips)",
        ],
        ["kind: <b>Deepfakes</b>", "", "4 of 40: 10 % (4 % to 23 %)"],
    ]
    assert text(page, "#not-tested") == "sound"
    assert "Error rate unknown" not in text(page, "#chips")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "detector says inconclusive, leaning fake, " in to_html(made)


def test_what_is_unknown_is_not_shown(document: Make, visit: Open) -> None:
    page = visit(document(frames=3))
    assert not page.locator("#strength").is_visible()
    page = visit(replace(document(frames=3), strength=Strength(None, "No ratio.", [], "Unknown.", ["sound"])))
    assert text(page, "#likelihood") == "No ratio." and text(page, "#rates-source") == "Unknown."
    assert not page.locator("#rates").is_visible()
