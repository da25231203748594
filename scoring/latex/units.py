"""Units of measure: the size and the dimension of each, by name, and of a quotient of them.

    UNITS["km"]                       # (1000, LENGTH)
    read_unit(['"km', "/", '"h'])     # (3, "@5/18@2/5"): tokens read, size and dimension

A dimension is a product of primes, one for each base quantity, so that it multiplies as units do.
"""

import re
from fractions import Fraction

LENGTH, MASS, TIME, CURRENT, HEAT, AMOUNT, DATA, MONEY, CALENDAR, CELSIUS, FAHRENHEIT = map(
    Fraction, (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
)
SPEED, VOLUME = LENGTH / TIME, LENGTH**3
FORCE = MASS * SPEED / TIME
ENERGY, PRESSURE, CHARGE = FORCE * LENGTH, FORCE / LENGTH**2, CURRENT * TIME
POWER, VOLTAGE = ENERGY / TIME, ENERGY / CHARGE
TABLE = [  # names, size in SI (kg), dimension; * takes SI prefixes
    ("m* meter* metre*", "1", LENGTH), ("in inch inches", "0.0254", LENGTH),
    ("ft foot feet", "0.3048", LENGTH), ("yd yard", "0.9144", LENGTH),
    ("mi mile", "1609.344", LENGTH), ("acre", "4046.8564224", LENGTH**2),
    ("g* gram* gramme*", "0.001", MASS), ("lb lbs pound", "0.45359237", MASS),
    ("oz ounce", "0.028349523125", MASS), ("tonne", "1000", MASS),
    ("s* sec secs second*", "1", TIME), ("min mins minute", "60", TIME),
    ("h hr hrs hour", "3600", TIME), ("day", "86400", TIME), ("wk wks week", "604800", TIME),
    ("mo mos month", "1", CALENDAR), ("yr yrs year", "12", CALENDAR),
    ("mph", "0.44704", SPEED), ("kph kmh kmph", "5/18", SPEED),
    ("L* l* liter* litre*", "0.001", VOLUME), ("cc", "1e-6", VOLUME),
    ("cup", "2365882365e-13", VOLUME), ("pint", "473176473e-12", VOLUME),
    ("quart", "946352946e-12", VOLUME), ("gal gallon", "3785411784e-12", VOLUME),
    ("N* newton*", "1", FORCE), ("dyne", "1e-5", FORCE), ("J* joule*", "1", ENERGY),
    ("eV* electronvolt*", "1.602176634e-19", ENERGY), ("cal* calorie*", "4.184", ENERGY),
    ("erg", "1e-7", ENERGY), ("Wh*", "3600", ENERGY), ("W* watt*", "1", POWER),
    ("Pa* pascal*", "1", PRESSURE), ("atm atmosphere", "101325", PRESSURE),
    ("bar*", "1e5", PRESSURE), ("mmHg torr", "20265/152", PRESSURE),
    ("A* amp* ampere*", "1", CURRENT), ("C* coulomb*", "1", CHARGE), ("V* volt*", "1", VOLTAGE),
    ("ohm*", "1", VOLTAGE / CURRENT), ("F* farad*", "1", CHARGE / VOLTAGE),
    ("T* tesla*", "1", MASS / CHARGE / TIME), ("Hz* hertz*", "1", 1 / TIME),
    ("K* kelvin", "1", HEAT), ("degC celsius", "1", CELSIUS), ("degF fahrenheit", "1", FAHRENHEIT),
    ("mol* mole*", "1", AMOUNT), ("bit*", "1", DATA), ("B* byte*", "8", DATA),
    ("dollar USD usd", "100", MONEY), ("cent", "1", MONEY),
]  # fmt: skip
PREFIXES = {
    "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "d": -1, "c": -2, "m": -3, "μ": -6, "n": -9, "p": -12,
    "kilo": 3, "mega": 6, "giga": 9, "tera": 12, "centi": -2, "milli": -3, "micro": -6, "nano": -9,
}  # fmt: skip


def named() -> dict[str, tuple[Fraction, Fraction]]:
    """Every name with its prefixes and plurals: km, kilometers, kms. A listed name comes first."""
    units, derived = {}, {}
    for names, size, dimension in TABLE:
        for name in names.split():
            name, prefixed = name.strip("*"), name.endswith("*")
            units[name] = Fraction(size), dimension
            for prefix, power in PREFIXES.items() if prefixed else [("", 0)]:
                if not prefix or (len(prefix) > 1) == (len(name) > 3):
                    unit = Fraction(size) * Fraction(10) ** power, dimension
                    derived[prefix + name] = unit
                    derived |= {prefix + name + "s": unit} if len(prefix + name) > 1 else {}
    del derived["pm"], derived["dB"]  # a time of day; a logarithm
    return derived | units


UNITS = named()
STEP = re.compile(
    r'(?P<operator>\* |/ (?:\( )?|"per )?(?:"(?P<times>square|sq|cubic|cu) )?"(?P<name>\S+) '
    r"(?:\^ (?:(?P<power>(?:- )?\d) |\{ (?P<braced>(?:- )?\d) \} ))?"
)
LONGEST = 24  # tokens of a unit


def known(name: str) -> tuple[Fraction, Fraction] | None:
    return UNITS.get(name) or UNITS.get(name.lower() if len(name) > 2 else "")


def read_unit(tokens: list[str]) -> tuple[int, str]:
    """(tokens read, the token of size and dimension) of the unit that `tokens` begin with; else 0.

    It includes powers, products and quotients: km/h, m/s^2, square inches, J per (mol K).
    """
    text, at, size, dimension = " ".join(tokens[:LONGEST]) + " ", 0, Fraction(1), Fraction(1)
    is_below = False
    while (step := STEP.match(text, at)) and (unit := known(step["name"])):
        operator = step["operator"] or ""
        if not at and operator:
            break
        power = int((step["power"] or step["braced"] or "1").replace(" ", ""))
        power *= {"sq": 2, "cu": 3}.get((step["times"] or "")[:2], 1)
        power *= -1 if is_below or operator[:1] == "/" or "per" in operator else 1
        is_below |= "(" in operator
        size, dimension, at = size * unit[0] ** power, dimension * unit[1] ** power, step.end()
    at += 2 * (is_below and text[at : at + 2] == ") ")
    return text.count(" ", 0, at), f"@{size}@{dimension}"
