"""LaTeX and plain-text mathematics read into a small tree.

    read(r"\\frac{x+1}{2}")      # raises Unreadable; at most TOKENS long and DEPTH brackets deep

A node is a tuple: its kind, then its parts.

    ("number", Fraction, places)         places: digits after the point, None without a point
    ("name", "x")                        "π", "e" and "i" have a value, "%", "°", "±", "∞" do not:
                                         whoever compares trees gives them one
    ("sum", nodes) ("product", nodes) ("power", base, exponent) ("call", function, argument)
    ("based", digits, base)              52_8
    ("group", open, close, nodes)        a tuple, an interval, a set; with "" and "" a bare list
    ("union", nodes) ("matrix", rows) ("relation", signs, nodes) ("words", "in lower case")
"""

import re
from fractions import Fraction

from scoring.latex.tokens import tokens, without_words
from scoring.latex.values import FUNCTIONS

TOKENS, DEPTH, DIGITS = 1_000, 30, 1_000
ONE, MINUS = ("number", Fraction(1), None), ("number", Fraction(-1), None)
CLOSING = {"(": ")]", "[": ")]", "{": "}", "⦃": "⦄", "|": "|", "⌊": "⌋", "⌈": "⌉"}
ROUNDING = {"|": "abs", "⌊": "floor", "⌈": "ceil"}
RELATIONS = "=≠<>≤≥≈∈→"
STOPS = {*",;⏎&:/*+-±∓∪∩∖^_!'%°)]}⦄⌋⌉|", *RELATIONS, "\\end", "over"}


class Unreadable(Exception):
    """Not of this grammar, or beyond its limits."""


def read(text: str, thousands: bool = True) -> tuple:
    """The tree of an answer; thousands: 1,000 is one number. Raises Unreadable."""
    found = tokens(text, thousands)
    if len(found) > TOKENS:
        raise Unreadable("too long")
    if not any(t[0] != '"' and (t[-1].isalnum() or t in "∅ℝ∞π") for t in found):
        words = [t[1:] for t in found if t[0] == '"']
        if not words:
            raise Unreadable("nothing there")
        words = " ".join([word for word in words if word not in ("a", "an", "the")] or words)
        return ("words" if len(words) > 1 else "name"), words
    reader = Reader(without_words(found))
    nodes = reader.list()
    if reader.next():
        raise Unreadable(f"{reader.next()} left over")
    return nodes[0] if len(nodes) == 1 else ("group", "", "", nodes)


