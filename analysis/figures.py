"""The figures of pareto.py, one function a kind of figure in the paper, each drawn if it has data.

Colours are Okabe and Ito's, told apart in colour blindness; every format has its own marker, for
print in grey.
"""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analysis.intervals import Comparison
from analysis.tables import select
from config import ANSWERS

LOOK = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "legend.frameon": False, "axes.titlesize": 9.5, "savefig.dpi": 160,
}  # fmt: skip
STYLE = {  # format: colour, marker, line
    "ift": ("#0072B2", "o", "-"),
    "reasoning": ("#D55E00", "s", "-"),
    "sequential": ("#009E73", "^", "--"),
    "mixed": ("#CC79A7", "D", ":"),
}
SHADES = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"]
NAMES = {"oe": "open-ended", "mc": "multiple choice"}
COST = {
    "train": "training FLOPs",
    "inference": "inference FLOPs per answer",
    "total": "training and serving FLOPs",
}


def draw(folder: Path, comparisons: list[Comparison], tables: dict, serve) -> dict[str, list[str]]:
    """Writes what there is data for as PNG files: {corpus: its files}."""
    files = {}
    corpora = list(dict.fromkeys(c.corpus for c in comparisons))
    for corpus in corpora:
        of_corpus = [c for c in comparisons if c.corpus == corpus]
        families = [c for c in of_corpus if c.level == "family"]
        benchmarks = [c for c in of_corpus if c.level == "benchmark"]
        prefix = f"{corpus}-" if len(corpora) > 1 else ""
        sheet = Sheet(folder, f"Trained on {corpus}: ", prefix)
        rows = {n: [r for r in table if r.get("corpus") == corpus] for n, table in tables.items()}
        for kind in ("train", "inference", "total") if serve else ("train", "inference"):
            frontiers(sheet, f"frontier-{kind}", families, rows["frontier"], kind, serve)
        frontiers(sheet, "benchmarks", benchmarks, rows["frontier"], "train", serve)
        matched(sheet, families, rows["matched"])
        power_laws(sheet, families, rows["power_laws"])
        lengths(sheet, families)
        early_stop(sheet, families, rows["early_stop"])
        ratios(sheet, rows["ratios"])
        files[corpus] = sheet.files
    return files


@dataclass
class Sheet:
    """Makes the figures of one corpus: `files` in `folder`."""

    folder: Path
    heading: str  # begins every figure's title
    prefix: str  # begins every file's name
    files: list[str] = field(default_factory=list)

    def panels(self, name, title, panels: list, xlabel="", ylabel="", columns=0) -> Iterator:
        """Yields (axes, data) of each panel, (its title, its data); then adds the legend and saves.

        No panels: no figure. One legend serves all panels: in the place of a panel that is not
        needed, or below them.
        """
        if not panels:
            return
        import matplotlib.figure  # takes a second

        columns = columns or (2 if len(panels) in (2, 4) else min(3, len(panels)))
        rows = math.ceil(len(panels) / columns)
        size = (max(4.8, 3.6 * columns), 2.9 * rows + 0.7)
        with matplotlib.rc_context(LOOK):
            figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
            figure.suptitle(textwrap.fill(self.heading + title, int(14 * size[0])), fontsize=11)
            axes, labels = figure.subplots(rows, columns, squeeze=False).flat, {}
            for axis, (heading, data) in zip(axes, panels, strict=False):
                axis.set(title=heading, xlabel=xlabel, ylabel=ylabel)
                yield axis, data
                for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                    labels.setdefault(label, handle)
            spare = figure.axes[len(panels) :]
            for axis in spare:
                axis.axis("off")
            entries = (labels.values(), labels.keys())
            if spare and len(labels) <= 12:
                spare[0].legend(*entries, loc="center")
            else:
                figure.legend(*entries, loc="outside lower center", ncols=min(4, len(labels)))
            self.files.append(f"{self.prefix}{name}.png")
            figure.savefig(self.folder / self.files[-1])


# ---- pieces ---------------------------------------------------------------------------------


def title(name: str) -> str:
    """math-oe as people write it: Math, open-ended."""
    family, _, kind = name.rpartition("-")
    if name == "all":
        return "Mean of the families"
    return f"{family.capitalize()}, {NAMES[kind]}" if kind in NAMES else name


def curve_title(curve: str) -> str:
    return "IFT" if curve == "ift" else curve


def sizes_of(c: Comparison) -> tuple[np.ndarray, str]:
    """Parameters of each arm and the axis's label, in billions unless that makes tiny numbers."""
    sizes = np.array([arm.size for arm in c.arms])
    return (sizes, "parameters, billions") if sizes.max() > 0.1 else (sizes * 1e9, "parameters")


