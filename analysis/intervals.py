"""Every arm's accuracy on a family or benchmark, with bootstrap draws over items and seeds."""

import math
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analysis.runs import Arm, Flags, Run, mean_or_nan, shorten


@dataclass
class Comparison:
    """The arms of one corpus on one family or benchmark: n arms, B bootstrap draws."""

    name: str
    arms: list[Arm]
    by_run: list[np.ndarray]  # [n] of [seeds]: each run's accuracy
    item_draws: np.ndarray  # [B, n] accuracies over the choice of items
    costs: dict[str, np.ndarray]  # "train": FLOPs, "inference": FLOPs per answer (NaN: unknown)
    groups: tuple[tuple[str, ...], ...]  # its benchmarks, by family: "all" weighs families alike
    items: int
    level: str  # family or benchmark
    ceiling: float = 1.0  # the teacher's accuracy

    @property
    def corpus(self) -> str:
        return self.arms[0].corpus

    @cached_property
    def accuracy(self) -> np.ndarray:
        """[n] mean over seeds and benchmarks."""
        return np.array([values.mean() for values in self.by_run])

    @cached_property
    def draws(self) -> np.ndarray:
        """[B, n] accuracies over the choice of items and of seeds."""
        names = [f"{self.name} {arm.label}" for arm in self.arms]
        return over_seeds(self.item_draws, self.by_run, names)

    @cached_property
    def bounds(self) -> np.ndarray:
        """[2, n] 95 % percentile intervals."""
        return np.percentile(self.draws, (2.5, 97.5), axis=0)

    def cost(self, kind: str, serve: float | None) -> np.ndarray:
        """[n] FLOPs of a kind, or [n, 2] for "both"; total: to train, and to serve `serve` answers.

        NaN: unknown.
        """
        train, inference = self.costs["train"], self.costs["inference"]
        if kind == "both":
            return np.stack([train, inference], axis=1)
        return train + serve * inference if kind == "total" else self.costs[kind]

    def mean(self, name: str) -> np.ndarray:
        """[n] a field of summary.json averaged like accuracy; NaN where a run lacks it."""
        return np.array([self.average(arm, lambda s: s.means.get(name)) for arm in self.arms])

    def average(self, arm: Arm, value) -> float:
        """value(score) averaged over an arm's seeds, families, benchmarks; NaN for None."""

        def of_run(run):
            return [mean_or_nan([value(run.scores[b]) for b in group]) for group in self.groups]

        return mean_or_nan([mean_or_nan(of_run(run)) for run in arm.runs])

    def curves(self, among=None) -> dict[str, list[int]]:
        """{curve: indices of its arms}, of all arms or of those `among` them."""
        curves = defaultdict(list)
        for i in range(len(self.arms)) if among is None else among:
            curves[self.arms[i].curve].append(int(i))
        return dict(curves)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval; NaN where a draw is."""
    return tuple(np.percentile(draws, (2.5, 97.5))) if np.isfinite(draws).all() else (math.nan,) * 2


# ---- comparisons ----------------------------------------------------------------------------


def comparisons(arms: list[Arm], ceilings: dict, method: str, draws: int, flags: Flags):
    """Comparisons of a corpus's arms on every family, on their mean "all", on every benchmark.

    A family's benchmarks are those that most of its runs have; a run that lacks one is left out of
    the family, by name, and an arm with such a run is left out of "all".
    """
    members = defaultdict(set)  # the benchmarks of each family
    for score_of in (run.scores for arm in arms for run in arm.runs):
        for benchmark, score in score_of.items():
            members[score.family].add(benchmark)
    members = {family: sorted(members[family]) for family in sorted(members)}
    families, benchmarks = {}, []
    for family, names in members.items():
        held = [tuple(b for b in names if b in run.scores) for arm in arms for run in arm.runs]
        common = most_common(filter(None, held))
        if extra := [b for b in names if b not in common]:
            flags.add(family, f"only some runs have {', '.join(extra)}", "left out of the family")
        families[family] = compare_on(family, common, "family", arms, method, draws, flags)
        families[family].ceiling = ceilings.get(family, 1.0)
    mean = mean_of(families, arms, flags)
    for family, names in members.items():
        benchmarks += [
            compare_on(b, [b], "benchmark", arms, method, draws, flags)
            for b in names
            if b != family
        ]
    return [*families.values(), *mean, *benchmarks]


def most_common(held) -> tuple[str, ...]:
    """The tuple of names that is held most often; of several the longest."""
    counts = Counter(held)
    return max(counts, key=lambda names: (counts[names], len(names), names))


def mean_of(families: dict[str, Comparison], arms: list[Arm], flags: Flags) -> list[Comparison]:
    """[the mean "all" of the families, from the same draws], or [] where no arm has one whole."""
    seeds = {name: {arm.label: len(arm.runs) for arm in c.arms} for name, c in families.items()}
    complete = {  # the families that all runs of an arm have
        arm.label: tuple(n for n in families if seeds[n].get(arm.label) == len(arm.runs))
        for arm in arms
    }
    common = most_common(complete.values())
    whole = [arm for arm in arms if set(common) <= set(complete[arm.label])]
    if extra := [name for name in families if name not in common]:
        flags.add("all", f"only some arms have {', '.join(extra)}", "left out of the mean")
    if missing := [arm.label for arm in arms if arm not in whole]:
        problem = f"not every run has {' and '.join(common)}"
        flags.add(shorten(missing), problem, "left out of the mean over families")
    if not common:
        flags.add("all", "no arm has a whole family", "no mean over the families")
        return []
    parts = []
    for name in common:
        labels = [arm.label for arm in families[name].arms]
        parts.append((families[name], [labels.index(arm.label) for arm in whole]))
    kinds = ("train", "inference")
    costs = {kind: np.mean([c.costs[kind][at] for c, at in parts], axis=0) for kind in kinds}
    item_draws = np.mean([c.item_draws[:, at] for c, at in parts], axis=0)
    places = range(len(whole))
    by_run = [np.mean([c.by_run[at[i]] for c, at in parts], axis=0) for i in places]
    groups, items = tuple(g for c, _ in parts for g in c.groups), sum(c.items for c, _ in parts)
    return [Comparison("all", whole, by_run, item_draws, costs, groups, items, "family")]


def compare_on(
    name, benchmarks, level, arms: list[Arm], method: str, draws: int, flags
) -> Comparison:
    """The arms' runs that have all of `benchmarks`, their draws, and their costs by `method`."""
    kept, lacking = [], []
    for arm in arms:
        runs = [run for run in arm.runs if all(b in run.scores for b in benchmarks)]
        lacking += [run.name for run in arm.runs if run not in runs]
        kept += [replace(arm, runs=runs)] if runs else []
    if lacking:
        problem = f"lacks {' or '.join(benchmarks)}"
        flags.add(f"{name}: {shorten(lacking)}", problem, f"left out of {name}")
    runs = [run for arm in kept for run in arm.runs]
    item_draws = np.mean([draw(runs, b, draws, flags) for b in benchmarks], axis=0)  # [B, R]

    def of_runs(value) -> np.ndarray:  # [R]
        return np.array([mean_or_nan([value(run.scores[b]) for b in benchmarks]) for run in runs])

    accuracy = of_runs(lambda score: score.accuracy)
    inference = of_runs(lambda score: score.flops.get(method))
    unknown = [run.name for run, cost in zip(runs, inference, strict=True) if np.isnan(cost)]
    if unknown:
        problem = f"no inference FLOPs by {method!r}"
        where = f"{name}: {shorten(unknown)}"
        flags.add(where, problem, "left out where inference is a cost")
    ends = np.cumsum([len(arm.runs) for arm in kept])
    seeds = [slice(end - len(arm.runs), end) for arm, end in zip(kept, ends, strict=True)]
    train = np.array([mean_or_nan([r.train[method] for r in arm.runs]) for arm in kept])
    costs = {"train": train, "inference": np.array([inference[s].mean() for s in seeds])}
    by_run = [accuracy[s] for s in seeds]
    item_draws = np.stack([item_draws[:, s].mean(1) for s in seeds], axis=1)
    items = sum(max(run.scores[b].n for run in runs) for b in benchmarks)
    return Comparison(name, kept, by_run, item_draws, costs, (tuple(benchmarks),), items, level)


