"""When the index fails: look a few steps ahead, again and again.

An index policy orders the states once and for all.  Where its mean map cycles, or has two points of
rest, that order cannot be right everywhere: what is best to do depends on where the arms are.  A
**rolling horizon** asks for that.  From the counts of the moment it solves the linear program of
the next τ steps (`finite_horizon_relaxation`), does what the plan does first, and throws the rest
of the plan away: model predictive control, with a program whose value bounds every policy.

As τ grows, the first step of the plan from m leads towards a stationary optimum from wherever that
can be reached, so that the average per arm comes to the bound of `stationary_relaxation` for many
arms, without any condition on the mean map of an index.
For a given τ a part of the gap is left, however many arms there are, because near the optimum a
plan of τ steps does not see what grows beyond them: `cycle_example(2)`, ending with values, loses
.0008 at τ = 10, .0002 at 20 and .00003 at 40.

**The end of the plan.**  A plan of τ steps believes that nothing comes after them.  So it moves
arms to where they pay in these steps, and puts off what would pay in the next; as the plan is made
anew each time, it puts it off for ever.  On an arm that swings with a period of two steps this
makes short odd horizons worse than an index: with 1000 arms `cycle_example(2)` loses .021, .018,
.014 and .007 of .124 at τ = 5, 7, 9 and 15, but .0014, .0008 and .0005 at 6, 10 and 20, and the
index .0096.

There are two remedies.  Take τ so large that more changes nothing, and try odd and even ones.  Or
let the plan know what an arm is worth when it ends, by its state::

    maximise     rewards of τ steps  +  Σ_s h_s · (part of the arms in state s after them)

with the relative values h of the stationary optimum (``ending="values"``).  A path that ends in the
optimum then loses nothing by being cut.  With τ = 1 this is the priority by `advantage` at the
multiplier of the relaxation (the Lagrangian index).  On the arm above τ = 5, 7, 9 and 15 now lose
.0018, .0014, .0011 and .0005.

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
from .stationary import relative_values, stationary_relaxation

ENDINGS = ("nothing", "values")


@dataclass(eq=False)
class RollingHorizonPolicy:
    """Solve the program of the next τ steps from the counts of the moment, and take its first step.

    What was solved is remembered for each configuration, and so are the optimal bases, each of
    which answers for all configurations around it (`LPUpdatePolicy`).

    Args:
        arm: the arm.
        fraction: a in [0, 1]; a N must be a whole number.
        horizon: τ ≥ 1.  Short ones can be poor, odd ones above all, if ``ending`` is "nothing".
        rounding: "floor" or "random", as in `lp_policies`.
        seed: of random rounding where `decide` is given no generator.
        ending: "nothing" comes after the τ steps, or the relative "values" of the stationary
            optimum (see the module); these need an arm that `stationary_relaxation` takes.

    Raises:
        ValueError: a fraction or a horizon out of its range, an unknown ending.

    Example:
        On this arm the index cycles and earns .1142 of the .1238 that the relaxation promises.

        >>> from alphafair.models.bandits import examples, simulate_average
        >>> policy = RollingHorizonPolicy(examples.cycle_example(2), 0.4, horizon=10)
        >>> policy.decide(np.array([5, 3, 2]), 0).tolist()
        [4, 0, 0]
        >>> found = simulate_average(policy, policy.arm, n_arms=1000, steps=200, runs=4)
        >>> 0.122 < found.mean < 0.1245
        True

        Five steps ahead of nothing are worse than the index, five steps ahead of the values good:

        >>> for ending in ENDINGS:
        ...     ahead = RollingHorizonPolicy(policy.arm, 0.4, horizon=5, ending=ending)
        ...     print(round(simulate_average(ahead, policy.arm, 1000, 200, runs=4).mean, 3))
        0.103
        0.122
    """

    arm: Arm
    fraction: float
    horizon: int = 20
    rounding: str = "floor"
    seed: int = 0
    ending: str = "nothing"
    _update: LPUpdatePolicy = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.fraction = activation(self.fraction)
        self.horizon = whole("horizon", self.horizon, 1)
        if self.ending not in ENDINGS:
            raise ValueError(f"ending is {self.ending!r}: must be one of 'nothing', 'values'")
        arm = self.arm if self.ending == "nothing" else _towards(self.arm, self.fraction)
        start: Floats = np.full(self.arm.n_states, 1 / self.arm.n_states)
        plan = finite_horizon_relaxation(arm, start, self.fraction, self.horizon)
        self._update = LPUpdatePolicy(plan, rounding=self.rounding, seed=self.seed)

    def decide(
        self, counts: Integers, time: int = 0, rng: np.random.Generator | None = None
    ) -> Integers:
        """How many arms to activate in each state, (…, S); the same at every time."""
        return self._update.decide(counts, 0, rng)

    def decisions(self, counts: Integers, time: int = 0) -> Decisions:
        """(probability, decision) pairs for one configuration (S,)."""
        return self._update.decisions(counts, 0)


def _towards(arm: Arm, fraction: float) -> Arm:
    """The arm that is also paid h_j − h_i for going from i to j: in τ steps h of the last state.

    (And less h of the first, which no policy can change.)
    """
    h = relative_values(arm, stationary_relaxation(arm, fraction).occupation)
    R0, R1 = (R + P @ h - h for R, P in ((arm.R0, arm.P0), (arm.R1, arm.P1)))
    return Arm(arm.P0, arm.P1, R0, R1)
