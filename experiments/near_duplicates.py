"""How many altered copies of portraits ``resgat check`` finds, what it takes for copies, and what it costs.

    python experiments/near_duplicates.py --faces DIR          # recall, false alarms: 15 minutes on one core
    python experiments/near_duplicates.py --pictures 120000    # time and memory of a comparison, on generated records

Each portrait is altered with itself alone: no person's face is put onto another.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from tqdm import tqdm

from resgat_pl.data.faces.cropping import crop_face, square_box
from resgat_pl.data.faces.detection import MTCNN, FaceDetector, YuNet
from resgat_pl.data.media.images import read_image
from resgat_pl.data.splits.fingerprints import FEATURES, FINGERPRINT, Fingerprints, fingerprint
from resgat_pl.data.splits.near_duplicates import find_duplicates, match
from resgat_pl.data.synth.portraits import list_images
from resgat_pl.evaluation.corruptions import Corruption

Image = NDArray[np.uint8]
Rng = np.random.Generator

SIDE = 224
SHIFT = 22 / 160  # as much as a face detector moves its box on a retouched copy, by the crop's side
SCALE = (0.91, 1.13)
# eyes, nose, mouth: centre and half axes of an ellipse, by the side of a face crop
PARTS = ((0.5, 0.4, 0.35, 0.12), (0.5, 0.54, 0.17, 0.14), (0.5, 0.72, 0.25, 0.13))


def moved(image: Image, scale: float = 1, shift: tuple[float, float] = (0, 0), turn: float = 0) -> Image:
    """Scaled and turned about the centre, then shifted by shares of the side."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    matrix[:, 2] += np.array(shift) * (width, height)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def replaced(image: Image, rng: Rng) -> Image:
    """One part of the face replaced by its larger mirror image, by a blur, or by what surrounds it."""
    side = image.shape[0]
    x, y, a, b = (round(value * side) for value in PARTS[rng.integers(len(PARTS))])
    inside = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(inside, (x, y), (a, b), 0, 0, 360, 255, -1)
    how = rng.integers(3)
    if how == 0:
        new = moved(np.ascontiguousarray(image[:, ::-1]), 1.15, (0, 0.03))
    elif how == 1:
        new = cv2.GaussianBlur(image, (0, 0), side / 30)
    else:
        new = cv2.inpaint(image, inside, 3, cv2.INPAINT_TELEA)
    weight = cv2.GaussianBlur(inside, (0, 0), side / 60)[..., None] / 255
    return np.asarray(new * weight + image * (1 - weight), np.uint8)


def shift(rng: Rng, most: float = SHIFT, exactly: bool = False) -> tuple[float, float]:
    """Into any direction by up to, or exactly, so much of the side."""
    angle, length = rng.uniform(0, 2 * np.pi), most if exactly else most * np.sqrt(rng.random())
    return float(length * np.cos(angle)), float(length * np.sin(angle))


def jpeg(image: Image, quality: int) -> Image:
    """Coded as JPEG."""
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


def lit(image: Image, rng: Rng) -> Image:
    """In another brightness and contrast, cut off at black and white."""
    return np.clip(image * rng.uniform(0.6, 1.4) + rng.uniform(-30, 30), 0, 255).astype(np.uint8)


