"""Make a whole set: plan, draw or film, forge, encode, and write what was asked for last."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, get_args

import cv2
from tqdm import tqdm

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.path_checks import require_folder
from resgat_pl.data.synth.clip import Clip, generator
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.synth.encode import write_mask, write_video
from resgat_pl.data.synth.forge import SUBTLE, draw_flicker, draw_span, forge
from resgat_pl.data.synth.plan import METHOD_KINDS, MOST_FAKES, Fake, LayoutName, Plan, Shot, make_plan, people_of
from resgat_pl.data.synth.portraits import Portrait, film_clip, find_face, fingerprint, list_images
from resgat_pl.data.synth.record import RECORD, UNFINISHED

SCHEMA: Final = 1
"""Version of ``synth.json`` and of the pictures; it goes up whenever the same request gives other bytes."""

_Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class SynthesisSummary:
    """The content of a synthetic set.

    Attributes:
        out: Its folder.
        layout: Its layout.
        genuine: Number of genuine clips.
        fakes: Number of fakes.
        kinds: Number of fakes of each kind of alteration.
        made: False if the same set was there already.
    """

    out: Path
    layout: str
    genuine: int
    fakes: int
    kinds: dict[str, int]
    made: bool

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"{self.out} ({self.layout} layout): {self.genuine} genuine clips, {self.fakes} fakes ({kinds})"
            f"{'' if self.made else '; was there already'}"
        )


def synthesize(
    out: Path,
    layout: Literal["ffpp", "dfdc", "celebdf"] = "ffpp",
    videos: int = 60,
    fakes_per_real: int = 2,
    frames: int = 24,
    size: int = 256,
    faces: Path | None = None,
    change: float = SUBTLE,
    extent: float = 1.0,
    span: float = 1.0,
    flicker: float = 0.0,
    jobs: int = 2,
    seed: int = 0,
) -> SynthesisSummary:
    """Make a set of genuine and altered face videos in the layout of a real data set.

    The people are drawn, or come from a folder of portraits. In a fake, one region of the face is replaced through a
    soft mask by an altered copy of itself: resampled, warped, recoloured, recompressed, sharpened, or with other noise.
    The genuine counterpart of every fake is in the set, frame for frame. The same arguments give the same bytes. A set
    that is there already is left as it is, and one that was interrupted is made again.

    Args:
        out: Folder to write; new, empty, or left behind by an interrupted run.
        layout: ffpp for FaceForensics++ with masks and split files, one kind of alteration in each method's folder;
            dfdc for Deepfake Detection Challenge, in parts with metadata.json, some clips with two people, no masks;
            celebdf for Celeb-DF v2, several clips of each person, a list of test videos, no masks.
        videos: Number of genuine clips; at least 8, and even for ffpp, whose clips come in pairs; for celebdf at least
            5 and 3 more for each fake per clip.
        fakes_per_real: Number of fakes made from each genuine clip, 1 to 5; none from those in YouTube-real of celebdf.
        frames: Length of each clip in frames, at 25 a second.
        size: Width and height of the frames in pixels; even, at least 128.
        faces: Folder of portraits, one person per image. Without it people are drawn.
        change: Mean change inside the altered region, of 255; 5.5 is subtle, 15 is seen at once.
        extent: Size of the altered regions as a multiple of the usual one, a quarter to half of the face's width.
        span: Share of a fake's frames that are altered, one stretch of neighbours in each (synth.json); 1 alters
            all.
        flicker: How far the strength of an alteration varies from frame to frame, 0 (not at all) to 0.9 of it.
        jobs: Number of processes.
        seed: Another seed gives other people, motions and alterations.

    Returns:
        What the set holds.

    Raises:
        ConfigError: An argument is out of range, ``out`` holds something else, or ``faces`` has too few faces.
    """
    _check(layout, fakes_per_real, frames, size, span, flicker, jobs)
    require_folder(out, "OUT")
    plan = make_plan(layout, videos, fakes_per_real, seed)
    images = None if faces is None else list_images(faces)
    request: dict[str, object] = {
        "layout": layout,
        "videos": videos,
        "fakes_per_real": fakes_per_real,
        "frames": frames,
        "size": size,
        "faces": None if images is None else fingerprint(images),
        "change": change,
        "extent": extent,
        "seed": seed,
        # Only where they are used: sets from before there were such are the same.
        **({"span": span} if span != 1 else {}),
        **({"flicker": flicker} if flicker else {}),
    }

    # Only a complete set of the same request is left alone.
    kinds = Counter(fake.kind for shot in plan.shots for fake in shot.fakes)
    made = not _is_there(out, request)
    if made:
        _clear(out)
        with _workers(jobs) as spread:
            cast = {} if images is None else _cast(people_of(plan.shots), images, seed, spread)
            _write_json(out / UNFINISHED, {"schema": SCHEMA, "request": request})
            make = partial(_make, out=out, cast=cast, frames=frames, size=size, change=change, extent=extent)
            make = partial(make, span=span, flicker=flicker, seed=seed)
            with tqdm(total=len(plan.shots) + kinds.total(), desc=f"synth {out.name}", unit="clip") as progress:
                for count in spread(make, plan.shots):
                    progress.update(count)
        _finish(out, request, plan)
    return SynthesisSummary(out, layout, len(plan.shots), kinds.total(), dict(sorted(kinds.items())), made)


def _check(layout: str, fakes_per_real: int, frames: int, size: int, span: float, flicker: float, jobs: int) -> None:
    problems = {
        f"layout: {layout!r} is unknown. Give {', '.join(get_args(LayoutName))}.": layout not in get_args(LayoutName),
        f"fakes_per_real: {fakes_per_real}. Give 1 to {MOST_FAKES}.": not 1 <= fakes_per_real <= MOST_FAKES,
        f"frames: {frames}. A clip has at least 1 frame.": frames < 1,
        f"size: {size}. H.264 needs an even size, and a face at least 128 pixels.": size < 128 or size % 2,
        f"span: {span}. Give the share of the frames to alter, above 0 and up to 1.": not 0 < span <= 1,
        f"flicker: {flicker}. Give 0 to 0.9.": not 0 <= flicker <= 0.9,
        f"jobs: {jobs}. Give 1 or more.": jobs < 1,
    }
    for message, wrong in problems.items():
        if wrong:
            raise ConfigError(message)


def _is_there(out: Path, request: dict[str, object]) -> bool:
    """Return true if the set is there, complete.

    Raises:
        ConfigError: Something else is there.
    """
    record = out / RECORD
    if record.is_file():
        try:
            found = json.loads(record.read_text())
            same = found["schema"] == SCHEMA and found["request"] == request
        except (ValueError, KeyError, TypeError):
            same = False
        if not same:
            raise ConfigError(f"out: {out} holds another set (see {record}). Name another folder, or delete that one.")
        return True
    if out.is_dir() and not (out / UNFINISHED).is_file() and any(out.iterdir()):
        raise ConfigError(
            f"out: {out} is not empty and was not written by this command. Name a folder that is new or empty."
        )
    return False


def _clear(out: Path) -> None:
    """Remove what an interrupted run left behind, and nothing else."""
    ffpp, dfdc = ("original_sequences", "manipulated_sequences", "splits"), ("dfdc_train_part_*",)
    celebdf = ("Celeb-real", "YouTube-real", "Celeb-synthesis", "List_of_testing_videos.txt")
    for pattern in (*ffpp, *dfdc, *celebdf):
        for path in out.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _finish(out: Path, request: dict[str, object], plan: Plan) -> None:
    for name, document in plan.documents.items():
        if isinstance(document, str):
            (out / name).write_text(document)
        else:
            _write_json(out / name, document)
    fakes = {
        fake.video: {
            **{"kind": fake.kind, "region": fake.region, "face": fake.face, "original": shot.video},
            **_span_noted(request, fake),
        }
        for shot in plan.shots
        for fake in shot.fakes
    }
    record = {
        "schema": SCHEMA,
        "request": request,
        "methods": METHOD_KINDS if request["layout"] == "ffpp" else {},
        "fakes": fakes,
    }
    _write_json(out / UNFINISHED, record)
    # Only a complete set has the record: the rename is atomic.
    (out / UNFINISHED).replace(out / RECORD)


def _span(seed: int, fake: Fake, frames: int, share: float) -> range | None:
    return draw_span(generator(seed, "span", fake.video), frames, share)


def _span_noted(request: Mapping[str, Any], fake: Fake) -> dict[str, list[int]]:
    """The first altered frame and the one after the last; nothing for a fake that is altered throughout."""
    span = _span(request["seed"], fake, request["frames"], request.get("span", 1.0))
    return {} if span is None else {"altered_frames": [span.start, span.stop]}


def _write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _cast(people: list[str], images: list[Path], seed: int, spread: _Map) -> dict[str, Portrait]:
    """Give every person a different portrait.

    Raises:
        ConfigError: There are too few portraits with a face.
    """
    order = iter([images[number] for number in generator(seed, "cast").permutation(len(images))])
    found: list[Portrait] = []
    with tqdm(total=len(people), desc="portraits", unit="face") as progress:
        while batch := list(islice(order, len(people) - len(found))):
            for portrait in spread(find_face, batch):
                if portrait is not None:
                    found.append(portrait)
                    progress.update()
    if len(found) < len(people):
        raise ConfigError(
            f"faces: {len(found)} of the {len(images)} images in {images[0].parent} show a face that can be used, but "
            f"{len(people)} people are needed. Lower videos, or add portraits."
        )
    return dict(zip(people, found, strict=True))


def _make(
    shot: Shot,
    out: Path,
    cast: dict[str, Portrait],
    frames: int,
    size: int,
    change: float,
    extent: float,
    span: float,
    flicker: float,
    seed: int,
) -> int:
    """Write a genuine clip and its fakes; return how many files of video that is, masks not counted."""
    rng = generator(seed, "clip", shot.video)
    clip: Clip
    if cast:
        clip = film_clip([cast[person] for person in shot.people], rng, frames, size)
    else:
        clip = draw_clip([generator(seed, "person", person) for person in shot.people], rng, frames, size)
    write_video(out / shot.video, clip.frames)
    for fake in shot.fakes:
        altered, masks = forge(
            clip,
            fake.face,
            fake.kind,
            fake.region,
            generator(seed, "fake", fake.video),
            change,
            extent,
            _span(seed, fake, frames, span),
            draw_flicker(generator(seed, "flicker", fake.video), frames, flicker),
        )
        write_video(out / fake.video, altered)
        if fake.mask is not None:
            write_mask(out / fake.mask, masks)
    return 1 + len(shot.fakes)


@contextmanager
def _workers(jobs: int) -> Iterator[_Map]:
    """Yield a ``map`` that spreads over ``jobs`` processes; one job stays in this process."""
    if jobs == 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield map
        finally:
            cv2.setNumThreads(threads)
        return
    # A fork would copy the locks of threads that do not exist in the child (OpenCV's, the progress bar's).
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,))
    try:
        yield pool.map
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()
