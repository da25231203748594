"""Decides whether two mathematical answers mean the same.

    equivalent("0.5", r"\\dfrac{1}{2}")                            # True
    equivalent(r"x=2 \\text{ or } x=3", "3, 2")                   # True

Exact where every leaf is rational. Elsewhere two expressions are equal when they agree to 1e-9 at
points that a hash of their names chooses, with positive real part so that roots and logarithms keep
to one branch. Points outside either's domain are skipped.
"""

import cmath
import itertools
import math
import random
import re
from fractions import Fraction
from functools import lru_cache

from scoring.latex.canonical import MEANING, canonical, free, items, upward, walk
from scoring.latex.tokens import respell, tokens, undressed
from scoring.latex.tree import MINUS, ONE, Unreadable, negative, parse
from scoring.latex.values import Undefined, value
from scoring.latex.words import SENTENCE, has_value, meaning_of_words

LONGEST = 2_000  # characters of an answer that is read; a longer one equals only its own spelling
UNORDERED = 30  # items of a set or list that are matched in any order
POINTS, AGREEING = 8, 3  # points tried, and those that two expressions must share
HUNDREDTH = Fraction(1, 100)
LETTER = re.compile(
    r"[\s({\"]*(?:[Oo]ption|[Cc]hoice|[Aa]nswer)?[\s({\":]*([A-J])[\s\"]*(?:[)}.:]|$)"
)
GROUPED = re.compile(r"[^,]*|\D*\d{1,3}(?:,\d{3})+(?:\.\d+)?[^,\d]*")  # no list: 1,000 dollars
LABEL = re.compile(r"^[\s\"]*\(?[A-J]\)[\s\":.]*(?=[^\s\"])")
LETTERED = r"(?:(?:\\mu\s*|μ)?[mgshLlNJVWAKCFT]|mol|min|kg|[ckm]m|ft)(?![a-zA-Z])"
LETTERED += r"(?:\^\s*(?:\{-?\d\}|-?\d))?"  # a unit that is also names: 5 m/s
LETTERED_UNIT = re.compile(
    rf"(?<=[\d}}])[\s\"]*(?:\\[dt]?frac\{{({LETTERED})\}}\{{({LETTERED})\}}"
    rf"|({LETTERED}(?:\s*(?:/\s*\(?|\*|\\cdot\b)?\s*{LETTERED})*\)?))$"
)


def equivalent(pred: str, gold: str) -> bool:
    """Returns whether `pred` means the same as `gold`; both are answers, not whole outputs.

    Symmetric except for equations, and bases: a gold number equals any equation that ends in it, a
    gold equation only such a right side whose left side is a name; a gold 52_8 equals 52.
    """
    if pred.strip() == gold.strip():
        return bool(gold.strip())
    if max(len(pred), len(gold)) > LONGEST:
        return "".join(pred.split()) == "".join(gold.split())
    pred, gold = undressed(pred), undressed(gold)
    if not pred or not gold:
        return False
    if pred == gold:
        return True
    meanings = in_letters(pred), in_letters(gold)
    if meanings[0] and meanings[0] == meanings[1]:
        return True
    for letter, other in ((meanings[1], pred), (meanings[0], gold)):
        if re.fullmatch("[A-J]", letter or "") and (option := LETTER.match(respell(other))):
            return option[1] == letter
    if bool(LABEL.match(respell(pred))) != bool(LABEL.match(respell(gold))):  # (B) 18
        pred, gold = (LABEL.sub("", respell(answer)) for answer in (pred, gold))
    measured = [LETTERED_UNIT.sub(with_unit, answer) for answer in (pred, gold)]
    if not any(map(has_names, measured)):
        pred, gold = measured
    if GROUPED.fullmatch(gold):
        pred = re.sub(r"(?<=\d) +, +(?=\d{3}(?!\d))", ",", pred)
    return same_words(tokens(pred), tokens(gold)) and any(
        same_answers(tokens(pred, thousands), tokens(gold, thousands))
        for thousands in ((True,) if GROUPED.fullmatch(gold) else (True, False))
    )


def has_names(answer: str) -> bool:
    return any(len(t) == 1 and t.isascii() and t.isalpha() for t in tokens(answer))


def with_unit(match: re.Match) -> str:
    return rf" \text{{{match[3] or f'{match[1]}/{match[2]}'}}}"


def same_words(pred: list[str], gold: list[str]) -> bool:
    """Whether no word makes a difference: less than 18 is not 18, nor 3 a.m. 3 p.m."""
    if not (has_value(pred) and has_value(gold)):
        return True
    (changes, telling, words), (others, tell, rest) = map(meaning_of_words, (pred, gold))
    has_number = any(t[0].isdigit() for t in pred + gold)
    is_sentence = min(len(words), len(rest)) >= (SENTENCE if has_number else 1)
    if telling and tell and telling != tell or is_sentence and words != rest:
        return False
    return changes == others


