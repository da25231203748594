"""The tables of pareto.py, one function each: a list of rows, from the arms of every corpus."""

import math
from dataclasses import dataclass

import numpy as np

import flops
from analysis import frontier
from analysis.intervals import Cells
from analysis.runs import METHODS, Arm, Flags, mean_or_nan
from config import SCALES

COSTS = ("train", "inference", "both")  # and "total" with --serve
PERCENTILES = (50, 75, 90, 95, 99, 100)  # of answer lengths, where early stopping cuts


@dataclass
class Corpus:
    """All that is computed of the arms trained on one set of pairs."""

    name: str
    arms: list[Arm]
    families: dict[str, Cells]  # with "all", their mean
    benchmarks: dict[str, Cells]
    ceilings: dict[str, float]  # the teacher's accuracy, by family

    @property
    def all(self) -> dict[str, Cells]:
        return {**self.families, **self.benchmarks}


def points(corpora: list[Corpus], serve) -> list[dict]:
    rows = []
    for corpus in corpora:
        for name, c in corpus.all.items():
            means = {
                f: c.mean(f)
                for f in ("prompt_tokens", "generated_tokens", "truncated", "no_answer",
                          "opened_think")
            }  # fmt: skip
            low, high = c.low, c.high
            for i, arm in enumerate(c.arms):
                row = {
                    "corpus": corpus.name,
                    "name": name,
                    "level": "family" if name in corpus.families else "benchmark",
                    "arm": arm.label,
                    "scale": arm.scale,
                    "parameters_b": arm.size,
                    "format": arm.format,
                    "ratio": arm.ratio,
                    "seeds": len(arm.runs),
                    "runs": "; ".join(run.name for run in arm.runs),
                    "items": c.items,
                    "accuracy": c.accuracy[i],
                    "low": low[i],
                    "high": high[i],
                }
                for method in METHODS:
                    spent = [run.train.get(method) for run in arm.runs]
                    row[f"train_flops_{method}"] = mean_or_nan(spent)
                for method in METHODS:
                    spent = c.average(arm, lambda score, m=method: score.flops.get(m))
                    row[f"inference_flops_{method}"] = spent
                rows.append(row | {f: values[i] for f, values in means.items()})
    return rows


def frontiers(corpora: list[Corpus], serve) -> list[dict]:
    rows = []
    for corpus in corpora:
        for name, c in corpus.all.items():
            for kind in (*COSTS, "total") if serve else COSTS:
                known, costs = costs_of(c, kind, serve)
                if not len(known):
                    continue
                accuracy, draws = c.accuracy[known], c.draws[:, known]
                on, leads = frontier.standing(costs, np.vstack([accuracy, draws]))
                (on, share), (lead, leads) = (on[0], on[1:].mean(0)), (leads[0], leads[1:])
                is_first = np.isinf(leads).any(0)  # the cheapest point leads nobody
                bounds = np.percentile(np.where(is_first, 0, leads), (2.5, 97.5), axis=0)
                bounds[:, is_first] = math.nan
                ratio = np.full(len(known), math.nan)
                if kind != "both":
                    ratio = frontier.cost_ratio(costs, accuracy)
                for j, i in enumerate(known):
                    rows.append({
                        "corpus": corpus.name, "name": name, "cost": kind, "arm": c.arms[i].label,
                        "accuracy": accuracy[j], "on_frontier": bool(on[j]),
                        "probability": share[j], "margin": lead[j], "margin_low": bounds[0, j],
                        "margin_high": bounds[1, j], "cost_ratio": ratio[j],
                    })  # fmt: skip
    return rows


def costs_of(c: Cells, kind: str, serve) -> tuple[np.ndarray, np.ndarray]:
    """(arms [m] whose cost of this kind is known, their costs [m], or [m, 2] for "both")."""
    train, inference = c.costs["train"], c.costs["inference"]
    costs = {
        "train": train,
        "inference": inference,
        "both": np.stack([train, inference], axis=1),
        "total": train + (serve or 0) * inference,
    }[kind]
    known = np.flatnonzero(np.isfinite(costs.reshape(len(train), -1)).all(1))
    return known, costs[known]


