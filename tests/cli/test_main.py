from __future__ import annotations

from pathlib import Path

import lightning.pytorch  # noqa: F401 - its log keeps the stream that it finds first, which must not be a test's own
import pytest
import torch
import yaml

from resgat_pl.cli.main import TOOLS, TRAINER, main

from ..helpers.command import TINY, resgat

SHIPPED = Path(__file__).parents[2] / "configs"
CONFIGS = sorted([*SHIPPED.glob("*_gatv*.yaml"), *SHIPPED.glob("*_pooled.yaml")])


def fails(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail as a user's mistake does; return its message."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # jsonargparse ends the process itself
        status = int(stop.code or 0)
    printed = capfd.readouterr().err
    assert status == 2
    assert "Traceback" not in printed
    return printed


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*TOOLS, *TRAINER))


@pytest.mark.parametrize("tool", TOOLS)
def test_help_of_tools_teaches(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([tool, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out) > 400


def test_unknown_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean extract?" in fails(capfd, "extrct")


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")  # meant for scripts; here it is the point
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "overlay", [[], *(pytest.param(some, marks=pytest.mark.long) for some in (["gpu"], ["gpu", "ddp"]))], ids="+".join
)
def test_shipped_configs_parse(config: Path, overlay: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from resgat_pl.cli.train import ResGATCLI, parser_options

    name = config.stem.partition("_")[0]
    monkeypatch.setenv(f"{name.upper()}_ROOT", "/data")
    files = [config, *(config.with_name(f"{name}.yaml") for name in overlay)]
    arguments = ["fit", *(part for file in files for part in ("--config", str(file)))]
    monkeypatch.setattr(ResGATCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(ResGATCLI, "_run_subcommand", lambda self, subcommand: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    cli = ResGATCLI(args=arguments, **parser_options())
    fit = cli.config.fit
    pooled = config.stem.endswith("pooled")
    assert pooled or config.stem.split("_")[1] == fit.net.attention
    assert config.stem.endswith("guided") == fit.data.masks == (fit.model.mask_loss_weight > 0)
    assert config.stem == Path(fit.trainer.default_root_dir).name
    assert (fit.net.init_args if pooled else fit.net).encoder == "resnet50"
    assert str(fit.data.root) == "/data"
    assert fit.trainer.max_epochs == 15
    assert fit.data.batch_size == 8
    assert fit.trainer.logger[0].init_args.save_dir == fit.trainer.default_root_dir
    assert (fit.trainer.precision == "bf16-mixed") == bool(overlay)


@pytest.mark.parametrize("temporal", ["attention", "spacetime", "lstm"])
def test_overlays_of_clips_parse(temporal: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = [SHIPPED / f"{name}.yaml" for name in ("smoke", f"video_{temporal}")]
    with pytest.raises(SystemExit) as done:
        main(["fit", *(part for file in files for part in ("--config", str(file))), "--print_config"])
    assert not done.value.code
    fit = yaml.safe_load(capsys.readouterr().out)
    assert fit["net"]["class_path"].endswith("VideoResGAT")
    net = fit["net"]["init_args"]
    assert (net["temporal"], net["train"], net["encoder"], net["hidden"]) == (temporal, "frozen", "resnet18", 64)
    assert (fit["data"]["clip_frames"], fit["data"]["augmentation"]) == (16, None)
    assert fit["data"]["features_cache"]


@pytest.mark.parametrize("overlay", ["", "blend_plain", "blend_gpu", "normalised", "receptive"])
def test_recipes_of_self_blends_parse(overlay: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = [SHIPPED / f"{name}.yaml" for name in ("blend_cpu", overlay) if name]
    with pytest.raises(SystemExit) as done:
        main(["fit", *(part for file in files for part in ("--config", str(file))), "--print_config"])
    assert not done.value.code
    fit = yaml.safe_load(capsys.readouterr().out)
    assert (fit["model"]["losses"] is None) == (overlay == "blend_plain") == ("class_path" in fit["net"])
    assert fit["data"]["order"] == "paired"
    blend = fit["data"]["self_blend"]["init_args"]
    assert blend["source"] == "photo"
    # 314 portraits are trained on; the schedule lasts to the last step
    steps = fit["trainer"]["max_epochs"] * (314 * 2 * blend["pairs_per_crop"] // fit["data"]["batch_size"])
    assert fit["model"]["lr_scheduler"]["init_args"]["total_steps"] >= steps


def test_a_root_that_is_not_set(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESGAT_CROPS", str(tmp_path))
    printed = fails(capfd, "fit", "--config", CONFIGS[0], "--net.weights", "null", "--net.encoder", "resnet18",
                    "--trainer.accelerator", "cpu", "--trainer.logger", "false")  # fmt: skip
    assert "export FFPP_ROOT=DIR or DFDC_ROOT=DIR" in printed


def test_mistakes_in_data(capfd: pytest.CaptureFixture[str], tmp_path: Path, ffpp_root: Path) -> None:
    out = tmp_path / "out"
    assert "does not exist" in fails(capfd, "extract", tmp_path / "absent", out)
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(capfd, "extract", tmp_path / "empty", out)
    (tmp_path / "other" / "holiday").mkdir(parents=True)
    (tmp_path / "other" / "holiday" / "beach.txt").touch()
    assert "holiday" in fails(capfd, "extract", tmp_path / "other", out)
    assert "manipulated_sequences" in fails(capfd, "extract", ffpp_root, out, "--layout", "DFDC")


def test_checkpoints_that_do_not_fit(capfd: pytest.CaptureFixture[str], tmp_path: Path, ffpp_crops: Path) -> None:
    base = ("test", "--config", TINY, "--data.crops", ffpp_crops, "--trainer.default_root_dir", tmp_path,
            "--trainer.logger", "false")  # fmt: skip
    assert "There is no weights file" in fails(capfd, *base, "--ckpt_path", tmp_path / "absent.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert "text.ckpt" in fails(capfd, *base, "--ckpt_path", tmp_path / "text.ckpt")
    entry = {"version": 1, "net": {"attention": "gatv1", "encoder": "resnet18", "encoder_stage": 3}}
    content = {"state_dict": {}, "resgat": entry, "pytorch-lightning_version": "2.6.0", "epoch": 0, "global_step": 0}
    torch.save(content, tmp_path / "v1.ckpt")
    assert "attention is gatv1 there and gatv2 here" in fails(capfd, *base, "--ckpt_path", tmp_path / "v1.ckpt")


def test_the_installed_command() -> None:
    assert "resgat COMMAND" in resgat("--help")
    assert "resgat 0." in resgat("--version")
