"""Texts of a captioner: what it is trained on, how they become tokens, and how they are scored."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.core.text import joined
from resgat_pl.explain.clauses import Checked, Numbers, verify_text

_TOKEN: Final = re.compile(r"[a-z]+|[.,;:]")
MARKS: Final = ("<pad>", "<start>", "<end>", "<unknown>")
_ALTERED: Final = (
    "{the} look{s} altered.",
    "{the} {was} manipulated.",
    "Traces of forgery: {the} look{s} forged.",
    "{the} {was} changed.",
)
_CLEAN: Final = ("No part of the face looks altered.", "No region of the face was manipulated.")
_METHODS: Final = ("Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "", "original", "NeuralTextures")
"""Methods by the number in DD-VQA's names of pictures; 4 is not used."""
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "eyes": ("left eye", "right eye"),
    "eyebrows": ("left eye", "right eye"),
    "nose": ("nose",),
    "mouth": ("mouth",),
    "skin": ("left cheek", "right cheek", "forehead", "chin"),
}
"""Regions that DD-VQA's questions are about; an eye includes its brow here."""


def template_text(altered: Sequence[str], seed: int) -> str:
    """A text on the regions that were altered, in one of several wordings.

    Example:
        >>> template_text(["nose", "mouth"], seed=1), template_text([], seed=0)
        ('The nose and the mouth were manipulated.', 'No part of the face looks altered.')
    """
    if not altered:
        return _CLEAN[seed % len(_CLEAN)]
    several = len(altered) > 1
    the = joined([f"the {name}" for name in altered])
    form = _ALTERED[seed % len(_ALTERED)]
    text = form.format(the=the, s="" if several else "s", was="were" if several else "was")
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Vocabulary:
    """Words by number; those of a text that are not among them are ``<unknown>``.

    Attributes:
        words: The first are ``MARKS``.

    Example:
        >>> words = Vocabulary.of(["The nose looks altered."])
        >>> words.text(words.tokens("The nose, too, looks altered.")[1:-1])
        'The nose looks altered.'
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Vocabulary:
        """The words of some texts, by alphabet."""
        return cls((*MARKS, *sorted({word for text in texts for word in words_of(text)})))

    def tokens(self, text: str) -> list[int]:
        """Numbers of a text's words between start and end."""
        places = {word: place for place, word in enumerate(self.words)}
        return [1, *(places.get(word, 3) for word in words_of(text)), 2]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some numbers, without marks, each sentence with a capital letter."""
        words = [self.words[token] for token in tokens if token >= len(MARKS)]
        text = re.sub(r" ([.,;:])", r"\1", " ".join(words))
        return re.sub(r"(^|[.] )([a-z])", lambda found: found[1] + found[2].upper(), text)


def words_of(text: str) -> list[str]:
    """Words and stops of a text, in small letters."""
    return _TOKEN.findall(text.lower())


def verified(text: str, numbers: Numbers) -> tuple[str, list[Checked]]:
    """A text without its clauses that the numbers do not confirm, and what was found of each.

    Example:
        >>> numbers = {"region/nose": 1.0, "region/chin": -1.0}
        >>> verified("The nose looks altered. The chin looks altered.", numbers)[0]
        'The nose looks altered.'
    """
    checked = verify_text(text, numbers)
    return " ".join(one.clause.text for one in checked if one.holds), checked


def named_regions(text: str) -> set[str]:
    """Regions that a text calls altered; none of one that says that no part is."""
    lowered = text.lower()
    return set() if re.search(r"\bno (part|region)\b", lowered) else {r for r in FACE_REGIONS if f"the {r}" in lowered}


def region_precision_recall(named: Sequence[set[str]], altered: Sequence[set[str]]) -> tuple[float, float]:
    """Precision and recall of named against altered regions, over all faces together; NaN where undefined.

    Example:
        >>> region_precision_recall([{"nose", "chin"}, set()], [{"nose"}, {"mouth"}])
        (0.5, 0.5)
    """
    hits = sum(len(one & other) for one, other in zip(named, altered, strict=True))
    said, there = sum(map(len, named)), sum(map(len, altered))
    return hits / said if said else math.nan, hits / there if there else math.nan


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]], longest: int = 4) -> float:
    """BLEU of a corpus, in [0, 1] (Papineni et al., ACL 2002): geometric mean of clipped n-gram precisions.

    Args:
        texts: One for each face.
        references: One or more for each.
        longest: The n of BLEU-n.

    Example:
        >>> bleu(["the nose looks altered"], [["the nose looks altered"]])
        1.0
    """
    hits, total = np.zeros(longest), np.zeros(longest)
    length = closest = 0
    for text, known in zip(texts, references, strict=True):
        words, others = words_of(text), [words_of(reference) for reference in known]
        length += len(words)
        closest += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for n in range(1, longest + 1):
            mine = _grams(words, n)
            most: Counter[tuple[str, ...]] = Counter()
            for other in others:
                most |= _grams(other, n)
            hits[n - 1] += sum((mine & most).values())
            total[n - 1] += sum(mine.values())
    if not length or (hits == 0).any():
        return 0.0
    brevity = min(0.0, 1 - closest / length)
    return float(math.exp(brevity + np.log(hits / total).mean()))


def cider(texts: Sequence[str], references: Sequence[Sequence[str]], longest: int = 4) -> float:
    """CIDEr of a corpus (Vedantam et al., CVPR 2015): mean cosine of tf-idf n-gram vectors, times 10.

    As in the paper, without stemming; frequencies of documents are those of the references.

    Args:
        texts: One for each face, at least two.
        references: One or more for each.
        longest: n-grams up to this length count alike.
    """
    sets = [[words_of(reference) for reference in known] for known in references]
    total = np.zeros(len(texts))
    for n in range(1, longest + 1):
        document = Counter(gram for known in sets for gram in {g for words in known for g in _grams(words, n)})

        def vector(words: Sequence[str], n: int = n, document: Counter[Any] = document) -> dict[Any, float]:
            grams = _grams(words, n)
            size = sum(grams.values()) or 1
            return {g: c / size * math.log(len(sets) / max(1, document[g])) for g, c in grams.items()}

        for place, (text, known) in enumerate(zip(texts, sets, strict=True)):
            mine = vector(words_of(text))
            total[place] += sum(_cosine(mine, vector(words)) for words in known) / len(known)
    return float(10 * (total / longest).mean()) if len(texts) else math.nan


@dataclass(frozen=True)
class Answers:
    """Answers of DD-VQA on one picture.

    Attributes:
        method: Method in FaceForensics++, ``original`` for genuine pictures.
        video: Name of the video.
        texts: All answers to the question on the whole picture.
        altered: Regions of which an answer says that they look fake.
    """

    method: str
    video: str
    texts: tuple[str, ...]
    altered: frozenset[str]


def read_dd_vqa(path: Path) -> list[Answers]:
    """Read a file of DD-VQA (Zhang et al., "Common Sense Reasoning for Deep Fake Detection", ECCV 2024).

    ``{"3_579_701": {"0": {"question": …, "answer": [text, …]}, …}, …}``: number of the method and name of the video,
    then questions, each on the picture or a part of the face, with an answer by each annotator.

    Raises:
        ConfigError: It cannot be read, or has another layout.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_answers(name, list(questions.values())) for name, questions in content.items()]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no file of DD-VQA ({error!r:.120}): give one such as DQ_FF++/test_set/FaceSwap/FaceSwap.json."
        ) from None


def _answers(name: str, questions: Sequence[Mapping[str, Any]]) -> Answers:
    number, _, video = name.partition("_")
    texts: list[str] = []
    altered: set[str] = set()
    for entry in questions:
        part = next((part for part in _PARTS if part in entry["question"]), None)
        answers = [str(answer) for answer in entry["answer"]]
        if part is None:
            texts += answers
        elif any(re.search(r"\blooks? fake\b", answer) for answer in answers):
            altered.update(_PARTS[part])
    return Answers(_METHODS[int(number)], video, tuple(texts), frozenset(altered))


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def _cosine(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    dot = sum(value * other.get(gram, 0.0) for gram, value in one.items())
    size = math.sqrt(sum(v * v for v in one.values()) * sum(v * v for v in other.values()))
    return dot / size if size else 0.0
