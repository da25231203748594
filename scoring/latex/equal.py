"""Mathematical answers: whether two of them mean the same.

    equivalent("0.5", r"\\dfrac{1}{2}")                            # True
    equivalent(r"x=2 \\text{ or } x=3", "3, 2")                   # True

Exact where every leaf is rational; elsewhere two expressions are equal when they agree, to 1e-9, at
points that a hash of their names chooses, with positive real part so that roots and logarithms keep
to one branch. Points outside of either's domain are skipped.
"""

import cmath
import itertools
import random
import re
from fractions import Fraction
from functools import lru_cache

from scoring.latex.tokens import simple
from scoring.latex.tree import MINUS, Unreadable, read
from scoring.latex.values import CONSTANTS, Undefined, value
from scoring.stated import after_thinking, boxes, extract, extract_boxed

__all__ = ["after_thinking", "boxes", "equivalent", "extract", "extract_boxed"]

LONGEST = 2_000  # characters of an answer that is read; a longer one equals only its own spelling
UNORDERED = 30  # items of a set or list that are matched in any order
POINTS, AGREEING = 8, 3  # points tried, and those that two expressions must share
WORDS = {  # by their letters
    "∅": "nosolution nosolutions norealsolution norealsolutions nosolutionexists none emptyset",
    "ℝ": "allrealnumbers allreals realnumbers anyrealnumber", "yes": "true", "no": "false",
    "dne": "doesnotexist undefined", "0": "zero", "1": "one", "2": "two", "3": "three",
    "4": "four", "5": "five", "6": "six", "7": "seven", "8": "eight", "9": "nine", "10": "ten",
}  # fmt: skip
MEANING = {word: symbol for symbol, words in WORDS.items() for word in words.split()}
INFINITY, PLUS = ("name", "∞"), ("number", Fraction(1), None)
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
    """Whether `pred` means the same as `gold`; both are answers, not whole outputs.

    Symmetric but for equations: a gold number equals any equation that ends in it, a gold equation
    only such a right side whose left side is a name.
    """
    pred, gold = (re.sub(r"(?<!\.)\.$", "", answer.strip().strip("*` ")) for answer in (pred, gold))
    if not pred or not gold:
        return False
    if pred == gold:
        return True
    if max(len(pred), len(gold)) > LONGEST:
        return "".join(pred.split()) == "".join(gold.split())
    words = spelling(pred), spelling(gold)
    if words[0] and words[0] == words[1]:
        return True
    for letter, other in ((words[1], pred), (words[0], gold)):
        if re.fullmatch("[A-J]", letter or "") and (option := LETTER.match(simple(other))):
            return option[1] == letter
    told = [{w.lower().replace(".", "") for w in TELLING.findall(a)} for a in (pred, gold)]
    if told[0] and told[1] and told[0] != told[1]:  # 3 a.m., 3 p.m.
        return False
    if not re.search("[A-Za-z]", re.sub(WORD, "", gold)):
        pred = UNIT.sub("", pred)
    if not re.search("[A-Za-z]", re.sub(WORD, "", pred)):
        gold = UNIT.sub("", gold)
    if bool(LABEL.match(simple(pred))) != bool(LABEL.match(simple(gold))):  # (B) 18
        pred, gold = (LABEL.sub("", simple(answer)) for answer in (pred, gold))
    for thousands in (True, False):
        try:
            if same(plain(read(pred, thousands)), plain(read(gold, thousands), gold=True)):
                return True
        except Unreadable:
            pass
    return False


def spelling(text: str) -> str | None:
    """An answer of letters alone, as its meaning or in lower case; None for any other."""
    letters = re.sub(r"[\s\"(){}.]|\\(?=\s)", "", simple(text))
    if not letters.isalpha() or len(letters) == 1:
        return letters if letters.isalpha() else None
    return MEANING.get(letters.lower(), letters.lower())


