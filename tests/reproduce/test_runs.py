"""Every condition is run once in a separate folder, resumes where it stopped, and never overwrites another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, ManifestError, ResGATError, SomeRunsError, Stopped
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.reproduce import runs as module
from resgat_pl.reproduce.experiment import Condition, Experiment
from resgat_pl.reproduce.runs import reproduce, run, train_and_test
from resgat_pl.reproduce.tables import Run

from ..helpers.command import TINY, metrics
from ..helpers.tiny_runs import pretend_test

TABLE = Path(__file__).parents[2] / "experiments" / "table1.yaml"
EXPERIMENT = Experiment.read(TABLE)
CSV_ONLY = """
trainer: {logger: true}
heatmaps: {faces: 2}
"""


def in_process(*arguments: str) -> None:
    """``reproduce._resgat`` without the seconds that a process takes to start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises on settings that a test has on purpose
        if main(arguments) != 0:
            raise ResGATError(f"{arguments[0]} failed")


@pytest.fixture
def data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FFPP_ROOT", "DFDC_ROOT"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Condition]:
    """The conditions that are run, whose results are made up; DFDC under ``strict`` with seed 1 fails."""
    conditions: list[Condition] = []
    made = [Run.read(pretend_test(tmp_path / str(len(leaky)), leaky=leaky)) for leaky in ([], ["video"])]

    def pretend(
        experiment: Experiment, condition: Condition, out: Path, overrides: list[str] | None = None, _: bool = False
    ) -> Run:
        conditions.append(condition)
        if (condition.row.dataset, condition.protocol, condition.seed) == ("dfdc", "strict", 1):
            raise ConfigError(f"{condition.row.name} is out of luck")
        return replace(made[condition.protocol == "paper"], folder=out / condition.place)

    monkeypatch.setattr(module, "run", pretend)
    return conditions


def test_rows_without_data_are_named_and_not_run(
    seen: list[Condition], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="Nothing was run, for want of FFPP_ROOT and DFDC_ROOT"):
        reproduce(TABLE, out=tmp_path)
    assert not seen
    text = (tmp_path / "table1_real.md").read_text()
    for row in EXPERIMENT.rows:
        assert any(f"{row.root} is not set" in line and row.name in line for line in text.splitlines())
        assert all(f"{value:.2f}" in text for value in (row.paper.f1, row.paper.auc))
    monkeypatch.setenv("FFPP_ROOT", str(tmp_path))
    text = reproduce(TABLE, seeds="0", out=tmp_path)
    assert (tmp_path / "table1_real.md").read_text() == text + "\n"
    assert {condition.row.dataset for condition in seen} == {"ffpp"}
    assert "not run: DFDC_ROOT is not set" in text
    assert "FFPP_ROOT" not in text


@pytest.mark.usefixtures("data_sets")
def test_each_condition_is_run_once_and_a_failure_is_kept_apart(seen: list[Condition], tmp_path: Path) -> None:
    with pytest.raises(SomeRunsError, match="4 of 32 runs failed"):
        reproduce(TABLE, seeds="0,1", out=tmp_path)
    text = (tmp_path / "table1_real.md").read_text()
    chosen = EXPERIMENT.choose(None, None, "0,1", None, "real")
    assert len(seen) == chosen.size == len({condition.place for condition in seen}) == 32
    assert {(c.row.name, c.protocol, c.preset, c.seed) for c in seen} == {
        (row.name, protocol, preset, seed)
        for row in chosen.rows
        for protocol in ("paper", "strict")
        for preset in ("paper_faithful", "corrected")
        for seed in (0, 1)
    }
    assert all(condition.data == "real" for condition in seen)
    for name in ("dfdc_gatv1", "dfdc_gatv2"):
        assert f"- failed: {name} is out of luck: {name} (strict, paper_faithful), {name} (strict, corrected)" in text
    lines = (tmp_path / "table1_real.csv").read_text().splitlines()[1:]
    assert len({line.rpartition(",")[2] for line in lines}) == 32 - 4  # the folders of the runs
    assert "ours, paper (leaky: video)" in text


