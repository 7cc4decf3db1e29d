"""One offer a person: at most one of her treatments, as the steps of a ladder.

With ``exclusive=True`` a person has one place to give away, whole or in parts::

    Σ_t d_it / cap_it ≤ 1

A part is a lottery: with d = (½ cap, ½ cap) she is offered one of two treatments by the toss of a
coin.  So she can reach the points (c·cap, b·cap) of her treatments in the plane of money and
utility, (0, 0), and every mixture.  What matters of them is the upper concave hull, a **ladder**:
step j leads from treatment t_{j−1} to a dearer and better one, t_j, adds Δu for Δm, and its slope
Δu/Δm falls from step to step.  On a step she gives up a part of one treatment for the same part of
the next; no other mixture is of use.

A step is an item like any other, with its slope as benefit, money as dose and Δm as cap.  So the
problem in steps is an ordinary one, solved and differentiated as such, and this module translates:
the tables into steps, money on steps into doses, and changes of the ones into changes of the
others.  Floors come first: they take the part Σ floor/cap of the place, what is left is ρ, and the
ladder is built from the **spans** ρ cap.

References:
    Sinha and Zoltners, "The multiple-choice knapsack problem", Operations Research 27, 1979.
    Sverdrup, Wu, Athey and Wager, "Qini curves for multi-armed treatment rules", 2024: without
    groups, all budgets at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .checks import Floats, Integers
from .curves import concave_hulls

SLACK = 1e-12  # floors may fill the place up to the rounding of a sum


class Steps(NamedTuple):
    """Tables of the problem in steps, or changes of them.

    Attributes:
        slope: (N, S) utility for money on each step.
        length: (N, S) money that the step takes.
        utility, money: (N,) what the floors bring and cost.
    """

    slope: Floats
    length: Floats
    utility: Floats
    money: Floats


class Tables(NamedTuple):
    """(N, T) changes of benefits, costs, caps and floors."""

    benefit: Floats
    cost: Floats
    cap: Floats
    floor: Floats


def spans(floor: Floats | None, cap: Floats | None) -> tuple[Floats, Floats]:
    """What is left of each person's place, ρ (N, 1), and the spans ρ cap (N, T).

    Raises:
        ValueError: no caps, an infinite one, floors that take more than the place.
    """
    if cap is None or cap.max() == np.inf:
        where = "" if cap is None else "[{}, {}]".format(
            *np.unravel_index(int(np.argmax(cap == np.inf)), cap.shape)
        )  # fmt: skip
        raise ValueError(
            f"cap{where} is {'not given' if cap is None else 'inf'}: exclusive = True needs finite "
            f"caps, because a part of an offer is dose/cap; give the dose of a whole offer"
        )
    if floor is None:
        return np.ones((cap.shape[0], 1)), cap
    taken = _quotient(floor, cap).sum(axis=1, keepdims=True)
    if taken.max() > 1 + SLACK:
        i = int(np.argmax(taken > 1 + SLACK))
        raise ValueError(
            f"floor of person {i} takes {taken[i, 0]:g} of her offers (Σ floor/cap): must be at "
            f"most 1 with exclusive = True; lower her floors"
        )
    left = np.maximum(1 - taken, 0.0)
    left[left <= SLACK] = 0.0
    return left, left * cap


def _quotient(value: Floats, cap: Floats) -> Floats:
    """value/cap, 0 where the cap is 0."""
    return np.asarray(np.divide(value, cap, out=np.zeros(cap.shape), where=cap > 0))


def _product(value: Floats, of_value: Floats) -> Floats:
    """The product, where 0 · ∞ is 0: what is not there has no share in an infinite worth."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((value == 0) | (of_value == 0), 0.0, value * of_value)


