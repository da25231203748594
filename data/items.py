"""The items of a benchmark: rows read from the Hub or from files, checked, sampled, and the worked
demonstrations that go before them for a base model.

    items = load("gsm8k", data_dir="rows")       # rows/gsm8k.jsonl; without data_dir from the Hub
    shots = demonstrations("gsm8k", 3, items)    # rows of another split, never test items
"""

import csv
import hashlib
import json
import re
from pathlib import Path

from common import hub
from data import rows as files
from data import toy
from data.benchmarks import BENCHMARKS, TOY, TOY_ITEMS, Item, Source, body, prompt, questions

SUFFIXES = (".parquet", ".jsonl", ".json", ".tsv")
TOY_SEED = 1_000_003  # training draws from small seeds
CCSD = (
    "not on the Hub: it is CCSD, the C functions of Liu et al. 2020 (Retrieval-Augmented Generation"
    " for Code Summarization via Hybrid GNN), a JSONL of file_path, function, summary that its"
    " authors hand out; pass --ccsd /path/to/test.jsonl, or --benchmarks hub for the other 17"
)


def load(name: str, data_dir: str = "", ccsd: str = "", coqa: str = "first") -> list[Item]:
    """Every item of a benchmark; coqa: the turns that are asked: first, last or all.

    Raises hub.UserError for a file that is missing or unreadable, a row without its columns, and a
    Hub that cannot be reached.
    """
    benchmark = BENCHMARKS[name]
    if name in TOY:
        made = toy.rows(len(toy.TASKS) * TOY_ITEMS, TOY_SEED, is_test=True)
        found = [("data/toy.py", i, row) for i, row in enumerate(made)]
        found = [part for part in found if part[2]["family"] == benchmark.family]
    elif name == "c_code_summarization" and (ccsd or not data_dir):
        if not ccsd:
            raise hub.UserError(f"{name}: {CCSD}")
        found = read([hub.fetch(ccsd, flag="--ccsd")])
    elif data_dir:
        found = read(local(name, data_dir, [name], "the rows as the Hub has them"))
    else:
        found = from_the_hub(name, benchmark.source)
    problems = []
    for place, number, row in found:
        missing = [column for column in benchmark.columns if row.get(column) is None]
        if missing:
            problems.append(
                f"{place}, row {number}: no {', '.join(missing)}; it has {', '.join(row)}"
            )
        elif benchmark.keep(row):
            problems += [f"{place}, row {number}: {what}" for what in unusable(name, row)]
    if problems or not found:
        more = [f"... and {len(problems) - 3} rows more"] if len(problems) > 3 else []
        lines = "\n  ".join([*problems[:3], *more] or ["no rows"])
        raise hub.UserError(f"{name}: needs the columns {', '.join(benchmark.columns)}\n  {lines}")
    kept = [row for _, _, row in found if benchmark.keep(row)]
    ids = [str(row[benchmark.key]) for row in kept if benchmark.key in row]
    ids = ids if len(set(ids)) == len(kept) else [str(i) for i in range(len(kept))]
    items = [Item(i, row) for i, row in zip(ids, kept, strict=True)]
    return [turn for item in items for turn in turns(item, coqa)] if name == "coqa" else items


def unusable(name: str, row: dict) -> list[str]:
    """Why a row with all its columns cannot be asked: test splits without answers, for one."""
    if name == "coqa":
        return []  # its turns are told apart later
    try:
        gold = BENCHMARKS[name].gold(row)
        f"{prompt(name, row)} {gold}".encode()
        is_negative = isinstance(row.get("answer"), int) and row["answer"] < 0
        return [f"its answer is {row['answer']}"] if is_negative else []
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return [f"{type(error).__name__}: {error}"]


def turns(item: Item, which: str) -> list[Item]:
    count = len(questions(item.row))
    chosen = {"first": [0], "last": [count - 1], "all": range(count)}[which]
    return [Item(f"{item.id}/{turn + 1}", item.row | {"turn": turn}) for turn in chosen]


