"""SciBench's rule: a number within 5 % of the gold one, in the unit that the question asks for.

close(r"1.39 \\times 10^{3} \\text{ J}", "1390", r"$\\mathrm{J}$")     # True
close("7.97e3", "7.97", "$10^3$")                                   # True: so is 7.97
"""

import itertools
import math
import re

from scoring.latex import equal
from scoring.latex.tokens import simple
from scoring.latex.tree import Unreadable, read
from scoring.latex.values import Undefined, value

LONGEST = 400  # characters of a prediction that is read
POWER = re.compile(r"10\s*\^\s*\{?\s*([-+]?\d+)")
NUMBER = re.compile(r"[-+]?\s*(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def close(pred: str, gold: str, unit: str = "", rel_tol: float = 0.05) -> bool:
    """Whether `pred` is `gold` up to a relative difference of rel_tol (of the larger of the two).

    gold: a decimal, perhaps with commas, a sign, spaces or a Unicode minus. unit: as in SciBench;
    where it carries a power of ten (10^3 J) or %, pred may have it or leave it to the question.
    Raises ValueError for a gold that is no number.
    """
    if not (golds := numbers(gold)):
        raise ValueError(f"a gold answer that is no number: {gold!r}")
    wanted = golds[0]
    targets = [wanted]
    if power := POWER.search(simple(unit.replace("$", " "))):
        targets.append(wanted * 10.0 ** int(power[1]))
    if "%" in unit:
        targets += [target / 100 for target in targets]
    tolerance = 0 if wanted else 1e-12
    return any(
        math.isclose(number, target, rel_tol=rel_tol, abs_tol=tolerance)
        for number in numbers(pred[:LONGEST], unit)
        for target in targets
    )


def numbers(pred: str, unit: str = "") -> list[float]:
    """What `pred` may be: several only for a percentage, a +- and two sides of an approximation.

    Letters that are left after the words are units, and count as one.
    """
    if not re.search(r"\d|π|\\pi|^\s*e\s*$", text := simple(pred)):
        return []
    try:
        tree = equal.plain(read(pred))
    except Unreadable:
        tail = re.split("[=≈]", text)[-1]
        return [float(n.replace(" ", "")) for n in NUMBER.findall(tail)[:1]]
    units = dict.fromkeys([*equal.free(tree), "i"], 1) | (
        {"e": 1} if unit.strip(" $") == "e" else {}
    )
    found = []
    for percent, degree in itertools.product((1, 0.01), (1, math.pi / 180)):
        for part in parts(tree, signed="±" in pred or r"\pm" in pred):
            try:
                number = complex(value(part, units | {"%": percent, "°": degree}))
            except (Undefined, OverflowError):
                continue
            if abs(number.imag) <= 1e-9 * abs(number):
                found.append(number.real)
    return found


def parts(tree: tuple, signed: bool) -> list[tuple]:
    """The expressions among which the answer is: what an equation ends in, a list begins with."""
    if tree[0] == "assignment":
        return parts(tree[2], signed)
    if tree[0] == "relation":
        return parts(tree[2][-1], signed)
    if tree[0] == "either":
        return [part for side in tree[1] for part in parts(side, signed)]
    if tree[0] == "group":
        return [part for item in tree[3][: 2 if signed else 1] for part in parts(item, signed)]
    return [tree]
