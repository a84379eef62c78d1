from __future__ import annotations

from resgat_pl.core.text import count_and_name, first_few, first_line, joined, printable, shorten


def test_things_are_counted_and_the_first_named() -> None:
    named = {"": "", "a": "1 video (a)", "ab": "2 videos (a, b)", "abcde": "5 videos (a, b, c, d, …)"}
    assert {names: count_and_name(names, "video") for names in named} == named
    assert count_and_name("ab", "missing", "missing") == "2 missing (a, b)"
    assert count_and_name("a" * 1234, "entry", "entries", most=1) == "1,234 entries (a, …)"
    assert first_few(iter("abc"), 3) == "a, b, c"


def test_names_in_a_sentence() -> None:
    assert [joined("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_untrusted_text_is_one_short_line() -> None:
    assert shorten(" a\n b ") == "a b"
    assert shorten("x" * 60) == "x" * 60
    assert shorten("x" * 61) == "x" * 60 + "…"
    assert first_line(ValueError("first\nadvice")) == "ValueError: first"
    assert first_line(ValueError()) == "ValueError:"
    assert printable("\x1b[2J\u202e") == r"\x1b[2J\u202e"
