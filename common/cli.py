"""One dataclass of options becomes a script's command line; one way to report mistakes."""

import argparse
import dataclasses
import difflib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import hub


def parse(options_class, arguments: list[str] | None, doc: str, layers=lambda given: {},
          positional: str = ""):  # fmt: skip
    """(options, origin): an `options_class` filled by layers; the layer each non-default is from.

    A field `name: type = default  # comment` becomes --name with the comment as its help; None in a
    type means "not given". layers(given) returns {layer: {field: value}} between the defaults and
    the command line, later ones on top. The field `positional` is given without a flag: once, or if
    its type is list as often as one likes.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    comments = dict(
        re.findall(r"^    (\w+): [^#\n]*# (.*)$", inspect.getsource(options_class), re.M)
    )
    for field in dataclasses.fields(options_class):
        kind = field.type if isinstance(field.type, type) else field.type.__args__[0]
        action = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        text = comments.get(field.name, "").replace("%", "%%")
        if field.name == positional:
            many = {"nargs": "*"} if kind is list else {"nargs": "?"}
            default = {"default": argparse.SUPPRESS, "metavar": field.name.upper()}
            parser.add_argument(field.name, help=text, **many, **default)
            continue
        parser.add_argument(flag(field.name), default=argparse.SUPPRESS, help=text, **action)
    given = vars(parser.parse_args(arguments))
    options, origin = options_class(), {}
    for layer, values in {**layers(given), "command line": given}.items():
        for name, value in values.items():
            setattr(options, name, value)
            origin[name] = layer
    return options, origin


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def not_one_of(name: str, value: str, choices) -> str:
    """The message for an option that is none of its choices, with the nearest one."""
    near = difflib.get_close_matches(value.lower(), choices, 1, 0.3)
    hint = f"; did you mean {near[0]}?" if value and near else ""
    return f"{flag(name)} {value or '(not given)'}: one of {', '.join(choices)}{hint}"


def fail(error: hub.UserError) -> int:
    """Prints a user's mistakes, one a line (indented: part of the one above); exit code 2."""
    for line in str(error).splitlines():
        print(line if line.startswith(" ") else f"error: {line}", file=sys.stderr)
    return 2


def git_commit() -> str | None:
    """The commit of this code, with + where files differ from it; None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        edits = subprocess.run([*git, "status", "-s", "-uno"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return None if head.returncode else head.stdout.strip() + "+" * bool(edits.stdout.strip())
