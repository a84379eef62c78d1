"""One registry holds all explanation methods; the names of resgat_pl.explain come from it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from inspect import signature
from pathlib import Path

import pytest
import torch
from torch import Tensor

from resgat_pl import explain
from resgat_pl.core import parts
from resgat_pl.core.errors import ConfigError
from resgat_pl.explain import registry
from resgat_pl.explain.base import Attribution, Explainer
from resgat_pl.explain.benchmark.command import explainers
from resgat_pl.explain.benchmark.scores import BASELINES
from resgat_pl.explain.report.run_methods import choose_methods

OF_CLIPS = ("ClipContribution", "FrameShapley")
"""Explain no pictures, so they are not among those that are run on them."""


@pytest.mark.parametrize("name", registry.methods())
def test_every_method_is_an_explainer_that_needs_a_model_only(name: str) -> None:
    method = registry.find(name)
    assert issubclass(method, Explainer)
    assert method.__name__ == name
    needed = [p.name for p in signature(method).parameters.values() if p.default is p.empty]
    assert needed[:1] == ["model"]


def test_the_folder_hands_out_what_is_registered() -> None:
    assert set(dir(explain)) == {"Explainer", "Explanation", "explainer", *OF_CLIPS, *registry.methods()}
    assert explain.Contribution is registry.find("Contribution")
    with pytest.raises(AttributeError, match="Nonsense"):
        explain.Nonsense  # noqa: B018 - asking is the test


def test_names_for_type_checkers_are_those_of_the_registry() -> None:
    source = Path(explain.__file__).read_text()
    assert set(re.findall(r"(\w+) as \1", source)) == set(dir(explain))


def test_methods_are_listed_by_family_and_name() -> None:
    assert list(registry.methods())[:7] == [
        *("Attention", "AttentionExcess", "Contribution", "EdgeContribution", "EnsembleContribution", "NodeEvidence"),
        "Consensus",
    ]
    assert set(registry._all()) - set(registry.methods()) == {*BASELINES, *OF_CLIPS}


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


OUTSIDE = """
from resgat_pl.explain.base import Attribution, Explainer
from resgat_pl.explain.registry import explainer

class Plain(Explainer):
    \"\"\"The `logit` everywhere,
    without a decorator.

    More of it.
    \"\"\"
    def explain(self, images):
        logit = self.net(images).logit
        return Attribution(logit[:, None].repeat(1, self.net.grid.num_nodes), logit, logit)

@explainer("nodes", "Decorated.")
class Decorated(Plain):
    pass

class Attention(Plain):
    pass

number = 3
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with explainers, one of them with an entry point."""
    (tmp_path / "outside_explainer.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside_explainer", raising=False)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    points = EntryPoints([EntryPoint("plain", "outside_explainer:Plain", "resgat_pl.explainers")])
    monkeypatch.setattr(parts, "entry_points", points.select)


@pytest.mark.usefixtures("outside")
def test_methods_from_outside_by_entry_point_and_class_path() -> None:
    chosen = choose_methods("plain,outside_explainer.Plain, outside_explainer.Decorated,Contribution")
    assert [method.__name__ for method in chosen] == ["Plain", "Decorated", "Contribution"]
    assert registry.describe(chosen[0]) == "The logit everywhere, without a decorator."
    assert registry.describe(chosen[1]) == "Decorated."
    families = {name: entry.family for name, entry in registry._all().items()}
    assert (families["Plain"], families["Decorated"]) == ("other", "nodes")
    assert registry.find("resgat_pl.explain.Contribution") is registry.find("Contribution")


@pytest.mark.usefixtures("outside")
def test_installed_methods_take_part_in_the_benchmark() -> None:
    assert "Plain" in explainers()
    assert list(explainers(["plain"])) == [*BASELINES, "Plain"]
    assert list(explainers(["Random", "plain"])) == [*BASELINES, "Plain"]


@pytest.mark.usefixtures("outside")
def test_the_name_of_another_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"two methods Attention, resgat_pl\.\S+ and outside_explainer\.Attention"):
        registry.find("outside_explainer.Attention")
    with pytest.raises(ConfigError, match="no class derived from"):
        registry.find("outside_explainer.number")
    with pytest.raises(ConfigError, match="cannot be had: the module outside_nowhere"):
        registry.find("outside_nowhere.Method")
    with pytest.raises(ConfigError, match=r"no method 'plian'\. Did you mean plain\?"):
        registry.find("plian")


def test_unknown_methods_are_named_with_all_others() -> None:
    with pytest.raises(ConfigError, match=r"no method 'Nonsense'\..* There are: .*Attention"):
        registry.find("Nonsense")
    with pytest.raises(ConfigError, match=r"no method 'PartitionSHAP'\. KernelSHAP replaces it"):
        registry.find("PartitionSHAP")


@pytest.mark.long
def test_optional_packages_are_not_imported_before_they_are_used() -> None:
    code = (
        "import sys; from resgat_pl.explain import Contribution, NodeLIME, GradCAM; "
        "sys.exit(bool({'captum', 'lime', 'skimage'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
