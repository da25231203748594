"""Evaluates a tree of latex/tree.py: a Fraction where every leaf is rational, else complex.

    value(read("x^2/2"), {"x": Fraction(3)})      # Fraction(9, 2)

No text is executed, and a number of more than BITS bits has no value.
"""

import cmath
import math
from fractions import Fraction

BITS = 4_096
FUNCTIONS = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "exp": cmath.exp, "ln": cmath.log,
    "cot": lambda z: 1 / cmath.tan(z), "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z), "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh,
    "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "log": cmath.log10,
    "arccot": lambda z: cmath.atan(1 / z), "arcsec": lambda z: cmath.acos(1 / z),
    "arccsc": lambda z: cmath.asin(1 / z), "cis": lambda z: cmath.exp(1j * z),
    "abs": abs, "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip
CONSTANTS = {"π": cmath.pi, "e": cmath.e, "i": 1j}


class Undefined(Exception):
    """The value is outside the domain, not finite, or too large."""


def value(node: tuple, names: dict) -> Fraction | complex:
    """Returns the value of `node` for these values of its names. Raises Undefined."""
    try:
        return evaluate(node, CONSTANTS | names)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise Undefined(str(error)) from error


def evaluate(node: tuple, names: dict) -> Fraction | complex:
    kind, *parts = node
    if kind == "number":
        return parts[0]
    if kind == "name":
        return names[parts[0]]
    if kind == "unit":
        return Fraction(1)
    if kind == "sum" or kind == "product":
        total = evaluate(parts[0][0], names)
        for part in parts[0][1:]:
            other = evaluate(part, names)
            total = bounded(total + other if kind == "sum" else total * other)
        return total
    if kind == "power":
        return bounded(raised(evaluate(parts[0], names), evaluate(parts[1], names)))
    if kind == "based":
        return Fraction(int(parts[0], parts[1]))
    if kind == "call":
        return bounded(call(*parts, names))
    raise Undefined(f"a {kind} has no value")


def bounded(x) -> Fraction | complex:
    if isinstance(x, Fraction | int):
        if bits(x) > BITS:
            raise Undefined("too large")
        return x
    if not cmath.isfinite(x):
        raise Undefined("not finite")
    return x


def bits(x: Fraction | int) -> int:
    return max(x.numerator.bit_length(), x.denominator.bit_length())


def raised(base, exponent):
    """base ** exponent: exact where the result is rational, real for odd roots."""
    if not (isinstance(base, Fraction) and isinstance(exponent, Fraction)):
        return complex(base) ** complex(exponent)
    if exponent.denominator == 1:
        is_small = bits(base) * abs(exponent) <= BITS
        return (base if is_small else complex(base)) ** int(exponent)
    root = exponent.denominator
    sign = -1 if base < 0 and root % 2 else 1
    roots = [nth_root(n, root) for n in ((sign * base).numerator, base.denominator)]
    if None not in roots:
        return raised(Fraction(sign * roots[0], roots[1]), Fraction(exponent.numerator))
    return sign**exponent.numerator * complex(sign * base) ** float(exponent)


def nth_root(whole: int, n: int) -> int | None:
    """The whole n-th root of a whole number, or None."""
    if whole < 0 or n > 64 or whole.bit_length() > 1_000:
        return None
    root = round(whole ** (1 / n))
    return root if root**n == whole else None


def call(function: str, argument: tuple, names: dict):
    if function == "binom":
        n, k = (evaluate(part, names) for part in argument[3])
        if is_whole(n) and is_whole(k) and max(n, k) <= 1_000:
            return Fraction(math.comb(int(n), int(k)))
        if not is_whole(k) or k > 20:
            raise Undefined("a binomial coefficient of no small whole number")
        return math.prod((n - j) / Fraction(j + 1) for j in range(int(k))) * Fraction(1)
    x = evaluate(argument, names)
    if function == "!":
        if not is_whole(x) or x > 500:
            raise Undefined("a factorial of no small whole number")
        return Fraction(math.factorial(int(x)))
    if function == "abs":
        return abs(x) if isinstance(x, Fraction) else complex(abs(x))
    if function in ("floor", "ceil"):
        return Fraction(FUNCTIONS[function](x if isinstance(x, Fraction) else real(x)))
    return FUNCTIONS[function](complex(x))


def is_whole(x: Fraction | complex) -> bool:
    return isinstance(x, Fraction) and x.denominator == 1 and x >= 0


def real(x: complex) -> float:
    if abs(x.imag) > 1e-12 * abs(x):
        raise Undefined("not real")
    return x.real
