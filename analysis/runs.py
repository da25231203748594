"""Finished runs read, checked, and grouped into arms: what pareto.py compares.

A run's summary.json is enough. Where scores/<benchmark>.jsonl is there too, intervals are paired
over the items that runs share, and the lengths of right and wrong answers are known.
"""

import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from config import FORMATS

METHODS = ("exact", "paper")
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError,
              RecursionError)  # fmt: skip


@dataclass(eq=False)
class Score:
    """One run on one benchmark; tokens and FLOPs are means per answer, rates are shares 0..1."""

    family: str
    n: int  # items
    accuracy: float
    stderr: float | None
    flops: dict[str, float]  # inference, by method
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    generated_tokens_right: float | None = None
    generated_tokens_wrong: float | None = None
    truncated: float | None = None
    no_answer: float | None = None
    opened_think: float | None = None
    items: dict | None = None  # columns of scores/*.jsonl: read_items


@dataclass(eq=False)
class Run:
    name: str
    corpus: str
    scale: str
    size: float  # parameters, in billions
    format: str
    ratio: float
    seed: int
    samples: int
    variant: str
    train: dict[str, float]  # FLOPs, by method
    scores: dict[str, Score]
    content: str = ""  # of the pairs: runs on others are not compared

    @property
    def arm(self) -> tuple:
        """What its seeds share. One format is one ratio: an ift run has no share to differ in.

        How many samples a budget bought differs from seed to seed.
        """
        is_bought = "--match" in self.variant or "--flops-budget" in self.variant
        ratio = {"ift": 0.0, "reasoning": 1.0}.get(self.format, self.ratio)
        pairs = self.content or self.corpus
        samples = 0 if is_bought else self.samples
        return (pairs, self.scale, self.format, ratio, samples, self.variant)


@dataclass(eq=False)
class Arm:
    """What is compared: runs alike in all but the seed."""

    label: str
    corpus: str
    scale: str
    size: float
    format: str
    ratio: float
    samples: int
    variant: str
    runs: list[Run]


@dataclass
class Flags:
    """What is wrong with the input and what was done about it; nothing is averaged silently."""

    rows: list[dict] = field(default_factory=list)

    def add(self, where: str, problem: str, consequence: str):
        row = {"where": where, "problem": problem, "consequence": consequence}
        if row not in self.rows[-50:]:
            self.rows.append(row)


# ---- reading --------------------------------------------------------------------------------


def read(folders: list[Path], flags: Flags) -> list[Run]:
    """The runs in `folders`, each of which is a run or holds runs at any depth, sorted by name.

    What cannot be used is flagged by name: a folder that is no run, an unfinished one, a summary
    with missing or impossible fields.
    """
    runs = []
    for root in folders:
        found = sorted({*root.rglob("summary.json"), *root.glob("*/summary.json")})  # links, too
        homes = {file.parent for file in found}
        above = {parent for home in homes for parent in home.parents} | homes
        for child in sorted(root.iterdir()) if root not in homes else ():
            is_analysis = (child / "answer.json").exists()  # pareto.py's own
            if child.is_dir() and child not in above and not is_analysis:
                is_begun = (child / "config.json").is_file()
                why = "not finished (no summary.json)" if is_begun else "not a run"
                flags.add(str(child), why, "left out")
        for file in found:
            name = file.parent.name if file.parent == root else str(file.parent.relative_to(root))
            if len(folders) > 1:
                above = root.parent if file.parent == root else root
                name = f"{above.name}/{name}"
            try:
                raw = json.loads(file.read_text(encoding="utf-8"))
                runs.append(read_run(name, raw, file.parent, flags))
            except UNREADABLE as error:
                missing = f"no {error}" if isinstance(error, KeyError) else str(error)
                flags.add(str(file.parent), f"summary.json: {missing}", "left out")
    return sorted(runs, key=lambda run: run.name)


