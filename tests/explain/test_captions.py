from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.explain.captions import (
    Vocabulary,
    bleu,
    cider,
    named_regions,
    read_dd_vqa,
    region_precision_recall,
    template_text,
    verified,
)


@pytest.mark.parametrize("seed", range(4))
def test_every_template_is_true_of_its_regions_and_of_no_others(seed: int) -> None:
    for altered in ([], *([name] for name in FACE_REGIONS), *map(list, combinations(FACE_REGIONS[:4], 2))):
        text = template_text(altered, seed)
        numbers = {f"manipulated/{name}": 0.9 if name in altered else 0.1 for name in FACE_REGIONS}
        numbers["verdict"] = float(bool(altered))
        kept, checked = verified(text, numbers)
        assert kept == text and all(one.holds for one in checked)
        assert named_regions(text) == set(altered)
        wrong = {**numbers, "manipulated/chin": 1 - numbers["manipulated/chin"]}
        if "chin" in altered or not altered:
            assert verified(text, wrong)[0] != text


def test_words_come_back_and_strange_ones_do_not() -> None:
    words = Vocabulary.of([template_text([name], seed) for seed in range(4) for name in FACE_REGIONS])
    for seed in range(4):
        text = template_text(["left eye"], seed)
        assert words.text(words.tokens(text)) == text
    assert words.text(words.tokens("The elephant looks altered.")) == "The looks altered."


def test_bleu_by_hand() -> None:
    texts, references = ["the nose looks altered now"], [["the nose looks altered", "the mouth looks altered"]]
    precisions = [4 / 5, 3 / 4, 2 / 3, 1 / 2]  # clipped; longer than the closest reference: no penalty
    assert bleu(texts, references) == pytest.approx(math.exp(sum(map(math.log, precisions)) / 4))
    short = bleu(["the nose looks altered"], [["the nose looks altered now too"]])
    assert short == pytest.approx(math.exp(1 - 6 / 4))
    assert bleu(["the the the the"], [["the nose"]], 1) == pytest.approx(1 / 4)  # each word counts as often as there
    assert bleu(["something else"], [["the nose"]]) == 0


def test_cider_is_ten_for_the_reference_and_counts_rare_words() -> None:
    references = [["the nose looks altered"], ["the mouth looks altered"], ["the chin was changed today"]]
    right = [known[0] for known in references]
    assert cider(right, references) == pytest.approx(10)
    common, rare = (cider([text, *right[1:]], references) for text in ("the face looks altered", "a nose"))
    assert rare > 0 and common < 10
    only = cider(["the", "the", "the"], references, 1)
    assert only == 0  # in every reference: no news


def test_named_against_altered() -> None:
    named = [named_regions("The nose looks altered. The left eye was changed."), named_regions("No part of the face")]
    assert named == [{"nose", "left eye"}, set()]
    assert region_precision_recall(named, [{"nose"}, {"chin"}]) == (0.5, 0.5)
    assert all(math.isnan(value) for value in region_precision_recall([set()], [set()]))


def test_dd_vqa(tmp_path: Path) -> None:
    picture = {
        "0": {"question": "Does the image looks real/fake?", "answer": ["The image looks fake.", "It looks fake."]},
        "1": {"question": "Does the person's nose look real/fake?", "answer": ["The person's nose looks fake. It is."]},
        "2": {"question": "Do the person's eyes look real/fake?", "answer": ["The person's eyes look real."]},
    }
    path = tmp_path / "FaceSwap.json"
    path.write_text(json.dumps({"3_579_701": picture, "5_003": {"0": picture["0"]}}))
    swap, genuine = read_dd_vqa(path)
    assert (swap.method, swap.video, swap.altered) == ("FaceSwap", "579_701", {"nose"})
    assert swap.texts == ("The image looks fake.", "It looks fake.")
    assert (genuine.method, genuine.video, genuine.altered) == ("original", "003", frozenset())
    for text in ("[]", "{", '{"a": {"0": {}}}', '{"9_1": {}}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="is no file of DD-VQA"):
            read_dd_vqa(path)
