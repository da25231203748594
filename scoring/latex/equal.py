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

from scoring.latex.tokens import respell
from scoring.latex.tree import MINUS, ONE, Unreadable, negative, read
from scoring.latex.values import CONSTANTS, Undefined, value

LONGEST = 2_000  # characters of an answer that is read; a longer one equals only its own spelling
UNORDERED = 30  # items of a set or list that are matched in any order
POINTS, AGREEING = 8, 3  # points tried, and those that two expressions must share
NUMERALS = "zero one two three four five six seven eight nine ten".split()
MEANING = {  # of an answer's letters
    **{word: str(i) for i, word in enumerate(NUMERALS)},
    **{"true": "yes", "false": "no", "doesnotexist": "dne", "undefined": "dne"},
    **dict.fromkeys("allrealnumbers allreals realnumbers anyrealnumber".split(), "ℝ"),
    **dict.fromkeys("nosolution nosolutions norealsolution norealsolutions".split(), "∅"),
    **dict.fromkeys("nosolutionexists none emptyset".split(), "∅"),
}
INFINITY, HUNDREDTH = ("name", "∞"), Fraction(1, 100)
LETTER = re.compile(
    r"[\s({\"]*(?:[Oo]ption|[Cc]hoice|[Aa]nswer)?[\s({\":]*([A-J])[\s\"]*(?:[)}.:]|$)"
)
LABEL = re.compile(r"^[\s\"]*\(?[A-J]\)[\s\":.]*(?=[^\s\"])")
UNIT = re.compile(
    r"(?<=[\d}])[\s\"]*(?:m|g|s|h|L|l|N|J|V|W|A|K|C|F)\s*(?:/\s*(?:s|h|min|L|m|K))?(?:\^\{?\d\}?)?$"
)
WORD = r"\\(?:text\w*|mbox|mathrm)\s*\{[^{}]*\}"
TELLING = re.compile(  # words that make two answers of the same numbers differ
    r"(?i)(?<![a-z\\])(?:[ap]\.?m|north|south|east|west|increase|decrease|january|february|march|april"
    r"|may|june|july|august|september|october|november|december)(?![a-z])"
)


def equivalent(pred: str, gold: str) -> bool:
    """Returns whether `pred` means the same as `gold`; both are answers, not whole outputs.

    Symmetric except for equations: a gold number equals any equation that ends in it, a gold
    equation only such a right side whose left side is a name.
    """
    pred, gold = (re.sub(r"(?<!\.)\.$", "", answer.strip().strip("*` ")) for answer in (pred, gold))
    if not pred or not gold:
        return False
    if pred == gold:
        return True
    if max(len(pred), len(gold)) > LONGEST:
        return "".join(pred.split()) == "".join(gold.split())
    meanings = in_letters(pred), in_letters(gold)
    if meanings[0] and meanings[0] == meanings[1]:
        return True
    for letter, other in ((meanings[1], pred), (meanings[0], gold)):
        if re.fullmatch("[A-J]", letter or "") and (option := LETTER.match(respell(other))):
            return option[1] == letter
    telling = [{w.lower().replace(".", "") for w in TELLING.findall(a)} for a in (pred, gold)]
    if all(telling) and telling[0] != telling[1]:  # 3 a.m., 3 p.m.
        return False
    if not re.search("[A-Za-z]", re.sub(WORD, "", gold)):
        pred = UNIT.sub("", pred)
    if not re.search("[A-Za-z]", re.sub(WORD, "", pred)):
        gold = UNIT.sub("", gold)
    if bool(LABEL.match(respell(pred))) != bool(LABEL.match(respell(gold))):  # (B) 18
        pred, gold = (LABEL.sub("", respell(answer)) for answer in (pred, gold))
    for thousands in (True, False):
        try:
            tree = canonical(read(pred, thousands))
            if same(tree, canonical(read(gold, thousands), is_gold=True)):
                return True
        except Unreadable:
            pass
    return False


def in_letters(text: str) -> str | None:
    """An answer of letters alone, as its meaning or in lower case; None for any other."""
    letters = re.sub(r"[\s\"(){}.]|\\(?=\s)", "", respell(text))
    if not letters.isalpha():
        return None
    return MEANING.get(letters.lower(), letters.lower()) if len(letters) > 1 else letters


# ---- canonical trees -------------------------------------------------------------------------


def canonical(node: tuple, is_gold: bool = False) -> tuple:
    """Returns the tree that is compared, without what only names the answer.

    x = 5 is 5 and x in S is S; x > 2 an interval; 1 +- 2 the list of both; a number times a matrix
    a matrix; words the symbols they stand for.
    """
    kind, *parts = node
    if kind == "words":
        letters = "".join(filter(str.isalpha, parts[0]))
        symbol = MEANING.get(letters, letters)
        return canonical(read(symbol)) if len(symbol) == 1 or symbol == "10" else ("words", symbol)
    if node == ("name", "ℝ"):
        return open_interval(negative(INFINITY), INFINITY)
    if kind == "relation":
        return canonical_relation(node, is_gold)
    if kind in ("group", "union"):
        facts = [item for item in parts[-1] if item[:2] != ("relation", ("≠",))]  # 2x, x ≠ 0
        nodes = tuple(canonical(item, is_gold) for item in facts or parts[-1])
        if kind == "group" and parts[0] in ("", "⦃"):
            lists = [item[3] if item[:2] == ("group", "") else (item,) for item in nodes]
            nodes = tuple(itertools.chain(*lists))
            if len(nodes) == 1:
                return nodes[0]
        return (kind, *parts[:-1], nodes)
    if kind in ("sum", "product", "power") and ("name", "±") in walk(node):
        return "group", "", "", (with_sign(node, ONE), with_sign(node, MINUS))
    matrices = [factor for factor in parts[0] if factor[0] == "matrix"] if kind == "product" else []
    if len(matrices) == 1:
        scalars = [factor for factor in parts[0] if factor[0] != "matrix"]
        rows = matrices[0][1]
        return "matrix", tuple(tuple(("product", (*scalars, x)) for x in row) for row in rows)
    return node