def read_run(name: str, raw: dict, folder: Path, flags: Flags) -> Run:
    """A Run from the fields of its summary.json; ValueError, TypeError or KeyError if unusable."""
    if raw["format"] not in FORMATS:
        raise ValueError(f"format {raw['format']!r} is not one of {', '.join(FORMATS)}")
    train = costs(raw["train_flops"], "train_flops")
    if not train:
        raise ValueError("train_flops has neither paper nor exact")
    if not raw.get("paired", True):
        flags.add(
            name, "trained on pairs without both formats", "compared, but arms differ in data"
        )
    entries = raw.get("benchmarks")
    if not entries:  # families alone will do: each is then its own only benchmark
        entries = {k: {**v, "family": k} for k, v in (raw.get("families") or {}).items()}
    if not entries:
        flags.add(name, "not evaluated", "left out; python evaluate.py asks it the benchmarks")
    scores = {}
    for benchmark, entry in entries.items():
        if isinstance(entry, dict) and entry.get("metric") == "rouge_l":
            continue  # no accuracy: a summary that no jury has read
        try:
            score = read_score(entry)
        except UNREADABLE as error:
            missing = f"no {error}" if isinstance(error, KeyError) else str(error)
            flags.add(f"{name}: {benchmark}", missing, "left out")
            continue
        score.items = read_items(folder / "scores" / f"{benchmark}.jsonl", score, name, flags)
        scores[benchmark] = score
    sizes = float(raw.get("parameters") or 0) / 1e9
    if not (math.isfinite(sizes) and sizes > 0):
        raise ValueError(f"parameters {raw.get('parameters')}: a number above 0")
    scale, ratio = raw["scale"], raw.get("ratio")
    if not (isinstance(scale, str) and re.fullmatch(r"[\w.+-]{1,40}", scale)):
        raise ValueError(f"scale {scale!r}: a short name")
    if raw["format"] in ("sequential", "mixed") and not 0 <= ratio <= 1:
        raise ValueError(f"ratio {ratio}: a share from 0 to 1")
    data = str(raw.get("data") or "pairs")
    return Run(
        name=name,
        corpus=Path(data).stem[:40],
        content=str(raw.get("content") or data),
        scale=scale,
        size=sizes,
        format=raw["format"],
        ratio=float(ratio or 0),
        seed=int(raw.get("seed", 0)),
        samples=int(raw.get("samples") or 0),
        variant=str(raw.get("variant") or ""),
        train=train,
        scores=scores,
    )


def read_score(entry: dict) -> Score:
    numbers = {k: v for k, v in entry.items() if k in Score.__dataclass_fields__}
    numbers.pop("items", None)
    shares = ("truncated", "no_answer", "opened_think")
    for key in (*shares, "stderr", *(k for k in numbers if k.startswith(("prompt", "generated")))):
        value, most = numbers.get(key), 1 if key in (*shares, "stderr") else math.inf
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= most):
            raise ValueError(f"{key} {value!r}: a number from 0 to {most}")
    score = Score(**numbers, flops=costs(entry.get("inference_flops") or {}, "inference_flops"))
    if not isinstance(score.family, str) or score.family == "all":
        raise ValueError(f"family {score.family!r}: a name, and not that of their mean")
    if not (type(score.n) is int and 0 < score.n < 1e12):
        raise ValueError(f"n {score.n}: a count above 0")
    if not 0 <= score.accuracy <= 1:  # False for NaN, too
        raise ValueError(f"accuracy {score.accuracy}: a share from 0 to 1")
    if not score.stderr:
        score.stderr = math.sqrt(score.accuracy * (1 - score.accuracy) / score.n)
    return score


def costs(raw: dict, name: str) -> dict[str, float]:
    found = {method: float(raw[method]) for method in METHODS if raw.get(method) is not None}
    for method, value in found.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}.{method} {value}: FLOPs above 0")
    return found


