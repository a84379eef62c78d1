"""The head of a card is YAML that the hub reads."""

from __future__ import annotations

import huggingface_hub
import pytest
import yaml

from resgat_pl.nn.hub_card import bare_card, card_head, network_text

VIT = "timm/test_vit.r160_in1k"


@pytest.mark.parametrize(
    ("config", "base"),
    [
        ({"encoder": "resnet50", "weights": "imagenet"}, None),
        ({"encoder": "timm/vit_tiny_patch16_224", "weights": "timm"}, None),  # without a tag there is no such model
        ({"encoder": VIT, "weights": "timm"}, VIT),
        ({"encoder": VIT, "weights": "vit.pth"}, None),  # whose it is, nobody knows
        ({"class_path": "a.Net", "init_args": {"encoder": VIT, "weights": "timm"}}, VIT),
        ({"class_path": "a.Net", "init_args": {}}, None),
    ],
)
def test_the_base_model_is_the_encoders(config: dict[str, object], base: str | None) -> None:
    head = card_head(config)
    assert head.startswith("---\n")
    assert head.endswith("\n---")
    found = yaml.safe_load(head.strip("-"))
    assert found.get("base_model") == base
    assert "model-index" not in found


def test_huggingface_hub_reads_results() -> None:
    metrics = [{"type": "roc_auc", "name": "AUROC per video", "value": 0.9}]
    task, data = {"type": "image-classification"}, {"type": "deepfakes", "name": "ffpp: c23 # a"}
    head = card_head({"encoder": "resnet18"}, [{"task": task, "dataset": data, "metrics": metrics}])
    card = huggingface_hub.ModelCard(f"{head}\n\n# A card\n")
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_value) == ("ffpp: c23 # a", 0.9)


def test_the_network_is_a_configuration() -> None:
    text = network_text({"encoder": "resnet18", "weights": "/home/ann/w.pth"}, "All weights are stored.")
    assert "All weights are stored." in text
    assert yaml.safe_load(text.partition("```yaml\n")[2].removesuffix("```")) == {
        "net": {"encoder": "resnet18", "weights": "w.pth"}
    }
    assert text in bare_card({"encoder": "resnet18", "weights": "/home/ann/w.pth"}, "All weights are stored.")


def test_a_bare_card_names_the_class() -> None:
    assert "\n# ResGAT, a detector" in bare_card({"encoder": "resnet18"}, "")
    assert "\n# Net, a detector" in bare_card({"class_path": "a.Net", "init_args": {}}, "")
