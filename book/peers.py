"""Five layers that find fair doses by a solver, or by steps, to be scored against known answers.

Each of them is called as `alphafair.groundtruth.score` calls a layer.  The first three give the
problem to a cone solver and ask `diffcp` or Moreau for the derivatives, the other two are what one
writes by oneself.  Where they refuse, they say so.
"""

import warnings
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from cvxpylayers.torch import CvxpyLayer
from torch import Tensor

import alphafair as af
from alphafair import layer as alphafair
from alphafair.groundtruth import Instance, Layer, Program

TIGHT = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
SCS_TIGHT = {"eps_abs": 1e-9, "eps_rel": 1e-9}
LEAST = 1e-12  # what an item gets at least, where that is a constraint


def in_shares(layer: Layer) -> Layer:
    """The same layer, asked in a scale in which all numbers are near 1.

    What it sees is a budget of 1, costs of 1, and as benefits the ratios b/c over their median.
    """

    def scaled(
        benefit: Tensor,
        cost: Tensor,
        group: np.ndarray,
        budget: Tensor,
        alpha: float,
        within: float = 0.0,
        cap: Any = None,
        baseline: Any = None,
    ) -> Tensor:
        ratio, one = benefit / cost, torch.ones((), dtype=benefit.dtype)
        unit = ratio.detach().median()
        options: dict[str, Any] = {"within": within} if within > 0 else {}
        if cap is not None:
            options["cap"] = torch.as_tensor(cap) * cost / budget
        if baseline is not None:
            options["baseline"] = torch.as_tensor(baseline) / (unit * budget)
        share = layer(ratio / unit, one.expand(cost.shape), group, one, alpha, **options)
        return share * budget / cost

    return scaled


# --- a cone solver ----------------------------------------------------------------------------
def program_of(
    tensors: list[Tensor], group: np.ndarray, alpha: float, within: float, names: list[str]
) -> Program:
    """The convex program in CVXPY, with these numbers as parameters."""
    values = [tensor.detach().numpy() for tensor in tensors]
    benefit, cost, budget = values[:3]
    options = dict(zip(names, values[3:], strict=True))
    problem = af.Problem(benefit, cost, group, float(budget), within, **options)
    with warnings.catch_warnings():  # that powers are approximated, by fractions that are exact
        warnings.filterwarnings("ignore", "Power atom")
        return Instance("", problem, alpha, np.zeros(benefit.shape)).program()


def solver_layer(
    solve: Callable[[Program, list[Tensor]], Tensor],
) -> Layer:
    """A layer that makes a program of its arguments, and asks ``solve`` for the doses."""

    def doses(
        benefit: Tensor,
        cost: Tensor,
        group: np.ndarray,
        budget: Tensor,
        alpha: float,
        within: float = 0.0,
        **bounds: Any,
    ) -> Tensor:
        tensors = [benefit, cost, budget, *map(torch.as_tensor, bounds.values())]
        return solve(program_of(tensors, group, alpha, within, list(bounds)), tensors)

    return doses


def cvxpylayers(solver: str, *, least: float | None = None, **arguments: Any) -> Layer:
    """The layer of cvxpylayers, with the solver "DIFFCP" or "MOREAU"."""

    def solve(program: Program, tensors: list[Tensor]) -> Tensor:
        problem = program.problem
        if least is not None:
            problem = cp.Problem(problem.objective, [*problem.constraints, program.dose >= least])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Power atom")
            layer = CvxpyLayer(
                problem, program.parameters, [program.dose], solver=solver, solver_args=arguments
            )
        (dose,) = layer(*tensors)
        return dose

    return solver_layer(solve)


def diffcp(**arguments: Any) -> Layer:
    """Without cvxpylayers: CVXPY solves and differentiates, by diffcp."""

    class Solve(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, program: Program, *tensors: Tensor) -> Tensor:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Power atom")
                program.problem.solve(requires_grad=True, **arguments)
            if program.problem.status != cp.OPTIMAL:
                raise cp.SolverError(program.problem.status)
            context.program = program
            return torch.as_tensor(program.dose.value)

        @staticmethod
        def backward(context: Any, slope: Tensor) -> tuple[Any, ...]:
            program = context.program
            program.dose.gradient = slope.numpy()
            program.problem.backward()
            return None, *(torch.as_tensor(p.gradient) for p in program.parameters)

    return solver_layer(lambda program, tensors: Solve.apply(program, *tensors))


# --- by oneself -------------------------------------------------------------------------------
def log_welfare(
    share: Tensor,
    ratio: Tensor,
    group: np.ndarray,
    alpha: float,
    within: float = 0.0,
    baseline: Tensor | float = 0.0,
) -> Tensor:
    """The logarithm of the equivalent utility, which has the same optimum as the welfare."""
    person = ((ratio * share).sum(1) + baseline).clamp(min=1e-300).log()
    member = torch.as_tensor(group == np.arange(group.max() + 1)[:, None])  # (K, N)
    return log_mean(log_mean(person, 1 - within, member), 1 - alpha)


