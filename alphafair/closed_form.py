"""Across groups: one price, at which money is worth the same everywhere.

Group k turns money x_k into utility V_k(x_k) (`alphafair.value`).  Maximising
``Σ_k w_k φ_α(V_k(x_k))`` over ``Σ x = Q`` equates marginal values: ``λ = w_k V_k^{−α} V_k'`` for
every group with money.

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

from typing import NamedTuple

import numpy as np

from .checks import Floats, Integers
from .kernels import DEMAND
from .value import ENDLESS, ROUNDING, Knapsack, Levels, begins, money_exponent

EPSILON = np.finfo(float).eps
CLOSE = 1e-12  # spending this near the budget is put right to first order
NEAR = 1e-3  # a step in the level, a logarithm, after which Newton's method has all but arrived
MOST_STEPS = 400
MOST_NEWTON = 12  # before the bracket is widened by doubled steps alone


def budget_shares(log_weight: Floats, log_productivity: Floats, alpha: float) -> Floats:
    """(K,) π = softmax( log(w)/α + (1/α − 1) log p ), in logarithms, so that nothing overflows.

    Any constant may be added to either logarithm: the problem's are relative to the largest.
    """
    if alpha == 0:  # the limit: everything to the groups of largest w p, in equal parts
        score = log_weight + log_productivity
        tied = score >= score.max() - ROUNDING * (1 - log_weight - log_productivity)
        return np.asarray(tied / tied.sum())
    return _softmax(money_exponent(alpha), log_weight, log_productivity)


def budget_shares_along(log_weight: Floats, log_productivity: Floats, alpha: Floats) -> Floats:
    """(A, K) the same at each α of (A,), to the last bit."""
    tilt = np.array([money_exponent(each) for each in alpha.tolist()])
    share = _softmax(tilt[:, None], log_weight, log_productivity)
    share[alpha == 0] = budget_shares(log_weight, log_productivity, 0.0)
    return share


def _softmax(tilt: float | Floats, log_weight: Floats, log_productivity: Floats) -> Floats:
    """(..., K) for a tilt 1/α − 1, or for a column of them."""
    share = tilt * log_productivity  # the rest is done in place: K can be large
    if log_weight.any():  # equal weights, the usual case, change nothing
        share += (tilt + 1) * log_weight
    share -= share.max(axis=-1, keepdims=True)
    np.exp(share, out=share)
    share /= share.sum(axis=-1, keepdims=True)
    return np.asarray(share)


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
    useful = np.clip(value.useful, least, most)
    if alpha < np.inf and useful.sum() > budget:
        market = _Market(value, log_weight, alpha, least, useful)
    elif alpha < np.inf:
        market = _Market(value, log_weight, np.inf, useful, most, by_level=True)
    else:
        market = _Market(value, log_weight, np.inf, least, most, by_level=True)
    return _snap(value, market.clear(budget), least, most)


class _Demand(NamedTuple):
    """What every group spends at one level of the price.

    Attributes:
        level: ℓ.
        piece: (K,) the pieces that have begun.
        money: (K,) x.
        total: Σ x.
        stretch: (K,) dx/dℓ; 0 for groups at the end of a piece or at a bound.
    """

    level: float
    piece: Integers
    money: Floats
    total: float
    stretch: Floats


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
        self._large = DEMAND.compiles(value.money.size) and isinstance(value, Knapsack)
        if isinstance(value, Knapsack) and self._large:
            pieces = (value.value, value.slope, value.money, value.start)
            self._arguments = (self.of_value, self.of_slope, *pieces, log_weight, least, most)
        elif by_level:
            assert isinstance(value, Levels)
            self._search = value.level_searcher()
        else:
            self._search = value.searcher(self.of_value, self.of_slope, log_weight)

    def _spend(self, level: float, piece: Integers) -> tuple[Floats, Floats]:
        if self.by_level:
            assert isinstance(self.value, Levels)
            return self.value.money_at_level(level, piece)
        return self.value.money_at(level, piece, self.of_value, self.of_slope, self.log_weight)

    def at(self, level: float) -> _Demand:
        """The demand at this level."""
        if self._large:
            return _Demand(level, *DEMAND.compiled(float(level), *self._arguments))
        piece = self._search(level)
        money, stretch = self._spend(level, piece)
        bounded = np.minimum(np.maximum(money, self.least), self.most)
        stretch = np.where((self.least < money) & (money < self.most), stretch, 0.0)
        return _Demand(level, piece, bounded, float(bounded.sum()), stretch)

    def clear(self, budget: float) -> Floats:
        """(K,) the demand that adds up to the budget."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            low, high = self._bracket(budget)
            if self.alpha == 0:
                return self._share_equally(low, high, budget)
            low, high = self._narrow(low, high, budget)
            if low is high:  # up to rounding: the rest goes to those who move
                moved = low.stretch.sum()
                part = low.stretch / moved if 0 < moved < np.inf else 0.0
                money = low.money + (budget - low.total) * part
                return np.minimum(np.maximum(money, self.least), self.most)
            room = high.total - low.total
            part = (budget - low.total) / room if room > 0 else 0.0
            return low.money + part * (high.money - low.money)

    def _bracket(self, budget: float) -> tuple[_Demand, _Demand]:
        """Two levels around the budget: Newton's steps or, where demand is flat, doubled ones."""
        at = self.at(self._first_guess(budget))
        low, high = (at, None) if at.total < budget else (None, at)
        step, turn = max(1.0, self.of_slope), 0
        while low is None or high is None:
            if at.total == budget:
                return at, at
            turn, up = turn + 1, low is not None
            level = at.level + (step if up else -step)
            if turn < MOST_NEWTON:  # next to α = 0 demand is all steps, and Newton's creep
                bounds = (at.level, np.inf) if up else (-np.inf, at.level)
                level = self._newton(at, budget, *bounds, level)
                level = min(max(level, at.level - step), at.level + step)  # where all but flat
            if abs(level - at.level) < NEAR:  # twice as far, or it may fall short for ever
                move = max(2 * abs(level - at.level), EPSILON * (1 + abs(level)))
                level = at.level + (move if up else -move)
            at, step = self.at(level), 2 * step
            low, high = (at, high) if at.total < budget else (low, at)
        return low, high

    def _first_guess(self, budget: float) -> float:
        """The level at which most groups stand when the budget is split equally."""
        money = np.minimum(np.maximum(budget / self.least.size, self.least), self.most)
        point = self.value.at(money)
        if self.by_level:
            level = point.level
        else:
            level = begins(self.of_value, self.of_slope, point.log_utility, point.log_slope)
            level = level - self.of_slope * self.log_weight
        level = level[np.isfinite(level)]
        return float(np.median(level)) if level.size else 0.0

    def _narrow(self, low: _Demand, high: _Demand, budget: float) -> tuple[_Demand, _Demand]:
        """Newton's method in a bracket: one and the same demand twice where it meets the budget.

        On fixed pieces at ε = 0, demand is linear in e^{ℓ/of_value}: there the step is exact.
        """
        for count in range(MOST_STEPS):
            nearest = low if budget - low.total < high.total - budget else high
            miss = abs(nearest.total - budget)
            level = low.level + (high.level - low.level) / 2
            if miss <= 16 * EPSILON * budget:
                return nearest, nearest
            if high.level - low.level <= EPSILON * (1 + abs(level)):
                break
            if count % 4 < 3:  # every fourth step halves, whatever happens
                level = self._newton(nearest, budget, low.level, high.level, level)
                small = abs(level - nearest.level) <= 4 * EPSILON * (1 + abs(level))
                if small and miss <= CLOSE * budget:
                    return nearest, nearest
            at = self.at(level)
            low, high = (at, high) if at.total < budget else (low, at)
        return low, high

    def _newton(self, at: _Demand, budget: float, low: float, high: float, middle: float) -> float:
        rate = float(at.stretch.sum())
        if not 0 < rate < np.inf:
            return middle
        step = (budget - at.total) / rate
        if self.of_value > 0:  # as if demand were linear in e^{ℓ/of_value}
            step = self.of_value * float(np.log1p(max(step / self.of_value, -1.0)))
        return at.level + step if low < at.level + step < high else middle

    def _jump(self, low: _Demand, high: _Demand) -> float | None:
        """α = 0: the level of a piece between the two on which V is linear, if they are few."""
        passed = np.flatnonzero(high.piece > low.piece)
        if isinstance(self.value, Knapsack) and (high.piece - low.piece).sum() != 1:
            return None  # there are thousands, and demand is nearly smooth
        begins_next = low.piece[passed] + 1
        flat = self.value.is_flat(begins_next)
        level = -self.value.slope_where(begins_next[flat]) - self.log_weight[passed[flat]]
        level = np.sort(level[(low.level < level) & (level <= high.level)])
        return float(level[level.size // 2]) if level.size else None

    def _share_equally(self, low: _Demand, high: _Demand, budget: float) -> Floats:
        """α = 0: groups that tie at the margin get equal amounts, as far as their bounds go."""
        # All pieces whose w V' equals that at the margin, up to rounding, lie within the slack.
        slack = ROUNDING * (1 + np.abs(self.log_weight).max() + abs(high.level))
        for count in range(MOST_STEPS):
            if high.level - low.level <= 2 * slack:
                low, high = self.at(high.level - 2 * slack), self.at(high.level + slack)
                break
            level = low.level + (high.level - low.level) / 2
            jump = self._jump(low, high)
            if jump is not None:  # a piece that is taken whole or not at all: is it the last one?
                level = jump
            elif count % 3:  # with many pieces demand is nearly smooth, and the secant nearly right
                nearest = low if budget - low.total < high.total - budget else high
                part = min(max((budget - low.total) / (high.total - low.total), 0.02), 0.98)
                secant = low.level + part * (high.level - low.level)
                level = self._newton(nearest, budget, low.level, high.level, secant)
            if jump is None and isinstance(self.value, Knapsack):  # still thousands of pieces
                at = self.at(level)
                low, high = (at, high) if at.total < budget else (low, at)
                continue
            before, after = self.at(level - slack), self.at(level + slack)
            if before.total > budget:
                high = before
            elif after.total < budget:
                low = after
            else:
                low, high = before, after
                break
        rest = budget - low.total
        room = np.minimum(high.money - low.money, rest)
        rising = np.sort(room)
        poorer = np.cumsum(rising) - rising  # what the groups with less room take
        each = (rest - poorer) / np.arange(room.size, 0, -1)
        enough = each <= rising  # nowhere, by a rounding, where the rest fills all the room exactly
        amount = each[np.argmax(enough)] if enough.any() else rising[-1]
        return np.asarray(low.money + np.minimum(room, amount))


def _snap(value: Knapsack | Levels, money: Floats, least: Floats, most: Floats) -> Floats:
    """Put groups that stand at a breakpoint or a bound, up to rounding, exactly there."""
    piece = value.locate(money)
    begins = value.money[piece]
    ends = value.money[np.minimum(piece + 1, value.money.size - 1)]
    ends = np.where(piece + 1 < value.start[1:], ends, np.inf)
    # Of the money, which is a budget at most, however far away the piece ends.
    at_begin = at_end = ROUNDING * np.minimum(np.where(np.isfinite(ends), ends, begins), ENDLESS)
    if isinstance(value, Levels):  # the rounding of the level counts as well
        at_begin = at_begin + ROUNDING * value.stretch(piece, piece)
        at_end = at_end + ROUNDING * value.stretch(piece, piece + 1)
    money = np.where((piece > value.start[:-1]) & (money - begins <= at_begin), begins, money)
    money = np.where(money >= ends - at_end, ends, money)
    money = np.where(np.abs(money - least) <= ROUNDING * np.abs(least), least, money)
    return np.where(money >= most * (1 - ROUNDING), np.minimum(money, most), money)
