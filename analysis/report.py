"""The words of pareto.py: report.md and what the terminal shows in 80 columns."""

import math
import re

from analysis.figures import title

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


def write(o, corpora, tables, answers, claims, drawn, budget) -> str:
    """report.md: the answer, the evidence, the caveats, the files."""
    folders = ", ".join(o.runs) if len(o.runs) < 4 else f"{len(o.runs)} folders"
    source = "arXiv 2509.22193 v2, Table 1" if o.published else folders
    arms = sum(len(corpus.arms) for corpus in corpora)
    seeds = sum(len(arm.runs) for corpus in corpora for arm in corpus.arms)
    lines = [
        "# Scale, or reason?",
        "",
        f"{arms} arms, {seeds} runs, from {source}. FLOPs by the {o.method} count; 95 % intervals"
        f" from at most {o.draws:,} bootstrap draws.",
        "",
    ]
    for corpus in corpora:
        lines += [
            f"## Trained on {corpus.name}",
            "",
            *question(answers[corpus.name], budget, o),
            "",
        ]
        lines += [*frontier_lines(corpus, tables["frontier"]), ""]
        lines += [*matched_lines(corpus, tables["matched"]), ""]
        lines += [*fit_lines(corpus, tables), ""]
        for name in (file for of, file in drawn if of == corpus.name):
            lines += [f"![{name.removesuffix('.png')}]({name})", ""]
    if claims:
        lines += ["## The paper's claims, and what these numbers say", "", *CAVEATS, ""]
        for claim in claims:
            lines += [f"### {claim['claim']}", "", f"**{claim['verdict']}.**", ""]
            lines += [f"- {line}" for line in claim["evidence"]] + [""]
    lines += ["## What to know about the input", ""]
    flags = tables["flags"]
    lines += [f"- {row['where']}: {row['problem']}; {row['consequence']}" for row in flags[:40]]
    if len(flags) > 40:
        lines.append(f"- and {len(flags) - 40} more in flags.csv")
    lines += ["- nothing was left out or flagged"] if not flags else []
    lines += ["", "## Tables", ""]
    lines += [f"- {name}.csv: {WHAT[name]}" for name, rows in tables.items() if rows]
    missing = [name for name, rows in tables.items() if not rows and name != "flags"]
    if missing:
        lines.append(f"- not made, for want of data: {', '.join(missing)}")
    return "\n".join([*lines, ""])


CAVEATS = [
    "Table 1 has family means of one seed. Intervals are those of the benchmarks' item counts,"
    " taking each benchmark at its family's accuracy; they leave out the noise of training and,"
    " since no answers are published, any pairing. Training costs come from mean lengths in bytes"
    " (bytes per token are this project's assumption), inference costs from the paper's laws.",
]


def question(answers: dict, budget: float, o) -> list[str]:
    """The answer by family, as a Markdown table."""
    head = f"What to train for {big(budget)} training FLOPs"
    lines = [
        f"### {head}",
        "",
        "| | train | accuracy | confidence | runner-up | its confidence |",
        "|---|---|---|---|---|---|",
        *(choice_row(name, found["training"]) for name, found in answers.items()),
    ]
    if o.serve:
        lines += [
            "",
            f"### With {big(o.serve)} answers served, in the same {big(budget)} FLOPs",
            "",
        ]
        lines += lines[2:4]
        lines += [choice_row(name, found["total"]) for name, found in answers.items()]
        lines += ["", "### With them served, for what the training answer costs in all", ""]
        lines += lines[2:4]
        lines += [
            choice_row(name, found["equal_total"])
            for name, found in answers.items()
            if "equal_total" in found
        ]
    return lines


def choice_row(name: str, found: dict) -> str:
    if "arm" not in found:
        return f"| {title(name)} | {found['why_not']} | | | | |"
    second = found.get("runner_up")
    runner_up = f"{second['arm']} | {share(second['confidence'])}" if second else "none |"
    note = f" ({found['note']})" if "note" in found else ""
    return (
        f"| {title(name)} | **{found['arm']}**{note} | {percent(found)} |"
        f" {share(found['confidence'])} | {runner_up} |"
    )