def walk(node: tuple):
    """Yields every node of a tree, and the tuples of nodes between them."""
    if isinstance(node, tuple):
        yield node
        for part in node:
            yield from walk(part)


def with_sign(node, sign: tuple):
    """The tree with `sign` for every ±."""
    if not isinstance(node, tuple):
        return node
    return sign if node == ("name", "±") else tuple(with_sign(part, sign) for part in node)


def free(*nodes: tuple) -> set[str]:
    """The names without a value of their own."""
    return {n[1] for n in walk(nodes) if len(n) == 2 and n[0] == "name"} - set(CONSTANTS)


def canonical_relation(node: tuple, is_gold: bool) -> tuple:
    _, signs, (first, *_, last) = node
    if signs[-1] in "∈→":
        return canonical(last, is_gold)
    if set(signs) <= {"<", "≤"} or set(signs) <= {">", "≥"}:
        return interval(node) or node
    if signs == ("≠",) and first[0] == "name":
        hole = canonical(last)
        return "union", (open_interval(negative(INFINITY), hole), open_interval(hole, INFINITY))
    if signs[-1] == "≈":
        return "either", tuple(canonical(side, is_gold) for side in node[2])
    if set(signs) != {"="}:
        return node
    equation = "relation", ("=",), (first, last)
    names = first[0] in ("name", "group") or not any(n[:1] == ("number",) for n in walk(first))
    is_zero = last == ("number", Fraction(0), None)
    if names or last[0] in ("group", "matrix") or not (is_gold or is_zero):
        return "assignment", equation, canonical(last, is_gold)
    return equation


def open_interval(low: tuple, high: tuple) -> tuple:
    return "group", "(", ")", (low, high)


def interval(node: tuple) -> tuple | None:
    """(lower, upper) with its brackets, from x < b, a < x or a < x < b; None for another shape."""
    _, signs, nodes = upward(node)
    if len(nodes) == 2 and nodes[0][0] == "name":
        signs, nodes = ("<", *signs), (negative(INFINITY), *nodes)
    elif len(nodes) == 2:
        signs, nodes = (*signs, "<"), (*nodes, INFINITY)
    if len(nodes) != 3 or nodes[1][0] != "name" or nodes[1][1] in free(nodes[0], nodes[2]):
        return None
    return "group", "(["[signs[0] == "≤"], ")]"[signs[1] == "≤"], (nodes[0], nodes[2])


def upward(node: tuple) -> tuple:
    """The relation read from right to left if it begins with > or ≥."""
    _, signs, nodes = node
    if signs[0] not in ">≥":
        return node
    turned = str.maketrans(">≥", "<≤")
    return "relation", tuple(s.translate(turned) for s in reversed(signs)), nodes[::-1]


# ---- comparison ------------------------------------------------------------------------------


def same(a: tuple, b: tuple) -> bool:
    """Returns whether two canonical trees are equal."""
    if a == b:
        return True
    kinds = {a[0], b[0]}
    if "either" in kinds:
        approximation, other = (a, b) if a[0] == "either" else (b, a)
        return any(same(side, other) for side in approximation[1])
    if kinds == {"assignment"}:
        return same(a[1], b[1])
    if "assignment" in kinds:
        (_, equation, right), other = (a, b) if a[0] == "assignment" else (b, a)
        return same(equation if other[0] == "relation" else right, other)
    if "relation" in kinds:
        return a[0] == b[0] and same_relation(a, b)
    if "based" in kinds:  # 52_8, and 52 where the question gives the base
        based, other = (a, b) if a[0] == "based" else (b, a)
        return other[0] == "number" and other[2] is None and based[1] == str(other[1])
    if kinds == {"matrix"}:
        shapes = [[len(row) for row in matrix[1]] for matrix in (a, b)]
        cells = [itertools.chain(*matrix[1]) for matrix in (a, b)]
        return shapes[0] == shapes[1] and all(map(same, *cells))
    if items(a) is not None or items(b) is not None:
        return same_items(a, b)
    return "words" not in kinds and same_value(a, b)


def items(node: tuple) -> tuple | None:
    """The items of a group or union, a vector's entries, another matrix's rows; None for others."""
    if node[0] in ("group", "union"):
        return node[-1]
    if node[0] != "matrix":
        return None
    if len(node[1]) == 1 or all(len(row) == 1 for row in node[1]):
        return tuple(itertools.chain(*node[1]))
    return tuple(("group", "[", "]", row) for row in node[1])


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
        factors = [factor for factor in node[1] if factor != MINUS and factor[0] != "name"]
        return decimal_places(factors[0]) if len(factors) == 1 else None
    return node[2] if node[0] == "number" else None
