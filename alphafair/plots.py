"""Pictures of allocations.  Every function takes results, returns the Axes, and never shows them.

Needs the extra ``alphafair[plots]``: matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .allocation import Allocation
from .checks import Floats, Integers
from .evaluation import PlanValue, Qini
from .frontier import Frontier, FrontierBands
from .paths import BudgetPath
from .problem import Problem

ALPHA_TICKS = (0, 0.5, 1, 2, 5, np.inf)
FILLED = ("no dose", "up to half", "over half", "all")  # of the utility that the caps allow
FILLED_COLOURS = ("#d9d9d9", "#9ecae1", "#4292c6", "#08306b")  # darker is fuller
STEPS = 400  # of money, along the curve of a group
COLUMNS = 60  # budgets, along a path, at which doses are counted if there are many people,
COUNTED = 100_000  # and how many people are counted in all if there are few
FULL = 1 - 1e-9  # reached, up to the rounding of a group's last dose


def allocation(result: Allocation, ax: Axes | None = None) -> Axes:
    """Two bars a group: its part of the budget and its part of the utility, both in percent.

    Args:
        result: an `Allocation` with a positive budget.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([2.0, 1.0], 1.0, ["near", "far"], budget=3.0, alpha=2)
        >>> allocation(a).get_ylabel()
        'percent of the total'
    """
    ax = ax or plt.subplots()[1]
    place = np.arange(result.group_share.size)
    utility = result.group_utility / result.group_utility.sum()
    ax.bar(place - 0.2, 100 * result.group_share, 0.4, label="budget")
    ax.bar(place + 0.2, 100 * utility, 0.4, label="utility")
    ax.set_xticks(place, [str(label) for label in result.group_labels])
    ax.set(xlabel="group", ylabel="percent of the total", title=_title(result.alpha))
    ax.legend()
    return ax


def value(
    problem: Problem,
    result: Allocation | None = None,
    ax: Axes | None = None,
    *,
    marginal: bool = False,
) -> Axes:
    """What money is worth inside each group: V_k(x), from the money of its floors to the budget.

    A point on each curve is what the allocation does.  With ``marginal`` the slopes V_k'(x) are
    drawn; an infinite slope, where at within > 0 somebody has nothing while others have something,
    is left out.

    Args:
        problem: a `Problem` with a positive budget.
        result: an `Allocation` of this problem, marked on the curves.
        ax: where to draw; a new figure by default.
        marginal: draw V' instead of V.

    Returns:
        The Axes.

    Raises:
        ValueError: a budget of 0.

    Example:
        >>> import alphafair as af
        >>> problem = af.Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], budget=4.0, cap=2.0)
        >>> ax = value(problem, problem.allocate(1))
        >>> [[float(v) for v in line.get_ydata()[[0, -1]]] for line in ax.lines[::2]]
        [[0.0, 4.0], [0.0, 4.0]]
        >>> ax.get_ylabel()
        'utility of the group, V'
    """
    if problem.budget == 0:
        raise ValueError("budget is 0: there is no money whose worth could be drawn")
    ax = ax or plt.subplots()[1]
    worth = problem.marginal_utility if marginal else problem.group_utility
    part = np.linspace(0, 1, STEPS + 1)[:, None]
    least = problem.spent_at_floors
    money = least + part * np.maximum(problem.budget - least, 0)
    height = np.array([worth(row) for row in money])
    height[np.isinf(height)] = np.nan  # matplotlib leaves it out
    for k, label in enumerate(problem.groups.label):
        style = "steps-post" if marginal and problem.within == 0 else "default"
        line = ax.plot(money[:, k], height[:, k], drawstyle=style, label=str(label))[0]
        if result is not None:
            x = result.group_budget
            ax.plot(x[k], worth(x)[k], "o", color=line.get_color())
    unit = "utility of one more unit of money, V'" if marginal else "utility of the group, V"
    ax.set(xlabel="money of the group", ylabel=unit, title=_title(result.alpha) if result else "")
    ax.set_ylim(bottom=0)
    ax.legend(title="group")
    return ax


def budget_split(results: Sequence[Allocation], ax: Axes | None = None) -> Axes:
    """How the budget is split over the groups, as α goes from 0 to ∞ on one axis.

    Args:
        results: allocations of one problem at several α, in any order.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes; α is drawn at α/(1 + α), so that ∞ has a place.

    Example:
        >>> import alphafair as af
        >>> problem = af.Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
        >>> ax = budget_split([problem.allocate(alpha) for alpha in (0.1, 1, 10)])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['far', 'near']
    """
    ax = ax or plt.subplots()[1]
    ordered = sorted(results, key=lambda result: result.alpha)
    share = np.array([100 * result.group_share for result in ordered])
    labels = [str(label) for label in ordered[0].group_labels]
    position = alpha_position([result.alpha for result in ordered])
    ax.stackplot(position, share.T, labels=labels, alpha=0.85)
    _alpha_axis(ax)
    ax.set(ylabel="percent of the budget", ylim=(0, 100))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=min(5, len(labels)), frameon=False)
    return ax


def lorenz(results: Allocation | Sequence[Allocation], ax: Axes | None = None) -> Axes:
    """Lorenz-like curves: the part of all utility that the worst-off part of the groups has.

    Groups count equally, as in Σ_k φ_α(u_k) without weights.  The diagonal is equality.

    Args:
        results: one `Allocation`, or several, a curve each.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([2.0, 1.0], 1.0, ["near", "far"], budget=3.0, alpha=1)
        >>> lorenz(a).get_ylabel()
        'part of all utility'
    """
    ax = ax or plt.subplots()[1]
    for result in [results] if isinstance(results, Allocation) else results:
        held = np.cumsum(np.sort(result.group_utility)) / result.group_utility.sum()
        part = np.linspace(0, 1, held.size + 1)
        ax.plot(part, np.concatenate([[0], held]), marker="o", label=_title(result.alpha))
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":", label="equality")
    ax.set(xlabel="part of the groups, worst off first", ylabel="part of all utility")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.legend()
    return ax


def frontier(
    result: Frontier,
    bands: FrontierBands | None = None,
    ax: Axes | None = None,
    bound: ArrayLike | None = None,
) -> Axes:
    """The price of fairness as α goes from 0 to ∞, in percent of the largest total.

    Args:
        result: a `Frontier`.
        bands: `FrontierBands`, drawn as a shade.
        ax: where to draw; a new figure by default.
        bound: (A,) the worst case for each α of ``result``, by `price_of_fairness_bound` with the
            players and the spread of this problem.

    Returns:
        The Axes.

    Raises:
        ValueError: a bound of another length.

    Example:
        >>> import alphafair as af
        >>> problem = af.Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
        >>> ax = frontier(af.frontier(problem))
        >>> float(ax.lines[0].get_ydata()[-1].round(2))  # max-min: 2 each instead of 6 and 0
        33.33
    """
    ax = ax or plt.subplots()[1]
    order = np.argsort(result.alpha, kind="stable")
    position = alpha_position(result.alpha[order])
    if bands is not None:
        low, high = 100 * bands.lower.price_of_fairness, 100 * bands.upper.price_of_fairness
        at = np.argsort(bands.alpha, kind="stable")
        label = f"{100 * bands.level:g} % band"
        ax.fill_between(alpha_position(bands.alpha[at]), low[at], high[at], alpha=0.25, label=label)
    ax.plot(position, 100 * result.price_of_fairness[order], label="this problem")
    if bound is not None:
        worst = _bound(bound, result)[order]
        ax.plot(position, 100 * worst, color="grey", linestyle="--", label="worst case")
    _alpha_axis(ax)
    ax.set_ylabel("price of fairness, percent")
    ax.set_ylim(bottom=0)
    if bands is not None or bound is not None:
        ax.legend()
    return ax


def trade_off(result: Frontier, ax: Axes | None = None) -> Axes:
    """Efficiency against equity: each α a point, to the right the more equal, upwards the more.

    Args:
        result: a `Frontier`.  Those of its α that are among 0, 0.5, 1, 2, 5, ∞ are written at their
            points; all of them if none is.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes.

    Example:
        >>> import alphafair as af
        >>> problem = af.Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
        >>> [text.get_text() for text in trade_off(af.frontier(problem)).texts]
        ['α = 0', '0.5', '1', '2', '5', '∞']
    """
    ax = ax or plt.subplots()[1]
    order = np.argsort(result.alpha, kind="stable")
    alpha, mean = result.alpha[order], result.mean_utility[order]
    equity = result.min_utility[order] / result.group_utility.max(axis=1)[order]
    line = ax.plot(equity, mean)[0]
    written = np.isin(alpha, ALPHA_TICKS)
    written = written if written.any() else np.ones(alpha.size, bool)
    ax.plot(equity[written], mean[written], "o", color=line.get_color())
    for j, row in enumerate(np.flatnonzero(written)):
        text = alpha_text(alpha[row]) if j else _title(alpha[row])
        ax.annotate(text, (equity[row], mean[row]), (4, 4), textcoords="offset points")
    ax.set(xlabel="equity: least over largest utility", ylabel="efficiency: mean utility")
    ax.margins(0.12)  # room for the texts
    return ax


def who_is_funded(results: Allocation | Sequence[Allocation], ax: Axes | None = None) -> Axes:
    """How many people of each group get a dose.

    For one allocation a bar a group, all of its people; with caps it is divided by the part of the
    utility that a person's caps allow which the person reaches.  For several, a table of percents,
    a column for each α.

    Args:
        results: one `Allocation`, or several of one problem.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes.

    Example:
        >>> import alphafair as af
        >>> a = af.allocate([2.0, 1.0, 3.0], 1.0, ["near", "near", "far"], budget=3.0, alpha=1)
        >>> [text.get_text() for text in who_is_funded(a).texts]
        ['1 of 1', '1 of 2']
    """
    several = [results] if isinstance(results, Allocation) else results
    if ax is None:
        width, _ = plt.rcParams["figure.figsize"]
        height = 1.4 + 0.4 * several[0].group_labels.size
        ax = plt.subplots(figsize=(width, height))[1]
    ax.grid(visible=False)
    ax.set_yticks(
        np.arange(several[0].group_labels.size), [str(label) for label in several[0].group_labels]
    )
    ax.set_ylabel("group")
    if isinstance(results, Allocation):
        _funded_bars(results, ax)
    else:
        _funded_table(sorted(results, key=lambda result: result.alpha), ax)
    return ax


def budget_path(result: BudgetPath, ax: Axes | None = None, *, stacked: bool = False) -> Axes:
    """What each group gets, as the budget grows.

    Args:
        result: a `BudgetPath`.
        ax: where to draw; a new figure by default.
        stacked: one on top of the other, so that the edge is what is spent in all.

    Returns:
        The Axes.

    Example:
        >>> import alphafair as af
        >>> problem = af.Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], budget=4.0, cap=2.0)
        >>> ax = budget_path(af.budget_path(problem, 1, [0, 4, 6, 8]))
        >>> [line.get_ydata().tolist() for line in ax.lines]
        [[0.0, 2.0, 4.0, 4.0], [0.0, 2.0, 2.0, 2.0]]
    """
    ax = ax or plt.subplots()[1]
    order = np.argsort(result.budget, kind="stable")
    budget, money = result.budget[order], result.group_budget[order]
    labels = [str(label) for label in result.group_labels]
    if stacked:
        ax.stackplot(budget, money.T, labels=labels, alpha=0.85)
    else:
        ax.plot(budget, money, label=labels)
    ax.set(xlabel="budget", ylabel="money of the group", title=_title(result.alpha))
    ax.set_ylim(bottom=0)
    ax.legend(title="group", reverse=stacked)
    return ax


def price_path(result: BudgetPath, ax: Axes | None = None) -> Axes:
    """What one more unit of money is worth, as the budget grows: λ(Q), on a logarithmic scale.

    Budgets at which the price is ∞ (nobody has anything yet) or 0 (all caps are reached) are left
    out.

    Args:
        result: a `BudgetPath`.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes.

    Example:
        >>> import alphafair as af
        >>> problem = af.Problem([2.0, 1.0], 1.0, ["near", "far"], budget=3.0)
        >>> ax = price_path(af.budget_path(problem, 1, [0, 1, 2, 4]))
        >>> ax.lines[0].get_ydata()
        array([nan, 2. , 1. , 0.5])
    """
    ax = ax or plt.subplots()[1]
    order = np.argsort(result.budget, kind="stable")
    price = result.price[order]
    price = np.where(np.isfinite(price) & (price > 0), price, np.nan)
    ax.plot(result.budget[order], price)
    ax.set(yscale="log", xlabel="budget", title=_title(result.alpha))
    ax.set_ylabel("price, welfare for one more unit of money")
    return ax


def funded_path(result: BudgetPath, ax: Axes | None = None) -> Axes:
    """Which part of each group's people get a dose, in percent, as the budget grows.

    For more than 1600 people doses are computed at no more than 60 of the budgets, spread evenly
    from the first to the last.

    Args:
        result: a `BudgetPath`.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes.

    Example:
        >>> import alphafair as af
        >>> problem = af.Problem([3.0, 1.0, 2.0], 1.0, ["a", "a", "b"], budget=4.0, cap=2.0)
        >>> ax = funded_path(af.budget_path(problem, 1, [0, 2, 6]))
        >>> [line.get_ydata().tolist() for line in ax.lines]
        [[0.0, 50.0, 100.0], [0.0, 100.0, 100.0]]
    """
    ax = ax or plt.subplots()[1]
    order = np.argsort(result.budget, kind="stable")
    most = max(COLUMNS, COUNTED // len(result.problem.groups))
    kept = np.unique(np.linspace(0, order.size - 1, min(order.size, most)).round().astype(int))
    rows = order[kept].tolist()
    some = [_people(result[row])[:, 1:].sum(axis=1) for row in rows]
    percent = 100 * np.array(some) / result.problem.groups.size
    labels = [str(label) for label in result.group_labels]
    ax.plot(result.budget[rows], percent, drawstyle="steps-post", label=labels)
    ax.set(xlabel="budget", ylabel="percent of people who get a dose", ylim=(0, 103))
    ax.set_title(_title(result.alpha))
    ax.legend(title="group")
    return ax


def plan_values(
    values: Mapping[str, PlanValue], ax: Axes | None = None, level: float = 0.95
) -> Axes:
    """What an experiment says of plans, or of differences of plans: a point and its interval each.

    With groups there is a row for each group under the row of all people.

    Args:
        values: what `alphafair.evaluation.plan_value` returns, by the names of the plans.
        ax: where to draw; a new figure by default.
        level: of the intervals, in (0, 1).

    Returns:
        The Axes.

    Example:
        >>> from alphafair.evaluation import plan_value
        >>> gain = [1.0, 3.0]
        >>> ax = plan_values({"all": plan_value(1, gain), "half": plan_value(0.5, gain)})
        >>> [float(x) for line in ax.containers for x in line[0].get_xdata()]
        [2.0, 1.0]
    """
    ax = ax or plt.subplots()[1]
    rows = ["everybody"]
    for shift, (name, value) in zip(_spread(len(values)), values.items(), strict=True):
        mean, interval = np.array([value.estimate]), value.interval(level)[None]
        if value.group_estimate is not None and value.group_labels is not None:
            mean = np.append(mean, value.group_estimate)
            interval = np.vstack([interval, value.group_interval(level)])
            rows = ["everybody", *map(str, value.group_labels)]
        place = np.arange(mean.size) + shift
        width = abs(interval.T - mean)
        ax.errorbar(mean, place, xerr=width, fmt="o", capsize=3, label=name)
    ax.axvline(0, color="grey", linewidth=1)
    ax.set_yticks(np.arange(len(rows)), rows)
    ax.set(xlabel=f"gain a person, with its {100 * level:g} % interval")
    ax.invert_yaxis()
    if len(values) > 1:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=min(3, len(values)))
    return ax


def _spread(count: int) -> Floats:
    """Places of ``count`` points next to each other around 0."""
    middle = (count - 1) / 2
    return np.linspace(-middle, middle, count) * min(0.2, 0.6 / count)


def qini(
    curves: Qini | Mapping[str, Qini],
    ax: Axes | None = None,
    *,
    group: object = None,
    level: float = 0.95,
) -> Axes:
    """Qini curves: what rules add at each budget, shaded with their pointwise intervals.

    Args:
        curves: what `alphafair.evaluation.qini` returns, one or several by name.
        ax: where to draw; a new figure by default.
        group: a label: then the curves of this group instead of those of all people.
        level: of the intervals, in (0, 1).

    Returns:
        The Axes.

    Raises:
        ValueError: a group that the curves do not have.

    Example:
        >>> from alphafair import evaluation
        >>> curve = evaluation.qini(lambda q: q / 2, [0.0, 1.0, 2.0], [1.0, 3.0])
        >>> qini(curve).lines[0].get_ydata()
        array([0., 1., 2.])
    """
    ax = ax or plt.subplots()[1]
    several = {"": curves} if isinstance(curves, Qini) else curves
    for name, curve in several.items():
        height, interval = curve.estimate, curve.interval(level)
        if group is not None:
            k = _group_of(curve, group)
            assert curve.group_estimate is not None
            height, interval = curve.group_estimate[:, k], curve.group_interval(level)[:, k]
        line = ax.plot(curve.budget, height, label=name)[0]
        ax.fill_between(curve.budget, *interval.T, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.axhline(0, color="grey", linewidth=1)
    ax.set(xlabel="budget", ylabel=f"gain a person, with {100 * level:g} % intervals")
    if isinstance(curves, Mapping):
        ax.legend()
    return ax


def _group_of(curve: Qini, group: object) -> int:
    """The position of a group's label."""
    labels = [] if curve.group_labels is None else curve.group_labels.tolist()
    if group not in labels:
        raise ValueError(f"group is {group!r}: must be one of the curve's groups, {labels}")
    return labels.index(group)


