"""Answers scored per second by scoring.latex, and by math-verify on the same outputs.

    .venv/bin/pip install --target build/math-verify "math-verify[antlr4_13_2]==0.9.0"  # once
    .venv/bin/python bench/pipeline.py
    .venv/bin/python bench/pipeline.py --outputs answers.jsonl    # rows of your own: output, gold

Prints one line a scorer, where the two disagree, and last a line of JSON. Writes nothing.
math-verify is no dependency of the project: it stays in build/, or in any environment that has it.
"""

import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]
sys.path.append(str(ROOT / "build/math-verify"))

from common import cli  # noqa: E402
from common.hub import UserError  # noqa: E402
from scoring import latex, stated  # noqa: E402

INSTALL = 'pip install --target build/math-verify "math-verify[antlr4_13_2]==0.9.0"'


@dataclass
class Options:
    outputs: str | None = None  # JSONL with the columns output and gold; made up if not given
    answers: int = 1000  # how many are made up
    seed: int = 0
    rounds: int = 3  # each scorer's best round counts
    show: int = 5  # disagreements printed


def check(o: Options) -> list[tuple[str, str]]:
    """(output, gold) of every row. Raises UserError for all mistakes at once."""
    problems, rows = [], []
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        problems.append(f"math-verify cannot be imported ({error}); from {ROOT}: {INSTALL}")
    for name in ("answers", "rounds"):
        if getattr(o, name) < 1:
            problems.append(f"{cli.flag(name)} {getattr(o, name)}: at least 1")
    if o.outputs and not Path(o.outputs).is_file():
        problems.append(f"--outputs {o.outputs}: no such file")
    elif o.outputs:
        for number, line in enumerate(Path(o.outputs).read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                rows.append((row["output"] + "", row["gold"] + ""))
            except (ValueError, KeyError, TypeError):
                problems.append(f"{o.outputs}:{number}: not JSON with the texts output and gold")
    if problems:
        raise UserError("\n".join(problems))
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
    answer, _ = stated.extract(output)
    return answer is not None and latex.equivalent(answer, gold)


def math_verify_scorer():
    from math_verify import parse, verify

    return lambda output, gold: verify(parse(f"${gold}$"), parse(output))


def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    try:
        rows = check(o)
    except UserError as error:
        return cli.fail(error)
    verdicts, rates = {}, {}
    for name, scorer in {"scoring.latex": ours, "math-verify": math_verify_scorer()}.items():
        scorer(*rows[0])  # imports and first uses
        seconds = []
        for _ in range(o.rounds):
            start = time.perf_counter()
            verdicts[name] = [scorer(*row) for row in rows]
            seconds.append(time.perf_counter() - start)
        rates[name] = len(rows) / min(seconds)
        print(f"{name:14} {rates[name]:10,.0f} answers/s   {sum(verdicts[name]):6} right")
    differ = [i for i, pair in enumerate(zip(*verdicts.values(), strict=True)) if len({*pair}) > 1]
    for i in differ[: o.show]:
        answer, how = stated.extract(rows[i][0])
        print(
            f"  differ: gold {rows[i][1]!r}, {how} {answer!r}, ours {verdicts['scoring.latex'][i]}"
        )
    ratio = rates["scoring.latex"] / rates["math-verify"]
    print(
        json.dumps(
            {
                "bench": "pipeline",
                "answers": len(rows),
                "answers_per_second": {name: round(rate, 1) for name, rate in rates.items()},
                "ratio": round(ratio, 2),
                "disagreements": len(differ),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
