"""The plan of a synthetic set: names, pairs, splits, and which fake gets which alteration where."""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.synth.blend import REGIONS
from resgat_pl.data.synth.clip import generator

LayoutName = Literal["ffpp", "dfdc", "celebdf"]

METHOD_KINDS: Final[dict[str, str]] = {
    "Deepfakes": "resampled",
    "Face2Face": "warped",
    "FaceSwap": "recoloured",
    "NeuralTextures": "recompressed",
    "FaceShifter": "sharpened",
    "DeepFakeDetection": "renoised",
}
"""The kind of alteration in each method's folder of the FaceForensics++ layout: leaving out a method leaves out a kind.
The methods only lend their names; nothing here does what they do."""

_YOUTUBE = tuple(method for method in METHOD_KINDS if method != "DeepFakeDetection")
_SCENE_NAMES = (
    "exit_phone_room hugging_happy kitchen_pan kitchen_still meeting_serious outside_talking_pan_laughing "
    "outside_talking_still_laughing podium_speech_happy secret_conversation talking_against_wall "
    "talking_angry_couch walk_down_hall_angry walking_and_outside_surprised walking_down_indoor_hall_disgust "
    "walking_down_street_outside_angry walking_outside_cafe_disgusted"
)
_SCENES = _SCENE_NAMES.split()
_Regions = dict[str, Iterator[str]]
"""By kind of alteration the regions of its fakes."""
_ACTORS = 28
_MOST_YOUTUBE = 1000
MOST_FAKES = 5
"""Most fakes per genuine clip: as many as there are methods for a YouTube clip."""


@dataclass(frozen=True, slots=True)
class Fake:
    """One fake to be made.

    Attributes:
        video: Path of its file, relative to the set.
        mask: Path of its mask video, relative to the set, or None.
        kind: Kind of alteration, of ``KINDS``.
        region: Region of the face, of ``REGIONS``.
        face: Number of the altered face in the clip.
    """

    video: str
    mask: str | None
    kind: str
    region: str
    face: int = 0