def matched(corpora: list[Corpus], serve, budget: float) -> list[dict]:
    """IFT against reasoning at equal cost, each the best its own arms reach, interpolated."""
    rows = []
    for corpus in corpora:
        for name, c in corpus.all.items():
            for kind in ("train", "inference", "total") if serve else ("train", "inference"):
                known, costs = costs_of(c, kind, serve)
                of = {
                    format: [j for j, i in enumerate(known) if c.arms[i].format == format]
                    for format in ("ift", "reasoning")
                }
                if not all(of.values()):
                    continue
                low = max(costs[part].min() for part in of.values())
                high = min(costs[part].max() for part in of.values())
                budgets = np.geomspace(low, high, 9) if low < high else np.array([])
                if kind != "inference":
                    budgets = np.append(budgets, budget)
                if not len(budgets):
                    continue
                values = {}
                for format, part in of.items():
                    at = [c.accuracy[known][part], *c.draws[:, known][:, part]]
                    values[format] = frontier.accuracy_at(costs[part], np.array(at), budgets)
                values["difference"] = values["reasoning"] - values["ift"]
                for k, spent in enumerate(budgets):
                    row = {"corpus": corpus.name, "name": name, "cost": kind, "budget": spent,
                           "asked": k == 9 or not low < high}  # fmt: skip
                    for key, found in values.items():
                        row[key] = found[0, k]
                        row[f"{key}_low"], row[f"{key}_high"] = interval(found[1:, k])
                    wins = values["difference"][1:, k]
                    row["p_reasoning"] = np.mean(wins > 0) if np.isfinite(wins).all() else math.nan
                    rows.append(row)
    return rows


def fits(corpora: list[Corpus], serve) -> list[dict]:
    """The paper's saturating curve of every format's arms, by training and by inference cost."""
    rows = []
    for corpus in corpora:
        for name, c in corpus.families.items():
            ceiling = corpus.ceilings.get(name, 1.0)
            for kind in ("train", "inference"):
                known, costs = costs_of(c, kind, serve)
                for curve, part in curves(c, known).items():
                    row = {"corpus": corpus.name, "name": name, "cost": kind, "curve": curve,
                           "points": len(part)}  # fmt: skip
                    noise = float(c.draws[:, known[part]].std(0).mean())
                    try:
                        fit = frontier.fit(costs[part], c.accuracy[known[part]], ceiling, noise)
                    except ValueError as error:
                        rows.append({**row, "identified": False, "why_not": str(error)})
                        continue
                    row |= {key: getattr(fit, key) for key in ("a", "b", "c", "e", "unit")}
                    row |= {"mae": fit.mae, "loo": fit.loo, "plateau_low": fit.plateau[0],
                            "plateau_high": fit.plateau[1]}  # fmt: skip
                    rows.append({**row, "identified": fit.identified, "why_not": fit.why_not})
    return rows


def curves(c: Cells, known) -> dict[str, np.ndarray]:
    """{curve: places in `known` of its arms}: the arms of one format and ratio, by size."""
    found = {}
    for j, i in enumerate(known):
        arm = c.arms[i]
        share = f" {arm.ratio:.0%}" if arm.format in ("sequential", "mixed") else ""
        found.setdefault(arm.format + share, []).append(j)
    return {curve: np.array(part) for curve, part in found.items()}


def power_laws(corpora: list[Corpus], serve) -> list[dict]:
    """Inference FLOPs per answer = A (billions of parameters)^p, by format."""
    rows = []
    for corpus in corpora:
        for name, c in corpus.families.items():
            known, costs = costs_of(c, "inference", serve)
            for curve, part in curves(c, known).items():
                sizes = np.array([c.arms[i].size for i in known[part]])
                row = {"corpus": corpus.name, "name": name, "curve": curve,
                       "sizes": len(np.unique(sizes))}  # fmt: skip
                try:
                    a, p, spread = frontier.power_law(sizes, costs[part])
                    rows.append({**row, "A": a, "p": p, "spread": spread, "why_not": ""})
                except ValueError as error:
                    rows.append({**row, "why_not": str(error)})
    return rows


