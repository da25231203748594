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
from analysis import frontier
from analysis.runs import METHODS, Run, Score
from config import CORPORA, SCALES

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
                found[name] = Run(name, row["corpus"], scale, size, format, 0.0, 0, corpus.pairs,
                                  "", spent, {}, content=row["corpus"])  # fmt: skip
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
        no_reasoning_student_matches_ift(corpora),
        reasoning_from_7b(corpora, tables["frontier"]),
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


def points(value: np.ndarray) -> str:
    """value [1 + B], the estimate and its draws, as points of accuracy with the 95 % interval."""
    low, high = np.percentile(100 * value[1:], (2.5, 97.5))
    return f"{100 * value[0]:+.1f} points ({low:+.1f} to {high:+.1f})"


def cells_of(corpora):
    """(corpus, family, Cells) of all but the mean of the families."""
    for corpus in corpora:
        for family, c in corpus.families.items():
            if family != "all":
                yield corpus.name, family, c


def part(c, format: str) -> list[int]:
    return [i for i, arm in enumerate(c.arms) if arm.format == format]


def no_reasoning_student_matches_ift(corpora) -> dict:
    """Every reasoning student whose cost lies within IFT's, against IFT at that very cost."""
    lines, ahead, behind, total = [], 0, 0, 0
    for corpus, family, c in cells_of(corpora):
        cost, values = c.costs["train"], np.vstack([c.accuracy, c.draws])
        ift = part(c, "ift")
        for i in part(c, "reasoning"):
            if not cost[ift].min() <= cost[i] <= cost[ift].max():
                continue
            at = frontier.accuracy_at(cost[ift], values[:, ift], cost[[i]])[:, 0]
            lead = values[:, i] - at
            low, high = np.percentile(lead[1:], (2.5, 97.5))
            ahead, behind, total = ahead + (low > 0), behind + (high < 0), total + 1
            lines.append(
                f"{corpus} corpus, {family}, {c.arms[i].label} ({cost[i]:.3g} FLOPs):"
                f" {points(lead)}, probability of a lead {np.mean(lead[1:] > 0):.2f}"
            )
    return {
        "claim": "At equal training FLOPs, no reasoning student matches IFT",
        "verdict": f"of {total} reasoning students whose cost lies between those of IFT students,"
        f" IFT (interpolated in log cost) is ahead beyond the interval of {behind}, reasoning of"
        f" {ahead}, and {total - ahead - behind} are undecided",
        "evidence": lines,
    }


def reasoning_from_7b(corpora, rows: list[dict]) -> dict:
    lines, sizes, beyond, inside = [], {"oe": [], "mc": []}, 0, []
    for corpus, family, c in cells_of(corpora):
        most = c.costs["train"][part(c, "ift")].max()
        here = (corpus, family, "train")
        mine = [row for row in rows if (row["corpus"], row["name"], row["cost"]) == here]
        share = {row["arm"]: row["probability"] for row in mine}
        start, texts = "at no size", []
        for i in reversed(part(c, "reasoning")):  # the smallest from which all are on it
            if share[c.arms[i].label] < 0.9:
                break
            start = f"from {c.arms[i].scale}"
        for i in part(c, "reasoning"):
            arm = c.arms[i]
            texts.append(f"{arm.scale} {share[arm.label]:.2f}")
            if arm.scale in ("7b", "14b"):
                beyond += c.costs["train"][i] > most
            elif share[arm.label] >= 0.9:
                inside.append(f"{arm.label} on {family}, {corpus} corpus")
        sizes[family[-2:]].append(start)
        lines.append(
            f"{corpus} corpus, {family}: {start}; reasoning's probability of a place on the"
            f" frontier by size: {', '.join(texts)}; the costliest IFT student took {most:.2g}"
        )
    count = {kind: sum(start == "from 7b" for start in found) for kind, found in sizes.items()}
    return {
        "claim": "Reasoning reaches the training frontier on open-ended tasks from 7B",
        "verdict": f"so it is in {count['oe']} of 4 open-ended cases, and in {count['mc']} of 4"
        f" multiple-choice ones; but {beyond} of the 16 reasoning students of 7B and 14B cost more"
        " than every IFT student, so that no IFT student could dominate them. That is how it agrees"
        " with the claim above, which asks only where IFT was trained at that cost. Smaller ones"
        f" that hold a place against IFT: {'; '.join(inside) or 'none'}. (A place on the frontier"
        " needs more accuracy than any cheaper student; the claim above compares with the line"
        " between IFT students, which is more than that)",
        "evidence": lines,
    }


