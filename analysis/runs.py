"""Finished runs, read and grouped into arms: what pareto.py compares.

A run's summary.json is enough. With its scores/<benchmark>.jsonl, intervals are paired over the
items that runs share, and the lengths of right and wrong answers are known.
"""

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import FORMATS

METHODS = ("exact", "paper")
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError)


@dataclass(eq=False)
class Score:
    """One run on one benchmark."""

    family: str
    n: int  # items
    accuracy: float  # 0..1
    stderr: float
    flops: dict[str, float]  # inference FLOPs per answer, by method
    means: dict = field(default_factory=dict)  # tokens per answer and rates, as in summary.json
    items: dict | None = None  # columns of scores/*.jsonl: read_items


class Recipe(NamedTuple):
    """What the seeds of an arm share."""

    pairs: str
    scale: str
    format: str
    ratio: float
    samples: int
    variant: str


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
    def recipe(self) -> Recipe:
        """An ift or reasoning run has one ratio. Samples that a FLOPs budget bought vary by seed
        and do not count."""
        is_bought = "--match" in self.variant or "--flops-budget" in self.variant
        ratio = {"ift": 0.0, "reasoning": 1.0}.get(self.format, self.ratio)
        samples = 0 if is_bought else self.samples
        pairs = self.content or self.corpus
        return Recipe(pairs, self.scale, self.format, ratio, samples, self.variant)


@dataclass(eq=False)
class Arm:
    """What is compared: runs alike in all but the seed."""

    label: str
    corpus: str
    size: float
    recipe: Recipe
    runs: list[Run]

    @property
    def curve(self) -> str:
        """What arms of several sizes share: ift, mixed 25%."""
        return curve_of(self.recipe)


def curve_of(recipe: Recipe) -> str:
    is_mix = recipe.format in ("sequential", "mixed")
    return recipe.format + (f" {recipe.ratio:.0%}" if is_mix else "")


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

    Flags by name what is no run, unfinished, or without a readable summary.
    """
    runs = []
    for root in folders:
        summaries = sorted({*root.rglob("summary.json"), *root.glob("*/summary.json")})  # and links
        homes = {file.parent for file in summaries}
        if root not in homes:
            flag_others(root, homes, flags)
        for file in summaries:
            name = root.name if file.parent == root else str(file.parent.relative_to(root))
            if len(folders) > 1:
                name = f"{(root.parent if file.parent == root else root).name}/{name}"
            try:
                summary = json.loads(file.read_text(encoding="utf-8"))
                runs.append(read_run(name, summary, file.parent, flags))
            except UNREADABLE as error:
                problem = f"no {error}" if isinstance(error, KeyError) else error
                flags.add(str(file.parent), f"summary.json: {problem}", "left out")
    return sorted(runs, key=lambda run: run.name)


def flag_others(root: Path, homes: set[Path], flags: Flags):
    """Flags the folders of `root` that neither are nor hold a run nor are pareto.py's own."""
    known = {parent for home in homes for parent in home.parents} | homes
    for child in sorted(root.iterdir()):
        if child.is_dir() and child not in known and not (child / "answer.json").exists():
            is_begun = (child / "config.json").is_file()
            problem = "not finished (no summary.json)" if is_begun else "not a run"
            flags.add(str(child), problem, "left out")


def read_run(name: str, summary: dict, folder: Path, flags: Flags) -> Run:
    """The Run of a summary.json. KeyError: a field is missing; ValueError: an unknown format."""
    if summary["format"] not in FORMATS:
        raise ValueError(f"format {summary['format']!r} is not one of {', '.join(FORMATS)}")
    if not summary.get("paired", True):
        problem = "trained on pairs without both formats"
        flags.add(name, problem, "compared, but arms differ in data")
    families = summary.get("families") or {}  # alone they will do, as benchmarks
    entries = summary.get("benchmarks") or {k: {**v, "family": k} for k, v in families.items()}
    if not entries:
        flags.add(name, "not evaluated", "left out; python evaluate.py asks it the benchmarks")
    data = summary.get("data") or "pairs"
    return Run(
        name=name,
        corpus=Path(data).stem[:40],
        content=summary.get("content") or data,
        scale=summary["scale"],
        size=summary["parameters"] / 1e9,
        format=summary["format"],
        ratio=float(summary.get("ratio") or 0),
        seed=summary.get("seed", 0),
        samples=summary.get("samples") or 0,
        variant=str(summary.get("variant") or ""),
        train=by_method(summary["train_flops"]),
        scores={
            benchmark: read_score(entry, folder / "scores" / f"{benchmark}.jsonl", name, flags)
            for benchmark, entry in entries.items()
            if entry.get("metric") != "rouge_l"  # no accuracy: a summary that no jury has read
        },
    )


def read_score(entry: dict, file: Path, name: str, flags: Flags) -> Score:
    accuracy, n = float(entry["accuracy"]), int(entry["n"])
    stderr = entry.get("stderr") or math.sqrt(accuracy * (1 - accuracy) / n)
    flops = by_method(entry.get("inference_flops") or {})
    score = Score(entry["family"], n, accuracy, stderr, flops, means=entry)
    score.items = read_items(file, score, name, flags)
    return score


