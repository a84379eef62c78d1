"""Values to make rubbish of, and what is done with it."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

Fuzz = Callable[..., None]
"""``fuzz(name, values, check, few, every)``, see conftest.py."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
