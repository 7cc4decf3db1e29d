"""Learning which arm to activate, when neither rewards nor transitions are known.

Time comes in **episodes**: episode k lasts a geometric number of steps, ``P(H_k > t) = β^t``, then
every arm is put back to its initial state, x_1 for all arms together.  The value of a policy is its
mean sum of rewards in an episode, V = E Σ_{t<H} r_t = E Σ_t β^t r_t, so that known arms are played
by the largest Gittins index.  What not knowing them has cost after K episodes is the **regret**::

    Reg(K) = Σ_{k≤K}  V*(x_1) − V_{π_k}(x_1),         π_k: the policy of episode k.

Both values are computed, not simulated, as long as the joint states can be listed: the regret is
then random only because what a learner sees is.

The learners are in `learners`; `episodes` lets them play and computes what that costs.  The paper
shows that those that know that there are arms have a regret of order S √(n K), up to logarithms.
Of these posterior sampling, `MBPSRL`, has both a plan that is computed fast and a regret that is
small in experiments.

References:
    N. Gast, B. Gaujal, K. Khun, "Learning algorithms for Markovian bandits: is posterior sampling
    more scalable than optimism?", TMLR 2022, arXiv:2106.08771.
"""

from .episodes import Interval, Learning, random_walk, run
from .learners import (
    MBPSRL,
    MBUCBVI,
    MBUCRL2,
    PSRL,
    UCBVI,
    UCRL2,
    Learner,
    Plan,
    Seen,
)

__all__ = [
    "MBPSRL",
    "MBUCBVI",
    "MBUCRL2",
    "PSRL",
    "UCBVI",
    "UCRL2",
    "Interval",
    "Learner",
    "Learning",
    "Plan",
    "Seen",
    "random_walk",
    "run",
]