def frontier_lines(corpus, rows: list[dict]) -> list[str]:
    """Who holds each frontier, with probabilities; costs with the same holders in one row."""
    lines = ["### Who holds the frontier", "", "| | cost | on it (probability) |", "|---|---|---|"]
    found = {}
    for row in rows:
        if row["corpus"] == corpus.name and row["on_frontier"]:
            text = f"{row['arm']} ({share(row['probability'])})"
            found.setdefault((row["name"], row["cost"]), []).append(text)
    for name in corpus.families:
        holders = {}
        for kind in ("train", "inference", "both", "total"):
            if on := found.get((name, kind)):
                more = f" and {len(on) - 12} more" if len(on) > 12 else ""
                holders.setdefault(", ".join(on[:12]) + more, []).append(kind)
        lines += [f"| {title(name)} | {', '.join(k)} | {on} |" for on, k in holders.items()]
    return lines


def matched_lines(corpus, rows: list[dict]) -> list[str]:
    """Reasoning minus IFT at the lowest, middle and highest cost that both formats span."""
    lines = ["### Reasoning minus IFT at equal cost, in points of accuracy", ""]
    lines += ["| | cost | FLOPs | difference | probability that reasoning leads |",
              "|---|---|---|---|---|"]  # fmt: skip
    for name in corpus.families:
        for kind in ("train", "inference", "total"):
            mine = [
                row for row in rows
                if (row["corpus"], row["name"], row["cost"]) == (corpus.name, name, kind)
                and math.isfinite(row["difference"]) and not row["asked"]
            ]  # fmt: skip
            mine.sort(key=lambda row: row["budget"])
            for row in mine[:: max(1, (len(mine) - 1) // 2)]:
                low, high = (100 * row[f"difference_{end}"] for end in ("low", "high"))
                lines.append(
                    f"| {title(name)} | {kind} | {big(row['budget'])} |"
                    f" {100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f}) |"
                    f" {share(row['p_reasoning'])} |"
                )
    if len(lines) == 4:
        return [*lines[:2], "No cost is spanned by both formats, so nothing can be compared."]
    return lines


def fit_lines(corpus, tables: dict) -> list[str]:
    fits = [row for row in tables["fits"] if row["corpus"] == corpus.name]
    known = sum(row["identified"] for row in fits)
    laws = [row for row in tables["power_laws"] if row["corpus"] == corpus.name and "A" in row]
    lines = [
        "### Curves",
        "",
        f"{len(fits)} saturating fits, {known} of them identified by their points (fits.csv says"
        " why not). Inference FLOPs per answer by size, x in billions of parameters:",
        "",
    ]
    lines += [
        f"- {title(row['name'])}, {row['curve']}: {big(row['A'])} x^{row['p']:.2f}" for row in laws
    ]
    return lines


def big(value: float) -> str:
    """1e+20 as people write it: 1e20."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.3g}")


def percent(found: dict) -> str:
    low, high = 100 * found["low"], 100 * found["high"]
    return f"{100 * found['accuracy']:.1f} % ({low:.1f} to {high:.1f})"


def share(value: float) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"


def cut(text: str, width: int) -> str:
    text = text.replace("sequential", "seq.")
    return text if len(text) <= width else text[: width - 1] + "…"


def summary(corpora, answers, tables, budget, o) -> str:
    """The answer and the frontier's holders in 80 columns."""
    lines = []
    for corpus in corpora:
        lines += [
            "",
            f"trained on {corpus.name}: what to train for {big(budget)} FLOPs ({o.method})",
        ]
        lines.append(f"{'':26}{'train':21}{'accuracy':>8}{'sure':>5}  runner-up")
        text = {
            "training": "",
            "total": "with the answers served, within the same budget",
            "equal_total": "with them, for what the first choice costs in all",
        }
        for kind in text if o.serve else ("training",):
            lines += [text[kind]] if text[kind] else []
            for name, found in answers[corpus.name].items():
                best = found.get(kind)
                if best and "arm" in best:
                    second = best.get("runner_up", {}).get("arm", "")
                    lines.append(
                        f" {cut(title(name), 24):25}{cut(best['arm'], 20):21}"
                        f"{best['accuracy']:8.1%}{share(best['confidence']):>5}  {cut(second, 18)}"
                    )
                elif best:
                    lines.append(f" {cut(title(name), 24):25}{cut(best['why_not'], 54)}")
    if tables["flags"]:
        count = len(tables["flags"])
        lines += ["", f"{count} flag{'s' * (count > 1)} about the input: see report.md"]
    return "\n".join(lines[1:])
