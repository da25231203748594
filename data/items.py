"""The items of a benchmark: rows read from the Hub or from files, checked, sampled, and the worked
demonstrations that go before them for a base model.

    items = load("gsm8k", data_dir="rows")       # rows/gsm8k.jsonl; without data_dir from the Hub
    shots = demonstrations("gsm8k", 3, items)    # rows of another split, never test items
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from common import hub
from data import rows, toy
from data.benchmarks import BENCHMARKS, TOY, TOY_ITEMS, Item, Source, body, prompt, questions

Rows = Iterable[tuple[str, dict]]  # (file and row number, row as the Hub has it)
HUB_SUFFIXES = (".parquet", ".jsonl", ".json", ".tsv")
TOY_SEED = 1_000_003  # training draws from small seeds
CCSD = (
    "not on the Hub: it is CCSD, the C functions of Liu et al. 2020 (Retrieval-Augmented Generation"
    " for Code Summarization via Hybrid GNN), a JSONL of file_path, function, summary that its"
    " authors hand out; pass --ccsd /path/to/test.jsonl, or --benchmarks hub for the other 17"
)

# ---- items -------------------------------------------------------------------------------------


def load(name: str, data_dir: str = "", ccsd: str = "", coqa: str = "first") -> list[Item]:
    """Every item of a benchmark; coqa: the turns that are asked: first, last or all.

    Raises hub.UserError for a file that is missing or unreadable, a row without its columns, and a
    Hub that cannot be reached.
    """
    benchmark, placed = BENCHMARKS[name], list(source_rows(name, data_dir, ccsd))
    checked = ((place, problem_of(name, row)) for place, row in placed)
    problems = [f"{place}: {problem}" for place, problem in checked if problem]
    if problems or not placed:
        more = [f"... and {len(problems) - 3} rows more"] if len(problems) > 3 else []
        lines = "\n  ".join([*problems[:3], *more] or ["no rows"])
        raise hub.UserError(f"{name}: needs the columns {', '.join(benchmark.columns)}\n  {lines}")
    kept = [row for _, row in placed if benchmark.keep(row)]
    ids = [str(row[benchmark.key]) for row in kept if benchmark.key in row]
    ids = ids if len(set(ids)) == len(kept) else map(str, range(len(kept)))
    items = [Item(i, row) for i, row in zip(ids, kept, strict=True)]
    return [turn for item in items for turn in turns(item, coqa)] if name == "coqa" else items


def source_rows(name: str, data_dir: str, ccsd: str) -> Rows:
    """The rows of a benchmark, made here, of a file, or of the Hub."""
    if name in TOY:
        numbered = enumerate(toy.rows(len(toy.TASKS) * TOY_ITEMS, TOY_SEED, is_test=True))
        family = BENCHMARKS[name].family
        return [(f"data/toy.py, row {i}", row) for i, row in numbered if row["family"] == family]
    if name == "c_code_summarization" and (ccsd or not data_dir):
        if not ccsd:
            raise hub.UserError(f"{name}: {CCSD}")
        return read([hub.fetch(ccsd, flag="--ccsd")])
    if data_dir:
        return read_local(name, data_dir, [name], "the rows as the Hub has them")
    return read_hub(name, BENCHMARKS[name].source)


def problem_of(name: str, row: dict) -> str | None:
    """Why a row cannot be asked: no such columns, or a test split without answers, for one."""
    benchmark = BENCHMARKS[name]
    if missing := [column for column in benchmark.columns if row.get(column) is None]:
        return f"no {', '.join(missing)}; it has {', '.join(row)}"
    if name == "coqa" or not benchmark.keep(row):  # coqa's rows become turns later
        return None
    try:
        f"{prompt(name, row)} {benchmark.gold(row)}".encode()
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    is_negative = isinstance(row.get("answer"), int) and row["answer"] < 0
    return f"its answer is {row['answer']}" if is_negative else None


def turns(item: Item, which: str) -> list[Item]:
    count = len(questions(item.row))
    chosen = {"first": [0], "last": [count - 1], "all": range(count)}[which]
    return [Item(f"{item.id}/{turn + 1}", item.row | {"turn": turn}) for turn in chosen]


# ---- demonstrations and samples ----------------------------------------------------------------


def demonstrations(name: str, shots: int, items: list[Item], data_dir: str = "") -> list[dict]:
    """Rows to choose worked demonstrations from, none of them an item.

    Where there is no other split they are the first items, which the caller leaves out.
    """
    benchmark = BENCHMARKS[name]
    if benchmark.demos is None:
        return [item.row for item in items[:shots]]
    if data_dir:
        names = [f"{name}.{split}" for split in ("demos", "dev", "train", "validation")]
        others = read_local(name, data_dir, names, "rows for --shots, from another split")
    else:
        others = read_hub(name, benchmark.demos)
    asked = {body(name, item.row) for item in items}
    demos = [row for _, row in others if benchmark.keep(row) and body(name, row) not in asked]
    if not demos:
        raise hub.UserError(f"{name}: no row for --shots that is not an item itself")
    return demos


def chosen(name: str, row: dict, demos: list[dict], shots: int) -> list[dict]:
    """The demonstrations of one item: the first ones, of its subject where that is known."""
    alike = BENCHMARKS[name].alike
    same = [demo for demo in demos if not alike or demo.get(alike) == row.get(alike)]
    return (same or demos)[:shots]


def limited(name: str, items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """A seeded sample in the order of the data; a larger one holds every smaller one."""

    def rank(item):
        return hashlib.sha256(f"{seed} {name} {item.id}".encode()).digest()

    kept = {item.id for item in sorted(items, key=rank)[:limit]}
    return [item for item in items if item.id in kept]


# ---- files -------------------------------------------------------------------------------------


def read_local(name: str, data_dir: str, stems: list[str], content: str) -> Rows:
    """The rows of the first file, by name, that is DATA_DIR/STEM.jsonl, .jsonl.gz or .parquet."""
    _, files = rows.find(data_dir, "--data-dir", stems)
    if not files:
        wanted = " or ".join(f"{stem}.jsonl" for stem in stems)
        raise hub.UserError(f"{name}: --data-dir {data_dir} has no {wanted} ({content})")
    return read(files[:1])


def read_hub(name: str, source: Source) -> Rows:
    """Rows of a split, whatever the layout: CONFIG/SPLIT-*.parquet, SPLIT.jsonl, one file alone."""
    otherwise = f"put its rows in DIR/{name}.jsonl and pass --data-dir DIR"
    options = {"revision": source.revision, "otherwise": otherwise}
    split = re.compile(rf"(^|[/_.-]){source.split}[/_.-]")
    for config in source.configs:
        globs = [] if config == "default" else [f"*{config}*{source.split}*"]
        if config in ("default", "main", "raw", "plain_text"):
            globs += [f"*{source.split}*", "*"]
        for glob in globs:
            root, files = rows.find(source.hub, f"{name}:", [glob], HUB_SUFFIXES, **options)
            if glob != "*":  # another split may be in a folder of this name
                files = [file for file in files if split.search(str(file.relative_to(root)))]
            if files:
                break
        else:
            raise hub.UserError(f"{name}: {source.hub} has no files of {config}, {source.split}")
        for place, row in read(files):
            yield place, {**row, "subject": row.get("subject", config)}


def read(files: list[Path]) -> Rows:
    """The rows of JSONL, Parquet, JSON or TSV files; hub.UserError for a line that is none."""
    for file in files:
        for number, row in rows.read(file):
            if isinstance(row, str):
                raise hub.UserError(f"{file}, row {number}: {row}")
            yield f"{file.name}, row {number}", row
