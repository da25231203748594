"""Answers in words: exact match and F1 as SQuAD v1.1 and CoQA define them.

    em, f1 = squad("Denver Broncos", ["Denver Broncos", "Broncos"])
    em, f1 = coqa("white", ["white", "White.", "it was white"])

Both normalise alike (Rajpurkar et al. 2016, Reddy et al. 2019): lower case, then no ASCII
punctuation, then no articles, then single spaces.
"""

import re
import string
from collections import Counter

from scoring.stated import LONGEST

PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    text = text[:LONGEST].lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def overlap(pred: str, gold: str) -> float:
    """Returns the F1 of the normalised words of two answers; 0 if they share none."""
    words, gold_words = normalise(pred).split(), normalise(gold).split()
    common = sum((Counter(words) & Counter(gold_words)).values())
    return 2 * common / (len(words) + len(gold_words)) if common else 0.0


def squad(pred: str, golds: list[str]) -> tuple[float, float]:
    """Returns (exact match, F1), each the best over the golds. Two answers of articles alone match
    exactly and have F1 0."""
    exact = max(float(normalise(pred) == normalise(gold)) for gold in golds)
    return exact, max(overlap(pred, gold) for gold in golds)


def coqa(pred: str, golds: list[str]) -> tuple[float, float]:
    """Returns (exact match, F1), each the mean over the golds left out of the best over the others.

    A prediction is measured as each human was, against the other humans; with one gold, against
    that one. Unlike in SQuAD, two answers without a word have F1 1.
    """

    def exact(gold: str) -> float:
        return float(normalise(pred) == normalise(gold))

    def f1(gold: str) -> float:
        return overlap(pred, gold) or float(not normalise(pred) and not normalise(gold))

    others = [golds[:i] + golds[i + 1 :] for i in range(len(golds))] if len(golds) > 1 else [golds]
    return tuple(sum(max(map(f, rest)) for rest in others) / len(others) for f in (exact, f1))