def plain(node: tuple, gold: bool = False) -> tuple:
    """The tree in the form that is compared: what only names the answer is gone from it.

    x = 5 is 5 and x in S is S; x > 2 an interval; 1 +- 2 the list of both; a number times a matrix
    a matrix; words the symbols they stand for.
    """
    kind, *parts = node
    if kind == "words":
        letters = "".join(filter(str.isalpha, parts[0]))
        symbol = MEANING.get(letters, letters)
        return plain(read(symbol)) if len(symbol) == 1 or symbol == "10" else ("words", symbol)
    if node == ("name", "ℝ"):
        return "group", "(", ")", (("product", (MINUS, INFINITY)), INFINITY)
    if kind == "relation":
        return plain_relation(node, gold)
    if kind in ("group", "union"):
        facts = [item for item in parts[-1] if item[:2] != ("relation", ("≠",))]  # 2x, x ≠ 0
        nodes = tuple(plain(item, gold) for item in facts or parts[-1])
        if kind == "group" and parts[0] in ("", "⦃"):
            spread = [item[3] if item[:2] == ("group", "") else (item,) for item in nodes]
            nodes = tuple(itertools.chain(*spread))
            if len(nodes) == 1:
                return nodes[0]
        return (kind, *parts[:-1], nodes)
    if kind in ("sum", "product", "power") and ("name", "±") in walk(node):
        return "group", "", "", (replaced(node, PLUS), replaced(node, MINUS))
    if kind == "product" and sum(part[0] == "matrix" for part in parts[0]) == 1:
        (matrix,) = (part for part in parts[0] if part[0] == "matrix")
        factors = tuple(part for part in parts[0] if part[0] != "matrix")
        scaled = [tuple(("product", (*factors, cell)) for cell in row) for row in matrix[1]]
        return "matrix", tuple(scaled)
    return node


def walk(node: tuple):
    """Every node of a tree, and the tuples of nodes between them."""
    if isinstance(node, tuple):
        yield node
        for part in node:
            yield from walk(part)


def replaced(node, sign: tuple):
    """The tree with `sign` for every ±."""
    if not isinstance(node, tuple):
        return node
    return sign if node == ("name", "±") else tuple(replaced(part, sign) for part in node)


def free(node: tuple) -> set[str]:
    """Names without a value of their own."""
    return {n[1] for n in walk(node) if len(n) == 2 and n[0] == "name"} - set(CONSTANTS)


def plain_relation(node: tuple, gold: bool) -> tuple:
    _, signs, nodes = node
    first, last = nodes[0], nodes[-1]
    if signs[-1] in "∈→":
        return plain(last, gold)
    if set(signs) <= {"<", "≤"} or set(signs) <= {">", "≥"}:
        return interval(signs, nodes) or node
    if signs == ("≠",) and first[0] == "name":
        hole = plain(last)
        below = "group", "(", ")", (("product", (MINUS, INFINITY)), hole)
        return "union", (below, ("group", "(", ")", (hole, INFINITY)))
    if signs[-1] == "≈":
        return "either", tuple(plain(part, gold) for part in nodes)
    if set(signs) != {"="}:
        return node
    named = first[0] in ("name", "group") or not any(n[:1] == ("number",) for n in walk(first))
    if first[0] == "name" or last[0] in ("group", "matrix"):
        return "assignment", ("relation", ("=",), (first, last)), plain(last, gold)
    if named or not gold and last != ("number", Fraction(0), None):
        return "assignment", ("relation", ("=",), (first, last)), plain(last, gold)
    return "relation", ("=",), (first, last)


def interval(signs: tuple, nodes: tuple) -> tuple | None:
    """(lower, upper) with its brackets, from x < b, a < x or a < x < b; None for another shape."""
    if signs[0] in ">≥":
        signs, nodes = tuple("<≤"[">≥".index(sign)] for sign in reversed(signs)), nodes[::-1]
    if len(nodes) == 2 and nodes[0][0] == "name":
        signs, nodes = ("<", *signs), (("product", (MINUS, INFINITY)), *nodes)
    elif len(nodes) == 2:
        signs, nodes = (*signs, "<"), (*nodes, INFINITY)
    if len(nodes) != 3 or nodes[1][0] != "name" or nodes[1][1] in free(nodes[0]) | free(nodes[2]):
        return None
    return "group", "(["[signs[0] == "≤"], ")]"[signs[1] == "≤"], (nodes[0], nodes[2])


def same(a: tuple, b: tuple) -> bool:
    """Equality of two plain trees."""
    if a == b:
        return True
    for one, other in ((a, b), (b, a)):
        if one[0] == "either":
            return any(same(part, other) for part in one[1])
    if a[0] == b[0] == "assignment":
        return same(a[1], b[1])
    for one, other in ((a, b), (b, a)):
        if one[0] == "assignment":
            return same(one[1] if other[0] == "relation" else one[2], other)
    if a[0] == "relation" or b[0] == "relation":
        return a[0] == b[0] and same_relation(a, b)
    if a[0] == "based" or b[0] == "based":
        return same_digits(a, b)
    if a[0] == "matrix" and b[0] == "matrix":
        shapes = [[len(row) for row in m[1]] for m in (a, b)]
        cells = [list(itertools.chain(*m[1])) for m in (a, b)]
        return shapes[0] == shapes[1] and all(map(same, *cells))
    if items(a) is not None or items(b) is not None:
        return same_items(a, b)
    return a[0] != "words" != b[0] and same_value(a, b)


