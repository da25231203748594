"""Answers scored per second by scoring.latex, and by math-verify on the same outputs.

    .venv/bin/pip install --target build/math-verify "math-verify[antlr4_13_2]==0.9.0"  # once
    .venv/bin/python bench/pipeline.py
    .venv/bin/python bench/pipeline.py --outputs answers.jsonl    # rows of your own: output, gold

Prints a line for each scorer, where the two disagree, and last a line of JSON. Writes nothing.
math-verify is no dependency of the project: it stays in build/, or in any environment that has it.
"""

import json
import random
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
sys.path.append(str(ROOT / "build/math-verify"))

from common import cli  # noqa: E402
from scoring import latex, stated  # noqa: E402

INSTALL = 'pip install --target build/math-verify "math-verify[antlr4_13_2]==0.9.0"'


@dataclass
class Options:
    outputs: str | None = None  # JSONL with the columns output and gold (default: made up)
    answers: cli.Positive = 1000  # how many are made up
    seed: int = 0  # of what is made up
    rounds: cli.Positive = 3  # each scorer's best round counts
    show: cli.NonNegative = 5  # disagreements printed


def prepare(o: Options) -> list[tuple[str, str]]:
    """(output, gold) of every row. Raises UserError for all mistakes at once."""
    problems, rows = cli.Problems(cli.check(o)), []
    missing = f"math-verify cannot be imported; from {ROOT}: {INSTALL}"
    problems.add(not find_spec("math_verify"), missing)
    is_file = o.outputs is None or Path(o.outputs).is_file()
    problems.add(not is_file, f"--outputs {o.outputs}: no such file")
    text = Path(o.outputs).read_text(encoding="utf-8") if o.outputs and is_file else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append((row["output"] + "", row["gold"] + ""))
        except (ValueError, KeyError, TypeError):
            problems.append(f"{o.outputs}:{number}: not JSON with the texts output and gold")
    problems.raise_any()
    return rows or [made_up(random.Random(f"{o.seed} {i}")) for i in range(o.answers)]


# ---- outputs like a model's ------------------------------------------------------------------


def made_up(rng: random.Random) -> tuple[str, str]:
    """(output, gold): some reasoning, then a boxed answer, every third of them wrong."""
    gold, pred = rng.choice(KINDS)(rng)
    if rng.random() < 1 / 3:
        _, pred = rng.choice(KINDS)(rng)
    steps = "\n".join(
        f"Step {i}: $x_{{{i}}} = {rng.randint(2, 99)} \\cdot {rng.randint(2, 99)}$, so that we add"
        f" $\\frac{{{rng.randint(1, 9)}}}{{{rng.randint(2, 9)}}}$."
        for i in range(rng.randint(3, 12))
    )
    return f"<think>\n{steps}\n</think>\n\n{steps}\n\nThe answer is $\\boxed{{{pred}}}$.", gold


def whole(rng):
    n = rng.randint(1_000, 99_999)
    return str(n), rng.choice([f"{n:,}", f"{n}.0", f"{n}\\text{{ units}}", f"\\${n}"])


def fraction(rng):
    top, bottom, k = (rng.randint(2, 40) for _ in range(3))
    return f"\\frac{{{top}}}{{{bottom}}}", f"\\dfrac{{{k * top}}}{{{k * bottom}}}"


def radical(rng):
    a, b = rng.randint(2, 12), rng.choice([2, 3, 5, 7, 11])
    return f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{a * a * b}}}"


def polynomial(rng):
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return f"(x+{a})(x-{b})", f"x^2 + ({a - b})x - {a * b}"


def pair(rng):
    a, b = rng.randint(-9, 9), rng.randint(10, 99)
    return f"({a}, {b}]", f"\\left({a}, \\frac{{{2 * b}}}{{2}}\\right]"


def roots(rng):
    a, b = rng.randint(1, 9), rng.choice([2, 3, 5, 7])
    return f"{a} \\pm \\sqrt{{{b}}}", f"{a} - \\sqrt{{{b}}}, {a} + \\sqrt{{{b}}}"


def matrix(rng):
    a, b, c = (rng.randint(-9, 9) for _ in range(3))
    rows = f"{a} \\\\ {b} \\\\ {c}"
    return (
        f"\\begin{{pmatrix}} {rows} \\end{{pmatrix}}",
        f"\\begin{{bmatrix}}{rows}\\end{{bmatrix}}",
    )


def angle(rng):
    n = rng.randint(1, 179)
    return f"{n}^\\circ", rng.choice([f"{n}^{{\\circ}}", f"{n}", f"{n}\\text{{ degrees}}"])


KINDS = [whole, whole, whole, fraction, fraction, radical, polynomial, pair, roots, matrix, angle]


# ---- the race --------------------------------------------------------------------------------


def ours(output: str, gold: str) -> bool:
    answer, _ = stated.mathematics(output)
    return answer is not None and latex.equivalent(answer, gold)


def math_verify_scorer():
    from math_verify import parse, verify

    return lambda output, gold: verify(parse(f"${gold}$"), parse(output))


@cli.run
def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    rows = prepare(o)
    verdicts, rates, lines = {}, {}, [["scorer", "answers/s", "right"]]
    for name, scorer in {"scoring.latex": ours, "math-verify": math_verify_scorer()}.items():
        scorer(*rows[0])  # imports and first uses
        seconds = []
        for _ in range(o.rounds):
            start = time.perf_counter()
            verdicts[name] = [scorer(*row) for row in rows]
            seconds.append(time.perf_counter() - start)
        rates[name] = len(rows) / min(seconds)
        lines.append([name, f"{rates[name]:,.0f}", sum(verdicts[name])])
    print("\n".join(cli.table(lines)))
    differ = [i for i, pair in enumerate(zip(*verdicts.values(), strict=True)) if len({*pair}) > 1]
    for i in differ[: o.show]:
        (answer, how), verdict = stated.mathematics(rows[i][0]), verdicts["scoring.latex"][i]
        print(f"  differ: gold {rows[i][1]!r}, {how} {answer!r}, ours {verdict}")
    report = {
        "bench": "pipeline",
        "answers": len(rows),
        "answers_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": round(rates["scoring.latex"] / rates["math-verify"], 2),
        "disagreements": len(differ),
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