def log_axis(axis, values, room=1.5):
    """Makes an axis (axes.xaxis or axes.yaxis) logarithmic, with plain labels, 1e19 and 3e19, so
    many that three are seen; `room` at its ends as a factor."""
    values = np.array([v for v in values if v > 0 and math.isfinite(v)])
    if not len(values):
        return
    low, high = values.min() / room, values.max() * room
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [s * 10.0**k for k in decades for s in steps if low <= s * 10.0**k <= high]
        if len(ticks) >= 3:
            break
    ticks = ticks[:: math.ceil(len(ticks) / 6)]
    labels = [f"{t:,.10g}" if 0.01 <= t < 1e6 else f"{t:.0e}".replace("e+0", "e") for t in ticks]
    which = axis.axis_name
    axis.axes.set(**{f"{which}scale": "log"})
    axis.set_ticks(ticks, [label.replace("e+", "e") for label in labels])
    axis.set_ticks([], minor=True)
    axis.axes.set(**{f"{which}lim": (low, high)})


# ---- the figures ----------------------------------------------------------------------------


def frontiers(sheet, name, comparisons, rows: list[dict], kind: str, serve):
    """Accuracy with 95 % intervals against cost, one panel a family or benchmark; the frontier."""
    panels = [
        (title(c.name), c)
        for c in comparisons
        if kind == "train" or np.isfinite(c.costs["inference"]).any()
    ]
    heading = f"accuracy against {COST[kind]}"
    for axis, c in sheet.panels(name, heading, panels, COST[kind], "accuracy"):
        cost = c.cost(kind, serve)
        on = {row["arm"] for row in select(rows, name=c.name, cost=kind, on_frontier=True)}
        ends = sorted((cost[i], c.accuracy[i]) for i, arm in enumerate(c.arms) if arm.label in on)
        wide = {"lw": 6, "zorder": 1, "solid_capstyle": "round"}
        axis.plot(*zip(*ends, strict=True), color="0.8", label="frontier", **wide)
        for curve, members in c.curves().items():
            colour, marker, line = STYLE[c.arms[members[0]].recipe.format]
            x, y = cost[members], c.accuracy[members]
            if curve not in ANSWERS:  # their intervals are in points.csv
                label = c.arms[members[0]].recipe.format
                axis.plot(x, y, marker, color=colour, ms=4, alpha=0.7, label=label)
                continue
            scales = [c.arms[i].recipe.scale for i in members]
            is_line = len(set(scales)) == len(scales)
            look = {"color": colour, "marker": marker, "ls": line if is_line else ""}
            low, high = c.bounds[:, members]
            bars = np.clip([y - low, high - y], 0, None)
            look |= {"ms": 4.5, "lw": 1, "capsize": 2, "label": curve_title(curve)}
            axis.errorbar(x, y, bars, **look)
            # curves rise to the right: above left and below right are free
            place, side = ((-4, 4), "right") if curve == "ift" else ((4, -9), "left")
            small = {"ha": side, "fontsize": 6.5, "color": colour, "textcoords": "offset points"}
            for scale, *at in zip(scales, x, y, strict=True) if is_line else ():
                axis.annotate(scale.removeprefix("toy-"), at, place, **small)
        log_axis(axis.xaxis, cost, room=2.4)
        axis.margins(y=0.14)


def matched(sheet, families, rows: list[dict]):
    """Reasoning minus IFT at equal training FLOPs, with 95 % intervals."""
    rows = [row for row in select(rows, cost="train") if math.isfinite(row["difference"])]
    rows.sort(key=lambda row: row["budget"])
    panels = [(title(c.name), known) for c in families if (known := select(rows, name=c.name))]
    labels = (COST["train"], "difference in accuracy")
    heading = "reasoning minus IFT at equal training FLOPs"
    for axis, known in sheet.panels("matched", heading, panels, *labels):
        names = ("budget", "difference", "difference_low", "difference_high")
        x, y, low, high = ([row[name] for row in known] for name in names)
        axis.fill_between(x, low, high, color="#56B4E9", alpha=0.4, lw=0, label="95 % interval")
        axis.plot(x, y, color="#0072B2", marker="o", ms=3, label="difference")
        axis.axhline(0, color="black", lw=0.8)
        log_axis(axis.xaxis, x)


