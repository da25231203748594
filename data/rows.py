"""Rows of data: files found in a path or on the Hub, read one row at a time; rows of pairs checked.

root, files = find("PATH_OR_HUB_ID", "--data")
for line, row in read(files[0]): ...                # a dict, or a string: what is wrong with it
for file, line, texts, problem in check(files): ... # of pairs: [prompt, ift, reasoning]
"""

import csv
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from common import hub
from config import ANSWERS
from data import toy

PAIRED_SPLIT = "reasoning_ift_pairs"  # the released corpora's split that has all three columns
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")

# ---- files -------------------------------------------------------------------------------------


def find(source: str, flag: str, globs=("*",), suffixes=SUFFIXES, **hub_options):
    """(root, files): the files of a path or Hub id, sorted, whose paths below the root match.

    globs: patterns of a path without its suffix, "*" matching "/" too; suffixes: allowed ones.
    flag and hub_options: of hub.fetch, which raises UserError.
    """
    patterns = [glob + suffix for glob in globs for suffix in suffixes]
    path = hub.fetch(source, "dataset", patterns, flag, **hub_options)
    root = path.parent if path.is_file() else path
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return root, [f for f in files if any(fnmatch(str(f.relative_to(root)), p) for p in patterns)]


def data_files(data: str) -> tuple[list[Path], list | str]:
    """The files of `data`, and what identifies their content: a revision, or sizes and times.

    A folder or repository that holds the released corpora's paired split gives that split alone.
    "toy" is the built-in teacher's source. Raises hub.UserError where there is nothing to read.
    """
    if data == "toy":
        return [Path("toy")], hashlib.sha256(Path(toy.__file__).read_bytes()).hexdigest()
    root, files = find(data, "--data", [f"*{PAIRED_SPLIT}*"])
    files = files or find(data, "--data")[1]
    if not files:
        raise hub.UserError(f"--data {data}: no {', '.join(SUFFIXES)} there")
    if hub.is_hub_id(data):
        return files, [data, root.name]  # the snapshot's folder is named by its commit
    return files, [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def short_names(files: list[Path]) -> list[str]:
    root = Path(os.path.commonpath([file.parent for file in files]))
    return [str(file.relative_to(root)) for file in files]


# ---- rows --------------------------------------------------------------------------------------


def read(file: Path, columns=None) -> Iterator[tuple[int, dict | str]]:
    """(line number from 1, row) of a JSONL, Parquet, JSON or TSV file; a str says what is wrong.

    JSONL, which may be gzipped, and Parquet are streamed. columns: the ones to read of a Parquet
    file, if it has any of them (None: all). Raises hub.UserError for a file that cannot be read.
    """
    try:
        if file.suffix == ".parquet":
            yield from read_parquet(file, columns)
        elif file.suffix == ".json":
            document = json.loads(file.read_bytes())
            rows = document if isinstance(document, list) else [document]
            yield from ((i, as_row(row)) for i, row in enumerate(rows, 1))
        elif file.suffix == ".tsv":
            with file.open(encoding="utf-8", newline="") as lines:
                yield from enumerate(csv.DictReader(lines, delimiter="\t"), 1)
        else:
            with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, parse(line, "utf-8-sig" if number == 1 else "utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise hub.UserError(f"{file}: cannot be read to its end: {error}") from error


def read_parquet(file: Path, columns) -> Iterator[tuple[int, dict]]:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.ParquetFile(file, memory_map=True)
        columns = [name for name in columns or () if name in table.schema_arrow.names]
        batches = table.iter_batches(batch_size=64, columns=columns or None)
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    except ArrowException as error:
        raise ValueError(str(error)) from error


def parse(line: bytes, encoding: str) -> dict | str:
    """The row of a JSONL line, or what is wrong with it."""
    try:
        return as_row(json.loads(line.decode(encoding)))
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start + 1} of the line"
    except (ValueError, RecursionError) as error:
        return f"invalid JSON: {error}"


def as_row(value) -> dict | str:
    return value if isinstance(value, dict) else "not a JSON object"


# ---- rows of pairs -----------------------------------------------------------------------------


def check(files: list[Path]) -> Iterator[tuple[int, int, list | None, str]]:
    """(file, line, [prompt, ift, reasoning], what is wrong) of every row.

    A bad or missing answer is None; without a prompt there are no texts at all. Raises
    hub.UserError for a file with other columns.
    """
    names = ("prompt", *ANSWERS)
    for i, file in enumerate(files):
        rows = enumerate(toy.rows(), 1) if str(file) == "toy" else read(file, names)
        has_columns, unmatched = False, []  # rows before the first that has a prompt and an answer
        for number, row in rows:
            if isinstance(row, str):
                yield i, number, None, row
                continue
            has_columns |= "prompt" in row and any(name in row for name in ANSWERS)
            if not has_columns:
                unmatched.append(row)
                if len(unmatched) == 100:
                    break
            problems = {name: wrong_with(name, row.get(name)) for name in names}
            texts = [None if problem else row.get(name) for name, problem in problems.items()]
            texts = None if problems["prompt"] else texts
            yield i, number, texts, "; ".join(filter(None, problems.values()))
        if unmatched and not has_columns:
            raise hub.UserError(
                f"--data {file}: has the columns {', '.join(unmatched[0]) or 'none known'};"
                " expected prompt and ift, reasoning or both"
            )


def wrong_with(column: str, text) -> str | None:
    """What is wrong with a row's value in a column, or None; a missing answer is not wrong yet."""
    if text is None:
        return "no prompt" if column == "prompt" else None
    if not isinstance(text, str):
        return f"{column} is not a string"
    if not text.strip():
        return f"{column} is empty"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return f"{column} has a lone surrogate, which is not text"
    if column == "reasoning":
        if not text.lstrip().startswith("<think>"):
            return "reasoning does not begin with <think>"
        _, tag, answer = text.rpartition("</think>")
        if not tag:
            return "reasoning has no </think>"
        if not answer.strip():
            return "reasoning has no answer after </think>"
    return None


def scan_pairs(data: str, skip_bad: bool = False):
    """Reads and checks without tokenising; hub.UserError lists what is wrong."""
    files, _ = data_files(data)
    names = short_names(files)
    problems = [f"{names[i]}:{line}: {wrong}" for i, line, _, wrong in check(files) if wrong]
    if problems and not skip_bad:
        raise hub.UserError(f"--data {data}: {listing(problems)}")


def listing(problems: list[str], rest: str = "", most: int = 50) -> str:
    """The problems by file and line; past `most` of them, their number and where the rest is."""
    more = len(problems) - most
    tail = [f"... and {more} more{rest}"] if more > 0 else []
    return "\n  ".join([f"{len(problems)} bad rows:", *problems[:most], *tail])