def by_method(flops: dict) -> dict[str, float]:
    return {method: float(flops[method]) for method in METHODS if method in flops}


def read_items(file: Path, score: Score, name: str, flags: Flags) -> dict | None:
    """The columns of a scores file, or None where it is missing or contradicts the summary.

    value, prompt_tokens, generated_tokens [answers]; "id" and "item" (its mean value) [items],
    sorted by id. generated_tokens is None where some are unknown.
    """
    if not file.is_file():
        return None
    where = f"{name}: {file.name}"
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        columns = ("value", "prompt_tokens", "generated_tokens")
        items = {c: np.array([row.get(c, np.nan) for row in rows], dtype=float) for c in columns}
        ids = [str(row["id"]) for row in rows]
    except UNREADABLE as error:
        flags.add(where, f"cannot be read ({error})", "interval from n alone")
        return None
    ids, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
    items["id"] = tuple(ids.tolist())
    items["item"] = np.bincount(place, items["value"]) / counts
    if len(ids) != score.n or not abs(items["item"].mean() - score.accuracy) < 1e-6:
        problem = f"{len(ids)} items do not give summary.json's {score.accuracy:.4f} of {score.n}"
        flags.add(where, problem, "interval from n alone")
        return None
    if np.isnan([items["prompt_tokens"], items["generated_tokens"]]).any():
        flags.add(where, "answers without token counts", "no early stopping")
        items["generated_tokens"] = None
    return items


# ---- arms -----------------------------------------------------------------------------------


def arms(runs: list[Run], method: str, flags: Flags) -> dict[str, list[Arm]]:
    """{corpus: its arms by size}; runs on the same pairs, counted by the same method, compare."""
    stems, groups = {}, defaultdict(list)  # stems: what the first run calls the pairs
    for run in runs:
        stems.setdefault(run.content, run.corpus)
        if method not in run.train:
            flags.add(run.name, f"train_flops has no {method!r}", "left out; see --method")
        elif run.scores:
            groups[run.recipe].append(run)
    counts, by_corpus = Counter(stems.values()), defaultdict(list)
    for recipe, members in groups.items():
        stem = stems[members[0].content]
        corpus = stem if counts[stem] == 1 else f"{stem}-{recipe.pairs[:8]}"
        for seeds in split(members, method, flags):
            size = float(np.mean([run.size for run in seeds]))
            label = f"{recipe.scale} {curve_of(recipe)}"
            by_corpus[corpus].append(Arm(label, corpus, size, recipe, seeds))
    for members in by_corpus.values():
        tell_apart(members)
    all_arms = [arm for members in by_corpus.values() for arm in members]
    one_seed = [arm.label for arm in all_arms if len(arm.runs) == 1]
    if len(one_seed) == len(all_arms) > 0:
        flags.add(shorten(one_seed), "one seed", "intervals cover the choice of items only")
    elif one_seed:
        problem = "one seed, others have more"
        flags.add(shorten(one_seed), problem, "given the spread over seeds of the others")
    return {
        corpus: sorted(
            by_corpus[corpus],
            key=lambda arm: (arm.size, FORMATS.index(arm.recipe.format), arm.recipe.ratio),
        )
        for corpus in sorted(by_corpus)
    }


def split(members: list[Run], method: str, flags: Flags) -> list[list[Run]]:
    """The runs of one recipe as one arm, a run a seed; each alone if their costs differ by 20 %."""
    costs = [run.train[method] for run in members]
    if max(costs) > 1.2 * min(costs):
        span = f"{min(costs):.2e} to {max(costs):.2e}"
        problem = f"{len(members)} runs of one name, train FLOPs from {span}"
        flags.add(f"{members[0].name} to {members[-1].name}", problem, "kept apart")
        return [[run] for run in members]
    first = {run.seed: run for run in reversed(members)}
    if len(first) < len(members):
        seeds = Counter(run.seed for run in members)
        names = ", ".join(run.name for run in members if seeds[run.seed] > 1)
        flags.add(names, "the same arm with the same seed", "all but the first left out")
        return [list(first.values())[::-1]]
    return [members]


def tell_apart(arms: list[Arm]):
    """Lengthens the labels that several arms share by what tells these arms apart."""
    by_label = defaultdict(list)
    for arm in arms:
        by_label[arm.label].append(arm)
    for alike in (alike for alike in by_label.values() if len(alike) > 1):
        several = len({arm.recipe.samples for arm in alike}) > 1
        for arm in alike:
            samples = f"{arm.recipe.samples:,} samples" if several and arm.recipe.samples else ""
            arm.label = ", ".join(filter(None, [arm.label, samples, arm.recipe.variant]))
        if len({arm.label for arm in alike}) < len(alike):
            for arm in alike:
                arm.label += f" ({arm.runs[0].name})"


def shorten(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def mean_or_nan(values: list) -> float:
    return math.nan if None in values else sum(values) / len(values)
