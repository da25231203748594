"""The tables of pareto.py, one function each: rows from the comparisons of all corpora."""

import math

import numpy as np

import flops
from analysis import frontier
from analysis.intervals import Comparison, interval
from analysis.runs import METHODS, Flags, mean_or_nan
from config import ANSWERS, SCALES

RATES = ("truncated", "no_answer", "opened_think")
PERCENTILES = (50, 75, 90, 95, 99, 100)  # of answer lengths, where early stopping cuts


def build(
    comparisons: list[Comparison], serve: float | None, budget: float, method: str, flags: Flags
) -> dict[str, list[dict]]:
    """{table: its rows}. serve: answers, for the cost "total"; budget: training FLOPs."""
    families = [c for c in comparisons if c.level == "family"]
    total = ["total"] if serve else []
    return {
        "points": points(comparisons),
        "frontier": frontiers(priced(comparisons, ["train", "inference", "both", *total], serve)),
        "matched": matched(priced(comparisons, ["train", "inference", *total], serve), budget),
        "fits": fits(priced(families, ["train", "inference"])),
        "power_laws": power_laws(priced(families, ["inference"])),
        "lengths": lengths(comparisons),
        "early_stop": early_stop(families, method, flags),
        "ratios": ratios(comparisons),
        "flags": flags.rows,
    }


def select(rows: list[dict], **wanted) -> list[dict]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def keys(c: Comparison) -> dict:
    return {"corpus": c.corpus, "name": c.name}


def priced(comparisons: list[Comparison], kinds: list[str], serve: float | None = None):
    """Yields (comparison, kind of cost, costs [n] or [n, 2], indices of the arms that have it)."""
    for c in comparisons:
        for kind in kinds:
            costs = c.cost(kind, serve)
            known = np.flatnonzero(np.isfinite(costs.reshape(len(costs), -1)).all(1))
            if len(known):
                yield c, kind, costs, known


# ---- accuracy against cost --------------------------------------------------------------------


def points(comparisons: list[Comparison]) -> list[dict]:
    rows = []
    for c in comparisons:
        means = {name: c.mean(name) for name in ("prompt_tokens", "generated_tokens", *RATES)}
        for i, arm in enumerate(c.arms):
            train = {m: mean_or_nan([run.train.get(m) for run in arm.runs]) for m in METHODS}
            inference = {m: c.average(arm, lambda score, m=m: score.flops.get(m)) for m in METHODS}
            rows.append(
                keys(c)
                | {
                    "level": c.level,
                    "arm": arm.label,
                    "scale": arm.recipe.scale,
                    "parameters_b": arm.size,
                    "format": arm.recipe.format,
                    "ratio": arm.recipe.ratio,
                    "seeds": len(arm.runs),
                    "runs": "; ".join(run.name for run in arm.runs),
                    "items": c.items,
                    "accuracy": c.accuracy[i],
                    "low": c.bounds[0, i],
                    "high": c.bounds[1, i],
                }
                | {f"train_flops_{method}": cost for method, cost in train.items()}
                | {f"inference_flops_{method}": cost for method, cost in inference.items()}
                | {name: values[i] for name, values in means.items()}
            )
    return rows


def frontiers(costed) -> list[dict]:
    """Who is on the frontier of each cost, how surely, and by how much."""
    rows = []
    for c, kind, costs, known in costed:
        costs, accuracy = costs[known], c.accuracy[known]
        on, leads = frontier.standing(costs, np.vstack([accuracy, c.draws[:, known]]))
        is_first = np.isinf(leads[1:]).any(0)  # the cheapest point leads nobody
        low, high = np.percentile(np.where(is_first, 0, leads[1:]), (2.5, 97.5), axis=0)
        ratios = frontier.cost_ratio(costs, accuracy) if kind != "both" else None
        for j, i in enumerate(known):
            rows.append(
                keys(c)
                | {
                    "cost": kind,
                    "arm": c.arms[i].label,
                    "accuracy": accuracy[j],
                    "on_frontier": bool(on[0, j]),
                    "probability": on[1:, j].mean(),
                    "margin": leads[0, j],
                    "margin_low": math.nan if is_first[j] else low[j],
                    "margin_high": math.nan if is_first[j] else high[j],
                    "cost_ratio": math.nan if ratios is None else ratios[j],
                }
            )
    return rows


def matched(costed, budget: float) -> list[dict]:
    """IFT against reasoning at equal cost, each the best its own arms reach, interpolated.

    At nine costs that both formats span, and at `budget` (marked "asked").
    """
    rows = []
    for c, kind, costs, known in costed:
        members = {f: [i for i in known if c.arms[i].recipe.format == f] for f in ANSWERS}
        if not all(members.values()):
            continue
        low = max(costs[indices].min() for indices in members.values())
        high = min(costs[indices].max() for indices in members.values())
        spanned = [*np.geomspace(low, high, 9)] if low < high else []
        asked = [budget] if kind != "inference" else []
        values = {}
        for format, indices in members.items():
            at = np.vstack([c.accuracy[indices], c.draws[:, indices]])
            budgets = np.array([*spanned, *asked])
            values[format] = frontier.accuracy_at(costs[indices], at, budgets)
        values["difference"] = values["reasoning"] - values["ift"]
        for k, spent in enumerate([*spanned, *asked]):
            row = keys(c) | {"cost": kind, "budget": spent, "asked": k >= len(spanned)}
            for key, draws in values.items():
                row[key] = draws[0, k]
                row[f"{key}_low"], row[f"{key}_high"] = interval(draws[1:, k])
            leads = values["difference"][1:, k]
            row["p_reasoning"] = np.mean(leads > 0) if np.isfinite(leads).all() else math.nan
            rows.append(row)
    return rows