def _funded_bars(result: Allocation, ax: Axes) -> None:
    count, size = _people(result), result.group_size
    names, colours, head = list(FILLED), list(FILLED_COLOURS), "utility, of what the caps allow"
    if result.problem.cap is None:  # without caps no dose is full
        names, colours, head = ["no dose", "a dose"], [colours[0], colours[3]], ""
    start, place = np.zeros(size.size), np.arange(size.size)
    for level in np.flatnonzero(count.any(axis=0))[::-1]:  # the fullest first
        part = 100 * count[:, level] / size
        ax.barh(place, part, left=start, color=colours[level], label=names[level])
        start = start + part
    for k, funded in enumerate(count[:, 1:].sum(axis=1).tolist()):
        ax.text(102, k, f"{funded} of {size[k]}", va="center")
    ax.set(xlim=(0, 125), xlabel="percent of the group's people", title=_title(result.alpha))
    ax.set_xticks([0, 25, 50, 75, 100])
    ax.invert_yaxis()
    below = -0.45 * ax.figure.dpi / ax.bbox.height  # 0.45 inch below the axes: ticks and label
    anchor = (0.5, below)
    ax.legend(loc="upper center", bbox_to_anchor=anchor, ncols=2, frameon=False, title=head)


def _funded_table(results: Sequence[Allocation], ax: Axes) -> None:
    funded = [_people(result)[:, 1:].sum(axis=1) / result.group_size for result in results]
    percent = 100 * np.array(funded).T
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    ax.set(xlabel="α", title="percent of people who get a dose")
    if len(results) > 8:
        position = np.unique(np.linspace(0, len(results) - 1, 6).round().astype(int))
        ax.figure.colorbar(image, ax=ax)
    else:
        position = np.arange(len(results))
        for (k, j), value in np.ndenumerate(percent):
            text = f"{value:.0f}" if value == 0 or value >= 1 else "<1"
            ax.text(j, k, text, ha="center", va="center", color="w" if value > 50 else "k")
    ax.set_xticks(position, [alpha_text(round(results[j].alpha, 2)) for j in position])


