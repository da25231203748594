"""Parses LaTeX and plain-text mathematics into a small tree.

    read(r"\\frac{x+1}{2}")      # raises Unreadable; at most TOKENS long and DEPTH brackets deep

A node is a tuple: its kind, then its parts.

    ("number", Fraction, places)         places: digits after the point, None without a point
    ("name", "x")                        "π", "e" and "i" have a value; "%", "°", "±", "∞" get one
                                         from the comparison
    ("sum", nodes) ("product", nodes) ("power", base, exponent) ("call", function, argument)
    ("based", digits, base)              52_8
    ("group", open, close, nodes)        a tuple, an interval, a set; with "" and "" a bare list
    ("union", nodes) ("matrix", rows) ("relation", signs, nodes) ("words", "in lower case")
    ("unit", size, dimension)            a factor; see units.py
    ("without", set, what it lacks)
"""

import re
from fractions import Fraction

from scoring.latex.tokens import tokens, without_words
from scoring.latex.values import FUNCTIONS
from scoring.latex.words import has_value

TOKENS, DEPTH, DIGITS = 1_000, 30, 1_000
ONE, MINUS = ("number", Fraction(1), None), ("number", Fraction(-1), None)
CLOSING = {"(": ")]", "[": ")]", "{": "}", "⦃": "⦄", "|": "|", "⌊": "⌋", "⌈": "⌉"}
ROUNDING = {"|": "abs", "⌊": "floor", "⌈": "ceil"}
RELATIONS = "=≠<>≤≥≈∈→"
SEPARATORS = ",;∨⏎"
END = "\n"  # the last token; no other one has white space
STOPS = {*SEPARATORS, *"&:/*+-±∓∪∩∖^_!'%°)]}⦄⌋⌉|", *RELATIONS, "\\end", "over", END}


class Unreadable(Exception):
    """The text is not in this grammar, or beyond its limits."""


def read(text: str, thousands: bool = True) -> tuple:
    """Returns the tree of an answer. Raises Unreadable. thousands: 1,000 is one number."""
    return parse(tokens(text, thousands))


def parse(answer: list[str]) -> tuple:
    """Returns the tree of tokens. Raises Unreadable."""
    if len(answer) > TOKENS:
        raise Unreadable("too long")
    if not has_value(answer):
        words = [t[1:].lower() for t in answer if t[0] == '"']
        if not words:
            raise Unreadable("nothing there")
        words = " ".join([word for word in words if word not in ("a", "an", "the")] or words)
        return ("words" if len(words) > 1 else "name"), words
    reader = Reader(balanced(without_words(answer)))
    nodes = reader.list()
    if reader.next != END:
        raise Unreadable(f"{reader.next} left over")
    return nodes[0] if len(nodes) == 1 else ("group", "", "", nodes)


def balanced(answer: list[str]) -> list[str]:
    """The tokens with the partner of a lone opening bracket, without a lone closing one.

    A list is left as it is, since (3, 4 may be an interval.
    """
    opened, lone = [], []
    for i, token in enumerate(answer):
        if token in "([{⦃":
            opened.append(token)
        elif token in ")]}⦄" and not (opened and opened.pop()):
            lone.append(i)
    if len(opened) + len(lone) != 1 or any(token in SEPARATORS for token in answer):
        return answer
    if lone:
        return answer[: lone[0]] + answer[lone[0] + 1 :]
    return [*answer, CLOSING[opened[0]][0]]


# ---- nodes -----------------------------------------------------------------------------------


def joined(kind: str, nodes: list) -> tuple:
    """A sum, product or union; a single node stays itself."""
    return (kind, tuple(nodes)) if len(nodes) > 1 else nodes[0]


def negative(node: tuple) -> tuple:
    return "product", (MINUS, node)


def inverse(node: tuple) -> tuple:
    return "power", node, MINUS


def quotient(top: tuple, bottom: tuple) -> tuple:
    return "product", (top, inverse(bottom))


def number(token: str) -> tuple:
    digits, _, period = token.partition("r")
    mantissa, _, exponent = digits.lower().partition("e")
    if len(token) > DIGITS or len(exponent) > 4:
        raise Unreadable("too many digits")
    places = len(mantissa.partition(".")[2])
    exact = Fraction(mantissa.rstrip(".")) * Fraction(10) ** int(exponent or 0)
    if period:
        exact += Fraction(int(period), (10 ** len(period) - 1) * 10**places)
        return "number", exact, None
    return "number", exact, places - int(exponent or 0) if "." in mantissa or exponent else None


