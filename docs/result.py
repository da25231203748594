"""The result of a study as one panel: accuracy against training FLOPs, the mean over families.

    python docs/result.py runs/study-toy-full/report     # writes docs/study.png

Reads points.csv and frontier.csv of a report on one corpus. Bars are 95 % intervals; those of the
mixes are left out.
"""

import csv
import sys
from pathlib import Path

from idea import BAND, BLUE, GREY, ORANGE
from matplotlib import pyplot as plt

# By format: colour, marker, its size, and what the first or last of its points is labelled.
STYLE = {
    "ift": (BLUE, "o", 9, "IFT"),
    "reasoning": (ORANGE, "s", 8.5, "reasoning"),
    "sequential": ("#009E73", "^", 7, "sequential"),
    "mixed": ("#CC79A7", "D", 6, "mixed"),
}


def read(file: Path) -> list[dict]:
    """The rows of a CSV that are about the mean over families, cheapest first."""
    with open(file, encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["name"] == "all"]


def read_arms(folder: Path) -> list[dict]:
    """Every arm, cheapest first; accuracies in percent, the frontier that of training cost."""
    rows = [row for row in read(folder / "frontier.csv") if row["cost"] == "train"]
    best = {row["arm"] for row in rows if row["on_frontier"] == "True"}
    arms = []
    for row in read(folder / "points.csv"):
        arm = {name: 100 * float(row[name]) for name in ("accuracy", "low", "high")}
        arm |= dict(size=f"{1e6 * float(row['parameters_b']):.0f}k", rho=float(row["ratio"]))
        arm |= dict(format=row["format"], flops=float(row["train_flops_exact"]))
        arms.append(arm | dict(is_best=row["arm"] in best))
    return sorted(arms, key=lambda arm: arm["flops"])


def xy(arms: list[dict]) -> tuple[list[float], list[float]]:
    return [arm["flops"] for arm in arms], [arm["accuracy"] for arm in arms]


def label(axes, arm: dict, text: str, shift: tuple[float, float], side: str, size=9.5, **style):
    """Text next to an arm's point, shifted by points to the right and up."""
    place = dict(xytext=shift, textcoords="offset points", ha=side, va="center")
    point, colour = (arm["flops"], arm["accuracy"]), STYLE[arm["format"]][0]
    axes.annotate(text, point, color=colour, size=size, **place, **style)


def draw(axes, arms: list[dict]):
    best = [arm for arm in arms if arm["is_best"]]
    axes.plot(*xy(best), color=BAND, lw=17, solid_capstyle="round")
    for kind, (colour, marker, size, name) in STYLE.items():
        curve = [arm for arm in arms if arm["format"] == kind]
        style = dict(color=colour, marker=marker, ms=size, mec="white", lw=1.8)
        if kind in ("ift", "reasoning"):
            axes.plot(*xy(curve), **style)
            is_ift = kind == "ift"
            for arm in curve:
                axes.vlines(arm["flops"], arm["low"], arm["high"], color=colour, lw=1.2)
                is_above = is_ift and arm is not curve[-1]
                shift, side = ((-8, 8), "right") if is_above else ((8, -8), "left")
                label(axes, arm, arm["size"], shift, side)
            shift, end = ((10, -14), 0) if is_ift else ((12, 5), -1)
            label(axes, curve[end], name, shift, "left", 12, weight="bold")
            continue
        axes.plot(*xy(curve), ls="", **style)
        for arm in curve[-2:]:  # of the largest size, at 50 and 75 % reasoning
            text = f"{arm['rho']:.0%}" + f" reasoning, {name}" * (arm is curve[-1])
            label(axes, arm, text, (9, 4 if kind == "sequential" else -9), "left")


def main():
    arms = read_arms(Path(sys.argv[1]))
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    draw(axes, arms)
    axes.set(xscale="log", xlim=(2.6e10, 1.9e13), ylim=(0, 100))
    axes.set(xlabel="training FLOPs", ylabel="accuracy, mean of four tasks, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    figure.savefig(Path(__file__).with_name("study.png"), dpi=200)


if __name__ == "__main__":
    main()