@dataclass(frozen=True, eq=False)
class Ladder:
    """The ladders of all persons, and the way to and fro.

    Attributes:
        benefit, cost, cap: (N, T).
        floor: (N, T), or None.
        left: (N, 1) ρ, what floors leave of the place.
        slope, length: (N, S) of the steps; 0 where a person has fewer.
        level: (N, S) the treatment t_j to which the step leads; −1 there.
    """

    benefit: Floats
    cost: Floats
    cap: Floats
    floor: Floats | None
    left: Floats
    slope: Floats
    length: Floats
    level: Integers

    @cached_property
    def span(self) -> Floats:
        """(N, T) ρ cap, the doses of whole offers in what floors leave of the place."""
        return self.left * self.cap

    @property
    def tables(self) -> dict[str, Any]:
        """Benefit, cost, cap and floor of the problem in steps; what floors bring, a last step."""
        if self.floor is None:
            return {"benefit": self.slope, "cost": 1.0, "cap": self.length}
        utility, money = (
            (self.benefit * self.floor).sum(axis=1),
            (self.cost * self.floor).sum(axis=1),
        )
        given = (money > 0).astype(float)
        cost = np.ones((len(money), self.slope.shape[1] + 1))
        cost[:, -1] = np.where(money > 0, money, 1.0)
        floor = np.zeros_like(cost)
        floor[:, -1] = given
        return {
            "benefit": np.column_stack([self.slope, utility]),
            "cost": cost,
            "cap": np.column_stack([self.length, given]),
            "floor": floor,
        }

    def reached(self, money: Floats) -> Floats:
        """(N, S) which part of each step is made with this money on it."""
        length = self.length
        paid = money[:, : length.shape[1]]
        return np.asarray(np.divide(paid, length, out=np.zeros(length.shape), where=length > 0))

    def parts(self, reached: Floats) -> Floats:
        """(N, T) which part of the place each treatment has: what the next step leaves of it."""
        following = np.zeros(reached.shape)
        following[:, :-1] = reached[:, 1:]
        return self._at_treatments(reached - following)

    def doses(self, money: Floats) -> Floats:
        """(N, T) doses of this money on the steps (and on the floors, which is given)."""
        dose = self.span * self.parts(self.reached(money))
        return dose if self.floor is None else dose + self.floor

    # --- changes ------------------------------------------------------------------------------
    def push(self, change: Tables) -> Steps:
        """Changes of the steps that follow from changes of the tables."""
        span, of_span = self.span, self.left * change.cap
        utility = money = np.zeros(len(span))
        if self.floor is not None:
            of_span = of_span + self.cap * self._change_of_left(change)
            utility = (change.benefit * self.floor + self.benefit * change.floor).sum(axis=1)
            money = (change.cost * self.floor + self.cost * change.floor).sum(axis=1)
        rise = self._steps(change.benefit * span + self.benefit * of_span)
        length = self._steps(change.cost * span + self.cost * of_span)
        return Steps(self._by_length(rise - self.slope * length), length, utility, money)

    def pull(self, change: Steps) -> Tables:
        """The adjoint of `push`."""
        span = self.span
        of_rise = self._by_length(change.slope)
        rise = self._ends(of_rise)
        length = self._ends(change.length - _product(self.slope, of_rise))
        cap, floor = self._of_bounds(_product(self.benefit, rise) + _product(self.cost, length))
        benefit, cost = _product(span, rise), _product(span, length)
        if self.floor is not None:
            utility, money = change.utility[:, None], change.money[:, None]
            floor = floor + _product(self.benefit, utility) + self.cost * money
            benefit = benefit + _product(self.floor, utility)
            cost = cost + _product(self.floor, money)
        return Tables(benefit, cost, cap, floor)

    def push_doses(self, money: Floats, of_money: Floats, change: Tables) -> Floats:
        """(N, T) change of the doses with changes of the money on the steps and of the tables."""
        steps, reached = self.push(change), self.reached(money)
        of_money = of_money[:, : reached.shape[1]]
        moved = self.parts(self._by_length(of_money - reached * steps.length))
        part, span = self.parts(reached), self.left * change.cap
        if self.floor is None:
            return self.span * moved + span * part
        span = span + self.cap * self._change_of_left(change)
        return self.span * moved + span * part + change.floor

    def pull_doses(self, money: Floats, cotangent: Floats) -> tuple[Floats, Tables]:
        """The adjoint of `push_doses`: cotangents of the money on the steps and of the tables."""
        reached = self.reached(money)
        part = self.parts(reached)
        of_reached = self._steps(self.span * cotangent)
        of_money = self._by_length(of_reached)
        none = np.zeros(len(money))
        tables = self.pull(Steps(np.zeros(reached.shape), -reached * of_money, none, none))
        cap, floor = self._of_bounds(part * cotangent)
        floor = floor + (0.0 if self.floor is None else cotangent)
        return of_money, tables._replace(cap=tables.cap + cap, floor=tables.floor + floor)

    def _change_of_left(self, change: Tables) -> Floats:
        """(N, 1) dρ = −Σ d(floor/cap)."""
        assert self.floor is not None
        moved = change.floor - _quotient(self.floor, self.cap) * change.cap
        return np.asarray(-_quotient(moved, self.cap).sum(axis=1, keepdims=True))

    def _of_bounds(self, of_span: Floats) -> tuple[Floats, Floats]:
        """(N, T) cotangents of caps and floors from those of the spans ρ cap."""
        cap, floor = self.left * of_span, np.zeros(of_span.shape)
        if self.floor is None:
            return cap, floor
        of_left = (self.cap * of_span).sum(axis=1, keepdims=True)
        taken = _quotient(np.broadcast_to(of_left, cap.shape), self.cap)
        return cap + taken * _quotient(self.floor, self.cap), -taken

    def _steps(self, table: Floats) -> Floats:
        """(N, S) a value of treatments (N, T) where each step leads, less where it comes from."""
        end = np.take_along_axis(table, np.maximum(self.level, 0), axis=1)
        end = np.where(self.level >= 0, end, 0.0)
        end[:, 1:] -= np.where(self.level[:, 1:] >= 0, end[:, :-1], 0.0)
        return end

    def _ends(self, step: Floats) -> Floats:
        """(N, T) the adjoint of `_steps`."""
        step = np.where(self.level >= 0, step, 0.0)
        step[:, :-1] -= step[:, 1:]
        return self._at_treatments(step)

    def _at_treatments(self, step: Floats) -> Floats:
        """(N, T) a value of steps at the treatments to which they lead, 0 elsewhere."""
        table = np.zeros(self.cap.shape)
        person, place = np.nonzero(self.level >= 0)
        table[person, self.level[person, place]] = step[person, place]
        return table

    def _by_length(self, step: Floats) -> Floats:
        return np.asarray(
            np.divide(step, self.length, out=np.zeros(step.shape), where=self.length > 0)
        )


def ladder(
    benefit: Floats, cost: Floats, cap: Floats, floor: Floats | None, left: Floats
) -> Ladder:
    """The ladders of all persons from (N, T) tables and what floors leave of the places, ρ (N, 1).

    Raises:
        ValueError: an offer whose cost or benefit is beyond the doubles.
    """
    span = cap if floor is None else left * cap
    with np.errstate(over="ignore", under="ignore"):
        money, gain = cost * span, benefit * span
    largest = money.max() + np.abs(gain).max()
    if not np.isfinite(largest):
        beyond = ~np.isfinite(money) | ~np.isfinite(gain)
        i, t = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
        raise ValueError(
            f"cap[{i}, {t}] is {cap[i, t]:g}: an offer of it overflows in cost or benefit; measure "
            f"doses in a larger unit"
        )
    slope, length, level = concave_hulls(money, gain)
    return Ladder(benefit, cost, cap, floor, left, slope, length, level)
