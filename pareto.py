"""Many runs -> frontier, fits, matched-compute answers, tables: scale, or reason?

    python pareto.py runs                                # every evaluated run folder under runs/
    python pareto.py runs --budget 1e20                  # what to train for that many FLOPs
    python pareto.py runs --budget 1e20 --serve 1e9      # ... and to serve a billion answers
    python pareto.py --published                         # the same on the paper's Table 1

Writes to --out: one CSV a table, answer.json, PNG figures and report.md, which ties them together.
A run's summary.json is enough; with its scores/ intervals are paired over items.
"""

import csv
import io
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import checkpoint
import cli
import figures
import flops
import frontier
import hub
import report
from config import SCALES
from data import published
from runs import METHODS, Arm, Cells, Flags, arms, cells, families, family_cells, mean_or_nan, read

COSTS = ("train", "inference", "both")  # and "total" with --serve
MANY = 500  # arms, above which 200 draws must do
PERCENTILES = (50, 75, 90, 95, 99)  # of answer lengths, where early stopping cuts


@dataclass
class Options:
    runs: list = field(default_factory=list)  # run folders, or folders that hold them
    published: bool = False  # instead: the paper's Table 1 (data/published.csv)
    budget: float | None = None  # FLOPs to train with
    serve: float | None = None  # answers to serve; training plus serving is then compared, too
    method: str = "exact"  # how FLOPs are counted: exact or paper
    out: str = (
        ""  # folder of tables, figures and report (default: RUNS/pareto, or pareto-published)
    )
    draws: int = 1000  # of the bootstrap
    figures: bool = True  # draw them


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


# ---- the tables, one function each: a list of rows -------------------------------------------


def points_table(corpora: list[Corpus], serve) -> list[dict]:
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
                scores = [run.scores[b] for run in arm.runs for b in c.benchmarks]
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
                    "items": c.items,
                    "accuracy": c.accuracy[i],
                    "low": low[i],
                    "high": high[i],
                }
                for method in METHODS:
                    spent = [run.train.get(method) for run in arm.runs]
                    row[f"train_flops_{method}"] = mean_or_nan(spent)
                for method in METHODS:
                    spent = [score.flops.get(method) for score in scores]
                    row[f"inference_flops_{method}"] = mean_or_nan(spent)
                rows.append(row | {f: values[i] for f, values in means.items()})
    return rows


def frontier_table(corpora: list[Corpus], serve) -> list[dict]:
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


def matched_table(corpora: list[Corpus], serve, budget: float) -> list[dict]:
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


def fits_table(corpora: list[Corpus], serve) -> list[dict]:
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


def power_laws_table(corpora: list[Corpus], serve) -> list[dict]:
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


def lengths_table(corpora: list[Corpus], serve) -> list[dict]:
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


def early_stop_table(corpora: list[Corpus], serve, method: str, flags: Flags) -> list[dict]:
    """Accuracy and inference FLOPs if answers stopped at a percentile of their lengths, counting
    what is cut off as wrong; and whether that joins the frontier of inference cost."""
    rows = []
    for corpus in corpora:
        for name, c in corpus.families.items():
            found = []
            for i, arm in enumerate(c.arms):
                scores = [run.scores[b] for run in arm.runs for b in c.benchmarks]
                if any(score.items is None for score in scores):
                    continue
                if arm.scale not in SCALES:
                    problem = f"scale {arm.scale!r} is no row of config.SCALES"
                    flags.add(arm.label, problem, "no early stopping: its FLOPs are unknown")
                    continue
                for q in PERCENTILES:
                    cut = [stopped(s.items, q, SCALES[arm.scale].config, method) for s in scores]
                    found.append((arm, q, *np.mean(cut, axis=0)))
                found.append((arm, 100, c.accuracy[i], c.costs["inference"][i]))
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


def ratios_table(corpora: list[Corpus], serve) -> list[dict]:
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


# ---- the question ----------------------------------------------------------------------------


def answer(corpora: list[Corpus], budget: float, serve: float | None, matched: list[dict]):
    """Which size and format to train, per corpus and family: by accuracy among what can be paid.

    training: training within the budget. total (with serve): training and serving within it.
    equal_total: the best for what the training answer would cost with its serving.
    """
    found = {}
    for corpus in corpora:
        for name, c in corpus.families.items():
            here = found.setdefault(corpus.name, {}).setdefault(name, {})
            train = c.costs["train"]
            here["training"] = best(c, train, budget, "to train")
            here["scale_or_reason"] = next(
                ({key: value for key, value in row.items() if key not in ("corpus", "name", "cost")}
                 for row in matched
                 if (row["corpus"], row["name"], row["cost"]) == (corpus.name, name, "train")
                 and row["budget"] == budget),
                None,
            )  # fmt: skip
            if not serve:
                continue
            total = train + serve * c.costs["inference"]
            here["total"] = best(c, total, budget, "to train and serve")
            if "arm" in here["training"]:
                i = [arm.label for arm in c.arms].index(here["training"]["arm"])
                if math.isfinite(total[i]):
                    here["equal_total"] = best(c, total, total[i], "to train and serve")
    return found


