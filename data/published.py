"""The paper's Table 1 as runs, with their costs: what pareto.py --published analyses.

published.csv has the family means of arXiv 2509.22193 v2, Table 1, in per cent. Training FLOPs come
from the corpora's mean lengths (config.CORPORA) and both formulas; inference FLOPs per answer from
the paper's power laws, which hold for its formula; the number of tokens that they imply gives the
exact count. Items per benchmark give the standard errors.
"""

import csv
import math
from pathlib import Path

import numpy as np

import flops
import frontier
from config import CORPORA, SCALES
from runs import METHODS, Run, Score

# Items of each family's three benchmarks, from the data sets' cards: the splits of PAPER.md.
ITEMS = {
    "general-mc": {"winogrande": 1267, "openbookqa": 500, "mmlu_misc": 783},
    "general-oe": {"squad": 10_570, "coqa": 500, "ifeval": 541},
    "math-mc": {"aqua_rat": 254, "mmlu_math": 1064, "mmlu_pro_math": 1351},
    "math-oe": {"gsm8k": 1319, "math_500": 500, "aime": 30},
}
# FLOPs per answer = A x^p, x the nominal size in billions: the paper's fits, by its formula.
LAWS = {
    ("general-mc", "reasoning"): (3.42e12, 0.82),
    ("general-mc", "ift"): (2.10e11, 0.58),
    ("general-oe", "reasoning"): (2.77e12, 0.85),
    ("general-oe", "ift"): (4.79e11, 0.94),
    ("math-mc", "reasoning"): (2.29e13, 0.68),
    ("math-mc", "ift"): (2.11e12, 0.71),
    ("math-oe", "reasoning"): (2.67e13, 0.77),
    ("math-oe", "ift"): (2.89e12, 0.87),
}


