"""SciBench's rule: a number within 5 % of the gold one, in the unit that the question asks for.

close(r"1.39 \\times 10^{3} \\text{ J}", "1390", r"$\\mathrm{J}$")     # True
close("7.97e3", "7.97", "$10^3$")                                   # True: so is 7.97
"""

import itertools
import math
import re

from scoring.latex.canonical import canonical, free
from scoring.latex.equal import in_numbers, sizes
from scoring.latex.tokens import respell, tokens, undressed
from scoring.latex.tree import Unreadable, parse
from scoring.latex.values import Undefined, value
from scoring.latex.words import meaning_of_words

LONGEST = 400  # characters of a prediction that is read
POWER = re.compile(r"10\s*\^\s*\{?\s*([-+]?\d+)")
ONLY_NUMBER = re.compile(  # of a text that is no expression; with its power of ten
    r"[^\dπ√]*?(?P<number>[-+]?\s*(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"(?:\s*(?:\*|\\times|\\cdot|[xX]|[\s\"])\s*10\s*\^\s*\{?\s*(?P<power>[-+]?\d{1,3})\b)?(?!\s*[/!^])[^\dπ√]*"
)


def close(pred: str, gold: str, unit: str = "", rel_tol: float = 0.05) -> bool:
    """Returns whether `pred` is `gold` up to a relative difference of rel_tol (of the larger one).

    gold: a decimal, perhaps with commas, a sign, spaces or a Unicode minus. unit: as in SciBench;
    if it has a power of ten (10^3 J) or %, pred may have it or leave it to the question. Raises
    ValueError for a gold that is no number.
    """
    if not (golds := numbers(gold)):
        raise ValueError(f"a gold answer that is no number: {gold!r}")
    targets = golds[:1]
    if power := POWER.search(respell(unit.replace("$", " "))):
        targets.append(golds[0] * 10.0 ** int(power[1]))
    if "%" in unit:
        targets += [target / 100 for target in targets]
    pairs = itertools.product(numbers(pred[:LONGEST], unit), targets)
    zero = 0 if golds[0] else 1e-12
    return any(math.isclose(*pair, rel_tol=rel_tol, abs_tol=zero) for pair in pairs)


def numbers(pred: str, unit: str = "") -> list[float]:
    """The values that `pred` may have: several for a percentage, a +- or an approximation's sides.

    Letters that remain after the words are units, and count as 1; a sum of units counts in each.
    """
    pred = undressed(pred)
    if not re.search(r"\d|π|\\pi|^\s*e\s*$", text := respell(pred)):
        return []
    if meaning_of_words(answer := tokens(pred))[0]:  # less than 24
        return []
    try:
        tree = canonical(parse(answer))
    except Unreadable:
        return the_only_number(re.split("[=≈]", text)[-1])
    constants = dict.fromkeys(["e"] * (unit.strip(" $") == "e") + [*free(tree), "i"], 1)
    values = []
    parts = stated_in(tree, is_signed="±" in pred or r"\pm" in pred, is_choice="∨" in answer)
    parts = [in_numbers(part, size) for part in parts for size in sizes(part) or [1]]
    for percent, degree, part in itertools.product((1, 0.01), (1, math.pi / 180), parts):
        try:
            number = complex(value(part, constants | {"%": percent, "°": degree}))
        except (Undefined, OverflowError):
            continue
        if abs(number.imag) <= 1e-9 * abs(number):
            values.append(number.real)
    return values


def the_only_number(text: str) -> list[float]:
    """The number in a text that is no expression; none where there are several, or a factor."""
    if not (match := ONLY_NUMBER.fullmatch(text)) or "\\pi" in text or "\\sqrt" in text:
        return []
    return [float(match["number"].replace(" ", "")) * 10.0 ** int(match["power"] or 0)]


def stated_in(tree: tuple, is_signed: bool, is_choice: bool) -> list[tuple]:
    """The expressions that may be the answer: the end of an equation, the head of named values."""
    if tree[0] == "assignment":
        return stated_in(tree[2], is_signed, is_choice)
    if tree[0] == "group" and not is_signed:
        is_named = all(node[0] in ("assignment", "relation", "either") for node in tree[3])
        if is_choice or not is_named:  # 5 or 7
            return []
    candidates = {"relation": slice(-1, None), "either": slice(None), "group": slice(1 + is_signed)}
    if tree[0] not in candidates:
        return [tree]
    nodes = tree[-1][candidates[tree[0]]]
    return [part for node in nodes for part in stated_in(node, is_signed, is_choice)]
