"""Frontiers, interpolation and fits on points whose answers are known by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import frontier

COSTS = np.array([1.0, 10.0, 10.0, 100.0, 100.0, 1000.0])
ACCURACY = np.array([0.2, 0.4, 0.3, 0.5, 0.5, 0.45])


def slow_frontier(costs, accuracy):
    """The definition: nothing at most as costly and as accurate, and better in one of them."""
    costs = np.asarray(costs, dtype=float).reshape(len(accuracy), -1)
    on = []
    for i in range(len(accuracy)):
        dominated = any(
            (costs[j] <= costs[i]).all()
            and accuracy[j] >= accuracy[i]
            and ((costs[j] < costs[i]).any() or accuracy[j] > accuracy[i])
            for j in range(len(accuracy))
        )
        on.append(not dominated)
    return np.array(on)


def test_frontier_margins_and_cost_ratios_by_hand():
    on = frontier.is_on_frontier(COSTS, ACCURACY)
    assert on.tolist() == [True, True, False, True, True, False]  # the two equal points both hold
    margins = frontier.standing(COSTS, ACCURACY)[1]
    assert margins[0] == np.inf
    np.testing.assert_allclose(margins[1:], [0.1, -0.1, 0.0, 0.0, -0.05])
    # 0.3 is half-way from 0.2 to 0.4 on a log axis from 1 to 10; 0.45 half-way from 10 to 100
    ratios = frontier.cost_ratio(COSTS, ACCURACY)
    np.testing.assert_allclose(ratios, [1, 1, 10**0.5, 1, 1, 1000 / 10**1.5])


def test_two_costs_by_hand():
    costs = np.array([[1, 9], [2, 1], [3, 3], [3, 3], [1, 9]])
    on = frontier.is_on_frontier(costs, np.array([0.5, 0.4, 0.4, 0.6, 0.3]))
    assert on.tolist() == [True, True, False, True, False]


def test_matched_values_by_hand_and_nothing_is_extrapolated():
    at = frontier.accuracy_at(COSTS, ACCURACY, np.array([0.9, 1, 10**0.5, 500, 1000, 1001]))[0]
    np.testing.assert_allclose(at, [np.nan, 0.2, 0.3, 0.5, 0.5, np.nan])


grid = st.integers(0, 5)  # few values, so that ties and duplicates are common


@given(st.lists(st.tuples(grid, grid, grid), min_size=1, max_size=30), st.randoms())
@settings(deadline=None)
def test_frontier_equals_its_definition_in_any_order(points, random):
    costs, accuracy = np.array([p[:2] for p in points]), np.array([p[2] for p in points]) / 5
    order = list(range(len(points)))
    random.shuffle(order)
    for k in (1, 2):
        on = frontier.is_on_frontier(costs[:, :k], accuracy)
        assert (on == slow_frontier(costs[:, :k], accuracy)).all()
        again = frontier.is_on_frontier(costs[order, :k], accuracy[order])
        assert (again == on[order]).all()


@given(st.lists(st.tuples(grid, grid, grid), min_size=1, max_size=20), st.integers(0, 19))
@settings(deadline=None)
def test_a_dominated_point_changes_no_frontier(points, i):
    a, b, y = points[i % len(points)]
    on = {}
    for more in ([], [(a + 1, b, y)], [(a, b, y - 1)], [(a + 1, b + 2, y - 1)]):
        every = np.array([*points, *more])
        mine = frontier.is_on_frontier(every[:, :2], every[:, 2] / 5.0)
        on[str(more)] = mine[: len(points)].tolist()
        assert not more or not mine[-1]
    assert len(set(map(tuple, on.values()))) == 1


@given(st.lists(st.tuples(grid, grid), min_size=1, max_size=20))
@settings(deadline=None)
def test_margins_and_ratios_agree_with_membership(points):
    costs, accuracy = np.array([10.0 ** p[0] for p in points]), np.array([p[1] for p in points]) / 5
    on = frontier.is_on_frontier(costs, accuracy)
    margins, ratios = frontier.standing(costs, accuracy)[1], frontier.cost_ratio(costs, accuracy)
    assert (margins[on] >= 0).all() and (margins[~on] <= 0).all()
    np.testing.assert_allclose(ratios[on], 1)
    assert (ratios[~on] >= 1 - 1e-9).all()


def test_draws_are_the_rows_one_by_one():
    rng = np.random.default_rng(0)
    costs, draws = rng.integers(1, 6, (40, 2)), rng.integers(0, 6, (7, 40)) / 5
    for k in (1, 2):
        together = frontier.is_on_frontier(costs[:, :k], draws)
        alone = [slow_frontier(costs[:, :k], row) for row in draws]
        assert (together == alone).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_fit_recovers_the_curve_behind_noiseless_points(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.05, 0.3), rng.uniform(0.2, 0.6)
    c, e = rng.uniform(0.5, 2), rng.uniform(0.3, 0.9)
    x = np.geomspace(1e18, 1e21, 7)
    y = a + b * (1 - np.exp(-c * (x / np.exp(np.log(x).mean())) ** e))
    fit = frontier.fit(x, y, noise=1e-5)
    np.testing.assert_allclose([fit.a, fit.b, fit.c, fit.e], [a, b, c, e], rtol=2e-3)
    assert fit.mae < 1e-4 and fit.loo < 1e-3 and fit.identified, fit
    np.testing.assert_allclose(fit(x), y, atol=1e-4)


def test_the_least_absolute_error_is_found():
    """Against all lines through two points, for random g: no other a and b do better."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        g, y, top = np.sort(rng.random((1, 6))), rng.random(6), 0.9
        a, b, mae = (part[0] for part in frontier._linear(g, y, top))
        assert a >= -1e-9 and b >= -1e-9 and a + b <= top + 1e-9
        axis = np.linspace(0, top, 181)
        best = min(
            np.abs(y - p - q * g[0]).mean()
            for p, q in itertools.product(axis, axis)
            if p + q <= top
        )
        assert best - 0.01 < mae <= best + 1e-12


