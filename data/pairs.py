"""Pairs: one prompt, answered plainly (ift) and with reasoning. Reads, checks and tokenises them.

    python -m data.pairs PATH_OR_HUB_ID                      # counts, lengths, share kept at 8k-32k
    python -m data.pairs pairs.jsonl --tokenizer Qwen/Qwen2.5-0.5B --skip-bad

PATH is JSONL (plain or .gz), Parquet, or a folder of either, with the columns prompt, ift and
reasoning (`<think>` trace `</think>` answer). Writes both answers' tokens once, into a
memory-mapped cache keyed by the data and the tokenizer, which arms, ratios and scales share.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import cli, hub
from common.files import lock, replace_folder
from config import ANSWERS
from data import toy
from data.chat import Chat, load_tokenizer
from data.rows import check, data_files, listing, short_names

CACHE = os.environ.get("SCALE_OR_REASON_CACHE", "~/.cache/scale-or-reason")
CODE = ("pairs", "rows", "chat")  # modules that decide the tokens: edited, they make a new cache
BATCH_BYTES = 2**20  # text tokenised at once; its encodings take a few hundred times as much


@dataclass
class Options:
    data: cli.Required = cli.positional("")  # JSONL, Parquet, a folder of them, a Hub id, or toy
    tokenizer: str | None = None  # folder or Hub id (default: Qwen2.5's, or the toy's)
    skip_bad: bool = False  # leave bad rows out instead of stopping
    cache: str = CACHE  # folder of tokenised pairs


class Pairs:
    """Tokenised pairs, memory-mapped from a cache folder. n rows, in both formats.

    tokens: uint32, all ids; bounds [n, 4] int64: where the prompt, the ift answer and the reasoning
    answer begin, and their end; where [n, 2]: file and line of each row. A prompt's ids end at
    `assistant\\n`, an answer's in <|im_end|>; no system prompt. problems: a line for each bad row.
    """

    def __init__(self, folder: Path):
        self.meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.bounds, self.where = np.load(folder / "bounds.npy"), np.load(folder / "where.npy")
        tokens = folder / "tokens.bin"
        is_empty = tokens.stat().st_size == 0  # such a file cannot be mapped
        self.tokens = np.empty(0) if is_empty else np.memmap(tokens, np.uint32, "r")
        self.folder, self.content = folder, self.meta["content"]
        lengths = np.diff(self.bounds, axis=1)  # [n, 3]
        self.prompt_lengths = lengths[:, 0]
        self.answer_lengths = dict(zip(ANSWERS, lengths.T[1:], strict=True))
        self.formats = [name for name in ANSWERS if self.answer_lengths[name].any()]
        self.paired = len(self.formats) == 2
        problems = dict(self.meta["problems"])  # "file:line" -> what is wrong
        is_good = np.full(len(lengths), bool(self.formats))
        for name in self.formats:
            is_missing = self.answer_lengths[name] == 0
            is_good &= ~is_missing
            for i in np.flatnonzero(is_missing):
                problems.setdefault(self.name(i), f"no {name}")
        self.problems = [f"{place}: {problem}" for place, problem in problems.items()]
        self.good = np.flatnonzero(is_good)  # rows that have every format the data has

    def name(self, i: int) -> str:
        """file:line of row i, by which messages name samples."""
        file, line = self.where[i]
        return f"{self.meta['files'][file]}:{line}"

    def lengths(self, answer_format: str) -> np.ndarray:
        """[n] tokens of prompt and answer together."""
        return self.prompt_lengths + self.answer_lengths[answer_format]

    def longest(self) -> np.ndarray:
        """[n] tokens with the longer answer: what --max-len is held against, in both arms alike."""
        return np.max([self.lengths(name) for name in self.formats or ANSWERS], axis=0)

    def prompt(self, i: int) -> np.ndarray:
        return self.tokens[self.bounds[i, 0] : self.bounds[i, 1]]

    def answer(self, i: int, answer_format: str) -> np.ndarray:
        column = 1 + ANSWERS.index(answer_format)
        return self.tokens[self.bounds[i, column] : self.bounds[i, column + 1]]


# ---- the cache ---------------------------------------------------------------------------------


def load_pairs(data: str, chat: Chat, cache: str | Path = CACHE) -> Pairs:
    """Pairs of `data` ("toy", a path or a Hub id), tokenised now unless the cache has them.

    Every row is read and checked; Pairs.problems has what is wrong. Raises hub.UserError for data
    that is not there or has other columns. The cache folder appears whole or not at all.
    """
    files, identity = data_files(data)
    code = [Path(__file__).with_name(f"{name}.py").read_text("utf-8") for name in CODE]
    key = json.dumps([identity, chat.tokenizer.to_str(), code]).encode()
    root = Path(cache).expanduser()
    folder = root / f"{Path(data).name.split('.')[0]}-{hashlib.sha256(key).hexdigest()[:16]}"
    if folder.is_dir():
        return Pairs(folder)
    with ExitStack() as stack:  # a node's other ranks wait here, not inside a collective
        try:
            stack.enter_context(lock(root / f"{folder.name}.lock", wait=True))
        except OSError as error:
            reason = error.strerror
            raise hub.UserError(f"--cache {root}: cannot write there ({reason})") from error
        if not folder.is_dir():
            unfinished = root / f"{folder.name}.tmp"
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            stack.callback(shutil.rmtree, unfinished, ignore_errors=True)
            unfinished.mkdir()
            tokenise(files, chat, unfinished)
            replace_folder(unfinished, folder)
    return Pairs(folder)


def tokenise(files: list[Path], chat: Chat, folder: Path):
    """Writes what Pairs reads: tokens.bin, bounds.npy, where.npy and meta.json."""
    names, digest = short_names(files), hashlib.sha256()
    where, problems, bounds, end = [], [], [], 0

    def texts() -> Iterator[list[str | None]]:
        is_quiet = not sys.stderr.isatty()
        rows = tqdm(check(files), "tokenising", unit=" pairs", disable=is_quiet, leave=False)
        for file, line, row, problem in rows:
            if problem:
                problems.append((f"{names[file]}:{line}", problem))
            if row:
                where.append((file, line))
                yield row

    with open(folder / "tokens.bin", "wb") as out:
        for batch in batches(texts()):
            for ids in encode(batch, chat):
                packed = np.asarray(sum(ids, []), dtype=np.uint32).tobytes()
                out.write(packed)
                digest.update(packed)
                bounds.append(np.cumsum([end, *map(len, ids)]))
                end = int(bounds[-1][-1])
    bounds = np.asarray(bounds, dtype=np.int64).reshape(-1, 4)
    digest.update(bounds.tobytes())
    np.save(folder / "bounds.npy", bounds)
    np.save(folder / "where.npy", np.asarray(where, dtype=np.int64).reshape(-1, 2))
    meta = {"files": names, "content": digest.hexdigest(), "problems": problems}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def batches(rows: Iterable[list]) -> Iterator[list[list]]:
    """The rows in lists of about BATCH_BYTES of text."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += sum(map(len, filter(None, row)))
        if size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def encode(rows: list[list], chat: Chat) -> Iterator[list[list[int]]]:
    """The ids of each row's prompt, ift answer and reasoning answer; [] for a missing one."""
    texts = [text for prompt, *answers in rows for text in (f"user\n{prompt}", *answers) if text]
    ids = iter(chat.encode_batch(texts))
    for _, *answers in rows:
        prompt = chat.close(next(ids)) + chat.opening
        yield [prompt, *([*next(ids), chat.end] if text else [] for text in answers)]


