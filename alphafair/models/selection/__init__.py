"""Selecting candidates whose quality is measured with more noise in some groups than in others.

Candidates of group g have quality ``W ~ N(μ_g, η_g²)``; what is seen is ``Ŵ = W − β_g + σ_g ε``.
A fraction α of all is selected.  Whoever takes Ŵ at its word prefers, when few are selected, the
group that is measured badly: noise spreads its estimates, and the largest are mostly luck.  Whoever
corrects by Bayes' rule prefers the other group, for the same reason.  The γ-rule asks that no group
be selected at less than γ times the rate of another (the four-fifths rule is γ = 0.8).

`population` has the theory, for infinitely many candidates, `laws` the same where quality is not
normal, and `stages` what a second stage makes
of it; `candidates` has finite sets of them: simulation, and the same policies for a table of real
people.
"""

from ..common import Simulation
from .candidates import (
    Candidates,
    SelectionRuns,
    estimate_population,
    exam_scores,
    quotas,
    select,
    simulate,
)
from .laws import LatentPopulation, QualityLaw, parity_helps
from .population import (
    Belief,
    Population,
    Selection,
    bayes_optimal,
    demographic_parity,
    equal_rate_budget,
    gamma_rule,
    group_oblivious,
    loss_bound,
    with_rates,
)
from .stages import TwoStage, two_stage

__all__ = [
    "Belief",
    "Candidates",
    "LatentPopulation",
    "Population",
    "QualityLaw",
    "Selection",
    "SelectionRuns",
    "Simulation",
    "TwoStage",
    "bayes_optimal",
    "demographic_parity",
    "equal_rate_budget",
    "estimate_population",
    "exam_scores",
    "gamma_rule",
    "group_oblivious",
    "loss_bound",
    "parity_helps",
    "quotas",
    "select",
    "simulate",
    "two_stage",
    "with_rates",
]