def power_laws(sheet, families, rows: list[dict]):
    """Inference FLOPs per answer against size, with the fitted laws."""
    panels = [
        (title(c.name), c)
        for c in families
        if c.name != "all" and np.isfinite(c.costs["inference"]).any()
    ]
    heading, ylabel = "inference FLOPs per answer by size", "FLOPs per answer"
    for axis, c in sheet.panels("power-laws", heading, panels, ylabel=ylabel):
        sizes, unit = sizes_of(c)
        billions = np.array(sorted({arm.size for arm in c.arms}))
        for curve, members in c.curves().items():
            if curve not in ANSWERS:
                continue  # in between; their laws are in power_laws.csv
            colour, marker, line = STYLE[curve]
            cost, label = c.costs["inference"][members], curve_title(curve)
            axis.plot(sizes[members], cost, marker, color=colour, ms=5, label=label)
            for row in select(rows, name=c.name, curve=curve):
                if "A" in row:
                    law = row["A"] * billions ** row["p"]
                    axis.plot(np.unique(sizes), law, line, color=colour, lw=1)
        log_axis(axis.xaxis, sizes)
        log_axis(axis.yaxis, c.costs["inference"])
        axis.set_xlabel(unit)


def lengths(sheet, families):
    """Tokens of right and of wrong answers by size."""
    panels = [
        (title(c.name), c)
        for c in families
        if c.name != "all" and np.isfinite(c.mean("generated_tokens_wrong")).any()
    ]
    heading, ylabel = "tokens of right and of wrong answers", "generated tokens"
    for axis, c in sheet.panels("lengths", heading, panels, ylabel=ylabel):
        (sizes, unit), curves, shown = sizes_of(c), c.curves(), []
        for format in ANSWERS:
            for what, line, fill in (("right", "-", "full"), ("wrong", "--", "none")):
                tokens = c.mean(f"generated_tokens_{what}")
                known = [i for i in curves.get(format, []) if np.isfinite(tokens[i])]
                if known:
                    colour, marker, _ = STYLE[format]
                    look = {"ls": line, "marker": marker, "color": colour, "fillstyle": fill}
                    label = f"{curve_title(format)}, {what}"
                    axis.plot(sizes[known], tokens[known], label=label, **look)
                    shown += tokens[known].tolist()
        log_axis(axis.xaxis, sizes)
        log_axis(axis.yaxis, shown)
        axis.set_xlabel(unit)


def early_stop(sheet, families, rows: list[dict]):
    """Each arm's accuracy and inference cost when answers stop at percentiles of their length."""
    panels = []
    for c in families:
        arms = [(arm, select(rows, name=c.name, arm=arm.label)) for arm in c.arms]
        arms = [(arm.curve, stops) for arm, stops in arms if stops and arm.curve in ANSWERS]
        panels += [(title(c.name), arms)] if arms else []
    heading, labels = (
        "answers stopped at 50 to 99 % of their lengths",
        (COST["inference"], "accuracy"),
    )
    for axis, arms in sheet.panels("early-stop", heading, panels, *labels):
        for curve, stops in arms:
            colour, marker, _ = STYLE[curve]
            x, y = ([row[key] for row in stops] for key in ("inference_flops", "accuracy"))
            axis.plot(x, y, color=colour, lw=0.8)
            label = f"{curve_title(curve)}, whole answers"
            axis.plot(x[-1], y[-1], marker, color=colour, ms=5, ls="", label=label)
        log_axis(axis.xaxis, [row["inference_flops"] for _, stops in arms for row in stops])


def ratios(sheet, rows: list[dict]):
    """Gain over IFT, answer length and share of answers that open <think>, against rho."""
    rows = sorted(select(rows, name="all"), key=lambda row: row["ratio"])
    scales = list(dict.fromkeys(r["scale"] for r in rows))
    mixes = {(r["scale"], r["order"]) for r in rows if r["order"] not in ANSWERS}
    mixes = sorted(mixes, key=lambda mix: (scales.index(mix[0]), mix[1]))
    columns = {
        "gain": "gain over IFT",
        "generated_tokens": "generated tokens",
        "opened_think": "answers that open <think>",
    }
    known = [("", name) for name in columns if any(math.isfinite(row[name]) for row in rows)]
    heading, xlabel = "mixes of IFT and reasoning", "rho, the share of reasoning samples"
    for axis, name in sheet.panels("ratios", heading, known if mixes else [], xlabel, columns=3):
        for scale, order in mixes:
            points = [r for r in select(rows, scale=scale) if r["order"] in (order, *ANSWERS)]
            x, y, low, high = (
                np.array([row[key] for row in points])
                for key in ("ratio", name, "gain_low", "gain_high")
            )
            colour, (_, marker, line) = SHADES[scales.index(scale) % len(SHADES)], STYLE[order]
            label = f"{scale} {order}"
            axis.plot(x, y, marker=marker, ls=line, color=colour, ms=4.5, label=label)
            if name == "gain":
                bars = np.clip([y - low, high - y], 0, None)
                axis.errorbar(x, y, bars, color=colour, ls="", capsize=2, lw=0.8)
        axis.set(xticks=[0, 0.25, 0.5, 0.75, 1], ylabel=columns[name])
        axis.set_ylim(bottom=None if name == "gain" else 0)
