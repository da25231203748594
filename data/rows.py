"""Rows of pairs: their files found, read and checked, one row at a time however large the file."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from common import hub
from config import ANSWERS
from data import toy

PAIRED_SPLIT = "reasoning_ift_pairs"  # the released corpora's split that has all three columns
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


def data_files(data: str) -> tuple[list[Path], list]:
    """The files of `data`, and what identifies their content: a revision, or sizes and times.

    A folder or repository that holds the released corpora's paired split gives that split alone.
    Raises hub.UserError where there is nothing to read.
    """
    if hub.is_hub_id(data):
        folder = hub.fetch(data, "dataset", (f"*{PAIRED_SPLIT}*",), "--data")
        if not any(folder.rglob(f"*{PAIRED_SPLIT}*")):
            folder = hub.fetch(data, "dataset", [f"*{suffix}" for suffix in SUFFIXES], "--data")
        identity = [data, folder.name]  # the snapshot's folder is named by its commit
    else:
        folder, identity = hub.fetch(data, flag="--data"), None
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    files = [file for file in files if file.is_file() and file.name.endswith(SUFFIXES)]
    files = [file for file in files if PAIRED_SPLIT in str(file.relative_to(folder))] or files
    if not files:
        raise hub.UserError(f"--data {data}: no {', '.join(SUFFIXES)} there")
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return files, identity or stats


def read(file: Path, only=("prompt", *ANSWERS)) -> Iterator[tuple[int, dict | str]]:
    """(line number from 1, row) of one file, streamed; a line that is no row says why.

    only: the columns to read of a Parquet file (None: all).
    """
    if file.suffix == ".parquet":
        from pyarrow import ArrowException, parquet

        try:
            table = parquet.ParquetFile(file, memory_map=True)
            columns = [name for name in only or () if name in table.schema_arrow.names]
            number = 0
            for batch in table.iter_batches(batch_size=64, columns=columns or None):
                for number, row in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                    yield number, row
        except (ArrowException, OSError, UnicodeDecodeError) as error:
            raise hub.UserError(f"{file}: not a Parquet file that can be read: {error}") from error
        return
    with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                    yield number, row if isinstance(row, dict) else "not a JSON object"
                except UnicodeDecodeError as error:
                    yield number, f"invalid UTF-8 at byte {error.start + 1} of the line"
                except (ValueError, RecursionError) as error:
                    yield number, f"invalid JSON: {error}"
        except (EOFError, OSError, zlib.error) as error:
            raise hub.UserError(f"{file}: cannot be read to its end: {error}") from error


def wrong_with(column: str, text) -> str | None:
    """What is wrong with a row's value in a column, or None; a missing value is not wrong yet."""
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
        trace, closed, answer = text.rpartition("</think>")
        if not closed:
            return "reasoning has no </think>"
        if not answer.strip():
            return "reasoning has no answer after </think>"
    return None


def check(files: list[Path]) -> Iterator[tuple[int, int, list | None, str]]:
    """(file, line, [prompt, ift, reasoning], what is wrong) of every row.

    A bad or missing answer is None; without a prompt there are no texts at all. Raises
    hub.UserError for a file with other columns.
    """
    for i, file in enumerate(files):
        found = enumerate(toy.rows(), 1) if str(file) == "toy" else read(file)
        strange, fits = [], False
        for number, row in found:
            if isinstance(row, str):
                yield i, number, None, row
                continue
            fits = fits or "prompt" in row and any(name in row for name in ANSWERS)
            if not fits:
                strange.append(row)
                if len(strange) == 100:
                    break
            values = {name: row.get(name) for name in ("prompt", *ANSWERS)}
            wrong = {name: wrong_with(name, value) for name, value in values.items()}
            texts = [None if wrong[name] else value for name, value in values.items()]
            texts = None if wrong["prompt"] else texts
            yield i, number, texts, "; ".join(filter(None, wrong.values()))
        if strange and not fits:
            raise hub.UserError(
                f"--data {file}: has the columns {', '.join(strange[0]) or 'none known'};"
                " expected prompt and ift, reasoning or both"
            )


def short_names(files: list[Path]) -> list[str]:
    root = Path(os.path.commonpath([file.parent for file in files]))
    return [str(file.relative_to(root)) for file in files]


def scan_pairs(data: str, skip_bad: bool = False):
    """Reads and checks without tokenising; hub.UserError lists what is wrong."""
    files = data_files(data)[0]
    found = [
        (f"{short_names(files)[f]}:{line}", wrong) for f, line, _, wrong in check(files) if wrong
    ]
    if found and not skip_bad:
        raise hub.UserError(
            f"--data {data}: " + listing([f"{place}: {wrong}" for place, wrong in found])
        )


def listing(problems: list[str], rest: str = "", most: int = 50) -> str:
    """The problems by file and line; past `most` of them, their number and where the rest is."""
    more = len(problems) - most
    tail = [f"... and {more} more{rest}"] if more > 0 else []
    return "\n  ".join([f"{len(problems)} bad rows:", *problems[:most], *tail])