def gap(c) -> np.ndarray:
    """[1 + B] mean of reasoning minus IFT over the training costs that both formats span; the
    first is the point estimate."""
    values = np.vstack([c.accuracy, c.draws])
    cost = {f: c.costs["train"][part(c, f)] for f in ("ift", "reasoning")}
    low, high = max(x.min() for x in cost.values()), min(x.max() for x in cost.values())
    budgets = np.geomspace(low, high, 9)
    at = {f: frontier.accuracy_at(cost[f], values[:, part(c, f)], budgets) for f in cost}
    return (at["reasoning"] - at["ift"]).mean(1)


def format_not_domain(corpora) -> dict:
    lines, verdicts = [], []
    for corpus in corpora:
        oe = {f: gap(corpus.families[f"{f}-oe"]) for f in ("general", "math")}
        mc = {f: gap(corpus.families[f"{f}-mc"]) for f in ("general", "math")}
        by_format = (oe["general"] + oe["math"] - mc["general"] - mc["math"]) / 2
        by_domain = (oe["math"] + mc["math"] - oe["general"] - mc["general"]) / 2
        low, high = np.percentile(by_format[1:], (2.5, 97.5))
        is_format = low * high > 0 and abs(by_format[0]) > 2 * abs(by_domain[0])
        verdicts.append(f"{'yes' if is_format else 'no'} on the {corpus.name} corpus")
        head = f"{corpus.name} corpus, reasoning minus IFT at equal training FLOPs"
        lines += [
            f"{head}, open-ended above multiple choice by {points(by_format)}",
            f"{head}, math above general by {points(by_domain)}",
        ]
    return {
        "claim": "Whether tasks are open-ended predicts it, their domain hardly",
        "verdict": ", ".join(verdicts) + " (yes: the format's contrast is beyond its interval and"
        " over twice the domain's)",
        "evidence": lines,
    }


def math_ift_on_general(corpora) -> dict:
    general, math_corpus = ({c.name: c for c in corpora}[name] for name in ("general", "math"))
    lines, sure = [], 0
    a, b = (corpus.families["general-oe"] for corpus in (math_corpus, general))
    for i, arm in enumerate(a.arms):
        if arm.format != "ift":
            continue
        assert b.arms[i].label == arm.label, f"{b.arms[i].label=} {arm.label=}"
        lead = 100 * (a.accuracy[i] - b.accuracy[i])
        # two corpora, the same items, but no answers to pair: their errors are taken as independent
        spread = 196 * math.hypot(a.draws[:, i].std(), b.draws[:, i].std())
        sure += lead > spread
        lines.append(
            f"{arm.scale}: {100 * a.accuracy[i]:.1f} against {100 * b.accuracy[i]:.1f},"
            f" {lead:+.1f} points ({lead - spread:+.1f} to {lead + spread:+.1f})"
        )
    corpus_moves = np.mean([a.accuracy[i] - b.accuracy[i] for i in part(a, "ift")])
    pairs = zip(part(b, "ift"), part(b, "reasoning"), strict=True)
    format_moves = np.mean([b.accuracy[j] - b.accuracy[i] for i, j in pairs])
    return {
        "claim": "Tension: on General-OE, IFT on math prompts beats IFT on general prompts",
        "verdict": f"beyond the interval at {sure} of {len(lines)} sizes, so no accident of the"
        f" items: {100 * corpus_moves:.1f} points on average, where reasoning on the general corpus"
        f" moves the same family by {100 * format_moves:.1f}. The corpora differ in prompts, in"
        " number and in the style of answers, and Table 1 cannot tell which of these it is; with"
        " one seed a size it says nothing of training noise either",
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
