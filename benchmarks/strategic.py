"""The equilibrium of strategic regression: time against CVXPY (Clarabel), in one run.

    python benchmarks/strategic.py [--agents 1000] [--large 10000] [--repeats 5]

Claims: 10⁴ agents in d = 5 take less than 2 s for every cost (a tenth of a second here), and at the
size that CVXPY still solves in half a second the ratio is at least ten.  Every ratio is a median
over repeats in which the two sides alternate, so that a busy machine disturbs both; CVXPY's time
is that of building and solving.  The last column is how much larger its potential is, relatively.
"""

import argparse
import time
from collections.abc import Callable

import cvxpy as cp
import numpy as np

from alphafair.models.strategic import Cost, equilibrium, linear, monomial

COSTS: dict[str, tuple[Cost, Callable[[cp.Variable], cp.Expression]]] = {
    "λ": (linear(), cp.sum),
    "λ^1.5": (monomial(1.5), lambda x: cp.sum(cp.power(x, 1.5))),
    "λ²": (monomial(2), cp.sum_squares),
    "λ + λ²": (
        Cost(lambda x: x + x**2, lambda x: 1 + 2 * x),
        lambda x: cp.sum(x) + cp.sum_squares(x),
    ),
}


def seconds(call: Callable[[], float]) -> tuple[float, float]:
    """Wall time and value of one call."""
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def potential(x: np.ndarray, cost: Callable[[cp.Variable], cp.Expression]) -> float:
    """The least Σ c(λ_i) + tr V by CVXPY, built and solved."""
    precision = cp.Variable(len(x), nonneg=True)
    information = sum_of_squares(x, precision)
    problem = cp.Problem(cp.Minimize(cost(precision) + cp.tr_inv(information)))
    return float(problem.solve(solver=cp.CLARABEL))


def sum_of_squares(x: np.ndarray, precision: cp.Variable) -> cp.Expression:
    """Σ λ_i x_i x_iᵀ as one product with a (d², n) matrix: CVXPY compiles it in no time."""
    d = x.shape[1]
    squares = np.einsum("na,nb->abn", x, x).reshape(d * d, -1)
    return cp.reshape(squares @ precision, (d, d), order="C")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("agents", 1000), ("large", 10**4), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    rng = np.random.default_rng(0)
    for n in (size.agents, size.large):
        x = rng.standard_normal((n, 5))
        for name, (cost, expression) in COSTS.items():
            calls = (
                lambda x=x, cost=cost: equilibrium(x, cost).potential,
                lambda x=x, expression=expression: potential(x, expression),
            )
            for call in calls:  # warm-up
                call()
            rounds = np.array([[seconds(call) for call in calls] for _ in range(size.repeats)])
            own, other = np.median(rounds[:, :, 0], axis=0)
            ratio = np.median(rounds[:, 1, 0] / rounds[:, 0, 0])
            difference = rounds[0, 1, 1] / rounds[0, 0, 1] - 1
            print(
                f"n = {n:6d}, d = 5, c = {name:7s}{1e3 * own:9.1f} ms   CVXPY {1e3 * other:9.1f} ms"
                f"   × {ratio:6.1f}   potential: {difference:+.0e}"
            )


if __name__ == "__main__":
    main()
