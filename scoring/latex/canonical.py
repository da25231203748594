"""The form of a tree in which two answers are compared: without what only names the answer.

canonical(read("x = 5"))              # ("assignment", the equation, 5)
canonical(read("0 < x < 9, x ≠ 2"))   # the union of (0, 2) and (2, 9)
"""

import itertools
from fractions import Fraction

from scoring.latex.tree import MINUS, ONE, joined, negative, read
from scoring.latex.values import CONSTANTS, Undefined, value

NUMERALS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty""".split()
MEANING = {  # of an answer's letters
    **{word: str(i) for i, word in enumerate(NUMERALS)},
    **{"true": "yes", "false": "no", "half": "1/2", "onehalf": "1/2"},
    **dict.fromkeys(["doesnotexist", "undefined"], "dne"),
    **dict.fromkeys("allrealnumbers allreals realnumbers anyrealnumber".split(), "ℝ"),
    **dict.fromkeys("nosolution nosolutions norealsolution norealsolutions".split(), "∅"),
    **dict.fromkeys("nosolutionexists none emptyset".split(), "∅"),
}
INFINITY, FAR = ("name", "∞"), Fraction(10) ** 300


def canonical(node: tuple, is_gold: bool = False) -> tuple:
    """Returns the tree that is compared, without what only names the answer.

    x = 5 is 5 and x in S is S; x > 2 an interval; 1 +- 2 the list of both; a number times a matrix
    a matrix; words the symbols they stand for.
    """
    kind, *parts = node
    if kind == "words":
        letters = "".join(filter(str.isalpha, parts[0]))
        symbol = MEANING.get(letters, letters)
        is_symbol = len(symbol) == 1 or symbol[0].isdigit()
        return canonical(read(symbol)) if is_symbol else ("words", symbol)
    if node == ("name", "ℝ"):
        return open_interval(negative(INFINITY), INFINITY)
    if kind == "relation":
        return canonical_relation(node, is_gold)
    if kind == "based":  # 52_8, and 52 where the question gives the base
        digits = "number", Fraction(parts[0]), None
        return ("either", (node, digits)) if is_gold else digits if parts[1] == 10 else node
    if kind == "without":
        lacking = canonical(parts[1])
        return punched([canonical(parts[0])], items(lacking) or (lacking,))
    if kind in ("group", "union"):
        is_hole = [item[:2] == ("relation", ("≠",)) for item in parts[-1]]  # 2x, x ≠ 0
        facts = [item for item, hole in zip(parts[-1], is_hole, strict=True) if not hole]
        nodes = tuple(canonical(item, is_gold) for item in facts or parts[-1])
        if facts and any(is_hole) and all(map(is_range, nodes)):
            holes = [item[2] for item, hole in zip(parts[-1], is_hole, strict=True) if hole]
            return punched(nodes, [hole for name, hole in holes if name[0] == "name"])
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
        return punched([open_interval(negative(INFINITY), INFINITY)], [canonical(last)])
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


def is_range(node: tuple) -> bool:
    """Whether a node is an interval, or a union of intervals."""
    if node[0] == "union":
        return all(map(is_range, node[1]))
    return node[0] == "group" and node[1] in ("(", "[") and len(node[3]) == 2


def punched(ranges: list, holes: list) -> tuple:
    """The union of intervals without single points. A point of unknown place is in the first."""
    pieces = list(itertools.chain(*(r[1] if r[0] == "union" else [r] for r in ranges)))
    if not all(map(is_range, pieces)):
        return "without", tuple(pieces), tuple(holes)
    for hole in holes:
        for i, (_, opening, closing, (low, high)) in enumerate(pieces):
            point, ends = place(hole), (place(low), place(high))
            if point is None or None not in ends and ends[0] < point < ends[1]:
                pieces[i] = "group", opening, ")", (low, hole)
                pieces.insert(i + 1, ("group", "(", closing, (hole, high)))
                break
            ends = ["(" if point == ends[0] else opening, ")" if point == ends[1] else closing]
            pieces[i] = "group", *ends, (low, high)
    return joined("union", pieces)


def place(node: tuple) -> float | Fraction | None:
    """Where a number lies on the real line; None where it has no value."""
    try:
        number = value(node, {"∞": FAR})
        return number if isinstance(number, Fraction) else number.real
    except Undefined:
        return None


def interval(node: tuple) -> tuple | None:
    """(lower, upper) with its brackets, from x < b, a < x, a < x < b or 2x < b; None for others."""
    _, signs, nodes = upward(node)
    is_left = nodes[0][0] == "name" or nodes[1][0] != "name" and free(nodes[0])
    if len(nodes) == 2 and is_left:
        signs, nodes = ("<", *signs), (negative(INFINITY), *nodes)
    elif len(nodes) == 2:
        signs, nodes = (*signs, "<"), (*nodes, INFINITY)
    if len(nodes) == 3 and nodes[1][0] != "name":
        signs, nodes = solved(signs, nodes)
    if len(nodes) != 3 or nodes[1][1] in free(nodes[0], nodes[2]):
        return None
    return "group", "(["[signs[0] == "≤"], ")]"[signs[1] == "≤"], (nodes[0], nodes[2])


def solved(signs: tuple, nodes: tuple) -> tuple[tuple, tuple]:
    """Bounds of x from those of a x + b, with rational a and b; no nodes for other expressions."""
    names, points = free(nodes[1]), (Fraction(0), Fraction(1), Fraction(-7, 2), Fraction(11, 3))
    try:
        line = [value(nodes[1], dict.fromkeys(names, x)) for x in points]
    except Undefined:
        return signs, ()
    start, slope = line[0], line[1] - line[0]
    is_line = all(y == start + slope * x for x, y in zip(points, line, strict=True))
    if len(names) != 1 or not is_line or not slope or not isinstance(slope, Fraction):
        return signs, ()
    shift, factor = ("number", -start, None), ("number", 1 / slope, None)
    ends = [("product", (("sum", (end, shift)), factor)) for end in nodes[::2]]
    for i, end in enumerate(nodes[::2]):
        if ("name", "∞") in walk(end):
            ends[i] = end if slope > 0 else INFINITY if end != INFINITY else negative(INFINITY)
    ends, signs = (ends, signs) if slope > 0 else (ends[::-1], signs[::-1])
    return signs, (ends[0], ("name", *names), ends[1])


def upward(node: tuple) -> tuple:
    """The relation read from right to left if it begins with > or ≥."""
    _, signs, nodes = node
    if signs[0] not in ">≥":
        return node
    turned = str.maketrans(">≥", "<≤")
    return "relation", tuple(s.translate(turned) for s in reversed(signs)), nodes[::-1]


def items(node: tuple) -> tuple | None:
    """The items of a group or union, a vector's entries, another matrix's rows; None for others."""
    if node[0] in ("group", "union"):
        return node[-1]
    if node[0] != "matrix":
        return None
    if len(node[1]) == 1 or all(len(row) == 1 for row in node[1]):
        return tuple(itertools.chain(*node[1]))
    return tuple(("group", "[", "]", row) for row in node[1])
