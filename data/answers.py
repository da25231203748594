"""A teacher's answers on disk, one line a completion, and what is wrong with some of them.

Nothing that was answered is asked again: a run that is killed at any moment goes on from here.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np

from config import ANSWERS
from data.rows import PAIRED_SPLIT

SHARD = 4096  # prompts a file

# ---- filters: each says whether a pair is to be dropped -----------------------------------------


def split(reasoning: str) -> tuple[str, str] | None:
    """(trace, answer) of `<think>` trace `</think>` answer; None for any other use of the tags."""
    reasoning = reasoning.strip()
    is_once = reasoning.count("<think>") == reasoning.count("</think>") == 1
    if not is_once or not reasoning.startswith("<think>") or "</think>" not in reasoning:
        return None
    trace, _, answer = reasoning.removeprefix("<think>").partition("</think>")
    return trace, answer


def loops(text: str) -> bool:
    """Whether a stretch of the text shrinks below a twentieth: a repetition loop.

    Stretches of 2,000 characters, and longer ones for what repeats after more: 20 copies must fit.
    """
    for size in (2000, 8000, 32_000):
        starts = [*range(0, len(text) - size, size // 2), len(text) - size]
        windows = (text[i : i + size].encode() for i in starts if i >= 0)
        if any(len(zlib.compress(w)) < len(w) / 20 for w in windows):
            return True
    return False


FILTERS = {  # of the two answers as answers/ has them
    "cut": lambda ift, reasoning: "length" in (ift["finish_reason"], reasoning["finish_reason"]),
    "think": lambda ift, reasoning: split(reasoning["text"]) is None,
    "empty": lambda ift, reasoning: (
        not ift["text"].strip() or not (split(reasoning["text"]) or ("", "-"))[1].strip()
    ),
    "leak": lambda ift, reasoning: "<think>" in ift["text"] or "</think>" in ift["text"],
    "loop": lambda ift, reasoning: loops(ift["text"]) or loops(reasoning["text"]),
}


# ---- answers: one line a completion, in the order in which they came ----------------------------


class Answers:
    """The folder answers/: a file for every SHARD prompts, to which lines are only ever added.

    done [n, 2] bool: which prompts have which of ANSWERS. A torn line is cut off when the folder is
    opened, with all after it.
    """

    def __init__(self, folder: Path, count: int):
        self.folder, self.done = folder, np.zeros((count, len(ANSWERS)), dtype=bool)
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(-(-count // SHARD)):
            whole = 0
            for line in self.lines(shard):
                try:
                    row = json.loads(line) if line.endswith(b"\n") else None
                    self.done[row["number"], ANSWERS.index(row["mode"])] = True
                except (ValueError, TypeError, LookupError):
                    print(f"{self.file(shard)}: cut off at byte {whole}: {line[:60]!r}")
                    os.truncate(self.file(shard), whole)
                    break
                whole += len(line)

    def file(self, shard: int) -> Path:
        return self.folder / f"{shard:05}.jsonl"

    def lines(self, shard: int) -> list[bytes]:
        file = self.file(shard)
        return file.read_bytes().splitlines(keepends=True) if file.exists() else []

    def read(self, shard: int) -> dict:
        """{(prompt number, mode): row} of a file."""
        rows = map(json.loads, self.lines(shard))
        return {(row["number"], row["mode"]): row for row in rows}

    def add(self, row: dict):
        line = json.dumps(row).encode() + b"\n"
        with open(self.file(row["number"] // SHARD), "ab", buffering=0) as file:
            end = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:  # a full disk, say
                file.truncate(end)
                raise
        self.done[row["number"], ANSWERS.index(row["mode"])] = True


def card(manifest: dict) -> str:
    """README.md: what the Hub shows of a data set."""
    counts, sampling = manifest["counts"], manifest["sampling"]
    facts = {
        "teacher": f"{manifest['teacher']}, {manifest['revision']}",
        "prompts": f"{manifest['prompts']['source']}: {counts['prompts']:,}",
        "pairs": f"{counts['pairs']:,}",
        "dropped": ", ".join(f"{n:,} {name}" for name, n in counts["dropped"].items()) or "none",
        "toggle": manifest["toggle"],
        "seed": manifest["seed"],
        "engines": ", ".join(manifest["engines"]),
    }
    for mode in ANSWERS:
        settings = {k: v for k, v in sampling[mode].items() if k not in ("stop_ids", "stop")}
        facts[f"{mode} sampling"] = ", ".join(f"{k} {v}" for k, v in settings.items())
        facts[f"{mode} tokens kept"] = f"{manifest['tokens']['kept'][mode]:,}"
    table = "".join(f"| {name} | {fact} |\n" for name, fact in facts.items())
    return f"""---
configs:
- config_name: default
  data_files:
  - split: {PAIRED_SPLIT}
    path: {PAIRED_SPLIT}-*.jsonl
---
# Paired answers of one teacher

Every prompt answered twice, with reasoning off (`ift`) and on (`reasoning`: `<think>` trace
`</think>` answer). Made by scale-or-reason's generate.py; counts and FLOPs are in manifest.json.

| | |
|---|---|
{table}"""
