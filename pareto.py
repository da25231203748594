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

from analysis import figures, published, report, tables
from analysis.intervals import Cells, cells, families, family_cells
from analysis.runs import METHODS, Flags, arms, read
from analysis.tables import Corpus, interval
from common import cli, files, hub

MANY = 500  # arms, above which 200 draws must do


@dataclass
class Options:
    runs: list = field(default_factory=list)  # run folders, or folders that hold them
    published: bool = False  # instead: the paper's Table 1 (data/published.csv)
    budget: float | None = None  # FLOPs to train with (default: those of the costliest run)
    serve: float | None = None  # answers to serve; training plus serving is then compared, too
    method: str = "exact"  # how FLOPs are counted: exact or paper
    out: str = ""  # folder of what is written (default: RUNS/pareto, or pareto-published)
    draws: int = 1000  # of the bootstrap
    figures: bool = True  # draw them


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
        why = f"nothing fits: {report.big(costs[i])} {what} {c.arms[i].label}"
        return {"budget": budget, "why_not": why, "least": costs[i]}
    wins = np.bincount(c.draws[:, can].argmax(1), minlength=len(can)) / len(c.draws)
    first, *rest = sorted(range(len(can)), key=lambda j: (-c.accuracy[can[j]], costs[can[j]]))
    second = max(rest, key=lambda j: (wins[j], c.accuracy[can[j]]), default=None)

    def describe(j):
        i = can[j]
        low, high = interval(c.draws[:, i])
        return {"arm": c.arms[i].label, "scale": c.arms[i].scale, "format": c.arms[i].format,
                "ratio": c.arms[i].ratio, "accuracy": c.accuracy[i], "low": low, "high": high,
                "cost": costs[i], "confidence": wins[j] if len(can) > 1 else None}  # fmt: skip

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


def main(arguments: list[str] | None = None, flags: Flags | None = None) -> int:
    """flags: what the caller knows of the input already, like runs that failed."""
    o, _ = cli.parse(Options, arguments, __doc__, positional="runs")
    flags = flags or Flags()
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
    matched = tables.matched(corpora, o.serve, budget)
    made = {
        "points": tables.points(corpora, o.serve),
        "frontier": tables.frontiers(corpora, o.serve),
        "matched": matched,
        "fits": tables.fits(corpora, o.serve),
        "power_laws": tables.power_laws(corpora, o.serve),
        "lengths": tables.lengths(corpora, o.serve),
        "early_stop": tables.early_stop(corpora, o.serve, o.method, flags),
        "ratios": tables.ratios(corpora, o.serve),
        "flags": flags.rows,
    }
    answers = answer(corpora, budget, o.serve, matched)
    claims = published.claims(corpora, made) if o.published else []

    # ---- written: tables, answer, figures, report
    folder = Path(o.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear(folder)
        for name, rows in made.items():
            if rows:
                write_csv(folder / f"{name}.csv", rows)
        drawn = figures.draw(folder, corpora, made, o.serve) if o.figures else []
        files = [f"{name}.csv" for name, rows in made.items() if rows]
        files += [file for _, file in drawn]
        record = {"budget": budget, "serve": o.serve, "method": o.method, "answers": answers,
                  "files": files}  # fmt: skip
        files.write_atomic(folder / "answer.json", json.dumps(plain(record), indent=2) + "\n")
        text = report.write(o, corpora, made, answers, claims, drawn, budget)
        files.write_atomic(folder / "report.md", text)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report.summary(corpora, answers, made, budget, o))
    print(f"wrote {folder}/report.md, answer.json, {len(files)} tables and figures")
    return 0


def clear(folder: Path):
    """Removes an earlier analysis's tables and figures, so that none is taken for this one's."""
    try:
        files = json.loads((folder / "answer.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in files if isinstance(files, list) else ():
        if str(name).endswith((".csv", ".png")):
            (folder / Path(name).name).unlink(missing_ok=True)


def check(o: Options) -> list[str]:
    """What is wrong with the options, one line a case; sets the default of --out."""
    problems = []
    if bool(o.runs) == o.published:
        problems.append("run folders, or --published: give one of the two (python pareto.py runs)")
    problems += [f"{p}: no such folder" for p in o.runs if not Path(p).is_dir()]
    if o.method not in METHODS:
        problems.append(cli.not_one_of("--method", o.method, METHODS))
    for name in ("budget", "serve"):
        value = getattr(o, name)
        if value is not None and not 0 < value <= 1e40:  # False for NaN
            problems.append(f"--{name} {value}: a number above 0, at most 1e40")
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
    files.write_atomic(path, text.getvalue())


def cell(value) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
