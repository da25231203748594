"""The words of pareto.py: report.md and what the terminal shows in 80 columns."""

import math
import re

from analysis.figures import title
from analysis.intervals import Comparison
from analysis.published import CAVEAT
from analysis.tables import select
from common import cli

WHAT = {
    "points": "every arm on every family and benchmark: accuracy, interval, costs",
    "frontier": "who is on which frontier, with what probability, margin and cost ratio",
    "matched": "IFT and reasoning at equal cost, interpolated",
    "fits": "the saturating curves, and whether their points identify them",
    "power_laws": "inference FLOPs per answer by size",
    "lengths": "tokens of right and wrong answers; truncated, without answer, thinking",
    "early_stop": "answers stopped at percentiles of their lengths",
    "ratios": "gain, length and mode switch against rho",
    "flags": "what is wrong with the input, and what was done about it",
}


def write(o, comparisons: list[Comparison], tables, answers, drawn, budget) -> str:
    """report.md: the answer, the evidence, the caveats, the files."""
    folders = ", ".join(map(str, o.runs)) if len(o.runs) < 4 else f"{len(o.runs)} folders"
    source = "arXiv 2509.22193 v2, Table 1" if o.published else folders
    runs = {(c.corpus, a.label, run.name) for c in comparisons for a in c.arms for run in a.runs}
    arms = {(corpus, label) for corpus, label, _ in runs}
    lines = [
        "# Scale, or reason?",
        "",
        f"{len(arms)} arms, {len(runs)} runs, from {source}. FLOPs by the {o.method} count;"
        f" 95 % intervals from at most {o.draws:,} bootstrap draws.",
        *(["", CAVEAT] if o.published else []),
    ]
    for corpus, of_corpus in answers.items():
        lines += ["", f"## Trained on {corpus}", *question(of_corpus, budget, o)]
        lines += frontier_lines(of_corpus, select(tables["frontier"], corpus=corpus))
        lines += matched_lines(of_corpus, select(tables["matched"], corpus=corpus))
        lines += curve_lines(*(select(tables[t], corpus=corpus) for t in ("fits", "power_laws")))
        for file in drawn.get(corpus, []):
            lines += ["", f"![{file.removesuffix('.png')}]({file})"]
    lines += ["", "## What to know about the input", ""]
    flags = tables["flags"]
    lines += [f"- {row['where']}: {row['problem']}; {row['consequence']}" for row in flags[:40]]
    lines += [f"- and {len(flags) - 40} more in flags.csv"] if len(flags) > 40 else []
    lines += ["- nothing was left out or flagged"] if not flags else []
    lines += ["", "## Tables", ""]
    lines += [f"- {name}.csv: {WHAT[name]}" for name, rows in tables.items() if rows]
    missing = ", ".join(name for name, rows in tables.items() if not rows and name != "flags")
    lines += [f"- not made, for want of data: {missing}"] if missing else []
    return "\n".join([*lines, ""])


# ---- report.md -------------------------------------------------------------------------------


def headings(budget: float, o) -> dict[str, str]:
    """{kind of answer: the question}."""
    texts = {"training": f"What to train for {big(budget)} training FLOPs"}
    if o.serve:
        texts["total"] = f"With {big(o.serve)} answers served, in the same {big(budget)} FLOPs"
        texts["equal_total"] = "With them served, for what the training answer costs in all"
    return texts


def question(answers: dict, budget: float, o) -> list[str]:
    """The answers by family, a table a question."""
    lines = []
    for kind, heading in headings(budget, o).items():
        rows = [choice(name, best[kind]) for name, best in answers.items() if kind in best]
        head = ["", "train", "accuracy", "confidence", "runner-up", "its confidence"]
        lines += ["", f"### {heading}", "", *markdown(head, rows)]
    return lines


def choice(name: str, best: dict) -> list[str]:
    if "arm" not in best:
        return [title(name), best["why_not"]]
    second = best.get("runner_up")
    note = f" ({best['note']})" if "note" in best else ""
    accuracy = f"{100 * best['accuracy']:.1f} %"
    between = f"({100 * best['low']:.1f} to {100 * best['high']:.1f})"
    runner_up = [second["arm"], share(second["confidence"])] if second else ["none"]
    sure = share(best["confidence"])
    return [title(name), f"**{best['arm']}**{note}", f"{accuracy} {between}", sure, *runner_up]


