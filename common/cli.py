"""Options, messages and exit of a script: a dataclass of typed fields becomes a command line.

@dataclass
class Options:
    # the student                                    (a comment line: a group of --help)
    scale: Annotated[str, OneOf(SCALES)] = ""      # a row of config.SCALES
    batch: Positive = 32                           # samples a step
    lr: Above0 | None = None                       # peak learning rate (default: by scale)

@cli.run
def main(arguments: list[str] | None = None) -> int:
    o, origin = cli.parse(Options, arguments, __doc__)
    problems = cli.Problems(cli.check(o))          # every mistake that the types can tell
    problems.add(o.a > o.b, "--a ...")             # rules between options
    problems.raise_any()                           # all of them at once
"""

import argparse
import dataclasses
import difflib
import functools
import inspect
import math
import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from common.hub import UserError

# ---- torchrun's ranks ----------------------------------------------------------------------------


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


# ---- types of options ----------------------------------------------------------------------------


@dataclass(frozen=True)
class OneOf:
    """A string among `choices`; several: such strings, joined by commas."""

    choices: Collection[str]
    several: bool = False

    def problem(self, name: str, value: str) -> str | None:
        for word in words(value) or [""] if self.several else [value]:
            if word not in self.choices:
                return not_one_of(name, word, list(filter(None, self.choices)))
        return None


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`; is_open: `low` itself is not allowed."""

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False

    def problem(self, name: str, value: float) -> str | None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and self.low <= value <= self.high and abs(value) < math.inf:  # no NaN
            return None if value > self.low or not self.is_open else f"{name} {value}: {self}"
        return f"{name} {value}: {self}"

    def __str__(self) -> str:
        low = f"{'more than' if self.is_open else 'at least'} {self.low}"
        ends = [low] * (self.low > -math.inf) + [f"at most {self.high}"] * (self.high < math.inf)
        return " and ".join(ends) or "a number"


@dataclass(frozen=True)
class Given:
    """A string that has no default."""

    def problem(self, name: str, value: str) -> str | None:
        return None if value else f"{name}: not given"


Required = Annotated[str, Given()]
Positive = Annotated[int, Range(1)]
NonNegative = Annotated[int, Range(0)]
Above0 = Annotated[float, Range(0, is_open=True)]
AtLeast0 = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]


def positional(default) -> dataclasses.Field:
    """A field given without a flag: once, or any number of times if its default is a list."""
    metadata = {"positional": True}
    if isinstance(default, list):
        return dataclasses.field(default_factory=list, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def rule_of(field: dataclasses.Field):
    """(int, float, str, bool or list; OneOf, Range, Given or None; whether None is allowed)."""
    kind, is_optional = field.type, isinstance(field.type, types.UnionType)
    if type(None) in get_args(kind):
        kind, is_optional = next(a for a in get_args(kind) if a is not type(None)), True
    if get_origin(kind) is Literal:
        return str, OneOf(get_args(kind)), is_optional
    if get_origin(kind) is Annotated:
        return *get_args(kind)[:2], is_optional
    return kind, Range() if kind in (int, float) else None, is_optional


# ---- the command line ----------------------------------------------------------------------------


def parse(options_class, arguments: list[str] | None, doc: str, layers=lambda given: {}):
    """(options, origin): an `options_class` filled by layers; the layer each non-default is from.

    A field `name: type = default  # comment` becomes --name, with the comment, its choices and its
    default as help. layers(given) returns {layer: {field: value}} between the defaults and the
    command line, later ones on top. UserError for text where a number belongs.
    """
    fields, groups = {f.name: f for f in dataclasses.fields(options_class)}, {}
    names = [name.upper() for name, field in fields.items() if "positional" in field.metadata]
    usage = " ".join(["%(prog)s", *names, "[options]"])
    parser = argparse.ArgumentParser(usage=usage, description=doc, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, (group, comment) in documented(options_class).items():
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        add_argument(groups[group], fields[name], comment)
    given = vars(parser.parse_args(arguments))
    problems = Problems()
    for name, text in given.items():
        kind, _, _ = rule_of(fields[name])
        if kind in (int, float):
            given[name] = problems.attempt(number, kind, f"{flag(name)} {text}", text)
    problems.raise_any()
    options, origin = options_class(), {}
    for layer, values in {**layers(given), "command line": given}.items():
        for name, value in values.items():
            setattr(options, name, value)
            origin[name] = layer
    return options, origin


@functools.cache
def documented(options_class) -> dict[str, tuple[str, str]]:
    """{field: (the comment above its group, the comment at its line's end)}, from the source."""
    comments, group, name = {}, "options", ""
    for line in inspect.getsource(options_class).splitlines():
        if heading := re.fullmatch(r"    # (.+)", line):
            group = heading[1]
        elif field := re.match(r"    (\w+): ", line):
            name = field[1]
            comments[name] = (group, "")
        if name and not heading and (comment := re.search(r"  # (.*)$", line)):
            comments[name] = (comments[name][0], comment[1])
    return comments


def add_argument(group, field: dataclasses.Field, comment: str):
    kind, rule, _ = rule_of(field)
    choices = list(filter(None, rule.choices)) if isinstance(rule, OneOf) else []
    if is_list := bool(choices and rule.several):
        comment += f"; any of {', '.join(choices)}, joined by commas"
    if "default" not in comment and field.default is not dataclasses.MISSING:
        words_for = {None: "none", "": "none", True: "on", False: "off"}
        is_number = kind in (int, float) and field.default is not None
        default = field.default if is_number else words_for.get(field.default, field.default)
        is_required = field.default == "" and rule and rule.problem("", "")
        comment += " (required)" if is_required else f" (default: {default})"
    how = {"default": argparse.SUPPRESS, "help": comment.replace("%", "%%")}
    if kind is bool:
        how["action"] = argparse.BooleanOptionalAction
    else:
        how["metavar"] = {int: "N", float: "X"}.get(kind, "TEXT")
        if choices:
            how["metavar"] = "A,B,.." if is_list else f"{{{','.join(choices)}}}"
    if "positional" in field.metadata:
        how |= {"nargs": "*" if kind is list else "?", "metavar": field.name.upper()}
        group.add_argument(field.name, **how)
    else:
        group.add_argument(flag(field.name), **how)


def number(kind: type, name: str, text: str) -> int | float:
    try:
        return kind(text)
    except ValueError as error:
        raise UserError(f"{name}: a {'whole number' if kind is int else 'number'}") from error


def check(options) -> list[str]:
    """What the types of the options do not allow, one line a mistake."""
    problems = []
    for field in dataclasses.fields(options):
        value, (_, rule, is_optional) = getattr(options, field.name), rule_of(field)
        name = field.name.upper() if "positional" in field.metadata else flag(field.name)
        if rule and not (value is None and is_optional):
            problems += filter(None, [rule.problem(name, value)])
    return problems


class Problems(list):
    """Mistakes of the user, collected so that all are reported at once."""

    def add(self, is_wrong, message: str):
        if is_wrong:
            self.append(message)

    def attempt(self, work: Callable, *arguments, **named):
        """work(...), or None where it raises UserError, whose message joins the others."""
        try:
            return work(*arguments, **named)
        except UserError as error:
            self.append(str(error))

    def raise_any(self):
        if self:
            raise UserError("\n".join(self))


# ---- messages and exit ---------------------------------------------------------------------------


def run(main: Callable) -> Callable:
    """Decorates a script's main(arguments): returns its exit code, and turns exceptions into one.

    0: done. 1: the system refused, say a full disk. 2: mistakes of the user, all listed, nothing
    half-written. 130: Ctrl-C. Of several ranks of a node the first one prints.
    """

    @functools.wraps(main)
    def entry(arguments: list[str] | None = None, *more) -> int:
        try:
            return main(arguments, *more) or 0
        except UserError as error:
            if local_rank() > 0:
                time.sleep(30)  # torchrun ends this rank once the first has printed its message
                return 2
            return fail(error)
        except KeyboardInterrupt:
            print("interrupted; the same command resumes from what is saved", file=sys.stderr)
            return 130
        except OSError as error:
            message = f"error: {error}; the same command resumes from what is saved"
            print(message, file=sys.stderr) if local_rank() == 0 else None
            return 1

    return entry


def fail(error: UserError) -> int:
    """Prints a user's mistakes, one a line (indented: part of the one above); exit code 2."""
    for line in str(error).splitlines():
        print(line if line.startswith(" ") else f"error: {line}", file=sys.stderr)
    return 2


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def not_one_of(name: str, value: str, choices) -> str:
    """The message for an option that is none of its choices, with the nearest one."""
    near = difflib.get_close_matches(value.lower(), choices, 1, 0.3)
    hint = f"; did you mean {near[0]}?" if value and near else ""
    return f"{name} {value or '(not given)'}: one of {', '.join(choices)}{hint}"


def words(text: str) -> list[str]:
    """The distinct words of a comma-separated list, in order."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def table(rows: list[list]) -> list[str]:
    """Lines of a text table; rows[0] is the head. The first column is flush left, others right."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    first, *others = zip(*cells, strict=True)
    columns = [[cell.ljust(max(map(len, first))) for cell in first]]
    columns += [[cell.rjust(max(map(len, column))) for cell in column] for column in others]
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def git_commit() -> str | None:
    """The commit of this code, with + where files differ from it; None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        edits = subprocess.run([*git, "status", "-s", "-uno"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return None if head.returncode else head.stdout.strip() + "+" * bool(edits.stdout.strip())
