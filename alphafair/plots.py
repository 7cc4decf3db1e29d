"""Pictures of allocations.  Every function takes results, returns the Axes, and never shows them.

Needs the extra ``alphafair[plots]``: matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .closed_form import Allocation
from .problem import Floats

ALPHA_TICKS = (0, 0.5, 1, 2, 5, np.inf)


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
    ax.set_xticks(alpha_position(ALPHA_TICKS), [alpha_text(a) for a in ALPHA_TICKS])
    ax.set(xlabel="α", ylabel="percent of the budget", xlim=(0, 1), ylim=(0, 100))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=min(4, len(labels)), frameon=False)
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


def alpha_position(alpha: Sequence[float]) -> Floats:
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
