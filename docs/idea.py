"""The idea as a picture: one prompt, two answers, two students, one frontier.

    python docs/idea.py      # writes docs/idea.png

The prompt and its answers are a pair of the toy teacher. 14B on the paper's IFT answers and 3B on
its traces take 6.3e19 and 7.0e19 training FLOPs (flops.py). The frontier is a sketch, no result.
"""

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

INK, GREY, BAND = "#1b1f24", "#6b7280", "#dfe3e8"
BLUE, ORANGE = "#0072B2", "#D55E00"  # as in the study's figures
PROMPT = "Ball in A.\n1 A C\n2 C B\nWhere is it?"
PLAIN, TRACE = "\\boxed{B}", "<think>\n1 A C A C\n2 C B C B\n</think>\n\\boxed{B}"
WIDTH, LOW, HIGH = 800, 28, 350  # pixels at 100 dpi: one unit of the picture


def label(axes, x, y, text, colour, size=10.0, **style):
    axes.text(x, y, text, color=colour, size=size, ha="center", va="center", **style)


def card(axes, box, colour, title, text):
    """A rounded box (left, bottom, width, height): a title, and text as a model sees it."""
    left, bottom, width, height = box
    style = dict(boxstyle="round,pad=0,rounding_size=9", fc=(colour, 0.07), ec=colour, lw=1.3)
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, **style))
    top, left = bottom + height, left + 13
    axes.text(left, top - 20, title, color=colour, size=10.5, weight="bold", va="center")
    style = dict(size=9.5, family="monospace", va="top", linespacing=1.45)
    axes.text(left, top - 37, text, color=INK, **style)


def arrow(axes, start, end, colour, bend=0.0):
    style = dict(arrowstyle="-|>", mutation_scale=13, shrinkA=0, shrinkB=0, lw=1.6)
    bent = f"arc3,rad={bend}"
    axes.add_patch(FancyArrowPatch(start, end, color=colour, connectionstyle=bent, **style))


def student(axes, x, y, radius, colour, size, name):
    axes.add_patch(Circle((x, y), radius, fc=colour))
    label(axes, x, y, size, "white", weight="bold")
    label(axes, x, y - radius - 13, name, colour)


def frontier(axes):
    """Accuracy against training FLOPs: the curves of two formats cross."""
    axes.plot((592, 592, 782), (292, 66, 66), color=GREY, lw=1.1, solid_capstyle="round")
    label(axes, 687, 51, "training FLOPs", GREY)
    label(axes, 579, 179, "accuracy", GREY, rotation=90)
    label(axes, 626, 182, "frontier", GREY, style="italic", rotation=44)
    plain = [(608, 108), (642, 148), (680, 184), (720, 208), (762, 218)]
    traces = [(630, 84), (666, 122), (702, 176), (734, 244), (768, 280)]
    round_ends = dict(solid_capstyle="round", solid_joinstyle="round")
    axes.plot(*zip(*plain[:4], *traces[3:], strict=True), color=BAND, lw=13, **round_ends)
    for points, colour in ((plain, BLUE), (traces, ORANGE)):
        axes.plot(*zip(*points, strict=True), color=colour, lw=1.5)
        for i, point in enumerate(points):
            axes.add_patch(Circle(point, 3.2 + 1.2 * i, fc=colour, ec="white", lw=0.8, zorder=3))


def main():
    figure = plt.figure(figsize=(WIDTH / 100, (HIGH - LOW) / 100), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(LOW, HIGH), aspect="equal")
    axes.axis("off")
    titles = {81: "one prompt", 265: "two answers", 452: "two students", 688: "one frontier"}
    for x, title in titles.items():
        label(axes, x, 328, title, INK, 12.5, weight="bold")
    card(axes, (12, 115, 138, 130), GREY, "prompt", PROMPT)
    card(axes, (190, 227, 150, 66), BLUE, "plain (IFT)", PLAIN)
    card(axes, (190, 44, 150, 150), ORANGE, "with reasoning", TRACE)
    student(axes, 452, 260, 42, BLUE, "14B", "larger")
    student(axes, 452, 104, 25, ORANGE, "3B", "smaller")
    label(axes, 452, 165, "about the\nsame FLOPs", GREY, style="italic")
    arrow(axes, (152, 195), (188, 255), GREY, -0.15)
    arrow(axes, (152, 165), (188, 125), GREY, 0.15)
    arrow(axes, (344, 260), (405, 260), BLUE)
    arrow(axes, (344, 104), (422, 104), ORANGE)
    arrow(axes, (499, 252), (562, 222), BLUE)
    arrow(axes, (482, 108), (562, 146), ORANGE)
    frontier(axes)
    figure.savefig(Path(__file__).with_name("idea.png"), dpi=200)


if __name__ == "__main__":
    main()