def best(c: Cells, costs: np.ndarray, budget: float, what: str) -> dict:
    """The most accurate arm within the budget, how often it wins over the draws, the runner-up."""
    can = np.flatnonzero(costs <= budget)  # False for NaN
    if not len(can):
        known = np.flatnonzero(np.isfinite(costs))
        if not len(known):
            return {"budget": budget, "why_not": "no inference FLOPs are known"}
        i = known[costs[known].argmin()]
        why = f"nothing fits: {what} {c.arms[i].label} takes {report.big(costs[i])}"
        return {"budget": budget, "why_not": why, "least": costs[i]}
    wins = np.bincount(c.draws[:, can].argmax(1), minlength=len(can)) / len(c.draws)
    first, *rest = sorted(range(len(can)), key=lambda j: (-c.accuracy[can[j]], costs[can[j]]))
    second = max(rest, key=lambda j: (wins[j], c.accuracy[can[j]]), default=None)

    def describe(j):
        i = can[j]
        low, high = interval(c.draws[:, i])
        return {"arm": c.arms[i].label, "scale": c.arms[i].scale, "format": c.arms[i].format,
                "ratio": c.arms[i].ratio, "accuracy": c.accuracy[i], "low": low, "high": high,
                "cost": costs[i], "confidence": wins[j]}  # fmt: skip

    found = {"budget": budget, "candidates": len(can), **describe(first)}
    if second is not None:
        gap = c.draws[:, can[first]] - c.draws[:, can[second]]
        low, high = interval(gap)
        found["runner_up"] = {**describe(second), "lead_low": low, "lead_high": high}
    if budget > 2 * np.nanmax(costs):
        found["note"] = (
            f"the budget exceeds every run: the costliest took {report.big(np.nanmax(costs))}"
        )
    return found


# ---- python pareto.py ------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__, positional="runs")
    flags = Flags()
    try:
        if problems := check(o):
            raise hub.UserError("\n".join(problems))
        found = published.runs() if o.published else read([Path(p) for p in o.runs], flags)
        corpora = analyse(found, published.CEILINGS if o.published else {}, o, flags)
    except hub.UserError as error:
        for row in flags.rows[:20]:
            print(f"  {row['where']}: {row['problem']}", file=sys.stderr)
        return cli.fail(error)
    costliest = max(c.costs["train"].max() for corpus in corpora for c in corpus.families.values())
    budget = o.budget or float(costliest)
    matched = matched_table(corpora, o.serve, budget)
    tables = {
        "points": points_table(corpora, o.serve),
        "frontier": frontier_table(corpora, o.serve),
        "matched": matched,
        "fits": fits_table(corpora, o.serve),
        "power_laws": power_laws_table(corpora, o.serve),
        "lengths": lengths_table(corpora, o.serve),
        "early_stop": early_stop_table(corpora, o.serve, o.method, flags),
        "ratios": ratios_table(corpora, o.serve),
        "flags": flags.rows,
    }
    answers = answer(corpora, budget, o.serve, matched)
    claims = published.claims(corpora, tables) if o.published else []

    # ---- written: tables, answer, figures, report
    folder = Path(o.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear(folder)
        for name, rows in tables.items():
            if rows:
                write_csv(folder / f"{name}.csv", rows)
        drawn = figures.draw(folder, corpora, tables, o.serve) if o.figures else []
        files = [f"{name}.csv" for name, rows in tables.items() if rows] + drawn
        record = {"budget": budget, "serve": o.serve, "method": o.method, "answers": answers,
                  "files": files}  # fmt: skip
        checkpoint.write_whole(folder / "answer.json", json.dumps(plain(record), indent=2) + "\n")
        text = report.write(o, corpora, tables, answers, claims, drawn, budget)
        checkpoint.write_whole(folder / "report.md", text)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report.summary(corpora, answers, tables, budget, o))
    print(f"wrote {folder}/report.md, answer.json, {len(files)} tables and figures")
    return 0


def clear(folder: Path):
    """Removes an earlier analysis's tables and figures, so that none is taken for this one's."""
    try:
        files = json.loads((folder / "answer.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return
    for name in files:
        (folder / Path(name).name).unlink(missing_ok=True)


def check(o: Options) -> list[str]:
    """What is wrong with the options, one line a case; sets the default of --out."""
    problems = []
    if bool(o.runs) == o.published:
        problems.append("run folders, or --published: give one of the two (python pareto.py runs)")
    problems += [f"{p}: no such folder" for p in o.runs if not Path(p).is_dir()]
    if o.method not in METHODS:
        problems.append(cli.not_one_of("method", o.method, METHODS))
    for name in ("budget", "serve"):
        value = getattr(o, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            problems.append(f"--{name} {value}: a number above 0")
    if o.draws < 100:
        problems.append(f"--draws {o.draws}: at least 100, or percentiles mean nothing")
    o.out = o.out or (
        "pareto-published" if o.published else f"{o.runs[0]}/pareto" if o.runs else ""
    )
    return problems


def analyse(found: list, ceilings: dict, o: Options, flags: Flags) -> list[Corpus]:
    """The corpora of some runs; UserError if there is nothing to compare."""
    grouped = arms(found, o.method, flags)
    if not grouped:
        raise hub.UserError(
            f"no evaluated run in {', '.join(o.runs)}: train.py makes runs, evaluate.py asks them"
        )
    corpora = []
    for name, members in grouped.items():
        draws = o.draws if len(members) <= MANY else min(o.draws, 200)
        if draws < o.draws:
            flags.add(name, f"{len(members):,} arms", f"{draws} bootstrap draws, not {o.draws:,}")
        by_family = family_cells(members, o.method, draws, flags)
        by_benchmark = {
            benchmark: cells(benchmark, [benchmark], members, o.method, draws, flags)
            for family, benchmarks in families(members).items()
            for benchmark in benchmarks
            if benchmark != family
        }
        corpora.append(Corpus(name, members, by_family, by_benchmark, ceilings))
    return corpora


def plain(value):
    """For JSON: NaN and infinity are null, numpy's numbers Python's."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def write_csv(path: Path, rows: list[dict]):
    """Six significant digits; what is not known is empty."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    for row in rows:
        table.writerow([cell(row.get(name)) for name in names])
    checkpoint.write_whole(path, text.getvalue())


def cell(value) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
