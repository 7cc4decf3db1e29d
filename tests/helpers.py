"""What several tests share: cases, strategies, the 50-digit oracle and three tolerances."""

from typing import NamedTuple

import mpmath
import numpy as np
from hypothesis import strategies as st

# A double carries 1.1e−16; the longest chain of operations here is a few dozen roundings.
EXACT = 1e-13
# Budgets and identities that hold for any data: 10⁶ terms, summed with compensation.
BALANCE = 1e-12
# Utilities of a cone solver's answer.  Interior-point tolerances of 1e−8 on the objective leave
# about the square root of that in the arguments, because the objective is flat at the optimum.
SOLVER = 1e-3

ALPHAS = (0, 1e-6, 0.01, 0.1, 0.5, 1 - 1e-9, 1, 1 + 1e-9, 1.5, 2, 5, 50, 1e6, np.inf)
WITHINS = (0, 0.05, 0.3, 0.5, 1 - 1e-9, 1, 1 + 1e-9, 2, 3, 50, np.inf)


class Case(NamedTuple):
    """A problem in the arguments of `alphafair.allocate`; ``group`` holds codes 0..K−1."""

    benefit: np.ndarray
    cost: np.ndarray
    group: np.ndarray
    budget: float
    weight: np.ndarray


def random_case(seed, persons=12, treatments=3, groups=4, spread=1.0):
    """Benefits and costs of 1e±(spread/2), some benefits ≤ 0, every person with one > 0."""
    rng = np.random.default_rng(seed)
    shape = (persons, treatments)
    benefit = 10 ** (spread * (rng.random(shape) - 0.5))
    benefit[:, 1:][rng.random((persons, treatments - 1)) < 0.2] *= -1
    cost = 10 ** (spread * (rng.random(shape) - 0.5))
    group = np.concatenate([np.arange(groups), rng.integers(0, groups, persons - groups)])
    return Case(benefit, cost, group, 10 ** rng.uniform(-2, 4), 10 ** rng.uniform(-1, 1, groups))


@st.composite
def cases(draw, largest=1e3):
    """Problems of up to 8 people, with extreme, tied and non-positive numbers."""
    groups = draw(st.integers(1, 4))
    persons = draw(st.integers(groups, 8))
    treatments = draw(st.integers(1, 3))
    positive = st.floats(1 / largest, largest) | st.sampled_from([1.0, 2.0])
    benefit = np.array(
        draw(st.lists(positive, min_size=persons * treatments, max_size=persons * treatments))
    ).reshape(persons, treatments)
    cost = np.array(
        draw(st.lists(positive, min_size=persons * treatments, max_size=persons * treatments))
    ).reshape(persons, treatments)
    benefit[:, 1:][
        np.array(
            draw(
                st.lists(
                    st.booleans(),
                    min_size=persons * (treatments - 1),
                    max_size=persons * (treatments - 1),
                )
            ),
            bool,
        ).reshape(persons, treatments - 1)
    ] *= -1
    extra = draw(
        st.lists(st.integers(0, groups - 1), min_size=persons - groups, max_size=persons - groups)
    )
    weight = np.array(draw(st.lists(st.floats(0.1, 10), min_size=groups, max_size=groups)))
    group = np.array([*range(groups), *extra])
    return Case(benefit, cost, group, draw(st.floats(0.01, 1e4)), weight)


alphas = st.sampled_from(ALPHAS)
withins = st.sampled_from(WITHINS)


class Exact(NamedTuple):
    """The optimum in 50 digits; lists of mpmath numbers."""

    dose: list
    share: list
    productivity: list
    utility: list
    price: mpmath.mpf


def exact_allocation(case, alpha, within=0.0):
    """The optimum by 50-digit arithmetic, from the formulas as they are printed, without logs."""
    with mpmath.workdps(50):
        b, c, w = (
            np.vectorize(mpmath.mpf, otypes=[object])(a)
            for a in (case.benefit, case.cost, case.weight)
        )
        ratio = b / c
        best = [max(range(b.shape[1]), key=lambda t, i=i: ratio[i, t]) for i in range(len(b))]
        r = [ratio[i, t] for i, t in enumerate(best)]
        members = [np.flatnonzero(case.group == k).tolist() for k in range(len(w))]
        p, inner = zip(*(_inner([r[i] for i in m], within) for m in members), strict=True)
        share = _outer(w, p, alpha)
        q = mpmath.mpf(case.budget)
        dose = [[mpmath.mpf(0)] * b.shape[1] for _ in range(len(b))]
        for k, m in enumerate(members):
            for i, y in zip(m, inner[k], strict=True):
                dose[i][best[i]] = q * share[k] * y / c[i, best[i]]
        utility = [p[k] * q * share[k] for k in range(len(w))]
        top = max(range(len(w)), key=lambda k: share[k])
        price = (
            p[top] * share[top]
            if alpha == np.inf
            else w[top] * p[top] * utility[top] ** -mpmath.mpf(alpha)
        )
        return Exact(dose, share, list(p), utility, price)


def _inner(ratio, within):
    """(p, shares) of one group."""
    count = len(ratio)
    if within == 0:
        first = ratio.index(max(ratio))
        return max(ratio) / count, [mpmath.mpf(i == first) for i in range(count)]
    s = 1 / mpmath.mpf(within) - 1 if within < np.inf else mpmath.mpf(-1)
    power = [x**s for x in ratio]
    total = mpmath.fsum(power)
    if s == 0:
        mean = mpmath.exp(mpmath.fsum(mpmath.log(x) for x in ratio) / count)
    else:
        mean = (total / count) ** (1 / s)
    return mean / count, [y / total for y in power]


def _outer(weight, productivity, alpha):
    """π of each group."""
    if alpha == 0:
        value = [w * p for w, p in zip(weight, productivity, strict=True)]
        tied = [mpmath.mpf(v == max(value)) for v in value]
        return [t / mpmath.fsum(tied) for t in tied]
    beta = 1 / mpmath.mpf(alpha) if alpha < np.inf else mpmath.mpf(0)
    money = [w**beta * p ** (beta - 1) for w, p in zip(weight, productivity, strict=True)]
    total = mpmath.fsum(money)
    return [m / total for m in money]


def relative_error(got, exact):
    """Largest |got − exact| / |exact|; what is below 1e−290 counts as 0."""
    worst = 0.0
    for g, e in zip(
        np.ravel(np.asarray(got, float)), np.ravel(np.asarray(exact, object)), strict=True
    ):
        if abs(e) < 1e-290:
            worst = max(worst, 0.0 if abs(g) < 1e-289 else np.inf)
        else:
            worst = max(worst, float(abs(mpmath.mpf(float(g)) - e) / abs(e)))
    return worst
