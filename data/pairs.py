"""Pairs: one prompt, answered plainly (ift) and with reasoning. Reads, checks and tokenises them.

    python -m data.pairs PATH_OR_HUB_ID                      # counts, lengths, share kept at 8k-32k
    python -m data.pairs pairs.jsonl --tokenizer Qwen/Qwen2.5-0.5B --skip-bad

PATH is JSONL (plain or .gz), Parquet, or a folder of either, with the columns prompt, ift and
reasoning (`<think>` trace `</think>` answer). Both answers are tokenised once into a memory-mapped
cache keyed by the data and the tokenizer only, so arms, ratios and scales share it.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import cli, hub
from data import toy
from data.chat import Chat, load_tokenizer
from data.rows import ANSWERS, check, data_files, listing, short_names

CACHE = os.environ.get("SCALE_OR_REASON_CACHE", "~/.cache/scale-or-reason")
BATCH_BYTES = 2**20  # text tokenised at once; its encodings take a few hundred times as much


class Pairs:
    """Tokenised pairs, memory-mapped from a cache folder. n rows; format is "ift" or "reasoning".

    tokens: uint32, all ids; bounds [n, 4] int64: where the prompt, the ift answer and the reasoning
    answer begin, and their end; where [n, 2]: file and line of each row. A prompt's ids end at
    `assistant\\n`, an answer's in <|im_end|>; no system prompt. problems: a line for each bad row.
    """

    def __init__(self, folder: Path):
        self.meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.bounds, self.where = np.load(folder / "bounds.npy"), np.load(folder / "where.npy")
        has_tokens = (folder / "tokens.bin").stat().st_size > 0  # an empty file cannot be mapped
        self.tokens = (
            np.memmap(folder / "tokens.bin", np.uint32, "r") if has_tokens else np.empty(0)
        )
        self.folder, self.content = folder, self.meta["content"]
        spans = np.diff(self.bounds, axis=1)
        self.prompt_lengths = spans[:, 0]
        self.answer_lengths = {"ift": spans[:, 1], "reasoning": spans[:, 2]}
        self.formats = [name for name in ANSWERS if self.answer_lengths[name].any()]
        self.paired = len(self.formats) == 2
        lines = dict(self.meta["problems"])  # "file:line" -> what is wrong
        for name in self.formats:
            for i in np.flatnonzero(self.answer_lengths[name] == 0):
                lines.setdefault(self.name(i), f"no {name}")
        self.problems = [f"{place}: {what}" for place, what in lines.items()]
        whole = np.full(len(self.bounds), bool(self.formats))
        for name in self.formats:
            whole &= self.answer_lengths[name] > 0
        self.good = np.flatnonzero(whole)  # rows that have every format the data has

    def name(self, i: int) -> str:
        """file:line of row i, by which messages name samples."""
        file, line = self.where[i]
        return f"{self.meta['files'][file]}:{line}"

    def lengths(self, format: str) -> np.ndarray:
        """[n] tokens of prompt and answer together."""
        return self.prompt_lengths + self.answer_lengths[format]

    def longest(self) -> np.ndarray:
        """[n] tokens with the longer answer: what --max-len is held against, in both arms alike."""
        return np.max([self.lengths(name) for name in self.formats or ANSWERS], axis=0)

    def prompt(self, i: int) -> np.ndarray:
        return self.tokens[self.bounds[i, 0] : self.bounds[i, 1]]

    def answer(self, i: int, format: str) -> np.ndarray:
        column = 1 + ANSWERS.index(format)
        return self.tokens[self.bounds[i, column] : self.bounds[i, column + 1]]


def load_pairs(data: str, chat: Chat, cache: str | Path = CACHE) -> Pairs:
    """Pairs of `data` ("toy", a path or a Hub id), tokenised now unless the cache has them.

    Every row is read and checked; Pairs.problems has what is wrong. Raises hub.UserError for data
    that is not there or has other columns. The cache folder appears whole or not at all.
    """
    if data == "toy":
        source = Path(toy.__file__).read_bytes()
        files, identity = [Path("toy")], hashlib.sha256(source).hexdigest()
    else:
        files, identity = data_files(data)
    here = Path(__file__)
    code = [here, here.with_name("rows.py"), here.with_name("chat.py")]  # edited: another cache
    recipe = hashlib.sha256(b"".join(file.read_bytes() for file in code)).hexdigest()
    tokenizer = hashlib.sha256(chat.tokenizer.to_str().encode()).hexdigest()
    key = hashlib.sha256(json.dumps([identity, tokenizer, recipe]).encode()).hexdigest()
    root = Path(cache).expanduser()
    folder = root / f"{Path(data).name.split('.')[0]}-{key[:16]}"
    if not folder.is_dir():
        with only_one(folder):  # the other ranks of this node wait here, not inside a collective
            if not folder.is_dir():
                beside = folder.with_name(f"{folder.name}.tmp")
                shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
                try:
                    beside.mkdir()
                    _tokenise(files, chat, beside)
                    beside.rename(folder)
                finally:
                    shutil.rmtree(beside, ignore_errors=True)
    return Pairs(folder)


@contextmanager
def only_one(folder: Path):
    """Lets one process of this machine at a time work on `folder`; a killed one lets go."""
    file = folder.with_name(f"{folder.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = open(file, "w")
    except OSError as error:
        raise hub.UserError(
            f"--cache {file.parent}: cannot write there ({error.strerror})"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _tokenise(files: list[Path], chat: Chat, folder: Path):
    digest, bounds, where, problems = hashlib.sha256(), [], [], []
    names = short_names(files)
    end, batch, batch_bytes = 0, [], 0
    with open(folder / "tokens.bin", "wb") as out:

        def flush():
            nonlocal end, batch, batch_bytes
            texts = [text for _, _, row in batch for text in row if text]
            ids = iter(chat.encode_batch(texts))
            for file, number, (_, ift, reasoning) in batch:
                prompt = chat.close(next(ids)) + chat.opening
                answers = [[*next(ids), chat.end] if text else [] for text in (ift, reasoning)]
                for part in (prompt, *answers):
                    packed = np.asarray(part, dtype=np.uint32).tobytes()
                    out.write(packed)
                    digest.update(packed)
                stops = np.cumsum([0, len(prompt), len(answers[0]), len(answers[1])]) + end
                end = int(stops[-1])
                bounds.append(stops)
                where.append((file, number))
            batch, batch_bytes = [], 0

        bar = tqdm(desc="tokenising", unit=" pairs", disable=not sys.stderr.isatty(), leave=False)
        for file, number, texts, wrong in check(files):
            bar.update()
            if wrong:
                problems.append((f"{names[file]}:{number}", wrong))
            if texts:
                batch.append((file, number, [f"user\n{texts[0]}", *texts[1:]]))
                batch_bytes += sum(len(text) for text in texts if text)
            if batch_bytes > BATCH_BYTES:
                flush()
        flush()
        bar.close()
    bounds = np.asarray(bounds, dtype=np.int64).reshape(-1, 4)
    digest.update(bounds.tobytes())
    np.save(folder / "bounds.npy", bounds)
    np.save(folder / "where.npy", np.asarray(where, dtype=np.int64).reshape(-1, 2))
    meta = {"files": names, "content": digest.hexdigest(), "problems": problems}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    for file in folder.iterdir():
        with open(file, "rb") as written:
            os.fsync(written.fileno())


# ---- python -m data.pairs -------------------------------------------------------------------


def describe_pairs(pairs: Pairs) -> str:
    """Counts, token quantiles by column, and the share of pairs kept at 8k, 16k and 32k."""
    head = "".join(f"{name:>9}" for name in ("p10", "p50", "p90", "p99", "max", "mean"))
    formats = " and ".join(pairs.formats) or "no answers"
    lines = [f"{len(pairs.good):,} pairs with {formats}", f"{'tokens':<10}{head}"]
    columns = {"prompt": pairs.prompt_lengths} | {f: pairs.answer_lengths[f] for f in pairs.formats}
    for name, lengths in columns.items():
        if len(lengths := lengths[pairs.good]):
            values = [*np.quantile(lengths, [0.1, 0.5, 0.9, 0.99, 1]), lengths.mean()]
            lines.append(f"{name:<10}" + "".join(f"{value:>9,.0f}" for value in values))
    if len(pairs.good):
        kept = {k: (pairs.longest()[pairs.good] <= k * 1024).mean() for k in (8, 16, 32)}
        lines.append("kept       " + ", ".join(f"{v:.1%} at {k}k" for k, v in kept.items()))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="read, check and tokenise pairs into the cache")
    parser.add_argument("data", help="JSONL, Parquet, a folder of them, a Hub id, or toy")
    parser.add_argument("--tokenizer", help="folder or Hub id (default: Qwen2.5's, or the toy's)")
    parser.add_argument("--skip-bad", action="store_true", help="go on past bad rows")
    parser.add_argument("--cache", default=CACHE)
    options = parser.parse_args()
    try:
        if options.data == "toy" and not options.tokenizer:
            tokenizer = toy.tokenizer()
        else:
            source = options.tokenizer or "Qwen/Qwen2.5-0.5B"
            tokenizer, _ = load_tokenizer(source, "--tokenizer")
        pairs = load_pairs(options.data, Chat(tokenizer), options.cache)
    except hub.UserError as error:
        sys.exit(cli.fail(error))
    print(f"{options.data}: {describe_pairs(pairs)}\ncache      {pairs.folder}")
    if pairs.problems:
        print(listing(pairs.problems, f" (all in {pairs.folder}/meta.json)"), file=sys.stderr)
        if not options.skip_bad:
            message = (
                f"{len(pairs.problems)} bad rows: mend them, or pass --skip-bad to leave them out"
            )
            sys.exit(cli.fail(hub.UserError(message)))


if __name__ == "__main__":
    main()