# ---- python -m data.pairs ----------------------------------------------------------------------


def describe_pairs(pairs: Pairs) -> str:
    """Counts, token quantiles by column, and the share of pairs kept at 8k, 16k and 32k."""
    columns = {"prompt": pairs.prompt_lengths} | {f: pairs.answer_lengths[f] for f in pairs.formats}
    rows = [["tokens", "p10", "p50", "p90", "p99", "max", "mean"]]
    lines = [f"{len(pairs.good):,} pairs with {' and '.join(pairs.formats) or 'no answers'}"]
    if not len(pairs.good):
        return lines[0]
    for name, lengths in columns.items():
        lengths = lengths[pairs.good]
        values = [*np.quantile(lengths, [0.1, 0.5, 0.9, 0.99, 1]), lengths.mean()]
        rows.append([name, *(f"{value:,.0f}" for value in values)])
    kept = {k: (pairs.longest()[pairs.good] <= k * 1024).mean() for k in (8, 16, 32)}
    shares = ", ".join(f"{share:.1%} at {k}k" for k, share in kept.items())
    return "\n".join([*lines, *cli.table(rows), f"kept       {shares}"])


@cli.run
def main(arguments: list[str] | None = None):
    o, _ = cli.parse(Options, arguments, __doc__)
    cli.Problems(cli.check(o)).raise_any()
    if o.data == "toy" and not o.tokenizer:
        tokenizer = toy.tokenizer()
    else:
        tokenizer, _ = load_tokenizer(o.tokenizer or "Qwen/Qwen2.5-0.5B", "--tokenizer")
    pairs = load_pairs(o.data, Chat(tokenizer), o.cache)
    print(f"{o.data}: {describe_pairs(pairs)}\ncache      {pairs.folder}")
    if pairs.problems:
        rows = listing(pairs.problems, f" (all in {pairs.folder}/meta.json)")
        if not o.skip_bad:
            raise hub.UserError(f"{rows}\n  mend them, or pass --skip-bad to leave them out")
        print(rows, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
