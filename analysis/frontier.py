"""Frontiers, interpolation, fits and power laws over points (cost, accuracy): numpy functions.

Accuracies may be [n] or [B, n], B bootstrap draws of the same n points; costs never vary by draw.
Shares are 0..1, costs are FLOPs (any positive unit will do).
"""

from dataclasses import dataclass

import numpy as np

# ---- who is dominated -----------------------------------------------------------------------


def rivals(costs: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(cheaper, same) [B, n]: the best accuracy among points that cost no more than each point in
    any cost and less in one, and among the others of the very same costs; -inf where none is.

    costs [n, k], k 1 or 2; accuracy [B, n]. One pass in the order of the first cost; for two, a
    Fenwick tree holds the running maxima over the second (Kung et al. 1975), O(n log n).
    """
    costs = np.asarray(costs, dtype=float)
    draws, n = accuracy.shape
    _, group = np.unique(costs, axis=0, return_inverse=True)  # groups in lexicographic order
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    best = np.maximum.reduceat(accuracy[:, order], starts, axis=1)  # [B, groups]

    same = np.full((draws, n), -np.inf)
    for members in np.split(order, starts[1:]):
        for i in members if len(members) > 1 else ():
            same[:, i] = accuracy[:, members[members != i]].max(1)

    below = np.full(best.shape, -np.inf)
    if costs.shape[1] == 1:
        below[:, 1:] = np.maximum.accumulate(best, axis=1)[:, :-1]
        return below[:, group], same
    values, rank = np.unique(costs[order[starts], 1], return_inverse=True)
    tree = np.full((len(values) + 1, draws), -np.inf)
    for g, place in enumerate(rank.tolist()):
        i = place + 1
        while i:  # the maximum over ranks up to this one
            np.maximum(below[:, g], tree[i], out=below[:, g])
            i &= i - 1
        i = place + 1
        while i <= len(values):
            np.maximum(tree[i], best[:, g], out=tree[i])
            i += i & -i
    return below[:, group], same


def standing(costs: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(on frontier, margin), each shaped as accuracy, [n] or [B, n]; costs [n] or [n, k], k 1 or 2.

    On the frontier: no point has at most its costs and at least its accuracy, one of them better;
    equal points hold it together. Margin: accuracy above the best of the others that cost no more,
    inf where there is none.
    """
    draws = np.atleast_2d(accuracy)
    cheaper, same = rivals(np.asarray(costs).reshape(draws.shape[1], -1), draws)
    on = (draws > cheaper) & (draws >= same)
    margin = draws - np.maximum(cheaper, same)
    return on.reshape(np.shape(accuracy)), margin.reshape(np.shape(accuracy))


def is_on_frontier(costs: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    return standing(costs, accuracy)[0]


# ---- between points -------------------------------------------------------------------------


def vertices(costs: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(costs, accuracies) of the frontier's distinct points, both rising; costs [n]."""
    order = np.lexsort((-accuracy, costs))
    rising = np.maximum.accumulate(accuracy[order])
    is_better = np.diff(rising, prepend=-np.inf) > 0
    return costs[order][is_better], rising[is_better]


def accuracy_at(costs: np.ndarray, accuracy: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Accuracy [B, budgets] of the frontier at each budget, linear in log cost between its points.

    NaN at budgets below the cheapest or above the costliest point: nothing is extrapolated. From
    the last vertex to the costliest point, which adds nothing, the frontier is flat.
    """
    draws = np.atleast_2d(accuracy)
    at = np.empty((len(draws), len(budgets)))
    for row, values in zip(at, draws, strict=True):
        x, y = vertices(costs, values)
        row[:] = np.interp(np.log(budgets), np.log(x), y)
    at[:, (budgets < costs.min()) | (budgets > costs.max())] = np.nan
    return at


def cost_ratio(costs: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """[n] cost of each point over the frontier's at the same accuracy: 1 on the frontier.

    costs, accuracy [n]. Below the frontier's lowest accuracy the ratio is to its cheapest point, so
    that it is a lower bound there.
    """
    x, y = vertices(costs, accuracy)
    return costs / np.exp(np.interp(accuracy, y, np.log(x)))


# ---- curves ---------------------------------------------------------------------------------


@dataclass
class Fit:
    """accuracy = a + b (1 - exp(-c (x / unit)^e)); mae and loo in accuracy, 0..1."""

    a: float
    b: float
    c: float
    e: float
    unit: float  # the points' geometric mean cost, in FLOPs
    mae: float
    loo: float  # mean absolute error at a point left out; NaN for fewer than 5 points
    plateau: tuple[float, float]  # a + b among the curves that fit as well, within the noise
    identified: bool
    why_not: str = ""

    def __call__(self, x):
        return self.a + self.b * (1 - np.exp(-self.c * (np.asarray(x) / self.unit) ** self.e))


def fit(costs, accuracy, ceiling: float = 1.0, noise: float = 0.002) -> Fit:
    """The paper's saturating curve by least mean absolute error, under its constraints:
    a, b > 0, a + b <= ceiling (the teacher's accuracy), c > 0, 0 < e <= 1.

    costs, accuracy [n]; noise: what two fits may differ in mean absolute error and count as equal,
    the points' standard error. More than 8 points are averaged in 8 bins by cost. ValueError for
    points that no such curve describes: fewer than 4 distinct costs, values that are no accuracy
    or above the ceiling, accuracy that does not rise.
    """
    x, y = np.asarray(costs, dtype=float), np.asarray(accuracy, dtype=float)
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all()):
        raise ValueError("costs must be positive and accuracies finite")
    if len(np.unique(x)) < 4:
        raise ValueError(f"{len(np.unique(x))} distinct costs; four parameters need at least 4")
    if y.min() < 0 or y.max() > ceiling:
        raise ValueError(f"accuracies must lie between 0 and the ceiling {ceiling:g}")
    slope = np.polyfit(np.log(x), y, 1)[0]
    if slope <= 1e-9:
        raise ValueError("accuracy does not rise with cost")
    x, y = _bins(x, y)
    unit = float(np.exp(np.log(x).mean()))
    (a, b, c, e), mae, near = _search(x / unit, y, ceiling, noise)
    if b <= 1e-9:
        raise ValueError("accuracy does not rise with cost")
    errors = []
    for i in range(len(x)) if len(np.unique(x)) >= 5 else ():
        rest = np.arange(len(x)) != i
        if len(np.unique(x[rest])) >= 4:
            a_, b_, c_, e_ = _search(x[rest] / unit, y[rest], ceiling, noise)[0]
            errors.append(abs(a_ + b_ * (1 - np.exp(-c_ * (x[i] / unit) ** e_)) - y[i]))
    why = []
    if len(np.unique(x)) < 5:
        why.append("4 points pass through a curve of 4 parameters whatever they are")
    if near[1] - near[0] > 0.1:
        why.append(f"plateaus from {near[0]:.2f} to {near[1]:.2f} fit as well")
    if near[1] > ceiling - 1e-3:
        why.append("the ceiling, not the points, ends the range of plateaus")
    loo = float(np.mean(errors)) if errors else np.nan
    return Fit(a, b, c, e, unit, mae, loo, near, not why, "; ".join(why))


def _bins(x, y, most: int = 8):
    """At most `most` points: means of neighbours in cost, equally many each."""
    bins = np.array_split(np.argsort(x, kind="stable"), min(most, len(x)))
    return tuple(np.array([values[members].mean() for members in bins]) for values in (x, y))


def _search(x, y, ceiling, noise):
    """((a, b, c, e), mae, plateau range) by nested grids: for each exponent e the cost where half
    of b is reached, ever closer; then exponents around the best one."""
    span = np.log(x.max() / x.min())
    middle, wide = np.log(x.max() * x.min()) / 2, 7 * span  # of the log of the half-way cost
    exponents, tried, best = np.linspace(0.02, 1, 17), [], (np.inf,)
    for _ in range(6):
        half, width = np.full(len(exponents), middle), wide
        rows = np.arange(len(exponents))
        for _ in range(8):
            halves = half[:, None] + width * np.linspace(-0.5, 0.5, 13)  # [exponents, 13]
            c = np.log(2) * np.exp(-halves * exponents[:, None])
            g = 1 - np.exp(-c[..., None] * x ** exponents[:, None, None])
            lines = _linear(g.reshape(-1, len(x)), y, ceiling)
            a, b, mae = (values.reshape(halves.shape) for values in lines)
            tried.append((mae.reshape(-1), (a + b).reshape(-1)))
            at = mae.argmin(1)
            half, width = halves[rows, at], width * 0.25
        i = int(mae[rows, at].argmin())
        j = at[i]
        if mae[i, j] < best[0]:
            best = tuple(float(v) for v in (mae[i, j], a[i, j], b[i, j], c[i, j], exponents[i]))
        exponents = np.linspace(exponents[max(i - 1, 0)], exponents[min(i + 1, len(rows) - 1)], 9)
    maes, plateaus = (np.concatenate(values) for values in zip(*tried, strict=True))
    near = plateaus[maes <= best[0] + noise]
    return best[1:], best[0], (float(near.min()), float(near.max()))


def _linear(g, y, ceiling):
    """(a, b, mae) of y = a + b g with the least mean absolute error, for every row of g [rows, n],
    under a, b >= 0 and a + b <= ceiling.

    A linear program in two unknowns has its optimum where two of its lines cross: those of the
    points, a + g_i b = y_i, or of the constraints. All crossings are tried.
    """
    rows, n = g.shape
    p = np.append(np.ones(n), (1, 0, 1))
    q = np.concatenate([g, np.tile((0.0, 1.0, 1.0), (rows, 1))], axis=1)
    r = np.append(y, (0, 0, ceiling))
    i, j = np.triu_indices(n + 3, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = p[i] * q[:, j] - p[j] * q[:, i]
        a = (r[i] * q[:, j] - r[j] * q[:, i]) / scale
        b = (p[i] * r[j] - p[j] * r[i]) / scale  # [rows, crossings]
        is_allowed = (a >= -1e-12) & (b >= -1e-12) & (a + b <= ceiling + 1e-12)
        mae = np.abs(y - a[..., None] - b[..., None] * g[:, None]).mean(2)
    best = np.where(is_allowed, mae, np.inf).argmin(1)
    at = np.arange(rows), best
    return a[at], b[at], mae[at]


def power_law(sizes, costs) -> tuple[float, float, float]:
    """(A, p, spread) of cost = A size^p by least squares in logs; spread: the residuals' standard
    deviation as a factor (1.05: 5 %), NaN for fewer than three sizes. ValueError for one size."""
    x, y = np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(costs, dtype=float))
    if len(np.unique(x)) < 2:
        raise ValueError("one size only: a power law needs two")
    p, log_a = np.polyfit(x, y, 1)
    rest = y - log_a - p * x
    spread = np.exp(np.sqrt((rest**2).sum() / (len(x) - 2))) if len(x) > 2 else np.nan
    return float(np.exp(log_a)), float(p), float(spread)