def items(node: tuple) -> tuple | None:
    """The parts of a container: a vector's entries, another matrix's rows; None for the rest."""
    if node[0] in ("group", "union"):
        return node[-1]
    if node[0] == "matrix" and (len(node[1]) == 1 or all(len(row) == 1 for row in node[1])):
        return tuple(itertools.chain(*node[1]))
    if node[0] == "matrix":
        return tuple(("group", "[", "]", row) for row in node[1])
    return None


def same_items(a: tuple, b: tuple) -> bool:
    """Item by item: in any order in sets, lists and unions, in order where one is a tuple."""
    left, right = items(a), items(b)
    if left is None or right is None:  # 0.5 or 1/2: two spellings of one answer
        several, one = (left, b) if right is None else (right, a)
        unordered = (a if right is None else b)[:2] == ("group", "")
        return unordered and len(several) > 1 and all(same(item, one) for item in several)
    if len(left) != len(right):
        return False
    in_order = all(map(same, left, right))
    brackets = [node[1] + node[2] for node in (a, b) if node[0] == "group" and node[1] in "(["]
    brackets = [pair for pair in brackets if pair]
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


def same_digits(a: tuple, b: tuple) -> bool:
    """52_8 equals 52_8, and 52 where the base is left to the question."""
    if a[0] == b[0]:
        return a == b
    based, other = (a, b) if a[0] == "based" else (b, a)
    return other[0] == "number" and other[2] is None and based[1] == str(other[1])


def same_relation(a: tuple, b: tuple) -> bool:
    """Equations and inequalities up to a factor and to swapped sides."""
    (signs, left), (others, right) = (turned(*node[1:]) for node in (a, b))
    if signs != others or len(left) != 2 or len(right) != 2:
        return False
    one, other = (("sum", (x, ("product", (MINUS, y)))) for x, y in (left, right))
    ratios = []
    for x, y in values(one, other):
        if x and y:
            ratios.append(complex(x) / complex(y))
        elif x or y:
            return False
    factor = ratios[0] if len(ratios) >= AGREEING else 0
    positive = signs in (("=",), ("≠",)) or abs(factor.imag) < 1e-9 and factor.real > 0
    return bool(factor) and positive and all(abs(r - factor) < 1e-8 * abs(factor) for r in ratios)


def turned(signs: tuple, nodes: tuple) -> tuple:
    """The relation with every > and >= turned around."""
    if signs[0] in ">≥":
        return tuple("<≤"[">≥".index(s)] if s in ">≥" else s for s in reversed(signs)), nodes[::-1]
    return signs, nodes


def same_value(a: tuple, b: tuple) -> bool:
    """Equal values wherever both have one; either side may leave % and ° out, or spell them out."""
    names = free(a) | free(b)
    percents = (Fraction(1), Fraction(1, 100)) if "%" in names else (Fraction(1),)
    degrees = (Fraction(1), cmath.pi / 180) if "°" in names else (Fraction(1),)
    constant = names <= {"%", "°"}
    for percent, degree in itertools.product(percents, degrees):
        agreeing = 0
        for x, y in values(a, b, {"%": percent, "°": degree}):
            if not close(x, y):
                break
            agreeing += 1
        else:
            if agreeing >= (1 if constant else AGREEING):
                return True
    return constant and rounded(a, b)


def values(a: tuple, b: tuple, units: dict | None = None):
    """Pairs of values at points where both have one: complex ones, or else whole numbers."""
    names, found = sorted((free(a) | free(b)) - set(units or {})), False
    for k in range(2 * POINTS):
        if found and (k == POINTS or not names):
            return
        point = {name: coordinate(name, k) for name in names} | (units or {})
        try:
            yield value(a, point), value(b, point)
            found = True
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
    try:
        gap, size = abs(complex(x) - complex(y)), max(abs(x), abs(y))
        return gap <= (1e-9 * size if x and y else 1e-13)
    except OverflowError:
        return False


def rounded(a: tuple, b: tuple) -> bool:
    """Whether one is a decimal that the other rounds to, within 1e-4 of it: 0.3333 and 1/3."""
    places = [p for node in (a, b) if (p := decimal_places(node)) is not None]
    for x, y in values(a, b, {"%": Fraction(1), "°": Fraction(1)}):
        try:
            gap, size = abs(complex(x) - complex(y)), max(abs(x), abs(y))
        except OverflowError:
            return False
        return bool(places) and gap <= 0.5001 * 10.0 ** -min(places) and gap <= 1.0001e-4 * size
    return False


def decimal_places(node: tuple) -> int | None:
    """Digits after the point of a decimal, with or without a sign or unit; None for any other."""
    if node[0] == "product":
        rest = [part for part in node[1] if part != MINUS and part[0] != "name"]
        return decimal_places(rest[0]) if len(rest) == 1 else None
    return node[2] if node[0] == "number" else None
