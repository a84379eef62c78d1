"""Training data of a detector: counted when it is trained, and described beside its verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.compute as pc

from resgat_pl.core.text import shorten
from resgat_pl.core.types import FAKE
from resgat_pl.data.faces.detection import turn_of
from resgat_pl.data.manifest.table import Manifest

MARK: Final = "synthetic"
"""Key of ``Manifest.info`` for faces that were made, see ``data.synth.record.made_by_synth``."""
_MOST_ROWS: Final = 100_000


class TrainedOn(NamedTuple):
    """Description of a detector's training data.

    Attributes:
        statement: One or two sentences.
        recordings: Whether it was trained on recorded faces: false for made ones only, None if unknown.
    """

    statement: str
    recordings: bool | None


def sets_of(manifest: Manifest) -> list[dict[str, Any]]:
    """The videos of the training split by data set, method, compression and label, with their number."""
    videos = manifest.videos()
    used = np.unique(manifest.video_codes[manifest.rows_of("train")]).tolist()
    counts = Counter((v.dataset, v.method, v.compression, v.label) for v in (videos[place] for place in used))
    return [
        {"dataset": dataset, "method": method, "compression": compression, "label": label, "videos": count}
        for (dataset, method, compression, label), count in sorted(counts.items())
    ]


def faces_of(manifest: Manifest) -> dict[str, float]:
    """Limits of the training split's faces, beyond which a new face is called small, blurred or turned.

    Returns:
        side: The first percentile of the longer side of the face's box, in px of the frame.
        sharpness: The first percentile of ``faces.sharpness`` of the crop.
        roll: The 99th percentile of the angle of the eyes to the horizontal, in degrees.
        turn: The 99th percentile of ``faces.turn_of``. Unknown limits are absent.
    """
    rows = manifest.rows_of("train")
    rows = rows[:: max(1, -(-len(rows) // _MOST_ROWS))]
    if not len(rows):
        return {}
    table = manifest.take(rows, ["box", "landmarks", "sharpness"])
    found = {"sharpness": float(np.quantile(table["sharpness"].to_numpy(), 0.01))}
    settings = manifest.info.get("extraction", {})
    if settings.get("detector") != "WholeFrame" and settings.get("margin"):
        boxes = np.asarray(pc.list_flatten(table["box"]), np.float64).reshape(-1, 4)
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / float(settings["margin"])
        found["side"] = float(np.quantile(sides, 0.01))
    known = table["landmarks"].drop_null()
    if len(known):
        roll, turn = turn_of(np.asarray(pc.list_flatten(known), np.float64).reshape(-1, 5, 2))
        found |= {"roll": float(np.quantile(roll, 0.99)), "turn": float(np.quantile(turn, 0.99))}
    return {name: round(value, 4) for name, value in found.items() if np.isfinite(value)}


def trained_on(provenance: Mapping[str, Any] | None) -> TrainedOn:
    """Describe training data by a checkpoint's provenance, which may be untrusted; None where it has none."""
    data = (provenance or {}).get("data") or {}
    sets = [entry for entry in data.get("sets") or [] if isinstance(entry, dict)]
    if not sets:
        why = "it carries no provenance" if not data else "it is of a version that did not record it"
        return TrainedOn(f"Trained on: unknown. The checkpoint does not say, since {why}.", None)
    counts = _videos(sets)
    if data.get("self_blend"):
        counts += ", and on self-blends of the genuine ones, others at every step"
    made = data.get(MARK)
    leaky = ", ".join(shorten(kind) for kind in (provenance or {}).get("leaky") or [])
    leaks = f" Its splits leak ({leaky}), so threshold and calibration rest on known material." if leaky else ""
    recordings = None if made is None else made not in {"drawn", "portraits"}
    if made == "drawn":
        text = f"Trained on drawn faces only (resgat synth), so its verdict on photographs means nothing: {counts}."
    elif made == "portraits":
        text = (
            f"Trained on portraits altered by resgat synth only, so its verdict on recordings means nothing: {counts}."
        )
    elif made is None:
        text = f"Trained on {counts}; whether these are recordings or made by resgat synth is unknown."
    else:
        text = f"Trained on {counts}. Of other methods and other recordings nothing follows."
    unknown = data.get("people_unknown")  # see ``data.splits.known_people``
    if isinstance(unknown, dict) and unknown:
        names = ", ".join(shorten(name) for name in unknown)
        leaks += f" Who is in the videos of {names} is unknown: it may have been trained on the people of this file."
    return TrainedOn(text + leaks, recordings)


def faces_known(provenance: Mapping[str, Any] | None) -> dict[str, float]:
    """``faces_of`` the training crops, from a provenance that may be untrusted; unknown or wrong limits are absent."""
    found = ((provenance or {}).get("data") or {}).get("faces") or {}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
    }


def _videos(sets: list[dict[str, Any]]) -> str:
    """``ffpp (c23): 720 genuine videos and 1,440 fakes (Deepfakes 720, FaceSwap 720)``, for each data set."""
    parts = []
    for dataset in dict.fromkeys(entry.get("dataset") for entry in sets):
        chosen = [entry for entry in sets if entry.get("dataset") == dataset]
        kinds = sorted({shorten(entry["compression"]) for entry in chosen if entry.get("compression")})
        fakes: Counter[str] = Counter()
        genuine = 0
        for entry in chosen:
            count = entry.get("videos")
            count = count if isinstance(count, int) else 0
            if entry.get("label") == FAKE:
                fakes[shorten(entry.get("method"))] += count
            else:
                genuine += count
        methods = ", ".join(f"{name} {count:,}" for name, count in fakes.most_common(8))
        methods += f" and {len(fakes) - 8} more" if len(fakes) > 8 else ""
        name = shorten(dataset) + (f" ({', '.join(kinds)})" if kinds else "")
        total = fakes.total()
        parts.append(
            f"{name}: {genuine:,} genuine {_plural('video', genuine)} and {total:,} {_plural('fake', total)}"
            + (f" ({methods})" if methods else "")
        )
    return "; ".join(parts)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
