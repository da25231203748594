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
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from analysis import figures, intervals, published, report, runs, tables
from analysis.intervals import Comparison, interval
from analysis.runs import METHODS, Flags
from common import cli, files, hub

MANY = 500  # arms, above which 200 draws must do

Amount = Annotated[float, cli.Range(0, 1e40, is_open=True)]


@dataclass
class Options:
    # what is compared
    runs: list = cli.positional([])  # run folders, or folders that hold them
    published: bool = False  # instead: the paper's Table 1 (analysis/published.csv)
    method: Annotated[str, cli.OneOf(METHODS)] = "exact"  # how FLOPs are counted
    draws: Annotated[int, cli.Range(100)] = 1000  # of the bootstrap; at most 200 above 500 arms
    # the question
    budget: Amount | None = None  # FLOPs to train with (default: those of the costliest run)
    serve: Amount | None = None  # answers to serve; compares training plus serving as well
    # what is written
    out: str | None = None  # folder (default: RUNS/pareto, or pareto-published)
    figures: bool = True  # PNG files as well


@cli.run
def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    problems = cli.Problems(cli.check(o))
    one_of_two = "run folders, or --published: give one of the two (python pareto.py runs)"
    problems.add(bool(o.runs) == o.published, one_of_two)
    for folder in o.runs:
        problems.add(not Path(folder).is_dir(), f"{folder}: no such folder")
    problems.raise_any()
    compare(o, Flags())
    return 0


def compare(o: Options, flags: Flags) -> dict[str, list[dict]]:
    """Reads the runs, writes everything to o.out, prints the answer; returns the tables.

    o: checked options. flags: what the caller knows of the input, such as runs that failed.
    {"points": rows, "frontier": rows, ...}, a row {column: value}, as in the CSVs. Raises UserError
    where nothing can be compared.
    """
    comparisons = analyse(o, flags)
    families = [c for c in comparisons if c.level == "family"]
    budget = o.budget or float(max(c.costs["train"].max() for c in families))
    rows_of = tables.build(comparisons, o.serve, budget, o.method, flags)
    answers = answer(families, budget, o.serve, rows_of["matched"])

    # ---- written: tables, answer, figures, report
    folder = Path(o.out or ("pareto-published" if o.published else Path(o.runs[0], "pareto")))
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    for name, rows in rows_of.items():
        if rows:
            write_csv(folder / f"{name}.csv", rows)
    drawn = figures.draw(folder, comparisons, rows_of, o.serve) if o.figures else {}
    names = [f"{name}.csv" for name, rows in rows_of.items() if rows] + sum(drawn.values(), [])
    record = {"budget": budget, "serve": o.serve, "method": o.method, "answers": answers}
    text = json.dumps(plain(record | {"files": names}), indent=2)
    files.write_atomic(folder / "answer.json", text + "\n")
    text = report.write(o, comparisons, rows_of, answers, drawn, budget)
    files.write_atomic(folder / "report.md", text)
    print(report.summary(answers, budget, o, len(flags.rows)))
    print(f"wrote {folder}/report.md, answer.json, {len(names)} tables and figures")
    return rows_of


def analyse(o: Options, flags: Flags) -> list[Comparison]:
    """The comparisons of all corpora; UserError where there are none."""
    if o.published:
        students = published.students()
    else:
        students = runs.read([Path(folder) for folder in o.runs], flags)
    arms = runs.arms(students, o.method, flags)
    if not arms:
        known = [f"  {row['where']}: {row['problem']}" for row in flags.rows[:20]]
        folders = ", ".join(map(str, o.runs))
        problem = f"no evaluated run in {folders}: train.py makes runs, evaluate.py asks them"
        raise hub.UserError("\n".join([problem, *known]))
    comparisons, ceilings = [], published.CEILINGS if o.published else {}
    for corpus, members in arms.items():
        draws = o.draws if len(members) <= MANY else min(o.draws, 200)
        if draws < o.draws:
            problem = f"{len(members):,} arms"
            flags.add(corpus, problem, f"{draws} bootstrap draws, not {o.draws:,}")
        comparisons += intervals.comparisons(members, ceilings, o.method, draws, flags)
    return comparisons


# ---- the answer ------------------------------------------------------------------------------


def answer(families: list[Comparison], budget: float, serve: float | None, matched: list[dict]):
    """Which size and format to train, per corpus and family: by accuracy among what can be paid.

    training: training within the budget. total (with serve): training and serving within it.
    equal_total: the best for what the training answer would cost with its serving.
    """
    answers = {}
    for c in families:
        here = {"training": best(c, c.costs["train"], budget, "to train")}
        key = {"corpus": c.corpus, "name": c.name, "cost": "train"}
        at_budget = tables.select(matched, **key, budget=budget)
        here["scale_or_reason"] = next(
            ({column: row[column] for column in row if column not in key} for row in at_budget),
            None,
        )
        if serve:
            total = c.cost("total", serve)
            here["total"] = best(c, total, budget, "to train and serve")
            costs = {arm.label: cost for arm, cost in zip(c.arms, total, strict=True)}
            cost = costs.get(here["training"].get("arm"), math.nan)
            if math.isfinite(cost):
                here["equal_total"] = best(c, total, cost, "to train and serve")
        answers.setdefault(c.corpus, {})[c.name] = here
    return answers


def best(c: Comparison, costs: np.ndarray, budget: float, what: str) -> dict:
    """The most accurate arm within the budget, how often it wins over the draws, the runner-up."""
    known = np.flatnonzero(np.isfinite(costs))
    if not len(known):
        return {"budget": budget, "why_not": "no inference FLOPs are known"}
    affordable = known[costs[known] <= budget]
    if not len(affordable):
        i = known[costs[known].argmin()]
        why = f"nothing fits: {report.big(costs[i])} {what} {c.arms[i].label}"
        return {"budget": budget, "why_not": why, "least": costs[i]}
    winners = affordable[c.draws[:, affordable].argmax(1)]
    wins = np.bincount(winners, minlength=len(c.arms)) / len(winners)
    first, *others = sorted(affordable, key=lambda i: (-c.accuracy[i], costs[i]))
    second = max(others, key=lambda i: (wins[i], c.accuracy[i]), default=None)

    def describe(i) -> dict:
        low, high = interval(c.draws[:, i])
        return {
            "arm": c.arms[i].label,
            "scale": c.arms[i].recipe.scale,
            "format": c.arms[i].recipe.format,
            "ratio": c.arms[i].recipe.ratio,
            "accuracy": c.accuracy[i],
            "low": low,
            "high": high,
            "cost": costs[i],
            "confidence": wins[i] if others else None,
        }

    choice = {"budget": budget, "candidates": len(affordable)} | describe(first)
    if others:
        low, high = interval(c.draws[:, first] - c.draws[:, second])
        choice["runner_up"] = describe(second) | {"lead_low": low, "lead_high": high}
    if budget > 2 * costs[known].max():
        most = report.big(costs[known].max())
        choice["note"] = f"the budget exceeds every run: the costliest took {most}"
    return choice


# ---- files -----------------------------------------------------------------------------------


def clear(folder: Path):
    """Removes an earlier analysis's tables and figures, so that none is taken for this one's."""
    if (folder / "answer.json").is_file():
        for name in json.loads((folder / "answer.json").read_text(encoding="utf-8"))["files"]:
            if name.endswith((".csv", ".png")):
                (folder / Path(name).name).unlink(missing_ok=True)


def plain(value):
    """For JSON: NaN and infinity are null, numpy's numbers Python's."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
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
    files.write_atomic(path, text.getvalue())


def cell(value) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
