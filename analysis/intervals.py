"""Every arm's accuracy on a family or benchmark, with bootstrap draws over items and seeds."""

import math
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from analysis.runs import Arm, Flags, Run, mean_or_nan, shorten


@dataclass
class Cells:
    """Arms on one family or benchmark: n arms, B bootstrap draws."""

    name: str
    arms: list[Arm]
    accuracy: np.ndarray  # [n], mean over seeds and benchmarks
    by_run: list[np.ndarray]  # [n] of [seeds]: each run's accuracy
    item_draws: np.ndarray  # [B, n], over the choice of items
    draws: np.ndarray  # [B, n], over the choice of items and of seeds
    costs: dict[str, np.ndarray]  # "train": FLOPs, "inference": FLOPs per answer (NaN: unknown)
    groups: tuple[tuple[str, ...], ...]  # its benchmarks, by family: "all" weighs families alike
    items: int
    _means: dict = field(default_factory=dict)

    @cached_property
    def bounds(self) -> np.ndarray:
        """[2, n] 95 % percentile intervals."""
        return np.percentile(self.draws, (2.5, 97.5), axis=0)

    @property
    def low(self) -> np.ndarray:
        return self.bounds[0]

    @property
    def high(self) -> np.ndarray:
        return self.bounds[1]

    def mean(self, name: str) -> np.ndarray:
        """[n] mean of a field of Score over seeds, families, benchmarks; NaN where one lacks it."""
        if name not in self._means:
            self._means[name] = np.array([
                self.average(arm, lambda score: getattr(score, name)) for arm in self.arms
            ])  # fmt: skip
        return self._means[name]

    def average(self, arm: Arm, value) -> float:
        """value(score) averaged over an arm's seeds, families, benchmarks; NaN for None."""

        def of_run(run):
            return [mean_or_nan([value(run.scores[b]) for b in group]) for group in self.groups]

        return mean_or_nan([mean_or_nan(of_run(run)) for run in arm.runs])


def families(arms: list[Arm]) -> dict[str, list[str]]:
    """{family: its benchmarks}, in order."""
    found = defaultdict(set)
    for arm in arms:
        for run in arm.runs:
            for benchmark, score in run.scores.items():
                found[score.family].add(benchmark)
    return {family: sorted(found[family]) for family in sorted(found)}


def family_cells(arms: list[Arm], method: str, draws: int, flags: Flags) -> dict[str, Cells]:
    """Cells of every family and of "all", the mean of the families, from the same draws.

    A family's benchmarks are those that most of its runs have; a run that lacks one is left out of
    the family, by name, and an arm with such a run is left out of "all".
    """
    found = {}
    for family, names in families(arms).items():
        held = Counter()
        for arm in arms:
            for run in arm.runs:
                held[tuple(b for b in names if b in run.scores)] += 1
        held.pop((), None)
        common = max(held, key=lambda names: (held[names], len(names), names))
        extra = [b for b in names if b not in common]
        if extra:
            flags.add(family, f"only some runs have {', '.join(extra)}", "left out of the family")
        found[family] = cells(family, common, arms, method, draws, flags)
    runs_in = {name: {arm.label: len(arm.runs) for arm in c.arms} for name, c in found.items()}
    complete = {  # by arm: the families that all its runs have
        arm.label: tuple(n for n in found if runs_in[n].get(arm.label) == len(arm.runs))
        for arm in arms
    }
    held = Counter(complete.values())
    common = max(held, key=lambda names: (held[names], len(names), names))
    whole = [arm for arm in arms if set(common) <= set(complete[arm.label])]
    extra = [name for name in found if name not in common]
    if extra:
        flags.add("all", f"only some arms have {', '.join(extra)}", "left out of the mean")
    if len(whole) < len(arms):
        missing = [arm.label for arm in arms if arm not in whole]
        flags.add(shorten(missing), f"not every run has {' and '.join(common)}",
                  "left out of the mean over families")  # fmt: skip
    if not common:
        flags.add("all", "no arm has a whole family", "no mean over the families")
        return found
    at = {}
    for name in common:
        c = found[name]
        place = {arm.label: i for i, arm in enumerate(c.arms)}
        at[name] = [place[arm.label] for arm in whole]
    parts = [found[name] for name in common]
    by_run = [np.mean([c.by_run[at[c.name][i]] for c in parts], axis=0) for i in range(len(whole))]
    item_draws = np.mean([c.item_draws[:, at[c.name]] for c in parts], axis=0)
    found["all"] = Cells(
        name="all",
        arms=whole,
        accuracy=np.array([values.mean() for values in by_run]),
        by_run=by_run,
        item_draws=item_draws,
        draws=over_seeds(item_draws, by_run, [f"all {arm.label}" for arm in whole]),
        costs={
            kind: np.mean([c.costs[kind][at[c.name]] for c in parts], axis=0)
            for kind in ("train", "inference")
        },
        groups=tuple(group for c in parts for group in c.groups),
        items=sum(c.items for c in parts),
    )
    return found