def lengths(corpora: list[Corpus], serve) -> list[dict]:
    """Tokens of right and wrong answers, and how answers end."""
    rows = []
    for corpus in corpora:
        for name, c in corpus.all.items():
            columns = {f: c.mean(f) for f in (
                "generated_tokens", "generated_tokens_right", "generated_tokens_wrong",
                "truncated", "no_answer", "opened_think")}  # fmt: skip
            ratio = columns["generated_tokens_wrong"] / columns["generated_tokens_right"]
            for i, arm in enumerate(c.arms):
                if np.isfinite(columns["generated_tokens"][i]):
                    row = {"corpus": corpus.name, "name": name, "arm": arm.label}
                    row |= {f: values[i] for f, values in columns.items()}
                    rows.append({**row, "wrong_over_right": ratio[i]})
    return rows


def early_stop(corpora: list[Corpus], serve, method: str, flags: Flags) -> list[dict]:
    """Accuracy and inference FLOPs if answers stopped at a percentile of their lengths, counting
    what is cut off as wrong; and whether that joins the frontier of inference cost."""
    rows = []
    for corpus in corpora:
        for name, c in corpus.families.items():
            found = []
            for arm in c.arms:
                wanted = [run.scores[b] for run in arm.runs for group in c.groups for b in group]
                if any(not s.items or s.items["generated_tokens"] is None for s in wanted):
                    continue
                if arm.scale not in SCALES:
                    problem = f"scale {arm.scale!r} is no row of config.SCALES"
                    flags.add(arm.label, problem, "no early stopping: its FLOPs are unknown")
                    continue
                config = SCALES[arm.scale].config
                for q in PERCENTILES:
                    cut = {s: stopped(s.items, q, config, method) for s in wanted}
                    ends = [c.average(arm, lambda s, k=k, cut=cut: cut[s][k]) for k in (0, 1)]
                    found.append((arm, q, *ends))
            if not found:
                continue
            accuracy, cost = (np.array([row[k] for row in found]) for k in (2, 3))
            on = frontier.is_on_frontier(cost, accuracy)
            for k, (arm, q, *_) in enumerate(found):
                rows.append({"corpus": corpus.name, "name": name, "arm": arm.label,
                             "percentile": q, "accuracy": accuracy[k], "inference_flops": cost[k],
                             "on_frontier": bool(on[k])})  # fmt: skip
    return rows


def stopped(items: dict, percentile: float, config, method: str) -> tuple[float, float]:
    """(accuracy, mean FLOPs) of answers cut at this percentile of their lengths."""
    prompt, generated = items["prompt_tokens"], items["generated_tokens"]
    limit = np.percentile(generated, percentile)
    spent = np.minimum(generated, limit).astype(np.int64)
    cost = flops.inference(config, prompt.astype(np.int64), spent, method)
    return float((items["value"] * (generated <= limit)).mean()), float(np.mean(cost))


def ratios(corpora: list[Corpus], serve) -> list[dict]:
    """Gain over IFT and answer length against rho, and the mode-switch meter: opened_think."""
    rows = []
    for corpus in corpora:
        for name, c in corpus.all.items():
            tokens, opened = c.mean("generated_tokens"), c.mean("opened_think")
            groups = {}
            for i, arm in enumerate(c.arms):
                groups.setdefault((arm.scale, arm.samples, arm.variant), {})[arm.label] = i
            for (scale, *_), members in groups.items():
                base = [i for i in members.values() if c.arms[i].format == "ift"]
                if len(base) != 1:
                    continue  # nothing, or nothing definite, to gain over
                for i in members.values():
                    arm, gains = c.arms[i], c.draws[:, i] - c.draws[:, base[0]]
                    low, high = interval(gains)
                    rows.append({
                        "corpus": corpus.name, "name": name, "scale": scale, "arm": arm.label,
                        "order": arm.format, "ratio": arm.ratio, "accuracy": c.accuracy[i],
                        "gain": c.accuracy[i] - c.accuracy[base[0]], "gain_low": low,
                        "gain_high": high, "generated_tokens": tokens[i],
                        "extra_token_factor": tokens[i] / tokens[base[0]],
                        "opened_think": opened[i],
                    })  # fmt: skip
    return rows


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval; NaN where a draw is."""
    return tuple(np.percentile(draws, (2.5, 97.5))) if np.isfinite(draws).all() else (math.nan,) * 2