class Reader:
    """Recursive descent; every method reads one level of the grammar and returns its node."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.at, self.depth, self.bars = tokens, 0, 0, 0

    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def list(self, closing: str = "") -> tuple:
        """Answers parted by commas, up to the end or one of `closing`, which stays."""
        nodes = []
        while self.next() and self.next() not in closing:
            if self.next() in ",;⏎":
                self.take()
            else:
                nodes.append(self.relation())
                if self.next() and self.next() not in ",;⏎" + closing:
                    raise Unreadable(f"{self.next()} after an expression")
        if not nodes and closing != "⦄":
            raise Unreadable("nothing there")
        return tuple(nodes)

    def relation(self) -> tuple:
        if self.next() in ("=", "≈", "→", ":"):  # "Area = 5", its words gone
            self.take()
        nodes, signs = [self.union()], []
        while self.next() and self.next() in RELATIONS:
            signs.append(self.take())
            nodes.append(self.union())
        return ("relation", tuple(signs), tuple(nodes)) if signs else nodes[0]

    def union(self) -> tuple:
        nodes = [self.sum()]
        while self.next() == "∪":
            self.take()
            nodes.append(self.sum())
        if nodes == [("name", "ℝ")] and self.next() == "∖":  # all reals but these
            self.take()
            return "relation", ("≠",), (("name", "x"), self.sum())
        return ("union", tuple(nodes)) if len(nodes) > 1 else nodes[0]

    def sum(self) -> tuple:
        nodes = []
        while not nodes or self.next() and self.next() in "+-±∓":
            sign = []
            while self.next() and self.next() in "+-±∓":
                token = self.take()
                sign += [MINUS] * (token in "-∓") + [("name", "±")] * (token in "±∓")
            node = self.term()
            nodes.append(("product", (*sign, node)) if sign else node)
        node = ("sum", tuple(nodes)) if len(nodes) > 1 else nodes[0]
        if self.next() == "over":
            self.take()
            return "product", (node, ("power", self.sum(), MINUS))
        return node

    def term(self) -> tuple:
        nodes = [self.factor()]
        while self.next() and (self.next() not in STOPS or self.next() in "*/:|"):
            token = self.next()
            if token == "|" and self.bars or token == ":" and "⦃" in self.tokens:
                break
            if token in "*/:":
                self.take()
                node = self.signed()
                nodes.append(node if token == "*" else ("power", node, MINUS))
            else:
                nodes.append(self.factor())
        return ("product", tuple(nodes)) if len(nodes) > 1 else nodes[0]

    def signed(self) -> tuple:
        """A factor after * or /, which may have a sign."""
        sign = self.take() if self.next() and self.next() in "+-" else "+"
        return ("product", (MINUS, self.factor())) if sign == "-" else self.factor()

    def factor(self) -> tuple:
        node = self.atom()
        for _ in range(DEPTH):
            token = self.next()
            if token == "^":
                self.take()
                node = power(node, self.script())
            elif token == "_":
                self.take()
                node = subscript(node, self.script(tower=False))
            elif token == "!":
                self.take()
                node = "call", "!", node
            elif token == "'":
                self.take()
                node = ("name", node[1] + "'") if node[0] == "name" else node
            elif token and token in "%°":
                self.take()
                node = "product", (node, ("name", token))
                if token == "°" and self.next() in ("C", "F"):
                    self.take()
            else:
                return node
        raise Unreadable("too many signs after a factor")

    def script(self, tower: bool = True) -> tuple:
        """What ^ or _ carries: a group, a signed atom or a degree sign; ^ is right-associative."""
        self.enter()
        if self.next() and self.next() in "+-":
            node = self.take() == "-" and ("product", (MINUS, self.script())) or self.script()
        elif self.next() and self.next() in "°'*+":
            node = "name", self.take()
        else:
            node = self.atom()
        if tower and self.next() == "^":
            self.take()
            node = power(node, self.script())
        self.depth -= 1
        return node

    def enter(self) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable("too deep")

    def atom(self) -> tuple:
        self.enter()
        token = self.take() if self.next() else ""
        if token[:1].isdigit() or token[:1] == ".":
            node = self.mixed(number(token))
        elif token in CLOSING:
            node = self.bracket(token)
        elif token == "frac" or token == "binom":
            top, bottom = self.argument(), self.argument()
            node = ("product", (top, ("power", bottom, MINUS)))
            node = node if token == "frac" else ("call", "binom", ("group", "", "", (top, bottom)))
        elif token == "√":
            node = self.root()
        elif token in FUNCTIONS:
            node = self.call(token)
        elif token == "\\beg":
            node = self.matrix()
        elif token == "∅":
            node = "group", "⦃", "⦄", ()
        elif token and token not in STOPS and token[0] != "\\":
            node = "name", token
        else:
            raise Unreadable(f"{token or 'the end'} where an expression should be")
        self.depth -= 1
        return node

    def argument(self) -> tuple:
        r"""One argument of \frac, which without braces is one digit: \frac12, \frac9{19}."""
        token = self.next()
        if token.isdecimal() and len(token) > 1:
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        return self.atom()

    def mixed(self, whole: tuple) -> tuple:
        """3\\frac12 and 3 1/2 are sums; `whole` alone where no proper fraction follows."""
        start, tokens = self.at, self.tokens[:]
        if whole[2] is None and self.next() == "frac":
            _, parts = self.atom()
            top, bottom = parts[0], parts[1][1]
        elif whole[2] is None and re.fullmatch(
            r"\d+ / \d+", " ".join(self.tokens[start : start + 3])
        ):
            top, bottom = number(self.take()), number((self.take(), self.take())[1])
            parts = top, ("power", bottom, MINUS)
        else:
            return whole
        if top[0] == bottom[0] == "number" and top[1] < bottom[1]:
            return "sum", (whole, ("product", parts))
        self.at, self.tokens = start, tokens
        return whole

    def bracket(self, opening: str) -> tuple:
        self.bars += opening in "|⦃"
        nodes = self.list(CLOSING[opening] + "|:" * (opening == "⦃"))
        if opening == "⦃" and self.next() and self.next() in "|:":  # {x | x > 2} is x > 2
            self.take()
            nodes = self.list("⦄")
        closing = self.take() if self.next() else ""
        if not closing or closing not in CLOSING[opening]:
            raise Unreadable(f"{opening} not closed")
        self.bars -= opening in "|⦃"
        if opening in ROUNDING:
            return "call", ROUNDING[opening], nodes[0]
        if len(nodes) == 1 and (opening != "⦃" or nodes[0][0] == "relation"):
            if opening + closing in ("[)", "(]"):
                raise Unreadable("an interval of one end")
            return nodes[0]
        return "group", opening.strip("{"), closing.strip("}"), nodes

    def root(self) -> tuple:
        degree = ("number", Fraction(2), None)
        if self.next() == "[":
            degree = self.atom()
        return "power", self.atom(), ("power", degree, MINUS)

    def call(self, function: str) -> tuple:
        """sin x, sin 2x, sin^2 x, sin^{-1} x, log_2 x; without brackets up to the next function."""
        exponent, base = None, None
        while self.next() and self.next() in "^_":
            if self.take() == "^":
                exponent = self.script()
            else:
                base = self.script()
        if self.next() and self.next() in "([{|":
            node = self.atom()
        else:
            nodes = [self.factor()]
            while self.next() and self.next() not in STOPS and self.next() not in FUNCTIONS:
                nodes.append(self.factor())
            node = ("product", tuple(nodes)) if len(nodes) > 1 else nodes[0]
        if exponent == ("product", (MINUS, ONE)) and "arc" + function in FUNCTIONS:
            function, exponent = "arc" + function, None
        node = "call", function, node
        if base:
            node = "product", (node, ("power", ("call", function, base), MINUS))
        return ("power", node, exponent) if exponent else node

    def matrix(self) -> tuple:
        rows, cells = [], []
        while self.next() != "\\end":
            if not self.next():
                raise Unreadable("a matrix without end")
            if self.next() in ("⏎", "&", ","):
                rows += [tuple(cells)] * (self.take() == "⏎")
                cells = cells if self.tokens[self.at - 1] != "⏎" else []
            else:
                cells.append(self.relation())
        self.take()
        return "matrix", tuple(row for row in (*rows, tuple(cells)) if row)


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
    if exponent in (("name", "°"), ("name", "'")):
        return "product", (node, exponent) if exponent[1] == "°" else node
    if node[0] == "group" and exponent in (("name", "T"), ("name", "top")):
        return node
    if node[0] == "matrix" and exponent in (("name", "T"), ("name", "top")):
        return "matrix", tuple(zip(*node[1], strict=False))
    return "power", node, exponent


def subscript(node: tuple, script: tuple) -> tuple:
    """x_1 is a name; 52_8 digits in a base."""
    if node[0] == "number" and script[0] == "number" and node[2] is script[2] is None:
        return "based", str(node[1]), int(script[1])
    if node[0] == "name":
        return "name", f"{node[1]}_{script[1] if script[0] in ('name', 'number') else script}"
    raise Unreadable("a subscript on no name")