def cells(name, benchmarks, arms: list[Arm], method: str, draws: int, flags: Flags) -> Cells:
    """The arms' runs that have all of `benchmarks`, their draws, and their costs by `method`."""
    kept, lacking = [], []
    for arm in arms:
        runs = [run for run in arm.runs if all(b in run.scores for b in benchmarks)]
        lacking += [run.name for run in arm.runs if run not in runs]
        if runs:
            kept.append(replace(arm, runs=runs))
    if lacking:
        problem = f"lacks {' or '.join(benchmarks)}"
        flags.add(f"{name}: {shorten(lacking)}", problem, f"left out of {name}")
    runs = [run for arm in kept for run in arm.runs]
    every = np.mean([draw(runs, b, draws, flags) for b in benchmarks], axis=0)  # [B, R]
    means = np.array([mean_or_nan([run.scores[b].accuracy for b in benchmarks]) for run in runs])
    inference = np.array([
        mean_or_nan([run.scores[b].flops.get(method) for b in benchmarks]) for run in runs
    ])  # fmt: skip
    if np.isnan(inference).any():
        names = [run.name for run, cost in zip(runs, inference, strict=True) if np.isnan(cost)]
        flags.add(f"{name}: {shorten(names)}", f"no inference FLOPs by {method!r}",
                  "left out where inference is a cost")  # fmt: skip
    bounds = np.cumsum([0, *(len(arm.runs) for arm in kept)])
    spans = [slice(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
    per_run = [means[span] for span in spans]
    item_draws = np.stack([every[:, span].mean(1) for span in spans], axis=1)
    return Cells(
        name=name,
        arms=kept,
        accuracy=np.array([values.mean() for values in per_run]),
        by_run=per_run,
        item_draws=item_draws,
        draws=over_seeds(item_draws, per_run, [f"{name} {arm.label}" for arm in kept]),
        costs={
            "train": np.array([mean_or_nan([r.train[method] for r in arm.runs]) for arm in kept]),
            "inference": np.array([inference[span].mean() for span in spans]),
        },
        groups=(tuple(benchmarks),),
        items=sum(max(run.scores[b].n for run in runs) for b in benchmarks),
    )


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
    found = np.empty((draws, len(runs)), dtype=np.float32)
    sets, alone = defaultdict(list), []
    for i, run in enumerate(runs):
        score = run.scores[benchmark]
        if score.accuracy in (0, 1):
            k = score.accuracy * score.n
            rng = generator(benchmark, *map(str, run.arm))
            found[:, i] = rng.beta(k + 0.5, score.n - k + 0.5, draws)
            problem = f"accuracy {score.accuracy:g} on {score.n} items"
            flags.add(f"{run.name}: {benchmark}", problem, "interval from the Jeffreys posterior")
        elif score.items is None:
            noise = generator(benchmark, *map(str, run.arm)).normal(0, 1, draws)
            found[:, i] = np.clip(score.accuracy + score.stderr * noise, 0, 1)
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
    counts = {runs[i].scores[benchmark].n for i in range(len(runs))}
    if len(counts) > 1 and len(sets) <= 1:
        flags.add(benchmark, f"runs were asked {min(counts)} to {max(counts)} items", "compared")
    for ids, members in sets.items():
        values = np.array([runs[i].scores[benchmark].items["item"] for i in members])  # [R, items]
        rng = generator(benchmark, *(() if len(sets) == 1 else ids[:50]))
        weights = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), draws)
        found[:, members] = weights @ values.T / len(ids)
    return found


def over_seeds(item_draws: np.ndarray, by_run: list[np.ndarray], names: list[str]) -> np.ndarray:
    """[B, n] item_draws with the noise of training added: normal, its variance that between seeds.

    by_run [n] of [seeds]. Two or three seeds say little of an arm's own variance, so that of all
    arms is pooled; without an arm of two seeds there is none to add. names [n] seed the noise.
    """
    freedom = sum(len(values) - 1 for values in by_run)
    if not freedom:
        return item_draws
    squares = sum(((values - values.mean()) ** 2).sum() for values in by_run)
    found = np.empty_like(item_draws)
    for i, (values, name) in enumerate(zip(by_run, names, strict=True)):
        noise = generator("seeds", name).normal(0, 1, len(item_draws))
        spread = math.sqrt(squares / freedom / len(values))
        found[:, i] = np.clip(item_draws[:, i] + spread * noise, 0, 1)
    return found