def test_synthetic_data_needs_no_data_set(seen: list[Condition], tmp_path: Path) -> None:
    text = reproduce(TABLE, data="synthetic", out=tmp_path)
    assert text.startswith("SYNTHETIC")
    assert {condition.data for condition in seen} == {"synthetic"}
    assert len(seen) == 16
    assert (tmp_path / "table1_synthetic.tex").is_file()


@pytest.mark.usefixtures("data_sets")
@pytest.mark.parametrize("private", [False, True])
def test_what_is_private_is_not_published(
    private: bool, seen: list[Condition], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], bool]] = []
    pretended = module.run

    def note(
        experiment: Experiment, condition: Condition, out: Path, overrides: list[str] | None, private: bool
    ) -> Run:
        asked.append((list(overrides or []), private))
        return pretended(experiment, condition, out, overrides)

    monkeypatch.setattr(module, "run", note)
    reproduce(TABLE, rows="ffpp_gatv1", seeds="0", out=tmp_path / "out", overrides=["--data.fps=3"], private=private)
    assert seen
    assert asked == [(["--data.fps=3"], private)] * len(seen)
    assert (tmp_path / "out" / "wandb").exists() != private
    assert (tmp_path / "out" / "table1_real.md").is_file()


@pytest.mark.usefixtures("data_sets")
def test_the_command_reads_lists(seen: list[Condition], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = ("--protocol", "strict", "--preset", "corrected", "--rows", "dfdc_gatv2, ffpp_gatv1", "--seeds", "2")
    assert main(["reproduce", str(TABLE), *lists, "--out", str(tmp_path)]) == 0
    assert [str(condition.place) for condition in seen] == [
        "real/dfdc_gatv2/strict/corrected/seed_2",
        "real/ffpp_gatv1/strict/corrected/seed_2",
    ]
    assert capsys.readouterr().out.strip() == (tmp_path / "table1_real.md").read_text().strip()
    assert main(["reproduce", str(TABLE), "--rows", "ffpp"]) == 2
    assert "--rows: ffpp is not in the file" in capsys.readouterr().err


def test_what_a_real_run_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr(module, "train_and_test", lambda folder, arguments, _: asked.append((folder, arguments)))
    row = EXPERIMENT.rows[2]
    for protocol, preset in (("paper", "corrected"), ("paper", "paper_faithful"), ("strict", "corrected")):
        run(EXPERIMENT, Condition(row, protocol, preset, 7, "real"), tmp_path, ["--net.heads", "2"])
        folder, arguments = asked.pop()
        assert folder == tmp_path / "real" / row.name / protocol / preset / "seed_7"
        assert arguments[:4] == ["--config", row.config, "--config", EXPERIMENT.presets[preset].arguments[1]]
        assert arguments[-2:] == ["--net.heads", "2"]
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        split = {"class_path": EXPERIMENT.protocols[protocol]}
        if (protocol, preset) == ("paper", "corrected"):  # the paper's protocol has no validation set
            split |= {"init_args": {"val": 0.1}}
        assert json.loads(options["--data.split"]) == split
        assert options["--seed_everything"] == options["--data.seed"] == "7"


def test_what_a_synthetic_run_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Path, dict[str, object]]] = []
    asked: list[tuple[Path, list[str]]] = []
    synthesize = "resgat_pl.data.synth.generate.synthesize"
    monkeypatch.setattr(synthesize, lambda root, **settings: made.append((root, settings)))
    monkeypatch.setattr(module, "train_and_test", lambda folder, arguments, _: asked.append((folder, arguments)))
    for row in EXPERIMENT.rows:
        run(EXPERIMENT, Condition(row, "strict", "corrected", 0, "synthetic"), tmp_path)
        root, settings = made.pop()
        assert settings == {"layout": row.dataset, **EXPERIMENT.synthetic.set}
        options = dict(zip(asked[-1][1][::2], asked[-1][1][1::2], strict=True))
        assert options["--data.root"] == str(root)
        assert options["--net.attention"] == row.attention
        assert row.config not in asked[-1][1]
    crops = {arguments[arguments.index("--data.crops") + 1] for _, arguments in asked}
    assert len(crops) == 2  # one per data set, shared by its rows
    assert len({folder for folder, _ in asked}) == 4


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")  # meant for scripts; here it is the point
def test_every_preset_and_protocol_parses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resgat_pl.cli.train import ResGATCLI, parser_options

    asked: list[list[str]] = []
    monkeypatch.setattr("resgat_pl.data.synth.generate.synthesize", lambda root, **settings: None)
    monkeypatch.setattr(module, "train_and_test", lambda folder, arguments, _: asked.append(arguments))
    monkeypatch.setattr(ResGATCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(ResGATCLI, "_run_subcommand", lambda self, subcommand: None)
    protocols = list(EXPERIMENT.protocols)
    fits = {}
    for place, preset in enumerate(EXPERIMENT.presets):
        protocol = protocols[place % len(protocols)]
        condition = Condition(EXPERIMENT.rows[0], protocol, preset, 3, "synthetic")
        run(EXPERIMENT, condition, tmp_path)
        options = [*asked[-1], "--trainer.default_root_dir", str(tmp_path / preset)]  # as train_and_test adds
        fits[preset] = ResGATCLI(args=["fit", *options], **parser_options()).config.fit
        assert fits[preset].data.split.class_path == EXPERIMENT.protocols[protocol]
        assert fits[preset].seed_everything == fits[preset].data.seed == 3
        assert fits[preset].net.attention == "gatv1"
        assert fits[preset].trainer.max_epochs == EXPERIMENT.synthetic.options["trainer.max_epochs"]
    assert len(asked) >= len(protocols)
    faithful = fits["paper_faithful"]
    assert (faithful.net.normalize, fits["only_normalized"].net.normalize) == ("none", "imagenet")
    assert (faithful.data.order, fits["only_balanced"].data.order) == ("shuffled", "balanced")
    assert (faithful.trainer.limit_val_batches, fits["only_validated"].trainer.limit_val_batches) == (0, 1.0)
    assert faithful.model.lr_scheduler is None
    assert fits["only_scheduled"].model.lr_scheduler.class_path.endswith("CosineAnnealingLR")


@pytest.fixture(scope="module")
def request_(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a tiny run of two epochs."""
    overlay = tmp_path_factory.mktemp("conf") / "csv_only.yaml"
    overlay.write_text(CSV_ONLY)
    options = ["--data.crops", str(ffpp_crops), "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "2"]
    return ["--config", str(TINY), f"--config={overlay}", *options]


@pytest.fixture(scope="module")
def killed(request_: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after the first of two epochs, and finished when it was started again."""
    folder = tmp_path_factory.mktemp("runs") / "new" / "run"
    calls: list[tuple[str, ...]] = []
    # and before that, in its first epoch, when the best was written but not the last
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_text("stale")

    def die_after_an_epoch(*arguments: str) -> None:
        calls.append(arguments)
        in_process(*arguments, "--trainer.max_epochs", "1")
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_resgat", die_after_an_epoch)
        with pytest.raises(KeyboardInterrupt):
            train_and_test(folder, request_)
        assert not (folder / "done.json").exists()
        patch.setattr(module, "_resgat", lambda *arguments: (calls.append(arguments), in_process(*arguments)))
        result = train_and_test(folder, request_)
    assert [call[0] for call in calls] == ["fit", "fit", "test"]
    assert result.folder == folder / "test"
    return folder


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
def test_a_killed_run_goes_on_from_its_last_epoch(killed: Path) -> None:
    assert json.loads((killed / "done.json").read_text()) == {"test": "test"}
    epochs = [line.split(",")[0] for line in (killed / "metrics.csv").read_text().splitlines()[1:]]
    assert epochs == sorted(epochs)  # the first epoch is not repeated
    assert epochs.count("0") == epochs.count("1") > 2
    assert {path.name for path in (killed / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert read_file(killed / "checkpoints" / "last.ckpt")["epoch"] == 1


def test_a_finished_run_is_read_and_not_repeated(
    killed: Path, request_: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_resgat", lambda *_: pytest.fail("nothing may be run"))
    before = files(killed)
    result = train_and_test(killed, request_)
    train_and_test(killed, request_, private=True)  # what W&B gets makes no other run
    assert files(killed) == before
    assert result.checkpoint == killed / "checkpoints" / "best.ckpt"
    for level, scores in result.scores.items():
        for name in ("auroc", "f1_real", "accuracy"):
            expected = metrics(killed / "test")[f"test/{level}_{name}"]
            assert scores.values[name].value == pytest.approx(expected, abs=1e-6)
    assert "accuracy_at_val" in result.scores["video"].values


def test_a_run_of_an_earlier_version_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_resgat", lambda *_: pytest.fail("nothing may be run"))
    pretend_test(tmp_path / "version_2")
    (tmp_path / "request.json").write_text(json.dumps({"arguments": ["--net.heads", "1"], "configs": {}}))
    (tmp_path / "done.json").write_text(json.dumps({"fit": "version_1", "test": "version_2"}))
    assert train_and_test(tmp_path, ["--net.heads", "1"]).folder == tmp_path / "version_2"


@pytest.mark.long
def test_a_test_that_was_lost_is_repeated(killed: Path, request_: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_resgat", in_process)
    before = train_and_test(killed, request_)
    shutil.rmtree(killed / "test")
    with pytest.raises(ResGATError, match="Test again"):
        train_and_test(killed, request_)
    (killed / "done.json").unlink()
    trained = (killed / "checkpoints" / "best.ckpt").read_bytes()
    after = train_and_test(killed, request_)
    assert (killed / "checkpoints" / "best.ckpt").read_bytes() == trained
    for level, scores in after.scores.items():
        assert scores.values == before.scores[level].values


def test_a_folder_holds_one_request(
    killed: Path, request_: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_resgat", lambda *_: pytest.fail("nothing may be run"))
    folder = tmp_path / "copy"
    shutil.copytree(killed, folder)
    before = files(folder)
    for done in (True, False):  # whether or not it was finished
        with pytest.raises(ConfigError, match=r"run of other options: there `.*`, here `.*--net\.heads 1`.*Nothing is"):
            train_and_test(folder, [*request_, "--net.heads", "1"])
        assert files(folder) == before
        if done:
            (folder / "done.json").unlink()
            before = files(folder)


def test_an_edited_configuration_is_another_request(
    killed: Path, request_: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_resgat", lambda *_: pytest.fail("nothing may be run"))
    overlay = Path(request_[2].partition("=")[2])
    text, before = overlay.read_text(), files(killed)
    try:
        overlay.write_text(text + "net: {heads: 1}\n")
        with pytest.raises(ConfigError, match=r"csv_only\.yaml was edited since"):
            train_and_test(killed, request_)
    finally:
        overlay.write_text(text)
    assert files(killed) == before
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        train_and_test(killed, ["--config", "absent.yaml"])


def test_a_command_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module._resgat("--version")
    with pytest.raises(ResGATError, match="`resgat fitt --x` failed"):
        module._resgat("fitt", "--x")


def test_a_signal_is_passed_on_and_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = tmp_path / "done"
    child = tmp_path / "resgat"  # saves on the signal, and takes its time
    child.write_text(
        f"#!/bin/sh\ntrap 'sleep 1; touch {done}; exit 75' TERM\nkill -TERM {os.getpid()}\n"
        "while :; do sleep 0.1; done\n"
    )
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        module._resgat("fit")
    assert done.is_file()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_that_never_began_can_be_asked_for_otherwise(
    request_: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []

    def fail(*arguments: str) -> None:
        asked.append(arguments)
        raise ResGATError("no such option")

    monkeypatch.setattr(module, "_resgat", fail)
    for more in (["--net.head", "2"], ["--net.heads", "2"]):
        with pytest.raises(ResGATError, match="no such option"):
            train_and_test(tmp_path, [*request_, *more])
    assert len(asked) == 2


def test_a_private_run_is_trained_and_tested_in_private(
    request_: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(module, "_resgat", lambda *arguments: calls.append(arguments))
    for private in (True, False):
        with pytest.raises(ManifestError):  # nothing was tested
            train_and_test(tmp_path / "run", request_, private)
        assert [call[0] for call in calls[-2:]] == ["fit", "test"]
        assert ["--private" in call for call in calls[-2:]] == [private, private]
        assert not (tmp_path / "run" / "done.json").exists()


def test_the_runs_import_what_the_command_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(module, "for_children", ["my_package", "another"])
    monkeypatch.setattr(module, "_wait_for", lambda command: (started.append(command), (0, []))[1])
    module._resgat("fit", "--config", "a.yaml")
    assert started[0][-3:] == ["a.yaml", "--import", "my_package,another"]