def test_a_fit_keeps_to_its_constraints():
    x = np.geomspace(1e18, 1e20, 6)
    fit = frontier.fit(x, np.linspace(0.2, 0.7, 6), ceiling=0.75)
    assert fit.a >= 0 and fit.b > 0 and fit.c > 0 and 0 < fit.e <= 1
    assert fit.a + fit.b <= 0.75 + 1e-9


@pytest.mark.parametrize(
    "x, y, what",
    [
        ([1e18, 1e19, 1e20], [0.1, 0.2, 0.3], "3 distinct costs"),
        ([1e18, 1e18, 1e19, 1e20], [0.1, 0.1, 0.2, 0.3], "3 distinct costs"),
        ([1e18, 1e19, 1e20, 1e21], [0.4, 0.3, 0.2, 0.1], "does not rise"),
        ([1e18, 1e19, 1e20, 1e21], [0.3] * 4, "does not rise"),
        ([1e18, 1e19, 1e20, 1e21], [0.1, 0.2, 0.3, np.nan], "finite"),
        ([0, 1e19, 1e20, 1e21], [0.1, 0.2, 0.3, 0.4], "positive"),
        ([1e18, 1e19, 1e20, 1e21], [0.1, 0.2, 0.3, 0.95], "ceiling 0.9"),
    ],
)
def test_impossible_fits_are_refused(x, y, what):
    with pytest.raises(ValueError, match=what):
        frontier.fit(x, y, ceiling=0.9)


def test_a_fit_that_its_points_do_not_identify_says_so():
    x = np.geomspace(1e18, 1e20, 5)
    rising = frontier.fit(x, [0.10, 0.15, 0.20, 0.25, 0.30], noise=0.01)  # no bend at all
    assert not rising.identified and "fit as well" in rising.why_not
    assert rising.plateau[1] - rising.plateau[0] > 0.1
    four = frontier.fit(x[:4], [0.1, 0.2, 0.25, 0.26])
    assert not four.identified and "4 points" in four.why_not and np.isnan(four.loo)


def test_a_power_law_is_recovered():
    sizes = np.array([0.5, 1.5, 3, 7, 14])
    a, p, spread = frontier.power_law(sizes, 2.67e13 * sizes**0.77)
    np.testing.assert_allclose([a, p, spread], [2.67e13, 0.77, 1], rtol=1e-9)
    with pytest.raises(ValueError, match="one size"):
        frontier.power_law([3, 3], [1, 2])
