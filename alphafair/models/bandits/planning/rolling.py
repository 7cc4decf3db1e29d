"""When the index fails: look a few steps ahead, again and again.

An index policy orders the states once and for all.  Where its mean map cycles, or has two points of
rest, that order cannot be right everywhere: what is best to do depends on where the arms are.  A
**rolling horizon** asks for that.  From the counts of the moment it solves the linear program of
the next τ steps (`finite_horizon_relaxation`), does what the plan does first, and throws the rest
of the plan away: model predictive control, with a program whose value bounds every policy.

As τ grows, the first step of the plan from m leads towards a stationary optimum from wherever that
can be reached, so that the average per arm comes to the bound of `stationary_relaxation` for many
arms, without any condition on the mean map of an index.  A horizon that is too short is myopic:
what the last steps do ahead of nothing spoils the first.

References:
    Gast, Gaujal, Yan: "Reoptimization nearly solves weakly coupled Markov decision processes",
    arXiv:2211.01961: the average reward with a program solved at each step.
    Hong, Xie, Chen, Wang: "Restless bandits with average reward: breaking the uniform global
    attractor assumption", NeurIPS 2023: another policy without the condition.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ....checks import Floats, Integers
from ...common import whole
from ..arms import Arm
from ..policies import activation
from .finite_horizon import finite_horizon_relaxation
from .lp_policies import Decisions, LPUpdatePolicy


@dataclass(eq=False)
class RollingHorizonPolicy:
    """Solve the program of the next τ steps from the counts of the moment, and take its first step.

    What was solved is remembered for each configuration, and so are the optimal bases, each of
    which answers for all configurations around it (`LPUpdatePolicy`).

    Args:
        arm: the arm.
        fraction: a in [0, 1]; a N must be a whole number.
        horizon: τ ≥ 1.
        rounding: "floor" or "random", as in `lp_policies`.
        seed: of random rounding where `decide` is given no generator.

    Raises:
        ValueError: a fraction or a horizon out of its range.

    Example:
        On this arm the index cycles and earns .1142 of the .1238 that the relaxation promises.

        >>> from alphafair.models.bandits import examples, simulate_average
        >>> policy = RollingHorizonPolicy(examples.cycle_example(2), 0.4, horizon=10)
        >>> policy.decide(np.array([5, 3, 2]), 0).tolist()
        [4, 0, 0]
        >>> found = simulate_average(policy, policy.arm, n_arms=1000, steps=200, runs=4)
        >>> 0.122 < found.mean < 0.1245
        True
    """

    arm: Arm
    fraction: float
    horizon: int = 20
    rounding: str = "floor"
    seed: int = 0
    _update: LPUpdatePolicy = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.fraction = activation(self.fraction)
        self.horizon = whole("horizon", self.horizon, 1)
        start: Floats = np.full(self.arm.n_states, 1 / self.arm.n_states)
        plan = finite_horizon_relaxation(self.arm, start, self.fraction, self.horizon)
        self._update = LPUpdatePolicy(plan, rounding=self.rounding, seed=self.seed)

    def decide(
        self, counts: Integers, time: int = 0, rng: np.random.Generator | None = None
    ) -> Integers:
        """How many arms to activate in each state, (…, S); the same at every time."""
        return self._update.decide(counts, 0, rng)

    def decisions(self, counts: Integers, time: int = 0) -> Decisions:
        """(probability, decision) pairs for one configuration (S,)."""
        return self._update.decisions(counts, 0)