def table() -> list[dict]:
    """The rows of published.csv: corpus, family, format; per cent by scale and of the teacher."""
    text = (Path(__file__).parent / "published.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


TABLE = table()
CEILINGS = {row["family"]: float(row["teacher"]) / 100 for row in TABLE}


def runs() -> list[Run]:
    """The 20 students of Table 1 as runs with one score a family."""
    found = {}
    for row in TABLE:
        family, format = row["family"], row["format"]
        for scale in ("0.5b", "1.5b", "3b", "7b", "14b"):
            config, corpus = SCALES[scale].config, CORPORA[row["corpus"]]
            size, accuracy = float(scale[:-1]), round(float(row[scale]) / 100, 6)
            name = f"{row['corpus']}/{scale}-{format}"
            if name not in found:
                answer = corpus.tokens(format)
                length = corpus.tokens("prompt") + answer
                spent = {
                    m: float(corpus.pairs * flops.train(config, [length], [answer], method=m))
                    for m in METHODS
                }
                key, ratio = f"{row['corpus']}\0{row['corpus']}", float(format == "reasoning")
                found[name] = Run(
                    name, key, scale, size, format, ratio, 0, corpus.pairs, "", spent, {}
                )
            a, p = LAWS[family, format]
            law = a * size**p
            paper, exact = (flops.inference(config, 0, implied_tokens(config, law), m)
                            for m in ("paper", "exact"))  # fmt: skip
            items = ITEMS[family]
            found[name].scores[family] = Score(
                family=family,
                n=sum(items.values()),
                accuracy=accuracy,
                stderr=stderr(accuracy, items.values()),
                flops={"paper": law, "exact": law * exact / paper},
            )
    return list(found.values())


def stderr(accuracy: float, items) -> float:
    """Of a mean over benchmarks, each of them taken to have the family's accuracy (not published
    by benchmark): sqrt(sum p(1 - p) / n_i) / k, independent items."""
    items = list(items)
    return math.sqrt(sum(accuracy * (1 - accuracy) / n for n in items)) / len(items)


def implied_tokens(config, cost: float) -> int:
    """Tokens, prompt and answer together, at which the paper's formula gives `cost` an answer."""
    low, high = 1, 1 << 20
    while low < high:
        middle = (low + high) // 2
        enough = flops.inference(config, 0, middle, "paper") >= cost
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


# ---- which of the paper's claims these numbers bear out ---------------------------------------


def claims(corpora, tables: dict) -> list[dict]:
    """[{claim, verdict, evidence: [lines]}], every verdict from the intervals of this analysis."""
    return [
        ift_holds_the_frontier(tables["matched"]),
        reasoning_from_7b(corpora, tables),
        format_not_domain(corpora),
        math_ift_on_general(corpora),
        reasoning_at_equal_size(tables["ratios"]),
        fits_are_identified(tables["fits"]),
        {
            "claim": "Mixes of the two formats, lengths of right and wrong answers, early stopping",
            "verdict": "not in Table 1",
            "evidence": ["Needs runs of one's own: `python pareto.py runs` reports all three."],
        },
    ]


def ift_holds_the_frontier(matched: list[dict]) -> dict:
    lines, above, below, total = [], 0, 0, 0
    for corpus, family in dict.fromkeys((r["corpus"], r["name"]) for r in matched):
        rows = [
            row for row in matched
            if (row["corpus"], row["name"], row["cost"]) == (corpus, family, "train")
            and math.isfinite(row["difference"]) and not row["asked"]
        ]  # fmt: skip
        if family == "all" or not rows:
            continue
        wins = [row for row in rows if row["difference_low"] > 0]
        losses = [row for row in rows if row["difference_high"] < 0]
        best = max(rows, key=lambda row: row["difference"])
        above, below, total = above + len(wins), below + len(losses), total + len(rows)
        lines.append(
            f"{corpus} corpus, {family}: of {len(rows)} budgets, IFT is ahead beyond the interval"
            f" at {len(losses)}, reasoning at {len(wins)}; reasoning's best is {signed(best)}"
            f" at {best['budget']:.2g} FLOPs (probability {best['p_reasoning']:.2f} of a lead)"
        )
    verdict = "contradicted" if above else "supported" if below == total else "supported in part"
    note = f"{below} of {total} comparisons are beyond their interval, {above} the other way"
    return {
        "claim": "At equal training FLOPs, no reasoning student matches IFT",
        "verdict": f"{verdict}: {note}, where both formats were trained at that cost",
        "evidence": lines,
    }


def signed(row: dict) -> str:
    low, high = (100 * row[f"difference_{end}"] for end in ("low", "high"))
    return f"{100 * row['difference']:+.1f} points ({low:+.1f} to {high:+.1f})"


def reasoning_from_7b(corpora, tables: dict) -> dict:
    lines, members, unmatched, total = [], {"oe": 0, "mc": 0}, 0, 0
    for corpus in corpora:
        for family, c in corpus.families.items():
            if family == "all":
                continue
            costs = {arm.label: cost for arm, cost in zip(c.arms, c.costs["train"], strict=True)}
            most = max(cost for label, cost in costs.items() if label.endswith("ift"))
            rows = {
                row["arm"]: row for row in tables["frontier"]
                if (row["corpus"], row["name"], row["cost"]) == (corpus.name, family, "train")
            }  # fmt: skip
            parts = []
            for label in ("3b reasoning", "7b reasoning", "14b reasoning"):
                parts.append(f"{label} {rows[label]['probability']:.2f}")
                if label != "3b reasoning":
                    members[family[-2:]] += rows[label]["on_frontier"]
                    unmatched += costs[label] > most
                    total += 1
            lines.append(
                f"{corpus.name} corpus, {family}: probability of a place on the frontier:"
                f" {', '.join(parts)}; the costliest IFT student took {most:.2g} FLOPs,"
                f" 7b reasoning {costs['7b reasoning']:.2g}"
            )
    return {
        "claim": "Reasoning reaches the training frontier on open-ended tasks from 7B",
        "verdict": f"true, but it says little: from 7B on, reasoning is on the frontier in"
        f" {members['oe']} of 8 open-ended and {members['mc']} of 8 multiple-choice cases, and in"
        f" {unmatched} of {total} it cost more than any IFT student, so that nothing could dominate"
        " it but a smaller accuracy at a higher price. This is how it agrees with the claim above:"
        " the first compares where both were trained, this one where only reasoning was",
        "evidence": lines,
    }


def format_not_domain(corpora) -> dict:
    lines, verdicts = [], []
    for corpus in corpora:
        gaps = {family: gap(c) for family, c in corpus.families.items() if family != "all"}
        contrasts = {
            "open-ended minus multiple choice": ("general-oe math-oe", "general-mc math-mc"),
            "math minus general": ("math-oe math-mc", "general-oe general-mc"),
        }
        sizes = []
        for text, (plus, minus) in contrasts.items():
            value = sum(gaps[f] for f in plus.split()) / 2 - sum(gaps[f] for f in minus.split()) / 2
            low, high = np.percentile(100 * value[1:], (2.5, 97.5))
            sizes.append((abs(value[0]), low, high))
            lines.append(
                f"{corpus.name} corpus, reasoning's deficit at equal training FLOPs, {text}:"
                f" {100 * value[0]:+.1f} points ({low:+.1f} to {high:+.1f})"
            )
        is_format = sizes[0][0] > 2 * sizes[1][0] and sizes[0][1] * sizes[0][2] > 0
        verdicts.append(f"{'yes' if is_format else 'no'} on the {corpus.name} corpus")
    return {
        "claim": "Whether tasks are open-ended predicts it, their domain hardly",
        "verdict": ", ".join(verdicts) + " (yes: the format's contrast is beyond its interval and"
        " over twice the domain's)",
        "evidence": lines,
    }


def gap(c) -> np.ndarray:
    """[1 + B] mean of reasoning minus IFT over the training costs that both formats span; the
    first is the point estimate."""
    part = {f: [i for i, arm in enumerate(c.arms) if arm.format == f] for f in ("ift", "reasoning")}
    cost = {f: c.costs["train"][i] for f, i in part.items()}
    low, high = max(x.min() for x in cost.values()), min(x.max() for x in cost.values())
    values = np.array([c.accuracy, *c.draws])
    at = {f: frontier.accuracy_at(cost[f], values[:, part[f]], np.geomspace(low, high, 9))
          for f in part}  # fmt: skip
    return (at["reasoning"] - at["ift"]).mean(1)


def math_ift_on_general(corpora) -> dict:
    general, math_corpus = ({c.name: c for c in corpora}[name] for name in ("general", "math"))
    lines, sure = [], 0
    a, b = (corpus.families["general-oe"] for corpus in (math_corpus, general))
    for i, arm in enumerate(a.arms):
        if arm.format != "ift":
            continue
        j = [other.label for other in b.arms].index(arm.label)
        lead = 100 * (a.accuracy[i] - b.accuracy[j])
        # two corpora, the same items, but no answers to pair: their errors are taken as independent
        spread = 196 * math.hypot(a.draws[:, i].std(), b.draws[:, j].std())
        sure += lead > spread
        lines.append(
            f"{arm.scale}: {100 * a.accuracy[i]:.1f} against {100 * b.accuracy[j]:.1f},"
            f" {lead:+.1f} points ({lead - spread:+.1f} to {lead + spread:+.1f})"
        )
    return {
        "claim": "Tension: on General-OE, IFT on math prompts beats IFT on general prompts",
        "verdict": f"real at {sure} of {len(lines)} sizes, so not an accident of the items. The"
        " comparison of formats leaves the corpus fixed, but this shows that the style of the"
        " answers (short worked solutions, boxed) moves this family as much as the format does."
        " With one seed a size it says nothing of training noise",
        "evidence": lines,
    }


def reasoning_at_equal_size(ratios: list[dict]) -> dict:
    lines, counts = [], {True: 0, False: 0, None: 0}
    for corpus in dict.fromkeys(row["corpus"] for row in ratios):
        for family in dict.fromkeys(row["name"] for row in ratios):
            rows = [row for row in ratios if row["order"] == "reasoning"
                    and (row["corpus"], row["name"]) == (corpus, family)]  # fmt: skip
            if family == "all":
                continue
            for row in rows:
                sure = row["gain_low"] > 0 or row["gain_high"] < 0
                counts[row["gain"] > 0 if sure else None] += 1
            parts = [f"{row['scale']} {100 * row['gain']:+.1f}" for row in rows]
            lines.append(f"{corpus} corpus, {family}: {', '.join(parts)} points")
    return {
        "claim": "At equal size, reasoning gains over IFT",
        "verdict": f"ahead beyond the interval in {counts[True]} cases, behind in {counts[False]},"
        f" undecided in {counts[None]}; behind mostly for small students and on the math corpus",
        "evidence": lines,
    }


def fits_are_identified(fits: list[dict]) -> dict:
    fitted = [row for row in fits if "mae" in row and row["name"] != "all"]
    sure = [row for row in fitted if row["identified"]]
    mae, loo = (100 * np.mean([row[key] for row in fitted]) for key in ("mae", "loo"))
    return {
        "claim": "Saturating curves describe accuracy against compute",
        "verdict": f"they pass through the points (mean error {mae:.1f} points), but five points"
        f" identify the plateau of only {len(sure)} of {len(fitted)} curves; a point left out is"
        f" missed by {loo:.1f} points on average. Not to be extrapolated",
        "evidence": [
            f"{row['corpus']} corpus, {row['name']}, {row['curve']} by {row['cost']}: plateau"
            f" {100 * row['plateau_low']:.0f} to {100 * row['plateau_high']:.0f} %"
            for row in fitted
            if row["cost"] == "train"
        ],
    }