def fits(costed) -> list[dict]:
    """The paper's saturating curve of every format's arms, by training and by inference cost."""
    rows = []
    for c, kind, costs, known in costed:
        for curve, members in c.curves(known).items():
            row = keys(c) | {"cost": kind, "curve": curve, "points": len(members)}
            noise = float(c.draws[:, members].std(0).mean())
            try:
                fit = frontier.fit(costs[members], c.accuracy[members], c.ceiling, noise)
            except ValueError as error:
                rows.append(row | {"identified": False, "why_not": str(error)})
                continue
            row |= {key: getattr(fit, key) for key in ("a", "b", "c", "e", "unit", "mae", "loo")}
            row["plateau_low"], row["plateau_high"] = fit.plateau
            rows.append(row | {"identified": fit.identified, "why_not": fit.why_not})
    return rows


def power_laws(costed) -> list[dict]:
    """Inference FLOPs per answer = A (billions of parameters)^p, by format."""
    rows = []
    for c, _, costs, known in costed:
        for curve, members in c.curves(known).items():
            sizes = np.array([c.arms[i].size for i in members])
            row = keys(c) | {"curve": curve, "sizes": len(np.unique(sizes))}
            try:
                a, p, spread = frontier.power_law(sizes, costs[members])
                rows.append(row | {"A": a, "p": p, "spread": spread, "why_not": ""})
            except ValueError as error:
                rows.append(row | {"why_not": str(error)})
    return rows


# ---- how answers end --------------------------------------------------------------------------


def lengths(comparisons: list[Comparison]) -> list[dict]:
    """Tokens of right and wrong answers, and how answers end."""
    rows, tokens = [], "generated_tokens"
    for c in comparisons:
        means = {name: c.mean(name) for name in (tokens, f"{tokens}_right", f"{tokens}_wrong")}
        means |= {name: c.mean(name) for name in RATES}
        means["wrong_over_right"] = means[f"{tokens}_wrong"] / means[f"{tokens}_right"]
        for i in np.flatnonzero(np.isfinite(means[tokens])):
            row = keys(c) | {"arm": c.arms[i].label}
            rows.append(row | {name: values[i] for name, values in means.items()})
    return rows


def early_stop(families: list[Comparison], method: str, flags: Flags) -> list[dict]:
    """Accuracy and inference FLOPs if answers stopped at a percentile of their lengths, counting
    what is cut off as wrong; and whether that joins the frontier of inference cost."""
    rows = []
    for c in families:
        stops = []
        for arm in c.arms:
            scores = [run.scores[b] for run in arm.runs for group in c.groups for b in group]
            if any(not s.items or s.items["generated_tokens"] is None for s in scores):
                continue
            scale = arm.recipe.scale
            if scale not in SCALES:
                problem = f"scale {scale!r} is no row of config.SCALES"
                flags.add(arm.label, problem, "no early stopping: its FLOPs are unknown")
                continue
            for q in PERCENTILES:
                cut = {s: stopped(s.items, q, SCALES[scale].config, method) for s in scores}
                accuracy, cost = (c.average(arm, lambda s, k=k, cut=cut: cut[s][k]) for k in (0, 1))
                row = keys(c) | {"arm": arm.label, "percentile": q}
                stops.append(row | {"accuracy": accuracy, "inference_flops": cost})
        if stops:
            cost, accuracy = (
                np.array([s[k] for s in stops]) for k in ("inference_flops", "accuracy")
            )
            on = frontier.is_on_frontier(cost, accuracy).tolist()
            rows += [row | {"on_frontier": is_on} for row, is_on in zip(stops, on, strict=True)]
    return rows


def stopped(items: dict, percentile: float, config, method: str) -> tuple[float, float]:
    """(accuracy, mean FLOPs) of answers cut at this percentile of their lengths."""
    prompt, generated = items["prompt_tokens"], items["generated_tokens"]
    limit = np.percentile(generated, percentile)
    spent = np.minimum(generated, limit).astype(np.int64)
    cost = flops.inference(config, prompt.astype(np.int64), spent, method)
    return float((items["value"] * (generated <= limit)).mean()), float(np.mean(cost))


def ratios(comparisons: list[Comparison]) -> list[dict]:
    """Gain over IFT and answer length against rho, and the mode-switch meter: opened_think."""
    rows = []
    for c in comparisons:
        tokens, opened = c.mean("generated_tokens"), c.mean("opened_think")
        groups = {}  # arms alike in all but format and ratio
        for i, arm in enumerate(c.arms):
            recipe = arm.recipe
            groups.setdefault((recipe.scale, recipe.samples, recipe.variant), []).append(i)
        for (scale, *_), members in groups.items():
            base = [i for i in members if c.arms[i].recipe.format == "ift"]
            if len(base) != 1:
                continue  # nothing, or nothing definite, to gain over
            for i in members:
                low, high = interval(c.draws[:, i] - c.draws[:, base[0]])
                rows.append(
                    keys(c)
                    | {
                        "scale": scale,
                        "arm": c.arms[i].label,
                        "order": c.arms[i].recipe.format,
                        "ratio": c.arms[i].recipe.ratio,
                        "accuracy": c.accuracy[i],
                        "gain": c.accuracy[i] - c.accuracy[base[0]],
                        "gain_low": low,
                        "gain_high": high,
                        "generated_tokens": tokens[i],
                        "extra_token_factor": tokens[i] / tokens[base[0]],
                        "opened_think": opened[i],
                    }
                )
    return rows
