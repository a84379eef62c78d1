"""The YAML file of an experiment, and the command line's choice of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.splits.registry import from_spec
from resgat_pl.reproduce.experiment import Condition, Experiment, option

TABLE = Path(__file__).parents[2] / "experiments" / "table1.yaml"
ROWS = ("ffpp_gatv1", "ffpp_gatv2", "dfdc_gatv1", "dfdc_gatv2")
EXPERIMENT = Experiment.read(TABLE)
ROW = yaml.safe_load(TABLE.read_text())["rows"][0]


def changed(path: Path, **changes: Any) -> Path:
    """The shipped table with some keys replaced, or removed where the value is None."""
    table = {**yaml.safe_load(TABLE.read_text()), **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in table.items() if value is not None}))
    return path


def test_the_shipped_table() -> None:
    assert tuple(row.name for row in EXPERIMENT.rows) == ROWS
    assert all(row.name == f"{row.dataset}_{row.attention}" == Path(row.config).stem for row in EXPERIMENT.rows)
    assert {row.name: (row.paper.f1, row.paper.auc) for row in EXPERIMENT.rows} == {
        "ffpp_gatv1": (99.68, 99.9),
        "ffpp_gatv2": (99.93, 99.9),
        "dfdc_gatv1": (80.01, 85.92),
        "dfdc_gatv2": (81.72, 85.96),
    }
    for row in EXPERIMENT.rows:
        assert min(row.paper.train.real, row.paper.train.fake, row.paper.test.real, row.paper.test.fake) > 4000
        assert row.root == f"{row.dataset.upper()}_ROOT"


def test_what_the_shipped_table_names_exists() -> None:
    files = [row.config for row in EXPERIMENT.rows] + [EXPERIMENT.synthetic.config]
    files += [preset.arguments[1] for preset in EXPERIMENT.presets.values()]
    assert all(Path(file).is_file() for file in files)
    for name, path in EXPERIMENT.protocols.items():
        assert f"resgat_pl.data.splits.{type(from_spec({'name': name})).__name__}" == path


def test_presets_are_options_over_a_configuration() -> None:
    faithful = ["--config", str(TABLE.parent / "../configs/paper_faithful.yaml")]
    assert EXPERIMENT.presets["paper_faithful"].arguments == faithful
    assert EXPERIMENT.presets["paper_faithful"].val == 0
    assert EXPERIMENT.presets["corrected"].val == 0.1
    assert EXPERIMENT.presets["only_normalized"].arguments == [*faithful, "--net.normalize", "imagenet"]
    name, value = EXPERIMENT.presets["only_scheduled"].arguments[2:]
    assert name == "--model.lr_scheduler"
    assert yaml.safe_load(value)["init_args"] == {"T_max": 15}


def test_the_default_choice() -> None:
    chosen = EXPERIMENT.choose(None, None, None, None, "real")
    assert [row.name for row in chosen.rows] == list(ROWS)
    assert (chosen.protocols, chosen.presets) == (["paper", "strict"], ["paper_faithful", "corrected"])
    assert chosen.seeds == [0, 1, 2]
    assert chosen.size == 4 * 2 * 2 * 3
    assert EXPERIMENT.choose(None, None, None, None, "synthetic").seeds == [0]


@given(
    st.lists(st.sampled_from(ROWS), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(sorted(EXPERIMENT.protocols)), min_size=1, unique=True),
    st.lists(st.sampled_from(sorted(EXPERIMENT.presets)), min_size=1, unique=True),
    st.lists(st.integers(0, 999), min_size=1, max_size=4, unique=True),
    st.sampled_from([",", " , ", ",,"]),
)
def test_lists_are_taken_in_their_order(
    rows: list[str], protocols: list[str], presets: list[str], seeds: list[int], comma: str
) -> None:
    lists = (comma.join(protocols), comma.join(presets), comma.join(map(str, seeds)), comma.join(rows))
    chosen = EXPERIMENT.choose(*lists, "real")
    assert [row.name for row in chosen.rows] == rows
    assert (chosen.protocols, chosen.presets, chosen.seeds) == (protocols, presets, seeds)
    assert chosen.size == len(rows) * len(protocols) * len(presets) * len(seeds)


def test_what_is_named_twice_is_run_once() -> None:
    chosen = EXPERIMENT.choose("strict,strict", "corrected,corrected", "1,01", "ffpp_gatv1,ffpp_gatv1", "synthetic")
    assert chosen.size == 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"rows": "ffpp_gatv1,ffpp_gatv3"}, r"--rows: ffpp_gatv3 is not in .*ffpp_gatv1, ffpp_gatv2, dfdc_gatv1"),
        ({"protocol": "papr,stict"}, r"--protocol: papr, stict is not in .*paper, official, strict, parts, identity"),
        ({"preset": "fast"}, r"--preset: fast is not in .*paper_faithful, corrected"),
        ({"rows": " , "}, r"--rows names nothing.*ffpp_gatv1"),
        ({"protocol": ""}, r"--protocol names nothing.*strict"),
        ({"seeds": "0,one"}, r"--seeds.*: 'one' is no number"),
        ({"seeds": "-1"}, r"'-1' is no number from 0"),
        ({"seeds": "1.5"}, r"'1\.5' is no number"),
        ({"seeds": " , "}, "--seeds names nothing"),
    ],
)
def test_choices_that_are_not_there(choice: dict[str, str], message: str) -> None:
    lists = [choice.get(name) for name in ("protocol", "preset", "seeds", "rows")]
    with pytest.raises(ConfigError, match=message):
        EXPERIMENT.choose(*lists, "real")


def test_a_place_for_each_condition() -> None:
    conditions = [
        Condition(row, protocol, preset, seed, data)
        for row in EXPERIMENT.rows
        for protocol in EXPERIMENT.protocols
        for preset in EXPERIMENT.presets
        for seed in (0, 1)
        for data in ("real", "synthetic")
    ]
    places = {condition.place for condition in conditions}
    assert len(places) == len(conditions)
    assert Path("real/ffpp_gatv1/paper/corrected/seed_1") in places


@pytest.mark.parametrize("value", [True, None, 3, 1.5, [1, "a"], {"class_path": "x", "init_args": {"T_max": 1}}])
def test_options_hold_any_plain_value(value: object) -> None:
    name, text = option("model.x", value)
    assert name == "--model.x"
    assert yaml.safe_load(text) == value
    assert option("net.normalize", "none") == ["--net.normalize", "none"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"protocols": None, "seeds": None}, "lacks protocols, seeds"),
        ({"rows": [], "seeds": []}, "rows, seeds must not be empty"),
        ({"rows": [{"name": "a", "config": "c.yaml"}]}, r"lacks rows\[0\]\.attention.*rows\[0\]\.paper"),
        ({"rows": ["a"]}, "rows"),
        ({"rows": [ROW, ROW]}, "two rows are called ffpp_gatv1"),
        ({"rows": [{**ROW, "name": "../a"}]}, "the name '../a'"),
        ({"rows": [{**ROW, "colour": "red"}]}, "colour"),
        ({"rows": [{**ROW, "dataset": "celeb"}]}, "celeb"),
        *(({"rows": [{**ROW, "paper": {key: value for key, value in ROW["paper"].items() if key != lacking}}]},
           rf"lacks rows\[0\]\.paper\.{lacking}") for lacking in ROW["paper"]),
        ({"presets": {"a": {"val": 0.1}}}, r"lacks presets\.a\.config"),
        ({"presets": {"a": {"config": "x", "val": "much"}}}, r"much.*presets\.a\.val"),
        ({"presets": {"a": {"config": "x", "options": ["net.heads=1"]}}}, "presets"),
        ({"presets": {"a b/": {"config": "x"}}}, "the name 'a b/'"),
        ({"presets": "fast"}, "presets"),
        ({"protocols": ["paper"]}, "protocols"),
        ({"synthetic": {"options": {}}}, r"lacks synthetic\.config"),
        ({"synthetic": {"config": "x", "sets": {}}}, "sets"),
        ({"seeds": 3}, "seeds"),
        ({"protocol": "paper"}, "protocol"),
    ],
    ids=str,
)  # fmt: skip
def test_entries_that_cannot_be_used(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"t\.yaml.* cannot be used: .*experiments/table1\.yaml") as refused:
        Experiment.read(changed(tmp_path / "t.yaml", **changes))
    assert re.search(named, str(refused.value))


@pytest.mark.parametrize(
    "text",
    [
        "rows: [",
        "a: b: c",
        "\t- x",
        "rows: *x",
        "3",
        "[1, 2]",
        "",
        "rows: ${absent}",
        "rows: ${oc.env:NO_SUCH_VARIABLE}",
    ],
)
def test_what_is_no_mapping_in_yaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"t\.yaml.* cannot be used: .*experiments/table1\.yaml"):
        Experiment.read(tmp_path / "t.yaml")


def test_no_table_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*absent\.yaml.*experiments/table1\.yaml"):
        Experiment.read(tmp_path / "absent.yaml")