def titled(image: Image, _: Rng) -> Image:
    """With two lines of text over a tenth of the picture."""
    image, side = image.copy(), image.shape[1]
    white, yellow = (255, 255, 255), (255, 255, 0)
    low, high = (side // 20, side * 9 // 10), (side * 6 // 10, side // 10)
    cv2.putText(image, "BREAKING NEWS", low, cv2.FONT_HERSHEY_SIMPLEX, side / 260, white, 2)
    cv2.putText(image, "@channel", high, cv2.FONT_HERSHEY_SIMPLEX, side / 450, yellow, 1)
    return image


def halved(image: Image) -> Image:
    """Half the side."""
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def mirrored(image: Image) -> Image:
    """Left is right."""
    return np.ascontiguousarray(image[:, ::-1])


def coded(image: Image) -> Image:
    """Coded by libx264 at CRF 36."""
    return Corruption("h264", 4)(image, seed=0)


def retouched(image: Image, rng: Rng) -> Image:
    """A part replaced, and cut out again: scaled, shifted, coded as JPEG."""
    changed = moved(replaced(image, rng), rng.uniform(*SCALE), shift(rng))
    return jpeg(changed, int(rng.integers(75, 96)))


def everything(image: Image, rng: Rng) -> Image:
    """Retouched, turned, lit otherwise, titled, mirrored, and coded as JPEG of quality 50."""
    changed = titled(lit(moved(retouched(image, rng), turn=rng.uniform(-5, 5)), rng), rng)
    return jpeg(mirrored(changed), 50)


ALTERATIONS: dict[str, Callable[[Image, Rng], Image]] = {
    "none": lambda image, _: image,
    "scaled by −9 or +13 %": lambda image, rng: moved(image, float(rng.choice(SCALE))),
    "shifted by 22 of 160 px": lambda image, rng: moved(image, shift=shift(rng, exactly=True)),
    "one part replaced": replaced,
    "mirrored": lambda image, _: mirrored(image),
    "JPEG, quality 90": lambda image, _: jpeg(image, 90),
    "JPEG, quality 30": lambda image, _: jpeg(image, 30),
    "brightness and contrast": lit,
    "H.264, CRF 36": lambda image, _: coded(image),
    "half the size": lambda image, _: halved(image),
    "turned by 5°": lambda image, rng: moved(image, turn=float(rng.choice([-5, 5]))),
    "two lines of text": titled,
    "retouched: part, scale, shift, JPEG": retouched,
    "retouched and mirrored": lambda image, rng: mirrored(retouched(image, rng)),
    "retouched, half the size, JPEG 50": lambda image, rng: jpeg(halved(retouched(image, rng)), 50),
    "retouched, H.264 CRF 36": lambda image, rng: coded(retouched(image, rng)),
    "retouched, turned, lit, titled, mirrored, JPEG 50": everything,
}


def share(found: int, of: int) -> str:
    """A proportion with Wilson's interval."""
    low, high = binomtest(found, of).proportion_ci(method="wilson")
    return f"{found} of {of}, {found / of:.1%} [{low:.1%}, {high:.1%}]"


def recall(pictures: list[Image], prints: Fingerprints, seed: int) -> None:
    """Print how many altered copies are found among all pictures, and how many other pairs are."""
    names = [str(place) for place in range(len(pictures))]
    print("| alteration | found | other pairs of all |\n|---|---|---|")
    for title, alter in ALTERATIONS.items():
        rng = np.random.default_rng(seed)
        altered = np.concatenate([fingerprint(alter(picture, rng)) for picture in tqdm(pictures, title, leave=False)])
        leaks = find_duplicates({"train": (names, prints), "test": (names, altered)})
        pairs = [name.split(" (")[0].split(" ~ ") for leak in leaks for name in leak.names]
        found = sum(one == other for one, other in pairs)
        print(f"| {title} | {share(found, len(pictures))} | {len(pairs) - found} |", flush=True)


def false_alarms(prints: Fingerprints) -> None:
    """Print how many pairs of different people are taken for copies, when every pair is looked at as closely."""
    pairs = list(combinations(range(len(prints)), 2))
    found = [
        (i, j, how)
        for i, j in tqdm(pairs, "all pairs", leave=False)
        for is_mirrored in (False, True)
        if (how := match(prints[i], prints[j], is_mirrored)) is not None
    ]
    hashes = prints["hashes"]
    closest = min(
        int(np.bitwise_count(hashes[i, 0] ^ hashes[j]).sum(axis=1).min()) for i, j in tqdm(pairs, "hashes", leave=False)
    )
    print(
        f"false alarms: {len(found)} of {len(pairs):,} pairs, as they are and mirrored; closest hashes {closest} bits"
    )
    for i, j, how in found:
        print(f"  {i} ~ {j}: {how}")


def face_crops(pictures: list[Image], detector: FaceDetector) -> list[Image]:
    """The largest face of each, cut out as ``extract`` does."""
    crops = []
    for picture in tqdm(pictures, "cut faces", leave=False):
        faces = detector.detect(picture)
        if faces:
            largest = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
            crops.append(crop_face(picture, square_box(largest.box, 1.3), SIDE))
    return crops


def generated(count: int, rng: Rng, like: Fingerprints) -> Fingerprints:
    """Records whose features' codes are those of ``like`` with a fifth of the bits flipped: no two are one picture."""
    found = np.zeros(count, FINGERPRINT)
    for start in range(0, count, 5000):
        block = found[start : start + 5000]
        picked = rng.integers(0, len(like), (len(block), FEATURES))
        codes = like["codes"][picked, rng.integers(0, FEATURES, picked.shape)]
        flips = rng.random((*codes.shape[:2], 128), np.float32) < 0.2
        block["codes"] = codes ^ np.packbits(flips, axis=2).view(np.uint64)
        block["hashes"] = rng.integers(0, 2**63, block["hashes"].shape, np.uint64)
        block["size"], block["count"] = 160, FEATURES
        block["points"] = rng.uniform(0, 160, block["points"].shape)
        block["thumb"] = like["thumb"][picked[:, 0]]
    return found


def cost(pictures: int, per_video: int, like: Fingerprints) -> None:
    """Print time and memory of comparing five sixths of the videos with one sixth, where one in a hundred is a copy."""
    rng = np.random.default_rng(0)
    many, few = pictures * 5 // 6 * per_video, pictures // 6 * per_video
    train, test = generated(many, rng, like), generated(few, rng, like)
    copies = test[:: 100 * per_video].copy()
    train[: len(copies)] = copies
    names = [[f"{side}{place // per_video}" for place in range(size)] for side, size in (("a", many), ("b", few))]
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    leaks = find_duplicates({"train": (names[0], train), "test": (names[1], test)})
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = sum(len(leak.names) for leak in leaks)
    print(f"{many:,} x {few:,} generated pictures, {len(copies)} copies: {found} found in {seconds:.0f} s on one core")
    print(f"peak memory {peak / 2**20:.1f} GB, of which {(many + few) * FINGERPRINT.itemsize / 2**30:.1f} GB records")
    print(f"(before the comparison {before / 2**20:.1f} GB)")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of portraits of different people")
    parser.add_argument("--yunet", type=Path, help="model of YuNet; MTCNN by default")
    parser.add_argument("--limit", type=int, default=1000, help="portraits at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, help="measure time and memory with so many videos, nothing else")
    parser.add_argument("--per-video", type=int, default=1, help="pictures a video, with --pictures")
    parser.add_argument("--kind", choices=["crops", "pictures"], help="only one of both")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    files = list_images(arguments.faces)[: arguments.limit]
    portraits = [read_image(file) for file in files]
    if arguments.pictures:
        like = np.concatenate([fingerprint(picture) for picture in portraits])
        cost(arguments.pictures, arguments.per_video, like[like["count"] == FEATURES])
        return
    detector = YuNet(arguments.yunet) if arguments.yunet else MTCNN()
    kinds = {"pictures": lambda: portraits, "crops": lambda: face_crops(portraits, detector)}
    for kind in kinds if arguments.kind is None else [arguments.kind]:
        pictures = kinds[kind]()
        started = time.perf_counter()
        prints = np.concatenate([fingerprint(picture) for picture in pictures])
        each = (time.perf_counter() - started) / len(pictures)
        print(
            f"\n{kind}: {len(pictures)} of different people, seed {arguments.seed}; {each * 1e3:.0f} ms a fingerprint\n"
        )
        recall(pictures, prints, arguments.seed)
        false_alarms(prints)


if __name__ == "__main__":
    main()
