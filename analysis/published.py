"""The paper's Table 1 as runs, with their costs: what pareto.py --published analyses.

published.csv has the family means of arXiv 2509.22193 v2, Table 1, in per cent. Training FLOPs come
from the corpora's mean lengths (config.CORPORA) and both formulas; inference FLOPs per answer from
the paper's power laws, which hold for its formula; the number of tokens that they imply gives the
exact count. Items per benchmark give the standard errors.
"""

import csv
import math
from pathlib import Path

import flops
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
CAVEAT = (
    "Table 1 has family means of one seed. Intervals are those of the benchmarks' item counts,"
    " taking each benchmark at its family's accuracy; they leave out the noise of training and,"
    " since no answers are published, any pairing. Training costs come from mean lengths in bytes"
    " (bytes per token are this project's assumption), inference costs from the paper's laws."
)


def table() -> list[dict]:
    """The rows of published.csv: corpus, family, format; per cent by scale and of the teacher."""
    text = (Path(__file__).parent / "published.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


TABLE = table()
CEILINGS = {row["family"]: float(row["teacher"]) / 100 for row in TABLE}


def students() -> list[Run]:
    """The 20 students of Table 1 as runs with one score a family."""
    runs = {}
    for row in TABLE:
        for scale in ("0.5b", "1.5b", "3b", "7b", "14b"):
            name = f"{row['corpus']}/{scale}-{row['format']}"
            if name not in runs:
                runs[name] = student(name, row["corpus"], scale, row["format"])
            runs[name].scores[row["family"]] = score(row, scale)
    return list(runs.values())


def student(name: str, corpus: str, scale: str, format: str) -> Run:
    lengths = CORPORA[corpus]
    pairs, answer = lengths.pairs, lengths.tokens(format)
    sample, config = lengths.tokens("prompt") + answer, SCALES[scale].config
    train = {
        method: float(pairs * flops.train(config, [sample], [answer], method=method))
        for method in METHODS
    }
    size = float(scale[:-1])
    return Run(name, corpus, scale, size, format, 0.0, 0, pairs, "", train, {}, content=corpus)


def score(row: dict, scale: str) -> Score:
    a, p = LAWS[row["family"], row["format"]]
    config, law = SCALES[scale].config, a * float(scale[:-1]) ** p
    tokens = implied_tokens(config, law)
    paper, exact = (flops.inference(config, 0, tokens, method) for method in ("paper", "exact"))
    accuracy, items = round(float(row[scale]) / 100, 6), ITEMS[row["family"]].values()
    cost = {"paper": law, "exact": law * exact / paper}
    return Score(row["family"], sum(items), accuracy, stderr(accuracy, items), cost)


def stderr(accuracy: float, items) -> float:
    """Of a mean over benchmarks, each of them taken to have the family's accuracy (not published
    by benchmark): sqrt(sum p(1 - p) / n_i) / k, independent items."""
    return math.sqrt(sum(accuracy * (1 - accuracy) / n for n in items)) / len(items)


def implied_tokens(config, cost: float) -> int:
    """Tokens, prompt and answer together, at which the paper's formula gives `cost` an answer."""
    low, high = 1, 1 << 20
    while low < high:
        middle = (low + high) // 2
        enough = flops.inference(config, 0, middle, "paper") >= cost
        low, high = (low, middle) if enough else (middle + 1, high)
    return low
