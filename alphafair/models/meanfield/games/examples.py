"""Games with something known about them, each small enough to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....checks import Floats, number
from ...common import whole
from .game import ContinuousGame, DiscreteGame


def sir_vaccination(
    susceptible: float = 0.4,
    infected: float = 0.4,
    *,
    infection: float = 73.0,
    recovery: float = 36.5,
    vaccination: float = 10.0,
    vaccination_cost: float = 0.5,
    infection_cost: float = 36.5,
    horizon: float = 1.0,
) -> ContinuousGame:
    """An epidemic in which the susceptible may be vaccinated, at a cost.

    The susceptible (S) are infected at the rate γ m_I; the infected (I) pay c_I per unit of time
    and recover (R) at the rate ρ; who takes the action ``vaccinate`` goes from S to R at the rate θ
    and pays c_V when that happens::

        W_I(t) = c_I/ρ (1 − e^(−ρ(T − t)))
        −W_S' = min(θ (c_V − W_S), 0) + γ m_I (W_I − W_S)

    It is best to vaccinate while W_S > c_V: until a time t_c that the crowd sets, and that has to
    be its own.  Known, with the defaults: t_c = 0.024651 and cost 0.682297 in equilibrium; cost
    0.681671 if all go on until 0.032439: the vaccinated protect others, and are not paid for it.

    Args:
        susceptible: m_S at time 0.
        infected: m_I at time 0; the others are in R.
        infection: γ.
        recovery: ρ.
        vaccination: θ.
        vaccination_cost: c_V.
        infection_cost: c_I.
        horizon: T, years.

    References:
        J. Doncel, N. Gast, B. Gaujal, "A mean field game analysis of SIR dynamics with
        vaccination", Probability in the Engineering and Informational Sciences 36 (2022).

    Example:
        >>> game = sir_vaccination()
        >>> game.states, game.actions, game.initial.round(6).tolist()
        (('S', 'I', 'R'), ('wait', 'vaccinate'), [0.4, 0.4, 0.2])
    """
    rates = (infection, recovery, vaccination, vaccination_cost, infection_cost)
    names = ("infection", "recovery", "vaccination", "vaccination_cost", "infection_cost")
    gamma, rho, theta, c_v, c_i = (
        number(name, rate, "≥ 0 and finite", lambda r: 0 <= r < np.inf)
        for name, rate in zip(names, rates, strict=True)
    )
    start = np.array([susceptible, infected, 1 - susceptible - infected])
    if start.min() < 0:
        start[np.abs(start) < 1e-12] = 0  # 1 − 0.9 − 0.1 is −2.8e−17

    epidemic = _Epidemic(gamma, rho, theta, c_v, c_i)
    actions = ("wait", "vaccinate")
    return ContinuousGame("SIR", actions, epidemic.moves, epidemic.pays, start, horizon)


@dataclass(frozen=True)
class _Epidemic:
    """`sir_vaccination`: methods can be pickled, functions inside a function cannot."""

    infection: float
    recovery: float
    vaccination: float
    vaccination_cost: float
    infection_cost: float

    def moves(self, m: Floats) -> Any:
        catch, heal, gone = self.infection * m[1], [[0, 0, self.recovery]] * 2, [[0, 0, 0]] * 2
        return [[[0, catch, 0], [0, catch, self.vaccination]], heal, gone]

    def pays(self, m: Floats) -> Any:
        return [[0, self.vaccination * self.vaccination_cost], [self.infection_cost] * 2, [0, 0]]


def _switch(m: Floats) -> Any:
    """At rate 1 to the other state."""
    return [[[0, 0], [0, 1]], [[0, 0], [1, 0]]]


def _switch_at_once(m: Floats) -> Any:
    return [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]


def _dilemma(m: Floats) -> Any:
    return [[m[0] + 3 * m[1]] * 2, [2 * m[1]] * 2]


def _catch(m: Floats) -> Any:
    return [[[1 - 0.81 * m[1], 0.81 * m[1]], [1, 0]], [[0.3, 0.7]] * 2]


def _be_ill(m: Floats) -> Any:
    return [[0, 0.5], [1, 1.5]]


def prisoners_dilemma(discount: float) -> ContinuousGame:
    """All meet all and cooperate (C) or defect (D); a player switches at a rate of at most 1.

    Cooperating costs m_C + 3 m_D per unit of time and defecting 2 m_D, m_C + m_D less: whatever the
    crowd does, D is better.  So in the only equilibrium all go from C, where they start, to D as
    fast as they can::

        cost  ∫ e^(−βt) (m_C (m_C + 3 m_D) + 2 m_D²) dt = 2/β − 1/(1 + β),    m_C = e^(−t),

    while if all stay in C it is 1/β.  Among N players who see each other and play `grim`, no one
    can do better than to stay in C if and only if β ≤ N/(N − 2).

    Args:
        discount: β > 0; the horizon is infinite.

    References:
        J. Doncel, N. Gast, B. Gaujal, "Discrete mean field games: existence of equilibria and
        convergence", J. Dynamics and Games 6 (2019), arXiv:1909.01209.

    Example:
        >>> prisoners_dilemma(0.5).pays(np.array([1.0, 0.0])).tolist()
        [[1.0, 1.0], [0.0, 0.0]]
    """
    beta = number("discount", discount, "> 0 and finite", lambda b: 0 < b < np.inf)
    return ContinuousGame(
        "CD",
        ("stay", "switch"),
        _switch,
        _dilemma,
        [1, 0],
        discount=beta,
    )


def repeated_prisoners_dilemma(discount: float) -> DiscreteGame:
    """`prisoners_dilemma` in rounds: who switches is in the other state in the next round.

    In equilibrium all are in D after the first round, at a cost of 1 + 2 δ/(1 − δ); cooperation for
    ever costs 1/(1 − δ).  Among N players, `grim` keeps it up if and only if
    δ ≥ (N − 2)/(2 (N − 1)).

    Args:
        discount: δ in (0, 1); the horizon is infinite.

    Example:
        >>> repeated_prisoners_dilemma(0.9).moves(np.array([1.0, 0.0]))[0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    delta = number("discount", discount, "in (0, 1)", lambda d: 0 < d < 1)
    return DiscreteGame(
        "CD",
        ("stay", "switch"),
        _switch_at_once,
        _dilemma,
        [1, 0],
        discount=delta,
    )


def grim(m: Floats) -> Any:
    """Stay in C as long as no one is in D; once someone is, go to D and stay there.

    A strategy that looks at the crowd, for `n_player_costs`: (S, A) probabilities, given m.  Its
    jump at m_D = 0 is what lets one player punish the others, and what no limit N → ∞ of policies
    in a player's own state and time can have.

    Example:
        >>> [float(p) for p in grim(np.array([0.9, 0.1]))[0]]
        [0.0, 1.0]
    """
    seen = (m[1] > 0) * 1.0
    return [[1 - seen, seen], [1, 0]]


def susceptible_infected(horizon: int = 18) -> DiscreteGame:
    """Keep distance or not: what is good for a player depends on the crowd the wrong way round.

    Who is out (susceptible) is infected with probability 0.81 m_I, who keeps distance is not; the
    infected heal with probability 0.3.  Being infected costs 1, keeping distance 0.5.  The more go
    out, the better it is to stay at home, and then the others need not: best responses to best
    responses come back to where they were, and their average (`fictitious_play`) stays exploitable
    by 0.16 after 1000 rounds, while `equilibrium` finds a policy that is not.  There are several,
    and more for longer horizons: to 15 steps the first path leads to one, beyond that it may take
    another beginning, and past 80 steps more ``attempts``.

    Args:
        horizon: T steps.

    References:
        K. Cui, H. Koeppl, "Approximately solving mean field games via entropy-regularized deep
        reinforcement learning", AISTATS 2021: here 0.6 of the players are infected at the start.

    Example:
        >>> susceptible_infected().moves(np.array([0.4, 0.6]))[0].round(3).tolist()
        [[0.514, 0.486], [1.0, 0.0]]
    """
    return DiscreteGame(
        "SI",
        ("out", "distance"),
        _catch,
        _be_ill,
        [0.4, 0.6],
        whole("horizon", horizon, 1),
    )
