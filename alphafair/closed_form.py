"""Across groups: one price, at which money is worth the same everywhere.

Group k turns money x_k into utility V_k(x_k) (`alphafair.value`).  Maximising ``Σ_k w_k φ_α(V_k(x_k))``
over ``Σ x = Q`` equates marginal values: ``λ = w_k V_k^{−α} V_k'`` for every group with money.

**Where V is linear**, V = p x, this has a closed form.  ``w_k p_k (p_k x_k)^{−α} = λ`` gives

    utilities   u_k ∝ (w_k p_k)^{1/α}
    budgets     x_k ∝ (w_k p_k)^{1/α} / p_k,  that is  x = Q softmax(log(w)/α + (1/α − 1) log p)

α = 1 gives shares w, α = ∞ equal utilities, α = 0 everything to the groups of largest w p.

**Elsewhere** the price is searched for.  Take minus the logarithm of the condition and divide by
max(α, 1), so that all α from 0 to ∞ are of one size: at the price level ℓ a group stands where

    min(α, 1) log V_k − min(1, 1/α) (log w_k + log V_k') = ℓ,

the left side increases with x_k, and Σ x_k(ℓ) = Q has one solution.  At α = ∞ the level is the
logarithm of the common utility; groups that have reached all their caps stay behind and the others
go on rising (leximin).  At α = 0 a linear piece of V is taken whole or not at all; groups that tie
at the margin get equal amounts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .checks import Floats, Integers
from .value import ROUNDING, Knapsack, Levels, begins, money_exponent

EPSILON = np.finfo(float).eps
CLOSE = 4 * EPSILON  # spending this near the budget is the budget
MOST_STEPS = 400


def budget_shares(log_weight: Floats, log_productivity: Floats, alpha: float) -> Floats:
    """(K,) π = softmax( log(w)/α + (1/α − 1) log p ), in logarithms, so that nothing overflows.

    Any constant may be added to either logarithm: the problem's are relative to the largest.
    """
    if alpha == 0:  # the limit: everything to the groups of largest w p, in equal parts
        score = log_weight + log_productivity
        tied = score >= score.max() - ROUNDING * (1 - log_weight - log_productivity)
        return np.asarray(tied / tied.sum())
    tilt = money_exponent(alpha)
    exponent = (tilt + 1) * log_weight + tilt * log_productivity
    share = np.exp(exponent - exponent.max())
    return np.asarray(share / share.sum())


def price_search(
    value: Knapsack | Levels,
    log_weight: Floats,
    alpha: float,
    budget: float = 1.0,
    least: Floats | None = None,
    most: Floats | None = None,
) -> Floats:
    """(K,) optimal money of each group, in the units of ``value``.

    Args:
        value: what money is worth inside the groups.
        log_weight: (K,) log w.
        alpha: α in [0, ∞].
        budget: Q in the units of ``value``.
        least, most: (K,) bounds of the groups' budgets; default: the floors, and no bound.

    Returns:
        (K,) money that adds up to the budget, or to what all caps take, if that is less.
    """
    least = value.least if least is None else np.maximum(least, value.least)
    most = value.most if most is None else np.minimum(most, value.most)
    if least.sum() >= budget * (1 - ROUNDING):
        return least
    if most.sum() <= budget * (1 + ROUNDING):
        return most
    if isinstance(value, Levels) and value.within == np.inf:
        return _water(value, log_weight, alpha, budget, least, most)
    market = _Market(value, log_weight, alpha, least, most)
    return _snap(value, market.clear(budget), least, most)


def _water(
    value: Levels,
    log_weight: Floats,
    alpha: float,
    budget: float,
    least: Floats,
    most: Floats,
) -> Floats:
    """ε = ∞: a group whose worst-off member cannot rise gains nothing; the others rise first.

    Once no group can gain, the rest of the money raises the level of all alike (leximin over
    people), as it does from the beginning at α = ∞.
    """
    first = value.start[:-1]
    stuck = first + np.add.reduceat(value.log_slope > -np.inf, first, dtype=np.intp)
    useful = np.clip(value.money[np.minimum(stuck, value.start[1:] - 1)], least, most)
    if alpha < np.inf and useful.sum() > budget:
        market = _Market(value, log_weight, alpha, least, useful)
    elif alpha < np.inf:
        market = _Market(value, log_weight, np.inf, useful, most, by_level=True)
    else:
        market = _Market(value, log_weight, np.inf, least, most, by_level=True)
    return _snap(value, market.clear(budget), least, most)


@dataclass
class _Demand:
    """What every group spends at one level of the price."""

    level: float
    piece: Integers
    money: Floats
    total: float


class _Market:
    """The groups' demand for money as a function of the level ℓ of its price."""

    def __init__(
        self,
        value: Knapsack | Levels,
        log_weight: Floats,
        alpha: float,
        least: Floats,
        most: Floats,
        by_level: bool = False,
    ) -> None:
        self.value, self.log_weight, self.alpha = value, log_weight, alpha
        self.least, self.most = least, most
        self.of_value = min(alpha, 1.0)
        self.of_slope = 1.0 if alpha <= 1 else 1 / alpha
        self.by_level = by_level
        if by_level:
            assert isinstance(value, Levels)
            begins = np.where(value.log_value == np.inf, np.inf, value.level)
            begins[value.start[1:] - 1] = np.inf
            first = value.start[:-1]
            self._search: Callable[[float], Integers] = lambda level: (
                np.add.reduceat(begins <= level, first, dtype=np.intp) + first - 1
            )
        else:
            self._search = value.searcher(self.of_value, self.of_slope, log_weight)

    def at(self, level: float) -> _Demand:
        """The demand at this level."""
        piece = self._search(level)
        if self.by_level:
            assert isinstance(self.value, Levels)
            money = self.value.money_at_level(level, piece)
        else:
            money = self.value.money_at(level, piece, self.of_value, self.of_slope, self.log_weight)
        money = np.clip(money, self.least, self.most)
        return _Demand(level, piece, money, float(money.sum()))

    def clear(self, budget: float) -> Floats:
        """(K,) the demand that adds up to the budget."""
        low, high = self._bracket(budget)
        if self.alpha == 0:
            return self._share_equally(low, high, budget)
        low, high = self._narrow(low, high, budget)
        room = high.total - low.total
        part = (budget - low.total) / room if room > 0 else 0.0
        return low.money + part * (high.money - low.money)

    def _bracket(self, budget: float) -> tuple[_Demand, _Demand]:
        """Two levels around the budget."""
        low = high = self.at(self._first_guess())
        step = max(1.0, self.of_slope)
        while low.total > budget:
            low, high, step = self.at(low.level - step), low, 2 * step
        while high.total < budget:
            low, high, step = high, self.at(high.level + step), 2 * step
        return low, high

    def _first_guess(self) -> float:
        """The level at which some pieces in the middle begin."""
        value = self.value
        some = np.arange(0, value.money.size, max(1, value.money.size // 64))
        level = begins(self.of_value, self.of_slope, value.log_value[some], value.log_slope[some])
        level = level[np.isfinite(level)]
        return float(np.median(level)) if level.size else 0.0

    def _narrow(self, low: _Demand, high: _Demand, budget: float) -> tuple[_Demand, _Demand]:
        """Shrink the bracket until demand is linear on it (ε = 0) or its ends are one.

        Bisection and the secant of log demand take turns.
        """
        for count in range(MOST_STEPS):
            if self._is_linear(low, high):
                break
            if low.total >= budget * (1 - CLOSE):
                return low, low
            if high.total <= budget * (1 + CLOSE):
                return high, high
            level = low.level + (high.level - low.level) / 2
            if count % 3 and 0 < low.total < high.total:
                rise = np.log(high.total) - np.log(low.total)
                part = (np.log(budget) - np.log(low.total)) / rise if rise > 0 else 0.5
                secant = low.level + (high.level - low.level) * part
                level = secant if low.level < secant < high.level else level
            if high.level - low.level <= EPSILON * (1 + abs(level)):
                break
            at = self.at(level)
            low, high = (at, high) if at.total < budget else (low, at)
        return low, high

    def _is_linear(self, low: _Demand, high: _Demand) -> bool:
        """Whether between two levels all demands are linear in each other, as on one piece each.

        At ε = 0 a group that stands on a piece has V = (w σ/λ)^{1/α}, and x is linear in V.
        """
        if not isinstance(self.value, Knapsack) or (low.piece != high.piece).any():
            return False
        moves = low.money != high.money
        inside = np.ones(moves.size, bool)
        for bound in (self.least, self.most, *self._ends(low.piece)):
            inside &= (low.money != bound) & (high.money != bound)
        return bool((inside | ~moves).all())

    def _ends(self, piece: Integers) -> tuple[Floats, Floats]:
        place = np.maximum(piece, self.value.start[:-1])
        return self.value.money[place], self.value.money[place + 1]

    def _share_equally(self, low: _Demand, high: _Demand, budget: float) -> Floats:
        """α = 0: groups that tie at the margin get equal amounts, as far as their bounds go."""
        # All pieces whose w V' equals that at the margin, up to rounding, lie within the slack.
        slack = ROUNDING * (1 + np.abs(self.log_weight).max() + abs(high.level))
        while high.level - low.level > slack / 4:
            at = self.at(low.level + (high.level - low.level) / 2)
            if not low.level < at.level < high.level:
                break
            low, high = (at, high) if at.total < budget else (low, at)
        low, high = self.at(low.level - slack), self.at(high.level + slack)
        rest = budget - low.total
        room = np.minimum(high.money - low.money, rest)
        rising = np.sort(room)
        poorer = np.cumsum(rising) - rising  # what the groups with less room take
        each = (rest - poorer) / np.arange(room.size, 0, -1)
        enough = each <= rising  # nowhere, by a rounding, where the rest fills all the room exactly
        amount = each[np.argmax(enough)] if enough.any() else rising[-1]
        return low.money + np.minimum(room, amount)


def _snap(value: Knapsack | Levels, money: Floats, least: Floats, most: Floats) -> Floats:
    """Put groups that stand at a breakpoint or a bound, up to rounding, exactly there."""
    piece = value.locate(money)
    begins = value.money[piece]
    ends = value.money[np.minimum(piece + 1, value.money.size - 1)]
    ends = np.where(piece + 1 < value.start[1:], ends, np.inf)
    near = ROUNDING * np.where(np.isfinite(ends), ends, begins)
    if isinstance(value, Levels):  # the rounding of the level counts as well
        near = near + ROUNDING * value.stretch(piece)
    money = np.where((piece > value.start[:-1]) & (money - begins <= near), begins, money)
    money = np.where(money >= ends - near, ends, money)
    money = np.where(np.abs(money - least) <= ROUNDING * np.abs(least), least, money)
    return np.where(money >= most * (1 - ROUNDING), np.minimum(money, most), money)