def frontier_lines(families, rows: list[dict]) -> list[str]:
    """Who holds each frontier, with probabilities; costs with the same holders in one row."""
    lines = []
    for name in families:
        holders = {}
        for kind in ("train", "inference", "both", "total"):
            on = select(rows, name=name, cost=kind, on_frontier=True)
            text = ", ".join(f"{row['arm']} ({share(row['probability'])})" for row in on[:12])
            more = f" and {len(on) - 12} more" if len(on) > 12 else ""
            if on:
                holders.setdefault(text + more, []).append(kind)
        lines += [[title(name), ", ".join(kinds), text] for text, kinds in holders.items()]
    table = markdown(["", "cost", "on it (probability)"], lines)
    return ["", "### Who holds the frontier", "", *table]


def matched_lines(families, rows: list[dict]) -> list[str]:
    """Reasoning minus IFT at the lowest, middle and highest cost that both formats span."""
    lines = []
    for name in families:
        for kind in ("train", "inference", "total"):
            known = select(rows, name=name, cost=kind, asked=False)
            known = [row for row in known if math.isfinite(row["difference"])]
            for row in known[:: max(1, (len(known) - 1) // 2)]:
                low, high = (100 * row[f"difference_{end}"] for end in ("low", "high"))
                gain = f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
                leads = share(row["p_reasoning"])
                lines.append([title(name), kind, big(row["budget"]), gain, leads])
    head = ["", "cost", "FLOPs", "difference", "probability that reasoning leads"]
    nothing = ["No cost is spanned by both formats, so nothing can be compared."]
    heading = "### Reasoning minus IFT at equal cost, in points of accuracy"
    return ["", heading, "", *(markdown(head, lines) if lines else nothing)]


def curve_lines(fits: list[dict], laws: list[dict]) -> list[str]:
    lines = [
        "",
        "### Curves",
        "",
        f"{len(fits)} saturating fits, {sum(row['identified'] for row in fits)} of them identified"
        " by their points (fits.csv says why not). Inference FLOPs per answer by size, x in"
        " billions of parameters:",
        "",
    ]
    for row in laws:
        if "A" in row:
            law = f"{big(row['A'])} x^{row['p']:.2f}"
            lines.append(f"- {title(row['name'])}, {row['curve']}: {law}")
    return lines


def markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table; short rows are filled with empty cells."""

    def line(cells):
        return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)

    filled = (row + [""] * (len(head) - len(row)) for row in rows)
    return [line(head), "|" + "---|" * len(head), *map(line, filled)]


def big(value: float) -> str:
    """1e+20 as people write it: 1e20."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.3g}")


def share(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"


# ---- the terminal ----------------------------------------------------------------------------


def summary(answers: dict, budget: float, o, flags: int) -> str:
    """The answers in 80 columns; flags: how many there are."""
    lines = []
    for corpus, families in answers.items():
        lines += ["", f"Trained on {corpus}, {o.method} FLOPs"]
        for kind, heading in headings(budget, o).items():
            rows, why_not = [["", "train", "accuracy", "sure", "runner-up"]], []
            for name, best in ((title(n), a[kind]) for n, a in families.items() if kind in a):
                if "arm" in best:
                    second = cut(best.get("runner_up", {}).get("arm", ""), 17)
                    accuracy, sure = f"{best['accuracy']:.1%}", share(best["confidence"])
                    rows.append([cut(name, 24), cut(best["arm"], 19), accuracy, sure, second])
                else:
                    why_not.append(cut(f"{name}: {best['why_not']}", 80))
            lines += ["", heading, *(cli.table(rows) if rows[1:] else []), *why_not]
    if flags:
        lines += ["", f"{flags} flag{'s' * (flags > 1)} about the input: see report.md"]
    return "\n".join(lines[1:])


def cut(text: str, width: int) -> str:
    text = text.replace("sequential", "seq.")
    return text if len(text) <= width else text[: width - 1] + "…"
