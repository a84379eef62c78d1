"""The head of a model card, which the hub reads, and the card of a network that comes without a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from resgat_pl.core.privacy import without_paths
from resgat_pl.core.text import shorten

_HEAD: Final = {"library_name": "resgat_pl", "pipeline_tag": "image-classification"}
_TAGS: Final = ("deepfake-detection", "face-forensics")
_OF_RESGAT: Final = ("graph-attention", "explainable-ai", "resgat")
UNKNOWN: Final = "Unknown: the folder was written without a checkpoint"


def card_head(config: Mapping[str, Any], results: list[dict[str, Any]] | None = None) -> str:
    """The YAML between two lines of dashes.

    Args:
        config: ``ResGAT.config``, or ``class_path`` and ``init_args`` of another network.
        results: ``model-index`` entries, see the hub's documentation of model cards.

    Example:
        >>> print(card_head({"encoder": "timm/vit_small_patch14_dinov2.lvd142m", "weights": "timm"}).splitlines()[-2])
        base_model: timm/vit_small_patch14_dinov2.lvd142m
    """
    name = shorten(config.get("class_path", "ResGAT")).rpartition(".")[2]
    head: dict[str, Any] = {**_HEAD, "tags": [*_TAGS, *(_OF_RESGAT if name == "ResGAT" else ())]}
    options = config.get("init_args", config)
    encoder = str(options.get("encoder", ""))
    # With its tag, a model of timm is on the hub by this name.
    if options.get("weights") == "timm" and encoder.startswith("timm/") and "." in encoder:
        head["base_model"] = shorten(encoder, 100)
    if results:
        head["model-index"] = [{"name": name, "results": results}]
    text: str = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---"


def network_text(config: Mapping[str, Any], note: str) -> str:
    """The arguments of a network as the group ``net`` of a configuration, below a sentence on its weights."""
    arguments = yaml.safe_dump({"net": without_paths(config)}, sort_keys=False, allow_unicode=True)
    return f"{note}\n\n```yaml\n{arguments}```"


def bare_card(config: Mapping[str, Any], note: str) -> str:
    """The card of a network of which nothing but its arguments is known."""
    return "\n".join(
        [
            card_head(config),
            "",
            f"# {shorten(config.get('class_path', 'ResGAT')).rpartition('.')[2]}, a detector of manipulated faces",
            "",
            "## Training data",
            "",
            f"{UNKNOWN}.",
            "",
            "## Results",
            "",
            f"{UNKNOWN}. Its logits have no threshold and its probabilities are uncalibrated. `resgat export --format "
            "hub --ckpt_path RUN/checkpoints/best.ckpt --out FOLDER` writes a card with the results of `resgat test`.",
            "",
            "## Network",
            "",
            network_text(config, note),
            "",
        ]
    )
