"""One verdict for one output: applies the rules of its benchmark.

    score("gsm8k", row, r"<think>...</think> \\boxed{18}")   # Score(1.0, True, "18", "boxed")

No model text is executed or evaluated, and every scorer is bounded by construction.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data.benchmarks import BENCHMARKS, openings
from scoring import choice, ifeval, latex, number, qa, stated, summary

LONGEST = 200_000  # characters that are read, the last ones: 32k tokens have about 130,000


@dataclass(frozen=True)
class Score:
    value: float  # in [0, 1]; accuracy is its mean
    correct: bool
    extracted: str | None  # the answer that was compared, if there is one
    detail: str  # how it was found, and what else was measured


def score(benchmark: str, item: dict, output: str) -> Score:
    """Scores one output.

    item: one row as the Hub has it (CoQA's with "turn", 0 by default); output: the whole text. What
    precedes the last </think> does not count, and a <think> that never closes has no answer.
    squad, coqa: value is F1, correct is an exact match. c_code_summarization: value is ROUGE-L F1,
    which is no accuracy. Elsewhere value is correct.
    """
    text = stated.after_thinking(output)[-LONGEST:]
    return SCORERS[BENCHMARKS[benchmark].scorer](BENCHMARKS[benchmark], item, text)


def own_turn(benchmark: str, item: dict, output: str) -> str:
    """An answer in plain text, up to a next turn that the model invents."""
    labels = "|".join(openings(benchmark, item))
    return re.split(rf"^(?:{labels})", output, maxsplit=1, flags=re.MULTILINE)[0]


def judged(benchmark: str, output: str, is_plain: bool = False) -> str:
    """What of an output is judged, by the rules and by a jury: what follows the thinking, and of an
    answer in plain text no more than its first box."""
    text = stated.after_thinking(output)
    boxes = stated.boxes(text)[0] if is_plain and benchmark != "ifeval" else []
    return text[: boxes[0][1]] if boxes else text


@cache
def rules() -> str:
    """The version of the rules: a digest of the sources that decide verdicts."""
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).parts):
        if file.name not in ("jury.py", "scoreboard.py"):
            digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]


def verdict(is_right: bool, extracted: str | None, detail: str) -> Score:
    return Score(float(is_right), is_right, extracted, detail)


def by_choice(benchmark, item, text) -> Score:
    letter = choice.extract(text, benchmark.options(item))
    return verdict(letter == benchmark.gold(item), letter, "letter" if letter else "none")


def by_latex(benchmark, item, text) -> Score:
    answer, how = stated.mathematics(text)
    is_right = answer is not None and latex.equivalent(answer, benchmark.gold(item))
    return verdict(is_right, answer, how)


def by_number(benchmark, item, text) -> Score:
    answer, how = stated.mathematics(text)
    is_right = number.close(answer or "", benchmark.gold(item), item["unit"])
    return verdict(is_right, answer, how)


def by_words(benchmark, item, text) -> Score:
    answer, how = stated.words(text)
    gold = qa.normalise(benchmark.gold(item))
    return verdict(answer is not None and qa.normalise(answer) == gold, answer, how)


def by_yes_no(benchmark, item, text) -> Score:
    word, how = stated.yes_or_no(text)
    return verdict(word == benchmark.gold(item).strip().lower(), word, how)


def by_span(benchmark, item, text) -> Score:
    answer, how = stated.words(text)
    measure = {"squad": qa.squad, "coqa": qa.coqa}[benchmark.scorer]
    exact, f1 = (0.0, 0.0) if answer is None else measure(answer, benchmark.gold(item))
    return Score(f1, exact > 0, answer, f"{how}; exact match {exact:.3g}")


def by_summary(benchmark, item, text) -> Score:
    """A box, or the whole text: a summary needs no mark to be one."""
    answer, how = stated.words(text)
    if answer is None and text.strip() and "\\boxed" not in text:
        answer, how = text.strip()[: stated.LONGEST], "all of it"
    if answer is None:
        return Score(0.0, False, None, "none")
    gold = benchmark.gold(item)
    rouge, bleu = summary.rouge_l(answer, gold), summary.bleu4(answer, gold)
    is_same = qa.normalise(answer) == qa.normalise(gold)
    return Score(rouge, is_same, answer, f"{how}; ROUGE-L {rouge:.4f}, BLEU-4 {bleu:.4f}")


def by_instructions(benchmark, item, text) -> Score:
    """Correct if every instruction is followed, strictly."""
    marks = ifeval.check(item["prompt"], text, item["instruction_id_list"], item["kwargs"])
    counts = [f"{kind} {sum(passed)}/{len(passed)}" for kind, passed in marks.items()]
    return verdict(all(marks["strict"]), text.strip()[:200] or None, ", ".join(counts))


SCORERS = {
    "choice": by_choice, "latex": by_latex, "number": by_number, "words": by_words,
    "yes_no": by_yes_no, "squad": by_span, "coqa": by_span, "summary": by_summary,
    "ifeval": by_instructions,
}  # fmt: skip