def log_mean(log_u: Tensor, power: float, of: Tensor | None = None) -> Tensor:
    """The logarithm of the power mean, of all or of each group."""
    of = torch.ones_like(log_u, dtype=torch.bool) if of is None else of
    size = of.sum(-1).to(log_u.dtype)
    if power == 0:
        return torch.where(of, log_u, 0.0).sum(-1) / size
    terms = torch.where(of, power * log_u, -torch.inf)
    return (torch.logsumexp(terms, -1) - size.log()) / power


def unrolled(
    benefit: Tensor,
    cost: Tensor,
    group: np.ndarray,
    budget: Tensor,
    alpha: float,
    cap: Tensor | None = None,
    steps: int = 100,
    **options: Any,
) -> Tensor:
    """Projected gradient steps on the shares, which PyTorch differentiates one by one."""
    most = torch.full(cost.shape, torch.inf) if cap is None else cap
    share = torch.full_like(benefit, 1 / benefit.numel()).minimum(most)
    share.requires_grad_()
    for step in range(steps):
        value = log_welfare(share, benefit, group, alpha, **options)
        (slope,) = torch.autograd.grad(value, share, create_graph=True)
        size = 0.1 / (1 + step / 10) / slope.detach().abs().max()
        share = projected(share + size * slope, most)
    return share


def projected(share: Tensor, most: Tensor) -> Tensor:
    """The nearest shares between 0 and ``most`` that add up to 1: all less by one number."""
    x, high = share.detach().numpy().ravel(), most.detach().numpy().ravel()
    less = np.sort([*x, *(x - high)[high < np.inf], x.max() - 1])  # where an item meets a bound
    sums = np.clip(x - less[:, None], 0, high).sum(1)  # falls, linearly in between
    found = np.interp(1.0, sums[::-1], less[::-1])
    rest = (share.detach() - found).clamp(min=0).minimum(most)
    inside = (share > found) & (share - found < most)
    total = torch.where(inside, share, rest).sum()
    mean = (total - 1) / inside.sum().clamp(min=1)
    return torch.where(inside, share - mean, rest)


def implicit(
    benefit: Tensor,
    cost: Tensor,
    group: np.ndarray,
    budget: Tensor,
    alpha: float,
    within: float = 0.0,
    cap: Tensor | None = None,
    baseline: Tensor | float = 0.0,
    polish: bool = False,
) -> Tensor:
    """A solver's shares, and the implicit function theorem for the items inside their bounds.

    The derivatives are those of one Newton step.  To `polish` is to take that step, too.
    """
    names = [n for n, v in (("cap", cap), ("baseline", baseline)) if isinstance(v, Tensor)]
    bounds = [v for v in (cap, baseline) if isinstance(v, Tensor)]
    program = program_of([benefit, cost, budget, *bounds], group, alpha, within, names)
    program.problem.solve(solver=cp.CLARABEL)
    most = torch.full(cost.shape, torch.inf) if cap is None else cap
    found = torch.as_tensor(program.dose.value).clamp(min=0).minimum(most.detach())
    full = found > (1 - 1e-5) * most
    free = (found > 1e-6) & ~full
    fixed = torch.where(full, most, 0.0)
    if not free.any():
        return fixed

    def slope(some: Tensor) -> Tensor:
        share = fixed.masked_scatter(free, some)
        value = log_welfare(share, benefit, group, alpha, within, baseline)
        return torch.autograd.grad(value, some, create_graph=True)[0]

    some = found[free].requires_grad_()
    bend = torch.autograd.functional.jacobian(slope, some).detach()
    one = torch.ones(len(some), 1)
    kkt = torch.cat([torch.cat([bend, -one], 1), torch.cat([one.T, torch.zeros(1, 1)], 1)])
    residual = torch.cat(
        [slope(some) - slope(some).mean().detach(), (fixed.sum() + some.sum().detach() - 1)[None]]
    )
    step = -torch.linalg.solve(kkt, residual)[:-1]
    taken = step if polish else step - step.detach()
    return fixed.masked_scatter(free, some.detach() + taken)


# As one finds them, and with all the care that we know of.
LAYERS: dict[str, Layer] = {
    "cvxpylayers": cvxpylayers("DIFFCP"),
    "cvxpylayers, with care": in_shares(
        cvxpylayers("DIFFCP", solve_method="Clarabel", mode="dense", **TIGHT)
    ),
    "Moreau": cvxpylayers("MOREAU"),
    "Moreau, with care": in_shares(cvxpylayers("MOREAU", least=LEAST, ipm_settings=TIGHT)),
    "diffcp": diffcp(),
    "diffcp, with care": in_shares(diffcp(mode="lsmr", max_iters=20_000, **SCS_TIGHT)),
    "unrolled steps": in_shares(unrolled),
    "implicit": in_shares(implicit),
    "alphafair": alphafair.allocate,
}
