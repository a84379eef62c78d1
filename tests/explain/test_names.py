"""The names that resgat_pl.explain offers."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature

import pytest

from resgat_pl import explain
from resgat_pl.explain.base import Explainer


@pytest.mark.parametrize("name", explain.METHODS)
def test_every_method_is_an_explainer_that_needs_a_model_only(name: str) -> None:
    method = getattr(explain, name)
    assert issubclass(method, Explainer)
    assert method.__name__ == name
    needed = [p.name for p in signature(method).parameters.values() if p.default is p.empty]
    assert needed[:1] == ["model"]


def test_all_is_complete() -> None:
    assert set(dir(explain)) == {"Explainer", "Explanation", *explain.METHODS}
    with pytest.raises(AttributeError, match="Nonsense"):
        explain.Nonsense  # noqa: B018 - asking is the test


def test_optional_packages_are_not_imported_before_they_are_used() -> None:
    code = (
        "import sys; from resgat_pl.explain import Contribution, NodeLIME, GradCAM; "
        "sys.exit(bool({'captum', 'lime', 'shap', 'skimage'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