def power(node: tuple, exponent: tuple) -> tuple:
    if exponent == ("name", "'"):
        return node
    if exponent == ("name", "°"):
        return "product", (node, exponent)
    if node[0] in ("group", "matrix") and exponent in (("name", "T"), ("name", "top")):
        return node if node[0] == "group" else ("matrix", tuple(zip(*node[1], strict=False)))
    return "power", node, exponent


def subscript(node: tuple, script: tuple) -> tuple:
    """x_1 is a name; 52_8 digits in a base."""
    if node[0] == "number" and script[0] == "number" and node[2] is script[2] is None:
        return "based", str(node[1]), int(script[1])
    if node[0] == "name":
        return "name", f"{node[1]}_{script[1] if script[0] in ('name', 'number') else script}"
    raise Unreadable("a subscript on no name")


# ---- the grammar -----------------------------------------------------------------------------


class Reader:
    """A recursive-descent parser; each method parses one level of the grammar into a node."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.position, self.depth, self.bars = [*tokens, END], 0, 0, 0

    @property
    def next(self) -> str:
        return self.tokens[self.position]

    def take(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1]

    def accept(self, *wanted: str) -> str:
        """Takes the next token if it is one of `wanted`; returns "" if not."""
        return self.take() if self.next in wanted else ""

    def list(self, closing: str = "") -> tuple:
        """Answers separated by commas, up to the end or one of `closing`, which is not taken."""
        nodes = []
        while self.next not in closing + END:
            if not self.accept(*SEPARATORS):
                nodes.append(self.relation())
                if self.next not in SEPARATORS + closing + END:
                    raise Unreadable(f"{self.next} after an expression")
        if not nodes and closing != "⦄":
            raise Unreadable("nothing there")
        return tuple(nodes)

    def relation(self) -> tuple:
        self.accept(*"=≈→:")  # "Area = 5" without its words
        nodes, signs = [self.union()], []
        while sign := self.accept(*RELATIONS):
            signs.append(sign)
            nodes.append(self.union())
        return ("relation", tuple(signs), tuple(nodes)) if signs else nodes[0]

    def union(self) -> tuple:
        nodes = [self.sum()]
        while self.accept("∪"):
            nodes.append(self.sum())
        node = joined("union", nodes)
        return ("without", node, self.sum()) if self.accept("∖") else node

    def sum(self) -> tuple:
        nodes = []
        while not nodes or self.next in "+-±∓":
            signs = []
            while sign := self.accept(*"+-±∓"):
                signs += [MINUS] * (sign in "-∓") + [("name", "±")] * (sign in "±∓")
            nodes.append(joined("product", [*signs, self.term()]))
        node = joined("sum", nodes)
        return quotient(node, self.sum()) if self.accept("over") else node

    def term(self) -> tuple:
        nodes = [self.factor()]
        while self.next not in STOPS or self.next in "*/:|":
            if self.next == "|" and self.bars or self.next == ":" and "⦃" in self.tokens:
                break
            operator = self.accept(*"*/:")
            if nodes[-1][0] in ("group", "matrix") and self.next[0] == "@":
                self.take()  # of every entry
                continue
            is_power = self.tokens[self.position : self.position + 2] == ["10", "^"]  # 7 10^3
            if not (operator or is_power) and nodes[-1][0] == "number" and self.next[0].isdigit():
                raise Unreadable("two numbers side by side")
            node = self.signed() if operator else self.factor()
            nodes.append(inverse(node) if operator and operator in "/:" else node)
        return joined("product", nodes)

    def signed(self) -> tuple:
        """A factor after * or /, which may have a sign."""
        return negative(self.factor()) if self.accept(*"+-") == "-" else self.factor()

    def factor(self) -> tuple:
        node = self.atom()
        for _ in range(DEPTH):
            if self.accept("^"):
                node = power(node, self.script())
            elif self.accept("_"):
                node = subscript(node, self.script(tower=False))
            elif self.accept("!"):
                node = "call", "!", node
            elif self.accept("'"):
                node = ("name", node[1] + "'") if node[0] == "name" else node
            elif unit := self.accept(*"%°"):
                node = "product", (node, ("name", unit))
                if unit == "°":
                    self.accept("C", "F")
            else:
                return node
        raise Unreadable("too many signs after a factor")

    def script(self, tower: bool = True) -> tuple:
        """What ^ or _ carries: a group, a signed atom or a degree sign; ^ is right-associative."""
        self.enter()
        if sign := self.accept(*"+-"):
            node = negative(self.script()) if sign == "-" else self.script()
        elif self.next in "°'*":
            node = "name", self.take()
        else:
            node = self.atom()
        if tower and self.accept("^"):
            node = power(node, self.script())
        self.depth -= 1
        return node

    def enter(self) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable("too deep")

    def atom(self) -> tuple:
        self.enter()
        token = self.take()
        if token[0].isdecimal() or token[0] == ".":
            node = self.mixed(number(token))
        elif token in CLOSING:
            node = self.bracket(token)
        elif token == "frac":
            node = quotient(self.argument(), self.argument())
        elif token == "binom":
            node = "call", "binom", ("group", "", "", (self.argument(), self.argument()))
        elif token == "√":
            degree = self.atom() if self.next == "[" else ("number", Fraction(2), None)
            node = "power", self.atom(), inverse(degree)
        elif token in FUNCTIONS:
            node = self.call(token)
        elif token == "\\beg":
            node = self.matrix()
        elif token[0] == "@":
            node = "unit", *map(Fraction, token[1:].split("@"))
        elif token == "∅":
            node = "group", "⦃", "⦄", ()
        elif token not in STOPS and token[0] != "\\":
            node = "name", token
        else:
            raise Unreadable(f"{token.strip() or 'the end'} where an expression should be")
        self.depth -= 1
        return node

    def argument(self) -> tuple:
        r"""One argument of \frac, which without braces is one digit: \frac12, \frac9{19}."""
        if self.next.isdecimal() and len(self.next) > 1:
            self.tokens[self.position : self.position + 1] = [self.next[0], self.next[1:]]
        return self.atom()

    def mixed(self, whole: tuple) -> tuple:
        """3\\frac12 and 3 1/2 are sums; `whole` alone where no proper fraction follows."""
        start, tokens = self.position, self.tokens[:]
        if whole[2] is None and self.next == "frac":
            _, (top, (_, bottom, _)) = self.atom()
        elif whole[2] is None and re.fullmatch(r"\d+ / \d+", " ".join(tokens[start : start + 3])):
            top, bottom = number(tokens[start]), number(tokens[start + 2])
            self.position += 3
        else:
            return whole
        if top[0] == bottom[0] == "number" and top[1] < bottom[1]:
            return "sum", (whole, quotient(top, bottom))
        self.position, self.tokens = start, tokens
        return whole

    def bracket(self, opening: str) -> tuple:
        self.bars += opening in "|⦃"
        nodes = self.list(CLOSING[opening] + "|:" * (opening == "⦃"))
        if opening == "⦃" and self.accept("|", ":"):  # {x | x > 2} is x > 2
            nodes = self.list("⦄")
        if not (closing := self.accept(*CLOSING[opening])):
            raise Unreadable(f"{opening} not closed")
        self.bars -= opening in "|⦃"
        if opening in ROUNDING:
            return "call", ROUNDING[opening], nodes[0]
        if len(nodes) == 1 and (opening != "⦃" or nodes[0][0] == "relation"):
            if opening + closing in ("[)", "(]"):
                raise Unreadable("an interval of one end")
            return nodes[0]
        return "group", opening.strip("{"), closing.strip("}"), nodes

    def call(self, function: str) -> tuple:
        """sin x, sin 2x, sin^2 x, sin^{-1} x, log_2 x; without brackets up to the next function."""
        scripts = {}
        while kind := self.accept("^", "_"):
            scripts[kind] = self.script()
        if self.next in "([{|":
            node = self.atom()
        else:
            nodes = [self.factor()]
            while self.next not in STOPS and self.next not in FUNCTIONS and self.next[0] != "@":
                nodes.append(self.factor())
            node = joined("product", nodes)
        if scripts.get("^") == negative(ONE) and "arc" + function in FUNCTIONS:
            function = "arc" + function
            del scripts["^"]
        node = "call", function, node
        if "_" in scripts:
            node = quotient(node, ("call", function, scripts["_"]))
        return ("power", node, scripts["^"]) if "^" in scripts else node

    def matrix(self) -> tuple:
        rows = [[]]
        while self.next != "\\end":
            if self.accept("⏎"):
                rows.append([])
            elif not self.accept("&", ","):
                rows[-1].append(self.relation())
        self.take()
        return "matrix", tuple(tuple(row) for row in rows if row)
