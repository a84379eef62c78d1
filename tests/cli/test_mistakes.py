from __future__ import annotations

from pathlib import Path

import pytest

from resgat_pl.cli.main import main
from resgat_pl.cli.mistakes import explain_mistake

KEYS = ("data.batch_size", "data.order", "data.split", "model.lr_batch", "net.attention", "trainer.max_epochs")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("data.bath_size", "data.batch_size"),
        ("modle.lr_batch", "model.lr_batch"),
        ("trainer.batch_size", "data.batch_size"),
        ("batch_size", "data.batch_size"),
        ("net.Atention", "net.attention"),
    ],
)
def test_a_key_that_does_not_exist(given: str, wanted: str, tmp_path: Path) -> None:
    message = f"unrecognized arguments: --{given} 3"
    assert explain_mistake(message, KEYS) == f"{message}. Did you mean --{wanted}?"
    file = tmp_path / "run.yaml"
    group, _, name = given.rpartition(".")
    file.write_text(f"{group}: {{{name}: 3}}\n" if group else f"{name}: 3\n")
    message = f"Subcommand 'fit' does not accept option '{given}'"
    for arguments in (["--config", str(file)], [f"--config={file}"]):
        assert explain_mistake(message, KEYS, ["fit", *arguments]) == f"{file}: {message}. Did you mean {wanted}?"


@pytest.mark.parametrize("message", ["unrecognized arguments: --zzz", "unrecognized arguments: batch_size", "other"])
def test_nothing_near_and_a_word_that_is_no_option(message: str) -> None:
    assert explain_mistake(message, KEYS) == f"{message}."


def test_a_value_is_reported_with_its_key_and_type() -> None:
    union = (
        'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n'
        "  Subtypes: [<class 'int'>, <class 'NoneType'>]\n  Errors:\n    - Expected a <class 'int'>\n"
        "    - Expected a <class 'NoneType'>\n  Given value type: <class 'str'>\n  Given value: soon"
    )
    expected = 'Parser key "trainer.max_epochs": - Expected a int - Expected a NoneType Given value: soon.'
    assert explain_mistake(union, KEYS) == expected
    literal = "Parser key \"net.attention\":\n  Expected a typing.Literal['gatv1', 'gatv2']. Got value: gatv22"
    assert explain_mistake(literal, KEYS).endswith("['gatv1', 'gatv2']. Got value: gatv22. Did you mean gatv2?")
    assert len(explain_mistake(f"{union} {'x' * 9000}", KEYS)) < 500


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [("engine", "ray", "--engine dask"), ("engine", "ray", "--part 3/50"), ("shard", "3/50", "shard is now part.")],
)
def test_what_an_old_configuration_names_is_reported_with_what_replaces_it(
    key: str, value: str, instead: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "extract.yaml"
    file.write_text(f"{key}: {value}\n")
    assert main(["extract", str(tmp_path), str(tmp_path / "out"), "--config", str(file)]) == 2
    printed = capfd.readouterr().err
    assert f"{file}: " in printed
    assert instead in printed
    if key == "engine":
        for option in (["--engine", "ray"], ["--engine=ray"]):
            assert main(["extract", str(tmp_path), str(tmp_path / "out"), *option]) == 2
            assert instead in capfd.readouterr().err