@dataclass(frozen=True, slots=True)
class Shot:
    """One genuine clip to be made, and its fakes.

    Attributes:
        video: Path of its file, relative to the set.
        people: Name of the person in it, or of both.
        fakes: The fakes made from it.
    """

    video: str
    people: tuple[str, ...]
    fakes: tuple[Fake, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a set will hold.

    Attributes:
        shots: The genuine clips with their fakes.
        documents: Files beside the videos by path relative to the set, splits or metadata: a string is the text of its
            file, anything else is written as JSON.
    """

    shots: tuple[Shot, ...]
    documents: dict[str, object]


def make_plan(layout: LayoutName, videos: int, fakes_per_real: int, seed: int) -> Plan:
    """Plan a set.

    Raises:
        ConfigError: ``videos`` does not fit the layout.
    """
    rng = generator(seed, "plan", layout)
    planners = {"ffpp": _plan_ffpp, "dfdc": _plan_dfdc, "celebdf": _plan_celebdf}
    # From the end of each order: the same seed gives the same set as ever.
    regions: _Regions = defaultdict(lambda: _in_turn(REGIONS, rng, step=-1))
    return planners[layout](videos, fakes_per_real, rng, regions)


def _plan_ffpp(videos: int, fakes: int, rng: np.random.Generator, regions: _Regions) -> Plan:
    actors = 2 * max(1, round(videos / 12))
    youtube = videos - actors
    if videos % 2 or videos < 8 or youtube > _MOST_YOUTUBE:
        raise ConfigError(
            f"videos: {videos} with the layout ffpp, whose clips come in pairs. Give an even number from 8 to 1200."
        )
    names = [f"{number:03d}" for number in rng.permutation(youtube)]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    shots = []
    for number, pair in enumerate(pairs):
        # Both members of a pair get the same methods, as in the real set, and the methods rotate over the pairs.
        methods = [_YOUTUBE[(number * fakes + k) % len(_YOUTUBE)] for k in range(fakes)]
        for target, source in (pair, pair[::-1]):
            made = [_ffpp_fake(method, f"{target}_{source}", regions) for method in methods]
            shots.append(Shot(f"original_sequences/youtube/c23/videos/{target}.mp4", (target,), tuple(made)))
    for number in range(actors // 2):
        scene = _SCENES[number // (_ACTORS // 2)]
        first = 2 * (number % (_ACTORS // 2)) + 1
        for actor, other in ((first, first + 1), (first + 1, first)):
            made = [
                _ffpp_fake("DeepFakeDetection", f"{actor:02d}_{other:02d}__{scene}__{_code(rng)}", regions)
                for _ in range(fakes)
            ]
            video = f"original_sequences/actors/c23/videos/{actor:02d}__{scene}.mp4"
            shots.append(Shot(video, (f"actor {actor:02d}",), tuple(made)))
    held_out = max(1, round(len(pairs) * 70 / 500))
    parts = {"test": pairs[:held_out], "val": pairs[held_out : 2 * held_out], "train": pairs[2 * held_out :]}
    return Plan(tuple(shots), {f"splits/{split}.json": [list(pair) for pair in part] for split, part in parts.items()})


def _ffpp_fake(method: str, name: str, regions: _Regions) -> Fake:
    folder, kind = f"manipulated_sequences/{method}", METHOD_KINDS[method]
    return Fake(f"{folder}/c23/videos/{name}.mp4", f"{folder}/masks/videos/{name}.mp4", kind, next(regions[kind]))


def _code(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(string.ascii_uppercase + string.digits), 8))


def _plan_dfdc(videos: int, fakes: int, rng: np.random.Generator, regions: _Regions) -> Plan:
    if videos < 8:
        raise ConfigError(f"videos: {videos} with the layout dfdc, which has at least four parts. Give 8 or more.")
    kinds = list(METHOD_KINDS.values())
    parts = min(50, max(4, videos // 10))
    names = _names(rng, videos * (1 + fakes))
    shots = []
    metadata: dict[str, dict[str, dict[str, str]]] = {}
    for number in range(videos):
        folder = f"dfdc_train_part_{number * parts // videos}"
        original = next(names)
        # One clip in eight shows two people, of whom a fake alters one.
        faces = 2 if number % 8 == 5 else 1
        made = []
        for k in range(fakes):
            kind = kinds[(number * fakes + k) % len(kinds)]
            fake = Fake(f"{folder}/{next(names)}", None, kind, next(regions[kind]), face=int(rng.integers(faces)))
            made.append(fake)
        people = tuple(f"{original} {face}" for face in range(faces))
        shots.append(Shot(f"{folder}/{original}", people, tuple(made)))
        labels = metadata.setdefault(folder, {})
        labels[original] = {"label": "REAL", "split": "train"}
        for fake in made:
            labels[fake.video.rpartition("/")[2]] = {"label": "FAKE", "split": "train", "original": original}
    documents = {f"{folder}/metadata.json": dict(sorted(labels.items())) for folder, labels in metadata.items()}
    return Plan(tuple(shots), dict(documents))


def _names(rng: np.random.Generator, count: int) -> Iterator[str]:
    """Yield distinct names such as ``aqpvbtcjxm.mp4``."""
    letters = list(string.ascii_lowercase)
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        drawn.setdefault("".join(rng.choice(letters, 10)) + ".mp4")
    return iter(drawn)


def _plan_celebdf(videos: int, fakes: int, rng: np.random.Generator, regions: _Regions) -> Plan:
    # People swap faces with everyone of a small group and nobody else, so that a small set can be split by person too;
    # in the real set the largest such group has about half the people. A group for each split is the least.
    size = fakes + 1
    youtube = max(2, round(videos / 10))
    clips = videos - youtube
    if clips < 3 * size:
        raise ConfigError(
            f"videos: {videos} with the layout celebdf and {fakes} fakes per clip, which needs three groups of {size} "
            f"people and two more. Give {3 * size + 2} or more."
        )
    groups = max(3, clips // (3 * size))  # about three clips a person
    people = [f"id{number}" for number in rng.permutation(groups * size)]
    kinds = _in_turn(METHOD_KINDS.values(), rng)
    held_out = max(1, round(groups * 518 / 6529))  # the share of the published list; the last have the fewest clips
    shots, listed = [], []
    for number, person in enumerate(people):
        first = number - number % size
        others = [other for other in people[first : first + size] if other != person]
        for clip in range(clips // len(people) + (number < clips % len(people))):
            made = []
            for other in others:
                kind = next(kinds)
                name = f"Celeb-synthesis/{person}_{other}_{clip:04d}.mp4"
                made.append(Fake(name, None, kind, next(regions[kind])))
            shots.append(Shot(f"Celeb-real/{person}_{clip:04d}.mp4", (person,), tuple(made)))
            if number >= len(people) - held_out * size:
                listed += [f"1 {shots[-1].video}", *(f"0 {fake.video}" for fake in made)]
    for number in range(youtube):
        shots.append(Shot(f"YouTube-real/{number:05d}.mp4", (f"youtube {number:05d}",), ()))
        if number < max(1, youtube // 4):
            listed.append(f"1 {shots[-1].video}")
    return Plan(tuple(shots), {"List_of_testing_videos.txt": "\n".join(listed) + "\n"})


def _in_turn(names: Iterable[str], rng: np.random.Generator, step: int = 1) -> Iterator[str]:
    """Yield names without end; all have had their turn before one comes again, in an order that changes."""
    while True:
        yield from rng.permutation(list(names))[::step].tolist()


def people_of(shots: Iterable[Shot]) -> list[str]:
    """Return the names of all people, each once, in the order of their first clip."""
    return list(dict.fromkeys(person for shot in shots for person in shot.people))