def same_answers(pred: list[str], gold: list[str]) -> bool:
    """Whether two lists of tokens are equal, and what they repeat in brackets says the same."""
    try:
        left = [canonical(parse(part)) for part in stated_twice(pred)]
        right = [canonical(parse(part), is_gold=True) for part in stated_twice(gold)]
    except Unreadable:
        return False
    is_consistent = all(same(side[0], side[-1]) for side in (left, right) if len(side) > 1)
    return is_consistent and any(same(a, b) for a in left for b in right)


def stated_twice(answer: list[str]) -> list[list[str]]:
    """[160 minutes, 2 hours 40 minutes] of 160 minutes (2 hours 40 minutes), else the answer."""
    if answer[-1:] != [")"] or "(" not in answer:
        return [answer]
    start = len(answer) - 1 - answer[::-1].index("(")
    before, inside = answer[:start], answer[start + 1 : -1]
    if not (before and inside) or ")" in inside or before[-1] in "=<>≤≥≈∈,;∨([{⦃+-*/^_":
        return [answer]
    said = "".join(token[1:] for token in inside if token[0] == '"').lower()
    if not has_value(inside):
        return [before, [MEANING[said]]] if said in MEANING else [answer]
    is_name = before[-1][0] != '"' and before[-1].isalpha()
    is_marked = inside[0] in "∨≈=" or said or "%" in inside and not {*"+-"} & {*inside}
    if is_name or not is_marked or not has_value(before):
        return [answer]
    return [before, inside[inside[0] == "∨" :]]


def in_letters(text: str) -> str | None:
    """An answer of letters alone, as its meaning or in lower case; None for any other."""
    letters = re.sub(r"[\s\"(){}.]|\\(?=\s)", "", respell(text))
    if not letters.isalpha():
        return None
    return MEANING.get(letters.lower(), letters.lower()) if len(letters) > 1 else letters


# ---- comparison ------------------------------------------------------------------------------


def same(a: tuple, b: tuple) -> bool:
    """Returns whether two canonical trees are equal."""
    if a == b:
        return True
    kinds = {a[0], b[0]}
    if "either" in kinds:
        approximation, other = (a, b) if a[0] == "either" else (b, a)
        return any(same(side, other) for side in approximation[1])
    if kinds == {"assignment"}:  # 7.8e58 would hide what is on the left
        (_, (_, _, left), value_a), (_, (_, _, right), value_b) = a, b
        return same(value_a, value_b) if left[0] == right[0] else same(a[1], b[1])
    if "assignment" in kinds:
        (_, equation, right), other = (a, b) if a[0] == "assignment" else (b, a)
        return same(equation if other[0] == "relation" else right, other)
    if "relation" in kinds:
        return a[0] == b[0] and same_relation(a, b)
    if kinds == {"matrix"}:
        shapes = [[len(row) for row in matrix[1]] for matrix in (a, b)]
        cells = [itertools.chain(*matrix[1]) for matrix in (a, b)]
        return shapes[0] == shapes[1] and all(map(same, *cells))
    if items(a) is not None or items(b) is not None:
        return same_items(a, b)
    return not kinds & {"words", "based"} and same_value(a, b)