# ---- draws ----------------------------------------------------------------------------------


def generator(*names) -> np.random.Generator:
    """Random numbers that depend on `names` alone, not on which other runs there are."""
    return np.random.default_rng(zlib.crc32("\0".join(names).encode()))


def draw(runs: list[Run], benchmark: str, draws: int, flags: Flags) -> np.ndarray:
    """[B, R] accuracies of the runs on one benchmark under resampling of its items.

    Runs with the same items are resampled together (paired bootstrap, Efron & Tibshirani 1993): an
    item that is hard for all moves all. Without items a run is drawn from the normal of its
    standard error; if all its answers are right or all wrong, where resampling would give no
    interval at all, from the Jeffreys posterior Beta(k + 1/2, n - k + 1/2). Seeds of an arm are
    asked the same items, so they share that draw; arms do not, which widens differences.
    """
    accuracy = np.empty((draws, len(runs)), dtype=np.float32)
    sets, alone = defaultdict(list), []
    for i, run in enumerate(runs):
        score = run.scores[benchmark]
        rng = generator(benchmark, *map(str, run.recipe))
        if score.accuracy in (0, 1):
            k = score.accuracy * score.n
            accuracy[:, i] = rng.beta(k + 0.5, score.n - k + 0.5, draws)
            problem = f"accuracy {score.accuracy:g} on {score.n} items"
            flags.add(f"{run.name}: {benchmark}", problem, "interval from the Jeffreys posterior")
        elif score.items is None:
            accuracy[:, i] = np.clip(score.accuracy + score.stderr * rng.normal(0, 1, draws), 0, 1)
            alone.append(run.name)
        else:
            sets[score.items["id"]].append(i)
    if alone and sets:
        problem = "no scores of single items, others have them"
        flags.add(f"{benchmark}: {shorten(alone)}", problem, "compared unpaired")
    if len(sets) > 1:
        sizes = ", ".join(str(len(ids)) for ids in sets)
        problem = f"runs were asked {len(sets)} different sets of items ({sizes} items)"
        flags.add(benchmark, problem, "compared unpaired across sets")
    counts = {run.scores[benchmark].n for run in runs}
    if len(counts) > 1 and len(sets) <= 1:
        flags.add(benchmark, f"runs were asked {min(counts)} to {max(counts)} items", "compared")
    for ids, members in sets.items():
        values = np.array([runs[i].scores[benchmark].items["item"] for i in members])  # [R, items]
        rng = generator(benchmark, *(() if len(sets) == 1 else ids[:50]))
        weights = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), draws)
        accuracy[:, members] = weights @ values.T / len(ids)
    return accuracy


def over_seeds(item_draws: np.ndarray, by_run: list[np.ndarray], names: list[str]) -> np.ndarray:
    """[B, n] item_draws with the noise of training added: normal, its variance that between seeds.

    by_run [n] of [seeds]. Two or three seeds say little of an arm's own variance, so that of all
    arms is pooled; without an arm of two seeds there is none to add. names [n] seed the noise.
    """
    freedom = sum(len(values) - 1 for values in by_run)
    if not freedom:
        return item_draws
    squares = sum(((values - values.mean()) ** 2).sum() for values in by_run)
    draws = np.empty_like(item_draws)
    for i, (values, name) in enumerate(zip(by_run, names, strict=True)):
        noise = generator("seeds", name).normal(0, 1, len(item_draws))
        spread = math.sqrt(squares / freedom / len(values))
        draws[:, i] = np.clip(item_draws[:, i] + spread * noise, 0, 1)
    return draws