def _people(result: Allocation) -> Integers:
    """(K, L) people by group and level: no dose or a dose (L = 2); with caps the L = 4 `FILLED`."""
    problem = result.problem
    level = (result.dose > 0).any(axis=1).astype(np.intp)
    levels = 2
    if problem.cap is not None:
        benefit = np.maximum(problem.benefit, 0)
        allowed = np.where(benefit > 0, problem.cap, 0)
        most = (benefit * allowed).sum(axis=1)
        part = (benefit * result.dose).sum(axis=1) / np.where(most > 0, most, 1)
        level, levels = level * (1 + (part > 0.5) + (part >= FULL)), 4
    groups = len(result.group_labels)
    cell = problem.groups.code * np.intp(levels) + level  # codes alone are too short for it
    return np.bincount(cell, minlength=groups * levels).reshape(groups, levels)


def _bound(bound: ArrayLike, result: Frontier) -> Floats:
    worst = np.asarray(bound, float)
    if worst.shape != result.alpha.shape:
        raise ValueError(
            f"bound has shape {worst.shape}: must be {result.alpha.shape}, one for each α: "
            f"[price_of_fairness_bound(alpha, players) for alpha in result.alpha]"
        )
    return worst


def _alpha_axis(ax: Axes) -> None:
    ax.set_xticks(alpha_position(ALPHA_TICKS), [alpha_text(a) for a in ALPHA_TICKS])
    ax.set(xlabel="α", xlim=(0, 1))


def alpha_position(alpha: ArrayLike) -> Floats:
    """α/(1 + α), which puts [0, ∞] on [0, 1].

    Example:
        >>> alpha_position([0, 1, np.inf])
        array([0. , 0.5, 1. ])
    """
    return 1 - 1 / (1 + np.asarray(alpha, float))


def alpha_text(alpha: float) -> str:
    """α as a short label.

    Example:
        >>> alpha_text(np.inf), alpha_text(0.5)
        ('∞', '0.5')
    """
    return "∞" if alpha == np.inf else f"{alpha:g}"


def _title(alpha: float) -> str:
    return f"α = {alpha_text(alpha)}"
