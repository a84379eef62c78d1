from __future__ import annotations

from pathlib import Path

import pytest

from resgat_pl.cli.mistakes import explain_mistake
from resgat_pl.core.text import nearest

KEYS = (
    "data.batch_size",
    "data.order",
    "data.split",
    "model.lr_batch",
    "net.attention",
    "trainer.max_epochs",
    "config",
)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("data.bath_size", "data.batch_size"),
        ("modle.lr_batch", "model.lr_batch"),
        ("trainer.batch_size", "data.batch_size"),
        ("batch_size", "data.batch_size"),
        ("net.atention", "net.attention"),
    ],
)
def test_keys(given: str, wanted: str, tmp_path: Path) -> None:
    told = explain_mistake(f"unrecognized arguments: --{given} 3", KEYS)
    assert f"--{given}: there is no such option. Did you mean --{wanted}?" in told
    file = tmp_path / "run.yaml"
    group, _, name = given.rpartition(".")
    file.write_text(f"{group}: {{{name}: 3}}\n" if group else f"{name}: 3\n")
    told = explain_mistake(f"Subcommand 'fit' does not accept option '{given}'", KEYS, ["fit", "--config", str(file)])
    assert told == f"{file}: {given}: there is no such option. Did you mean {wanted}?"


def test_nothing_near() -> None:
    assert explain_mistake("unrecognized arguments: --zzz", KEYS) == "--zzz: there is no such option."
    assert nearest("zzz", KEYS) == ""


def test_values_and_unions_are_short() -> None:
    union = (
        'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n'
        "  Subtypes: [<class 'int'>, <class 'NoneType'>]\n  Errors:\n    - Expected a <class 'int'>\n"
        "    - Expected a <class 'NoneType'>\n  Given value type: <class 'str'>\n  Given value: soon"
    )
    assert explain_mistake(union, KEYS) == "trainer.max_epochs cannot be 'soon'. It must be a whole number or null."
    literal = "Parser key \"net.attention\":\n  Expected a typing.Literal['gatv1', 'gatv2']. Got value: gatv22"
    told = explain_mistake(literal, KEYS, ["fit", "--net.attention=gatv22"])
    assert told == "--net.attention cannot be 'gatv22'. It must be gatv1 or gatv2. Did you mean gatv2?"


def test_what_is_not_understood_is_passed_on() -> None:
    assert explain_mistake("something\n  quite   else", KEYS) == "something quite else"


def test_a_value_within_a_class_that_is_a_default() -> None:
    message = """Parser key "extraction":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'resgat_pl.data.extraction.crop_video.Extraction':
        Parser key "frames":
          Does not validate against any of the Union subtypes
          Errors:
            - Expected a <class 'int'>
            - Expected a typing.Literal['all']
          Given value: eight
    - Expected a <class 'NoneType'>
  Given value: NestedArg(key='frames', val='eight')"""
    told = explain_mistake(message, [*KEYS, "extraction"], ["--extraction.frames", "eight"])
    assert told == "--extraction.frames cannot be 'eight'. It must be a whole number or all."