def same_items(a: tuple, b: tuple) -> bool:
    """Item by item: in any order in sets, lists and unions, in order where one is a tuple."""
    left, right = items(a), items(b)
    if left is None or right is None:  # 0.5 or 1/2: two spellings of one answer
        several, single = (a, b) if right is None else (b, a)
        is_list = several[:2] == ("group", "") and len(several[-1]) > 1
        return is_list and all(same(item, single) for item in several[-1])
    if len(left) != len(right):
        return False
    in_order = all(map(same, left, right))
    brackets = [n[1] + n[2] for n in (a, b) if n[0] == "group" and n[1] in ("(", "[")]
    if len(brackets) == 2:  # a pair's may be an interval's, longer ones are a vector's in any case
        alike = brackets[0] == brackets[1] or len(left) != 2 and {*brackets} == {"()", "[]"}
        return in_order and alike
    if in_order or brackets or "matrix" in (a[0], b[0]) or len(left) > UNORDERED:
        return in_order
    rest = list(right)
    for item in left:
        match = next((other for other in rest if same(item, other)), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def same_relation(a: tuple, b: tuple) -> bool:
    """Equations and inequalities up to a factor and to swapped sides."""
    (_, signs, left), (_, other_signs, right) = upward(a), upward(b)
    if signs != other_signs or len(left) != 2 or len(right) != 2:
        return False
    differences = [("sum", (sides[0], negative(sides[1]))) for sides in (left, right)]
    ratios = []
    for x, y in values(*differences):
        if x and y:
            ratios.append(complex(x) / complex(y))
        elif x or y:
            return False
    factor = ratios[0] if len(ratios) >= AGREEING else 0
    may_turn = signs in (("=",), ("≠",)) or abs(factor.imag) < 1e-9 and factor.real > 0
    return bool(factor) and may_turn and all(abs(r - factor) < 1e-8 * abs(factor) for r in ratios)


def same_value(a: tuple, b: tuple) -> bool:
    """Equal values wherever both have one; either side may leave % and ° out, or spell them out."""
    a, b = in_one_unit(a, b)
    names = free(a, b)
    percents = (Fraction(1), HUNDREDTH) if "%" in names else (Fraction(1),)
    degrees = (Fraction(1), cmath.pi / 180) if "°" in names else (Fraction(1),)
    is_constant = names <= {"%", "°"}
    for percent, degree in itertools.product(percents, degrees):
        agreeing = 0
        for x, y in values(a, b, {"%": percent, "°": degree}):
            if not close(x, y):
                break
            agreeing += 1
        else:
            if agreeing >= (1 if is_constant else AGREEING):
                return True
    return is_constant and rounded(a, b)


def in_one_unit(*nodes: tuple) -> list[tuple]:
    """The nodes with numbers for units: their sizes in the largest of all, where each has units of
    one dimension; where one has none, in the smallest of the other's, so that 2 h 40 min is 160.
    Nodes of different dimensions get no value.
    """
    found = [sizes(node) for node in nodes]
    if not any(found):
        return list(nodes)
    bases = [min(mine, default=1) for mine in found]
    if all(found):
        if len({dimension(node) for node in nodes}) > 1:
            return [("words", "")] * len(nodes)
        is_plain = len({n[2] for n in walk(nodes) if n[:1] == ("unit",)}) == 1
        bases = [max(itertools.chain(*found)) if is_plain else 1] * len(nodes)
    return [in_numbers(node, base) for node, base in zip(nodes, bases, strict=True)]


def sizes(node: tuple) -> list[Fraction]:
    return [n[1] for n in walk(node) if n[:1] == ("unit",)]


def in_numbers(node, base: Fraction):
    """The tree with each unit as a number: its size in the unit `base`."""
    if not isinstance(node, tuple):
        return node
    if node[:1] == ("unit",):
        return "number", node[1] / base, None
    return tuple(in_numbers(part, base) for part in node)


def dimension(node: tuple) -> Fraction:
    """The dimension of a tree: 1 without units."""
    kind, *parts = node
    if kind == "unit":
        return parts[1]
    if kind == "product":
        return math.prod(map(dimension, parts[0]), start=Fraction(1))
    if kind == "sum":
        return max(map(dimension, parts[0]))
    if kind == "power" and parts[1][0] == "number" and abs(parts[1][1]) <= 9:
        return dimension(parts[0]) ** int(parts[1][1])
    return Fraction(1)


def values(a: tuple, b: tuple, units: dict | None = None):
    """Yields pairs of values at points where both have one: complex ones, or else whole numbers."""
    names, has_value = sorted(free(a, b) - set(units or {})), False
    for k in range(2 * POINTS):
        if has_value and (k == POINTS or not names):
            return
        point = {name: coordinate(name, k) for name in names} | (units or {})
        try:
            yield value(a, point), value(b, point)
            has_value = True
        except Undefined:
            pass


@lru_cache(maxsize=1_000)
def coordinate(name: str, k: int) -> complex | Fraction:
    """A name's value at the k-th point: complex with a positive real part, later a whole number."""
    draw = random.Random(f"{name} {k}")
    if k >= POINTS:
        return Fraction(draw.randrange(4, 40))
    return cmath.rect(draw.uniform(0.6, 1.7), draw.uniform(-0.6, 0.6))


def close(x: Fraction | complex, y: Fraction | complex) -> bool:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    gap, size = distance(x, y)
    return gap <= (1e-9 * size if x and y else 1e-13)


def distance(x: Fraction | complex, y: Fraction | complex) -> tuple[float, float]:
    """(|x - y|, the larger of |x| and |y|); the first is infinite where a float overflows."""
    try:
        return abs(complex(x) - complex(y)), float(max(abs(x), abs(y)))
    except OverflowError:
        return math.inf, 0.0


def rounded(a: tuple, b: tuple) -> bool:
    """Whether one is a decimal that the other rounds to, within 1e-4 of it: 0.3333 and 1/3."""
    places = [p for node in (a, b) if (p := decimal_places(node)) is not None]
    for x, y in values(a, b, {"%": Fraction(1), "°": Fraction(1)}):
        gap, size = distance(x, y)
        return bool(places) and gap <= 1.0001e-4 * size and gap <= 0.5001 * 10.0 ** -min(places)
    return False


def decimal_places(node: tuple) -> int | None:
    """Digits after the point of a decimal, with or without a sign or unit; None for any other."""
    if node[0] == "product":
        factors = [f for f in node[1] if f not in (MINUS, ONE) and f[0] != "name"]
        return decimal_places(factors[0]) if len(factors) == 1 else None
    return node[2] if node[0] == "number" else None