def read_items(file: Path, score: Score, name: str, flags: Flags) -> dict | None:
    """The columns of a scores file: of its answers, and "id" and "item" value of its items, sorted
    by id (several samples of an item are its mean); None where it is missing or contradicts."""
    if not file.is_file():
        return None
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        columns = ("value", "prompt_tokens", "generated_tokens")
        items = {c: np.array([row.get(c, np.nan) for row in rows], dtype=float) for c in columns}
        ids, place, counts = np.unique(
            [str(row["id"]) for row in rows], return_inverse=True, return_counts=True
        )
        items["id"] = tuple(ids.tolist())
        items["item"] = np.bincount(place, items["value"]) / counts
    except UNREADABLE as error:
        flags.add(f"{name}: {file.name}", f"cannot be read ({error})", "interval from n alone")
        return None
    is_same = len(ids) == score.n and abs(items["item"].mean() - score.accuracy) < 1e-6
    if not is_same:
        problem = f"{len(ids)} items do not give summary.json's {score.accuracy:.4f} of {score.n}"
        flags.add(f"{name}: {file.name}", problem, "interval from n alone")
        return None
    if not all((items[c] >= 0).all() for c in columns[1:]):  # False for NaN
        flags.add(f"{name}: {file.name}", "answers without token counts", "no early stopping")
        items["generated_tokens"] = None
    return items


# ---- arms -----------------------------------------------------------------------------------


def arms(runs: list[Run], method: str, flags: Flags) -> dict[str, list[Arm]]:
    """{corpus: its arms}; only runs on the same pairs, counted by the same method, are compared."""
    stems = {}  # of the pairs' content: what the first run calls them
    for run in runs:
        stems.setdefault(run.content, run.corpus)
    counts, groups = Counter(stems.values()), defaultdict(list)
    for run in runs:
        if method not in run.train:
            flags.add(run.name, f"train_flops has no {method!r}", "left out; see --method")
        elif run.scores:
            groups[run.arm].append(run)
    found = []
    for (content, scale, format, ratio, samples, variant), members in groups.items():
        stem = stems[members[0].content]
        corpus = stem if counts[stem] == 1 else f"{stem}-{content[:8]}"
        spent = [run.train[method] for run in members]
        parts = [members]
        if max(spent) > 1.2 * min(spent):
            names = f"{members[0].name} to {members[-1].name}"
            problem = f"{len(members)} runs of one name, train FLOPs from {min(spent):.2e} to"
            flags.add(names, f"{problem} {max(spent):.2e}", "kept apart")
            parts = [[run] for run in members]
        seeds = Counter(run.seed for run in members)
        if len(parts) == 1 and max(seeds.values()) > 1:
            names = ", ".join(run.name for run in members if seeds[run.seed] > 1)
            flags.add(names, "the same arm with the same seed", "all but the first left out")
            parts = [list({run.seed: run for run in reversed(members)}.values())[::-1]]
        share = f" {ratio:.0%}" if format in ("sequential", "mixed") else ""
        for part in parts:
            label = f"{scale} {format}{share}"
            size = float(np.mean([run.size for run in part]))
            found.append(Arm(label, corpus, scale, size, format, ratio, samples, variant, part))
    by_label = defaultdict(list)
    for arm in found:
        by_label[arm.corpus, arm.label].append(arm)
    for alike in by_label.values():
        if len(alike) > 1:  # say more only where the short label does not tell arms apart
            tell_apart(alike)
    one_seed = [arm.label for arm in found if len(arm.runs) == 1]
    if len(one_seed) == len(found) > 0:
        flags.add(shorten(one_seed), "one seed", "intervals cover the choice of items only")
    elif one_seed:
        problem = "one seed, others have more"
        flags.add(shorten(one_seed), problem, "given the spread over seeds of the others")
    by_corpus = defaultdict(list)
    for arm in sorted(found, key=lambda arm: (arm.size, FORMATS.index(arm.format), arm.ratio)):
        by_corpus[arm.corpus].append(arm)
    return dict(sorted(by_corpus.items()))


def tell_apart(alike: list[Arm]):
    """Lengthens the labels of arms of one label by what tells them apart."""
    several = len({arm.samples for arm in alike}) > 1
    for arm in alike:
        more = [f"{arm.samples:,} samples"] if several and arm.samples else []
        more += [arm.variant] if arm.variant else []
        arm.label = ", ".join([arm.label, *more])
    if len({arm.label for arm in alike}) < len(alike):
        for arm in alike:
            arm.label += f" ({arm.runs[0].name})"


def shorten(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def mean_or_nan(values: list) -> float:
    return math.nan if None in values else sum(values) / len(values)