def demonstrations(name: str, shots: int, items: list[Item], data_dir: str = "") -> list[dict]:
    """Rows to choose worked demonstrations from, none of them an item.

    Where there is no other split they are the first items, which the caller leaves out.
    """
    benchmark = BENCHMARKS[name]
    if benchmark.demos is None:
        return [item.row for item in items[:shots]]
    if data_dir:
        names = [f"{name}.{split}" for split in ("demos", "dev", "train", "validation")]
        found = read(local(name, data_dir, names, "rows for --shots, from another split"))
    else:
        found = from_the_hub(name, benchmark.demos)
    asked = {body(name, item.row) for item in items}
    found = [row for _, _, row in found if benchmark.keep(row) and body(name, row) not in asked]
    if not found:
        raise hub.UserError(f"{name}: no row for --shots that is not an item itself")
    return found


def chosen(name: str, row: dict, demos: list[dict], shots: int) -> list[dict]:
    """The demonstrations of one item: the first ones, of its own subject where that is known."""
    alike = BENCHMARKS[name].alike
    same = [demo for demo in demos if not alike or demo.get(alike) == row.get(alike)]
    return (same or demos)[:shots]


def limited(name: str, items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """A seeded sample in the order of the data; a larger one holds every smaller one."""

    def rank(item):
        return hashlib.sha256(f"{seed} {name} {item.id}".encode()).digest()

    kept = {item.id for item in sorted(items, key=rank)[:limit]}
    return [item for item in items if item.id in kept]


def local(name: str, data_dir: str, names: list[str], what: str) -> list[Path]:
    folder = hub.fetch(data_dir, flag="--data-dir")
    suffixes = (".jsonl", ".jsonl.gz", ".parquet")
    found = [folder / (n + s) for n in names for s in suffixes if (folder / (n + s)).is_file()]
    if not found:
        wanted = " or ".join(f"{n}.jsonl" for n in names)
        raise hub.UserError(f"{name}: --data-dir {data_dir} has no {wanted} ({what})")
    return found[:1]


def from_the_hub(name: str, source: Source) -> list:
    """Rows of a split, whatever the layout: CONFIG/SPLIT-*.parquet, SPLIT.jsonl, one file alone."""
    found = []
    for config in source.configs:
        kinds = [] if config == "default" else [f"*{config}*{source.split}*"]
        if config in ("default", "main", "raw", "plain_text"):
            kinds += [f"*{source.split}*", "*"]
        for kind in kinds:
            patterns = [kind + suffix for suffix in SUFFIXES]
            folder = hub.fetch(
                source.hub, "dataset", patterns, flag=f"{name}:", revision=source.revision,
                otherwise=f"put its rows in DIR/{name}.jsonl and pass --data-dir DIR",
            )  # fmt: skip
            paths = sorted(p for p in folder.rglob("*") if p.name.endswith(SUFFIXES))
            inside = [p for p in paths if wanted(str(p.relative_to(folder)), kind, source.split)]
            if inside:
                break
        else:
            raise hub.UserError(f"{name}: {source.hub} has no files of {config}, {source.split}")
        part = read(inside)
        for _, _, row in part:
            row.setdefault("subject", config)
        found += part
    return found


def wanted(path: str, kind: str, split: str) -> bool:
    """Whether a downloaded file is of this layout: other splits may be in the same folder."""
    config = kind.strip("*").partition("*")[0] if kind.count("*") == 3 else ""
    return config in path and (kind == "*" or bool(re.search(rf"(^|[/_.-]){split}[/_.-]", path)))


def read(paths: list[Path]) -> list[tuple[str, int, dict]]:
    """(file, row number from 1, row) of JSONL, JSON, Parquet or TSV files."""
    found = []
    for path in paths:
        try:
            if path.suffix == ".parquet":
                from pyarrow import parquet

                rows = parquet.read_table(path).to_pylist()
            elif path.suffix == ".json":
                rows = json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".tsv":
                with path.open(encoding="utf-8", newline="") as lines:
                    rows = list(csv.DictReader(lines, delimiter="\t"))
            else:
                rows = [row for _, row in files.read(path)]
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise hub.UserError(f"{path}: cannot be read: {error}") from error
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise hub.UserError(f"{path}, row {number}: {row if row else 'not an object'}")
            found.append((path.name, number, row))
    return found
