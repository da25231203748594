"""Answers that are words: extraction, exact match and F1 as SQuAD v1.1 and CoQA define them.

    em, f1 = squad("Denver Broncos", ["Denver Broncos", "Broncos"])
    em, f1 = coqa("white", ["white", "White.", "it was white"])

Normalisation of both (Rajpurkar et al. 2016, Reddy et al. 2019): lower case, then no ASCII
punctuation, then no articles, then single spaces.
"""

import re
import string
from collections import Counter

from scoring import latex

PUNCTUATION = str.maketrans("", "", string.punctuation)
WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|textsf|emph|mathrm|mathbf|mathit|mbox)\s*\{([^{}]*)\}"
)
SAID = re.compile(r"\banswer(?:\s+(?:is|was|would be)|\s*:)\s*:?\s*([^\n]+)", re.IGNORECASE)
LONGEST = 4_000  # characters of an answer that are compared; the longest gold has under 500


def extract(text: str) -> tuple[str | None, str]:
    """(answer, how it was found): the last box, else what follows "answer is", else the only line.

    text: what comes after the thinking. (None, "none") where none of the three is there, and where
    a box never ends.
    """
    boxed = latex.extract_boxed(text)
    if boxed is None and "\\boxed" in text:  # \\boxed{yes\\} was meant to end
        boxed = latex.extract_boxed(text.replace("\\}", "}"))
    if boxed is not None:
        return plain(boxed), "boxed"
    text = text.strip()[-LONGEST:]
    if "\\boxed" in text:  # cut off inside
        return None, "none"
    if said := SAID.findall(text):
        return plain(said[-1]).strip(" .*_\"'`"), "answer is"
    return (plain(text), "only line") if text and "\n" not in text else (None, "none")


def plain(text: str) -> str:
    """The words of a LaTeX string: \\text{...} unwrapped, spaces and escapes undone."""
    text = text[:LONGEST]
    for _ in range(5):  # nested wrappers
        text = WRAPPED.sub(r"\1", text)
    text = re.sub(r"\\[,;: ]|~", " ", text)
    text = re.sub(r"\\([$%&#_{}])", r"\1", text)
    return " ".join(re.sub(r"^\s*\$(.*)\$\s*$", r"\1", text, flags=re.DOTALL).split())


def normalise(text: str) -> str:
    text = text[:LONGEST].lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def overlap(pred: str, gold: str) -> float:
    """F1 of the normalised words of two answers; 0 where they share none."""
    ours, theirs = normalise(pred).split(), normalise(gold).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def squad(pred: str, golds: list[str]) -> tuple[float, float]:
    """(exact match, F1), each the best over the golds. An answer of articles alone has F1 0."""
    exact = max(float(normalise(pred) == normalise(gold)) for gold in golds)
    return exact, max(overlap(pred, gold) for gold in golds)


def coqa(pred: str, golds: list[str]) -> tuple[float, float]:
    """(exact match, F1), each the mean over the golds left out of the best over the others.

    So a prediction is measured as each human was: against the other humans. With one gold, against
    that one. Two answers without a word are alike, unlike in SQuAD.
    """

    def best(measure, others):
        return max(measure(pred, gold) for gold in others)

    def exact(pred, gold):
        return float(normalise(pred) == normalise(gold))

    def f1(pred, gold):
        return overlap(pred, gold) or float(not normalise(pred) and not normalise(gold))

    rest = [golds[:i] + golds[i + 1 :] for i in range(len(golds))] if len(golds) > 1 else [golds]
    return tuple(sum(best(m, others) for others in rest) / len(rest) for m in (exact, f1))
