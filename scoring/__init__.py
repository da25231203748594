"""One verdict for one output: the rules of each benchmark, over the scorers of this folder.

    score("gsm8k", row, r"<think>...</think> \\boxed{18}")   # Score(1.0, True, "18", "boxed")

Nothing here executes or evaluates what a model wrote; every scorer is bounded by construction.
"""

import re
from dataclasses import dataclass

from data.benchmarks import BENCHMARKS
from scoring import choice, ifeval, latex, number, qa, stated, summary

LONGEST = 200_000  # characters that are looked at, the last ones: 32k tokens have about 130,000


@dataclass(frozen=True)
class Score:
    value: float  # in [0, 1]; accuracy is its mean
    correct: bool
    extracted: str | None  # the answer that was compared; None: none was found
    detail: str  # how it was found, and what else was measured


def score(benchmark: str, item: dict, output: str) -> Score:
    """item: one row as the Hub has it (CoQA's with "turn", 0 by default); output: all of the text.

    squad, coqa: value is F1, correct is an exact match. c_code_summarization: ROUGE-L F1, which is
    no accuracy. Elsewhere value is correct. What comes before the last </think> does not count, and
    a <think> that never closes has no answer.
    """
    text = stated.after_thinking(output)[-LONGEST:]
    return SCORERS[BENCHMARKS[benchmark].scorer](BENCHMARKS[benchmark], item, text)


def verdict(is_right: bool, extracted: str | None, detail: str) -> Score:
    return Score(float(is_right), is_right, extracted, detail)


def by_choice(benchmark, item, text) -> Score:
    found = choice.extract(text, benchmark.options(item))
    return verdict(found == benchmark.gold(item), found, "letter" if found else "none")


def by_latex(benchmark, item, text) -> Score:
    found, how = stated.extract(text)
    is_right = found is not None and latex.equivalent(found, benchmark.gold(item))
    return verdict(is_right, found, how)


def by_number(benchmark, item, text) -> Score:
    found, how = stated.extract(text)
    is_right = found is not None and number.close(found, benchmark.gold(item), item["unit"])
    return verdict(is_right, found, how)


def by_words(benchmark, item, text) -> Score:
    found, how = qa.extract(text)
    gold = qa.normalise(benchmark.gold(item))
    return verdict(found is not None and qa.normalise(found) == gold, found, how)


def by_yes_no(benchmark, item, text) -> Score:
    """The first word of the answer, or of a text without one; both words in a box are neither."""
    answer, how = qa.extract(text)
    words = re.findall(r"[a-z]+", (answer or text)[: qa.LONGEST].lower())
    said = words[0] if words and words[0] in ("yes", "no") else None
    if how == "boxed" and {"yes", "no"} <= set(words):
        said = None
    how = how if answer is not None else "first word"
    return verdict(said == benchmark.gold(item).strip().lower(), said, how if said else "none")


def by_span(benchmark, item, text) -> Score:
    found, how = qa.extract(text)
    measure = {"squad": qa.squad, "coqa": qa.coqa}[benchmark.scorer]
    exact, f1 = (0.0, 0.0) if found is None else measure(found, benchmark.gold(item))
    return Score(f1, exact > 0, found, f"{how}; exact match {exact:.3g}")


def by_summary(benchmark, item, text) -> Score:
    """A box, or the whole text: a summary needs no mark to be one."""
    found, how = qa.extract(text)
    if found is None and text.strip() and "\\boxed" not in text:
        found, how = text.strip()[: qa.LONGEST], "all of it"
    if found is None:
        return Score(0.0, False, None, "none")
    gold = benchmark.gold(item)
    rouge, bleu = summary.rouge_l(found, gold), summary.bleu4(found, gold)
    is_same = qa.normalise(found) == qa.normalise(gold)
    return Score(rouge, is_same, found, f"{how}; ROUGE-L {rouge:.4f}, BLEU-4 {bleu:.4f}")


def by_instructions(benchmark, item, text) -> Score:
    """Correct where every instruction is followed, strictly."""
    found = ifeval.check(item["prompt"], text, item["instruction_id_list"], item["kwargs"])
    counts = [f"{kind} {sum(marks)}/{len(marks)}" for kind, marks in found.items()]
    return verdict(all(found["strict"]), text.strip()[:200] or None, ", ".join(counts))


SCORERS = {
    "choice": by_choice,
    "latex": by_latex,
    "number": by_number,
    "words": by_words,
    "yes_no": by_yes_no,
    "squad": by_span,
    "coqa": by_span,
    "summary": by_summary,
    "ifeval": by_instructions,
}
