"""The figures of pareto.py: one function a kind of figure in the paper, each drawn if it has data.

Colours are Okabe and Ito's, told apart in colour blindness; every format has a marker of its own,
for print in grey.
"""

import math
import textwrap
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the backend: there may be no screen

STYLE = {  # format: colour, marker, line
    "ift": ("#0072B2", "o", "-"),
    "reasoning": ("#D55E00", "s", "-"),
    "sequential": ("#009E73", "^", "--"),
    "mixed": ("#CC79A7", "D", ":"),
}
SHADES = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"]
NAMES = {"oe": "open-ended", "mc": "multiple choice", "ift": "IFT"}
COST = {
    "train": "training FLOPs",
    "inference": "inference FLOPs per answer",
    "total": "training and serving FLOPs",
}


def draw(folder: Path, corpora: list, tables: dict, serve) -> list[tuple[str, str]]:
    """Writes what there is data for as PNG files; returns (corpus, file) of each."""
    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.alpha": 0.25, "legend.frameon": False, "axes.titlesize": 9.5, "savefig.dpi": 160,
    })  # fmt: skip
    drawn = []
    for corpus in corpora:
        prefix = f"{corpus.name}-" if len(corpora) > 1 else ""
        mine = {
            name: [row for row in rows if row.get("corpus") == corpus.name]
            for name, rows in tables.items()
        }
        figures = {
            "frontier-train": frontiers(corpus, corpus.families, mine, "train", 0),
            "frontier-inference": frontiers(corpus, corpus.families, mine, "inference", 0),
            "frontier-total": serve and frontiers(corpus, corpus.families, mine, "total", serve),
            "benchmarks": frontiers(corpus, corpus.benchmarks, mine, "train", 0),
            "matched": matched(mine["matched"], corpus),
            "power-laws": power_laws(corpus, mine["power_laws"]),
            "lengths": lengths(corpus),
            "early-stop": early_stop(mine["early_stop"], corpus),
            "ratios": ratios(mine["ratios"], corpus),
        }
        for name, figure in figures.items():
            if figure:
                figure.savefig(folder / f"{prefix}{name}.png")
                plt.close(figure)
                drawn.append((corpus.name, f"{prefix}{name}.png"))
    return drawn


# ---- pieces ---------------------------------------------------------------------------------


