"""One registry holds all explanation methods; the names of resgat_pl.explain come from it."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
import torch
from torch import Tensor

from resgat_pl import explain
from resgat_pl.core.errors import ConfigError
from resgat_pl.explain import registry
from resgat_pl.explain.base import Attribution, Explainer
from resgat_pl.explain.benchmark.leaderboard import BASELINES
from resgat_pl.explain.report.run_methods import choose_methods


@pytest.mark.parametrize("name", registry.methods())
def test_every_method_is_an_explainer_that_needs_a_model_only(name: str) -> None:
    method = registry.find(name)
    assert issubclass(method, Explainer)
    assert method.__name__ == name
    needed = [p.name for p in signature(method).parameters.values() if p.default is p.empty]
    assert needed[:1] == ["model"]


def test_the_folder_hands_out_what_is_registered() -> None:
    assert set(dir(explain)) == {"Explainer", "Explanation", "explainer", *registry.methods()}
    assert explain.Contribution is registry.find("Contribution")
    with pytest.raises(AttributeError, match="Nonsense"):
        explain.Nonsense  # noqa: B018 - asking is the test


def test_names_for_type_checkers_are_those_of_the_registry() -> None:
    source = Path(explain.__file__).read_text()
    assert set(re.findall(r"(\w+) as \1", source)) == set(dir(explain))


def test_methods_are_listed_by_family_and_name() -> None:
    assert list(registry.methods())[:6] == [
        *("Attention", "AttentionExcess", "Contribution", "EdgeContribution", "NodeEvidence"),
        "NodeAblation",
    ]
    assert set(registry._all()) - set(registry.methods()) == set(BASELINES)


def test_a_registered_method_is_found_listed_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @registry.explainer("nodes", "Nothing.")
    class Nothing(Explainer):
        """Finds nothing."""

        def explain(self, images: Tensor) -> Attribution:
            """See ``Explainer``."""
            logit = self.net(images).logit
            return Attribution(torch.zeros(len(images), self.net.grid.num_nodes), logit, logit)

    assert registry.find("Nothing") is Nothing
    assert registry.describe(Nothing) == "Nothing."
    assert choose_methods("Nothing, Nothing") == [Nothing]
    assert registry.methods()["Nothing"] is Nothing


def test_unknown_methods_are_named_with_all_others() -> None:
    with pytest.raises(ConfigError, match=r"no method 'Nonsense'\. There are: .*Attention"):
        registry.find("Nonsense")
    with pytest.raises(ConfigError, match=r"no method 'PartitionSHAP'\. KernelSHAP replaces it"):
        registry.find("PartitionSHAP")


def test_optional_packages_are_not_imported_before_they_are_used() -> None:
    code = (
        "import sys; from resgat_pl.explain import Contribution, NodeLIME, GradCAM; "
        "sys.exit(bool({'captum', 'lime', 'skimage'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