def panels(count: int, title: str, width=3.6, height=2.9, columns: int = 0):
    """(figure, axes): a grid of `count` panels, no empty ones, with room for a legend on top."""
    columns = columns or (2 if count in (2, 4) else min(3, count))
    rows = -(-count // columns)
    size = (max(4.8, width * columns), height * rows + 0.7)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[count:]:
        axis.axis("off")
    figure.suptitle(textwrap.fill(title, int(14 * size[0])), fontsize=11)
    return figure, list(axes.flat[:count])


def legend(figure, axes):
    """One legend for all panels: in the place of a panel that is not needed, or below them."""
    found = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    spare = [axis for axis in figure.axes if axis not in axes]
    if spare and len(found) <= 12:
        spare[0].legend(found.values(), found.keys(), loc="center")
    else:
        columns = min(4, len(found))
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def title(name: str) -> str:
    """math-oe as people write it: Math, open-ended."""
    family, _, kind = name.rpartition("-")
    if name == "all":
        return "Mean of the families"
    return f"{family.capitalize()}, {NAMES[kind]}" if kind in ("oe", "mc") else name


def sizes_of(arms: list) -> tuple[np.ndarray, str]:
    """Parameters of each arm and the axis's label, in billions unless that makes tiny numbers."""
    sizes = np.array([arm.size for arm in arms])
    return (sizes, "parameters, billions") if sizes.max() > 0.1 else (sizes * 1e9, "parameters")


def curve_name(arm) -> str:
    share = f" {arm.ratio:.0%}" if arm.format in ("sequential", "mixed") else ""
    return NAMES.get(arm.format, arm.format) + share


def log_axis(axis, values, which="x", room=1.5):
    """A log axis with plain labels, 1e19 and 3e19, so many that three are seen; `room` on its ends
    as a factor."""
    values = np.array([v for v in values if v > 0 and math.isfinite(v)])
    if not len(values):
        return
    low, high = values.min() / room, values.max() * room
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [s * 10.0**k for k in decades for s in steps if low <= s * 10.0**k <= high]
        if len(ticks) >= 3:
            break
    ticks = ticks[:: -(-len(ticks) // 6)]
    text = [f"{t:,.10g}" if 0.01 <= t < 1e6 else f"{t:.0e}".replace("e+0", "e") for t in ticks]
    text = [label.replace("e+", "e") for label in text]
    set_scale, set_ticks, set_limits = (
        getattr(axis, f"set_{which}{part}") for part in ("scale", "ticks", "lim")
    )
    set_scale("log")
    set_ticks(ticks, text)
    set_ticks([], minor=True)
    set_limits(low, high)


def by_curve(c) -> dict[str, list[int]]:
    found = {}
    for i, arm in enumerate(c.arms):
        found.setdefault(curve_name(arm), []).append(i)
    return found


# ---- the figures ----------------------------------------------------------------------------


def frontiers(corpus, cells: dict, mine: dict, kind: str, serve):
    """Accuracy with 95 % intervals against cost, one panel a family or benchmark; the frontier."""
    cells = {name: c for name, c in cells.items() if np.isfinite(c.costs["inference"]).any()
             or kind == "train"}  # fmt: skip
    if not cells:
        return None
    figure, axes = panels(len(cells), f"Trained on {corpus.name}: accuracy against {COST[kind]}")
    for axis, (name, c) in zip(axes, cells.items(), strict=True):
        cost = c.costs["train"] + serve * c.costs["inference"] if serve else c.costs[kind]
        on = [row["arm"] for row in mine["frontier"] if row["on_frontier"]
              and (row["name"], row["cost"]) == (name, kind)]  # fmt: skip
        ends = sorted((cost[i], c.accuracy[i]) for i, arm in enumerate(c.arms) if arm.label in on)
        axis.plot(*zip(*ends, strict=True), color="0.8", lw=6, zorder=1, solid_capstyle="round",
                  label="frontier")  # fmt: skip
        for curve, part in by_curve(c).items():
            format = c.arms[part[0]].format
            colour, marker, line = STYLE[format]
            if format not in ("ift", "reasoning"):  # their intervals are in points.csv
                axis.plot(cost[part], c.accuracy[part], marker, color=colour, ms=4, alpha=0.7,
                          label=format)  # fmt: skip
                continue
            bars = np.clip([c.accuracy - c.low, c.high - c.accuracy], 0, None)[:, part]
            is_line = len(part) == len({c.arms[i].scale for i in part})
            axis.errorbar(cost[part], c.accuracy[part], bars, color=colour, marker=marker, ms=4.5,
                          ls=line if is_line else "", lw=1, capsize=2, label=curve)  # fmt: skip
            for i in part if is_line else ():
                # curves rise to the right: above left and below right are free
                is_ift = format == "ift"
                axis.annotate(
                    c.arms[i].scale.removeprefix("toy-"), (cost[i], c.accuracy[i]),
                    xytext=(-4, 4) if is_ift else (4, -9), textcoords="offset points",
                    ha="right" if is_ift else "left", fontsize=6.5, color=colour,
                )  # fmt: skip
        log_axis(axis, cost, room=2.4)
        axis.margins(y=0.14)
        axis.set_title(title(name))
    for axis in axes:
        axis.set_xlabel(COST[kind])
        axis.set_ylabel("accuracy")
    legend(figure, axes)
    return figure


def matched(rows: list[dict], corpus):
    """Reasoning minus IFT at equal training FLOPs, with 95 % intervals."""
    names = [
        n
        for n in corpus.families
        if any(
            r["name"] == n and r["cost"] == "train" and math.isfinite(r["difference"]) for r in rows
        )
    ]
    if not names:
        return None
    figure, axes = panels(
        len(names), f"Trained on {corpus.name}: reasoning minus IFT at equal training FLOPs"
    )
    for axis, name in zip(axes, names, strict=True):
        mine = sorted((r for r in rows if (r["name"], r["cost"]) == (name, "train")
                       and math.isfinite(r["difference"])), key=lambda r: r["budget"])  # fmt: skip
        x, y, low, high = (
            [r[key] for r in mine]
            for key in ("budget", "difference", "difference_low", "difference_high")
        )
        axis.fill_between(x, low, high, color="#56B4E9", alpha=0.4, lw=0, label="95 % interval")
        axis.plot(x, y, color="#0072B2", marker="o", ms=3, label="difference")
        axis.axhline(0, color="black", lw=0.8)
        log_axis(axis, x)
        axis.set_title(title(name))
        axis.set_xlabel(COST["train"])
        axis.set_ylabel("difference in accuracy")
    legend(figure, axes)
    return figure


def power_laws(corpus, rows: list[dict]):
    """Inference FLOPs per answer against size, with the fitted laws."""
    cells = {n: c for n, c in corpus.families.items() if n != "all"
             and np.isfinite(c.costs["inference"]).any()}  # fmt: skip
    if not cells:
        return None
    figure, axes = panels(
        len(cells), f"Trained on {corpus.name}: inference FLOPs per answer by size"
    )
    for axis, (name, c) in zip(axes, cells.items(), strict=True):
        sizes, unit = sizes_of(c.arms)
        for curve, part in by_curve(c).items():
            if c.arms[part[0]].format not in ("ift", "reasoning"):
                continue  # in between; their laws are in power_laws.csv
            colour, marker, line = STYLE[c.arms[part[0]].format]
            axis.plot(sizes[part], c.costs["inference"][part], marker, color=colour, ms=5,
                      label=curve)  # fmt: skip
            for row in rows:
                if (row["name"], row["curve"]) == (name, c.arms[part[0]].format) and row.get("A"):
                    billions = np.array(sorted({arm.size for arm in c.arms}))
                    x, y = np.unique(sizes), row["A"] * billions ** row["p"]
                    axis.plot(x, y, line, color=colour, lw=1)
        log_axis(axis, sizes)
        log_axis(axis, c.costs["inference"], "y")
        axis.set_title(title(name))
        axis.set_xlabel(unit)
        axis.set_ylabel("FLOPs per answer")
    legend(figure, axes)
    return figure


def lengths(corpus):
    """Tokens of right and of wrong answers by size."""
    cells = {
        name: c
        for name, c in corpus.families.items()
        if name != "all" and np.isfinite(c.mean("generated_tokens_wrong")).any()
    }
    if not cells:
        return None
    figure, axes = panels(
        len(cells), f"Trained on {corpus.name}: tokens of right and of wrong answers"
    )
    for axis, (name, c) in zip(axes, cells.items(), strict=True):
        sizes, unit = sizes_of(c.arms)
        every = []
        for format in ("ift", "reasoning"):
            part = [i for i, arm in enumerate(c.arms) if arm.format == format]
            for what, line, fill in (("right", "-", "full"), ("wrong", "--", "none")):
                tokens = c.mean(f"generated_tokens_{what}")
                known = [i for i in part if np.isfinite(tokens[i])]
                if known:
                    colour, marker, _ = STYLE[format]
                    label = f"{NAMES.get(format, format)}, {what}"
                    axis.plot(sizes[known], tokens[known], ls=line, marker=marker, color=colour,
                              fillstyle=fill, label=label)  # fmt: skip
                    every += tokens[known].tolist()
        log_axis(axis, sizes)
        log_axis(axis, every, "y")
        axis.set_title(title(name))
        axis.set_xlabel(unit)
        axis.set_ylabel("generated tokens")
    legend(figure, axes)
    return figure


def early_stop(rows: list[dict], corpus):
    """Each arm's accuracy and inference cost when answers stop at percentiles of their length."""
    arms = {arm.label: arm for arm in corpus.arms if arm.format in ("ift", "reasoning")}
    rows = [row for row in rows if row["arm"] in arms]
    names = [n for n in corpus.families if any(r["name"] == n for r in rows)]
    if not names:
        return None
    figure, axes = panels(
        len(names), f"Trained on {corpus.name}: answers stopped at 50 to 99 % of their lengths"
    )
    for axis, name in zip(axes, names, strict=True):
        here = [r for r in rows if r["name"] == name]
        for label in dict.fromkeys(r["arm"] for r in here):
            mine = sorted((r for r in here if r["arm"] == label), key=lambda r: r["percentile"])
            colour, marker, _ = STYLE[arms[label].format]
            x, y = ([r[key] for r in mine] for key in ("inference_flops", "accuracy"))
            axis.plot(x, y, color=colour, lw=0.8)
            axis.plot(x[-1], y[-1], marker, color=colour, ms=5, ls="",
                      label=f"{curve_name(arms[label])}, whole answers")  # fmt: skip
        log_axis(axis, [r["inference_flops"] for r in here])
        axis.set_title(title(name))
        axis.set_xlabel(COST["inference"])
        axis.set_ylabel("accuracy")
    legend(figure, axes)
    return figure


def ratios(rows: list[dict], corpus):
    """Gain over IFT, answer length and share of answers that open <think>, against rho."""
    rows = [r for r in rows if r["name"] == "all"]
    mixes = {(r["scale"], r["order"]) for r in rows if r["order"] in ("sequential", "mixed")}
    if not mixes:
        return None
    whats = {
        "gain": "gain over IFT",
        "generated_tokens": "generated tokens",
        "opened_think": "answers that open <think>",
    }
    whats = {key: text for key, text in whats.items() if any(math.isfinite(r[key]) for r in rows)}
    figure, axes = panels(
        len(whats), f"Trained on {corpus.name}: mixes of IFT and reasoning", columns=3
    )
    scales = list(dict.fromkeys(r["scale"] for r in rows))
    for axis, (what, text) in zip(axes, whats.items(), strict=True):
        for scale, order in sorted(mixes, key=lambda mix: (scales.index(mix[0]), mix[1])):
            orders = (order, "ift", "reasoning")
            mine = [r for r in rows if r["scale"] == scale and r["order"] in orders]
            mine.sort(key=lambda r: r["ratio"])
            x, y = [r["ratio"] for r in mine], np.array([r[what] for r in mine])
            _, marker, line = STYLE[order]
            colour = SHADES[scales.index(scale) % len(SHADES)]
            axis.plot(x, y, marker=marker, ls=line, color=colour, ms=4.5, label=f"{scale} {order}")
            if what == "gain":
                bars = [y - [r["gain_low"] for r in mine], [r["gain_high"] for r in mine] - y]
                axis.errorbar(x, y, np.clip(bars, 0, None), color=colour, ls="", capsize=2, lw=0.8)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axis.set_xlabel("rho, the share of reasoning samples")
        axis.set_ylabel(text)
        axis.set_ylim(bottom=None if what == "gain" else 0)
    legend(figure, axes)
    return figure
