"""Problems with known answers, to find out how right a differentiable layer is.

A layer that solves a convex program inside a network is trusted with two things: the optimal doses,
and their derivatives.  Most layers find both numerically, and some are wrong without saying so.
Here the closed form knows both, to about 13 digits, so that any layer can be judged:

>>> from alphafair import layer
>>> result = score(layer.allocate, instances(size=22))
>>> result.counts
{'right': 22, 'refused': 0, 'warned': 0, 'silent': 0}

**Instances.**  `instances` draws problems of eleven kinds (`KINDS`).  Each `Instance` holds a
`Problem`, α, and a fixed cotangent v, and knows the optimal doses d, the price, the gradient of
the optimal welfare, and the derivatives of Σ v d in the benefits, the costs and the budget.

**Errors** have no units, so that they can be compared across instances.  With the money m = c d::

    dose error       max |m − m*| / max m*
    gradient error   max |g − g*| / max |g*|,     g = (b ∂/∂b, c ∂/∂c, Q ∂/∂Q) Σ v d

An error of .01 in the doses is money in the wrong place, as much as one percent of what the best
funded item gets.  Where items tie exactly, money may move between them at no loss.  There the money
of all tied items counts in sum, and none may be outside of its bounds.

**Kinks.**  Two kinds have no derivative.  Where items tie, the doses jump.  Where the budget
exactly fills the caps of some items, a little more money goes elsewhere than a little less came
from, and every number in between is as good a derivative.  On these instances (``smooth=False``)
the gradient has no error (NaN); it only must be finite, because a NaN would end a training.

**Outcomes.**  A layer is *right* on an instance if both errors are at most the tolerance.
Otherwise it *refused* if it raised an exception, *warned* if it gave a warning of its numerics
(`UserWarning` or `RuntimeWarning`, and no mere deprecation), and else it was *silent*.  The
tolerance of .01 is generous: a solver at its default accuracy should be a hundred times better.

Needs the extra ``alphafair[layer]``: torch; `Instance.program` also cvxpy.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from .allocation import Allocation
from .checks import Floats, Integers, number
from .derivatives import DoseCotangent, WelfareGradient
from .problem import Problem
from .utility import check_alpha

TOLERANCE = 0.01
OUTCOMES = ("right", "refused", "warned", "silent")
Layer = Callable[..., Tensor]


class Program(NamedTuple):
    """An instance as a convex program of CVXPY.

    Attributes:
        problem: `cvxpy.Problem`, with all parameters set: ``problem.solve()`` answers.
        parameters: benefit (N, T), cost (N, T), budget, and cap (N, T) and baseline (N,) if given.
        dose: the variable, (N, T).
    """

    problem: Any
    parameters: list[Any]
    dose: Any


@dataclass(frozen=True, eq=False)
class Instance:
    """A problem whose answer is known.

    Args:
        kind: one of `KINDS`, or any word for problems of your own.
        problem: the `Problem`; it may have ``within``, ``cap`` and ``baseline``.
        alpha: 0 < α < ∞.
        cotangent: v, (N, T), of the doses.
        smooth: whether the doses have derivatives here.
        name: how tables call it; default the kind.

    Raises:
        ValueError: a problem with weights, floors, exclusive offers or bounds of groups, which the
            program does not have; α out of its range; a cotangent of another shape.

    Example:
        >>> problem = Problem([4.0, 1.0], 1.0, ["Ana", "Ben"], budget=180.0)
        >>> pair = Instance("by hand", problem, 2, np.array([[1.0], [0.0]]))
        >>> pair.dose[:, 0], pair.derivatives.benefit[:, 0], round(pair.derivatives.budget, 4)
        (array([ 60., 120.]), array([-5., 20.]), 0.3333)
    """

    kind: str
    problem: Problem
    alpha: float
    cotangent: Floats
    smooth: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what the program does not have."""
        problem = self.problem
        for argument in ("floor", "group_floor", "group_cap"):
            if getattr(problem, argument) is not None:
                raise ValueError(f"problem has a {argument}: an instance cannot; leave it out")
        if problem.exclusive or (problem.weight != 1).any():
            raise ValueError(
                "problem has exclusive offers or weights: an instance cannot; leave them out"
            )
        alpha = check_alpha(self.alpha)
        if not 0 < alpha < np.inf:
            raise ValueError(f"alpha is {alpha:g}: an instance needs 0 < alpha < infinity")
        cotangent = np.asarray(self.cotangent, float)
        if cotangent.shape != problem.shape or not np.isfinite(cotangent).all():
            raise ValueError(
                f"cotangent has shape {cotangent.shape}: must be that of the doses, "
                f"{problem.shape}, and finite"
            )
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "cotangent", cotangent)
        object.__setattr__(self, "name", self.name or self.kind)

    # --- the inputs ---------------------------------------------------------------------------
    @property
    def group(self) -> Integers:
        """(N,) codes 0 … K − 1 of the groups."""
        return self.problem.groups.code.astype(np.intp)  # what tensors are indexed by

    @property
    def options(self) -> dict[str, Any]:
        """What goes beyond the basic problem: ``within`` if not 0, ``cap``, ``baseline``."""
        problem = self.problem
        given: dict[str, Any] = {"within": problem.within} if problem.within > 0 else {}
        for name in ("cap", "baseline"):
            if getattr(problem, name) is not None:  # a copy: PyTorch warns of what is read-only
                given[name] = np.array(getattr(problem, name))
        return given

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Benefit (N, T), cost (N, T) and budget () in double precision, to be differentiated."""
        problem = self.problem
        benefit, cost, budget = (
            torch.tensor(value, dtype=torch.float64, requires_grad=True)
            for value in (problem.benefit, problem.cost, problem.budget)
        )
        return benefit, cost, budget

    def program(self) -> Program:
        """The same problem as a convex program of CVXPY, as one would write it down.

        Its parameters enter linearly (it is DPP), so that it can be made a layer.

        Returns:
            `Program`.

        Example:
            >>> problem = Problem([4.0, 1.0], 1.0, ["Ana", "Ben"], budget=3.0)
            >>> program = Instance("by hand", problem, 2, np.ones((2, 1))).program()
            >>> _ = program.problem.solve(solver="CLARABEL")
            >>> program.dose.value[:, 0].round(3)
            array([1., 2.])
        """
        import cvxpy as cp

        problem = self.problem
        shape = problem.shape
        values = {name: getattr(problem, name) for name in ("benefit", "cost", "budget")}
        values |= {k: v for k, v in self.options.items() if k != "within"}
        at = {k: cp.Parameter(np.shape(v), nonneg=True, value=v) for k, v in values.items()}
        dose = cp.Variable(shape, nonneg=True)
        person = cp.sum(cp.multiply(at["benefit"], dose), axis=1) + at.get("baseline", 0.0)
        worth = []
        for k in range(len(problem.groups.label)):
            members = person[np.flatnonzero(self.group == k)]
            if problem.within == 0 or members.size == 1:
                utility = cp.sum(members) / members.size
            elif problem.within == 1:
                utility = cp.geo_mean(members)
            elif problem.within == np.inf:
                utility = cp.min(members)
            else:
                power = 1 - problem.within
                utility = cp.pnorm(members, power) * members.size ** (-1 / power)
            if self.alpha == 1:
                worth.append(cp.log(utility))
            else:
                worth.append(cp.power(utility, 1 - self.alpha) / (1 - self.alpha))
        constraints = [cp.sum(cp.multiply(at["cost"], dose)) <= at["budget"]]
        if "cap" in at:
            constraints.append(dose <= at["cap"])
        return Program(cp.Problem(cp.Maximize(cp.sum(worth)), constraints), [*at.values()], dose)

    # --- the answers --------------------------------------------------------------------------
    @cached_property
    def allocation(self) -> Allocation:
        """The optimum."""
        return self.problem.allocate(self.alpha)

    @property
    def dose(self) -> Floats:
        """(N, T) the optimal doses."""
        return self.allocation.dose

    @property
    def price(self) -> float:
        """∂W/∂Q, what the last unit of money is worth."""
        return self.allocation.price

    @cached_property
    def welfare_gradient(self) -> WelfareGradient:
        """The derivatives of the optimal welfare."""
        return self.allocation.gradient()

    @cached_property
    def derivatives(self) -> DoseCotangent:
        """The derivatives of Σ v d, among others ``benefit``, ``cost`` and ``budget``."""
        return self.allocation.jacobian().vjp(self.cotangent)

    # --- the errors ---------------------------------------------------------------------------
    def dose_error(self, dose: Any) -> float:
        """The error ``max |m − m*| / max m*`` in the money m = c d; tied items count in sum.

        Args:
            dose: (N, T).

        Returns:
            The error; ∞ where a dose is not finite.
        """
        found = np.asarray(dose, float)
        if not np.isfinite(found).all():
            return np.inf
        problem = self.problem
        with np.errstate(over="ignore"):
            money = problem.cost * found
            right = problem.cost * self.dose
            off = np.bincount(self._tied, (money - right).ravel())
            outside = np.maximum(-money, 0.0)
            if problem.cap is not None:
                outside = np.maximum(outside, money - problem.cost * problem.cap)
        return float(max(np.abs(off).max(), outside.max()) / right.max())

    def gradient_error(self, benefit: Any, cost: Any, budget: Any) -> float:
        """The error ``max |g − g*| / max |g*|`` in g = (b ∂/∂b, c ∂/∂c, Q ∂/∂Q) Σ v d.

        Args:
            benefit, cost: (N, T) the derivatives in the benefits and the costs.
            budget: the derivative in the budget.

        Returns:
            The error; ∞ where a derivative is not finite, else NaN where there is no derivative.
        """
        exact = self.derivatives
        found = self._in_logs(benefit, cost, budget)
        if not np.isfinite(found).all():
            return np.inf
        if not self.smooth:
            return np.nan
        right = self._in_logs(exact.benefit, exact.cost, exact.budget)
        return float(np.abs(found - right).max() / np.abs(right).max())

    def _in_logs(self, benefit: Any, cost: Any, budget: Any) -> Floats:
        problem = self.problem
        pairs = ((problem.benefit, benefit), (problem.cost, cost), (problem.budget, budget))
        with np.errstate(over="ignore", invalid="ignore"):
            return np.concatenate([np.ravel(x * np.asarray(g, float)) for x, g in pairs])

    @cached_property
    def _tied(self) -> Integers:
        """(N T,) a number for each set of items that the same money can go to."""
        problem = self.problem
        owner = self.group if problem.within == 0 else np.arange(problem.shape[0])
        ratio = problem.benefit / problem.cost
        keys = np.stack([np.broadcast_to(owner[:, None], ratio.shape), ratio], axis=-1)
        _, label = np.unique(keys.reshape(-1, 2), axis=0, return_inverse=True)
        return np.ravel(label)


# --- the kinds --------------------------------------------------------------------------------
# Whole numbers and their simple fractions, because a power that a solver is given is then exact.
ALPHAS = (0.5, 1.0, 2.0)
SMALL, LARGE = (0.02, 0.05, 0.1, 0.2), (5.0, 10.0, 20.0, 50.0)
WITHINS = (0.0, 0.5, 2.0)


class _Draw:
    """Random inputs of one instance: benefits and costs of .3 to 3, in two to four groups."""

    def __init__(self, random: Generator, persons: int | None) -> None:
        self.random = random
        groups = int(random.integers(2, 5))
        n = int(random.integers(2 * groups, 4 * groups + 1)) if persons is None else persons
        self.group = np.arange(n) % groups
        self.shape = n, int(random.integers(1, 4))
        self.benefit, self.cost = 10 ** random.uniform(-0.5, 0.5, (2, *self.shape))
        self.budget = n * 10 ** random.uniform(-0.5, 0.5)
        self.alpha = self.one_of(ALPHAS)
        self.options: dict[str, Any] = {}

    def one_of(self, values: tuple[float, ...]) -> float:
        return float(self.random.choice(values))

    def unequal(self) -> None:
        """An aversion to inequality inside the groups, in two cases of three."""
        self.options["within"] = self.one_of(WITHINS)

    def capped(self) -> None:
        """Caps of .5 to 5 times what an equal share of the money pays for."""
        fair = self.budget / self.cost / self.shape[0]
        self.options["cap"] = fair * self.random.uniform(0.5, 5, self.shape)

    def helped(self) -> None:
        """Baselines up to twice what an equal share of the money adds."""
        best = (self.benefit / self.cost).mean()
        most = self.budget / self.shape[0] * best
        self.options["baseline"] = most * self.random.uniform(0, 2, self.shape[0])

    def instance(self, kind: str, name: str) -> Instance:
        """What has been drawn."""
        problem = Problem(self.benefit, self.cost, self.group, self.budget, **self.options)
        cotangent = self.random.normal(size=self.shape)
        return Instance(kind, problem, self.alpha, cotangent, kind not in KINKED, name)


def _easy(draw: _Draw) -> None:
    draw.unequal()


def _small_alpha(draw: _Draw) -> None:
    draw.unequal()
    draw.alpha = draw.one_of(SMALL)


def _large_alpha(draw: _Draw) -> None:
    draw.unequal()
    draw.alpha = draw.one_of(LARGE)


def _tiny_budget(draw: _Draw) -> None:
    draw.unequal()
    draw.budget = 10 ** draw.random.uniform(-8, -3)


def _huge_budget(draw: _Draw) -> None:
    draw.unequal()
    draw.budget = 10 ** draw.random.uniform(3, 8)


def _near_ties(draw: _Draw) -> None:
    """The best item of each group is better than another by one part in 10³ to 10⁶."""
    ratio = draw.benefit / draw.cost
    for k in range(draw.group.max() + 1):
        rows = np.flatnonzero(draw.group == k)
        order = np.argsort(ratio[rows], axis=None)
        if order.size > 1:
            best, rival = (np.unravel_index(j, ratio[rows].shape) for j in (order[-1], order[0]))
            behind = 1 - 10 ** draw.random.uniform(-6, -3)
            at = rows[rival[0]], rival[1]
            draw.benefit[at] = ratio[rows[best[0]], best[1]] * behind * draw.cost[at]


def _ties(draw: _Draw) -> None:
    """Several best items in a group: ratios ½, 1 or 2, at costs that are powers of two."""
    draw.cost = 2.0 ** draw.random.integers(-2, 3, draw.shape)
    ratio = 2.0 ** draw.random.integers(-1, 1, draw.shape)
    first = np.arange(draw.shape[0]) < 2 * (draw.group.max() + 1)  # two people a group
    ratio[first, 0] = 2.0
    draw.benefit = ratio * draw.cost


def _filled(draw: _Draw) -> None:
    """Groups alike, in each of which the budget fills the best items, and no other, to the cap."""
    groups, items = int(draw.random.integers(2, 5)), draw.shape[0] // (draw.group.max() + 1)
    ratio = np.sort(draw.random.choice(64, items + 1, replace=False) + 1.0)[::-1]
    cap = draw.random.integers(1, 9, items + 1).astype(float)
    full = int(draw.random.integers(1, items + 1))
    draw.group = np.repeat(np.arange(groups), items + 1)
    draw.shape = draw.group.size, 1
    draw.benefit, draw.cost = np.tile(ratio, groups)[:, None], np.ones(draw.shape)
    draw.options["cap"] = np.tile(cap, groups)[:, None]
    draw.budget = groups * float(cap[:full].sum())


def _caps(draw: _Draw) -> None:
    draw.unequal()
    draw.capped()


def _baselines(draw: _Draw) -> None:
    draw.unequal()
    draw.helped()


def _both(draw: _Draw) -> None:
    draw.unequal()
    draw.capped()
    draw.helped()


_DRAWN: dict[str, Callable[[_Draw], None]] = {
    "easy": _easy,
    "small alpha": _small_alpha,
    "large alpha": _large_alpha,
    "tiny budget": _tiny_budget,
    "huge budget": _huge_budget,
    "near ties": _near_ties,
    "ties": _ties,
    "filled": _filled,
    "caps": _caps,
    "baselines": _baselines,
    "caps and baselines": _both,
}
KINDS = tuple(_DRAWN)
KINKED = ("ties", "filled")


def instances(
    seed: int = 0,
    *,
    size: int = 330,
    kinds: Iterable[str] = KINDS,
    persons: int | None = None,
) -> list[Instance]:
    """Random problems with known answers, the same for the same seed.

    Args:
        seed: ≥ 0.
        size: how many in all, ≥ 1; the kinds take turns, so that a small sample has all of them.
        kinds: of `KINDS`.
        persons: N ≥ 4 for all instances but the kind "filled", which takes about as many; None
            draws 4 to 16 for each.

    Returns:
        `size` instances, of names like "caps 7".

    Raises:
        ValueError: a kind that does not exist, no kind, a number out of its range.

    Example:
        >>> [instance.name for instance in instances(size=3)]
        ['easy 0', 'small alpha 0', 'large alpha 0']
        >>> first = instances(size=1)[0]
        >>> bool(abs((first.problem.cost * first.dose).sum() / first.problem.budget - 1) < 1e-12)
        True
    """
    seed, size = _whole("seed", seed, 0), _whole("size", size, 1)
    kinds = tuple(kinds)
    if persons is not None:
        persons = _whole("persons", persons, 4)
    if not kinds:
        raise ValueError(f"kinds is empty: name some of {', '.join(KINDS)}")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds has {kind!r}: must be of {', '.join(KINDS)}")
    found = []
    for j in range(size):
        turn, kind = j // len(kinds), kinds[j % len(kinds)]
        draw = _Draw(np.random.default_rng([seed, KINDS.index(kind), turn]), persons)
        _DRAWN[kind](draw)
        found.append(draw.instance(kind, f"{kind} {turn}"))
    return found


def _whole(name: str, value: Any, least: int) -> int:
    expected = f"a whole number ≥ {least}"
    return int(number(name, value, expected, lambda v: v >= least and v.is_integer()))


# --- the score --------------------------------------------------------------------------------
class Row(NamedTuple):
    """What a layer made of one instance.

    Attributes:
        name: of the instance, as all up to the budget.
        kind: what is special about it.
        alpha: α.
        within: ε.
        persons: N.
        budget: Q.
        dose_error: as `Instance.dose_error`; NaN where the layer raised.
        gradient_error: as `Instance.gradient_error`; NaN where the layer raised or the instance
            is not smooth.
        outcome: "right", "refused", "warned" or "silent".
        message: of the exception or of the first warning.
        seconds: forward and backward.
    """

    name: str
    kind: str
    alpha: float
    within: float
    persons: int
    budget: float
    dose_error: float
    gradient_error: float
    outcome: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Score:
    """What a layer made of several instances: ``print`` it for a table by kind.

    Attributes:
        rows: one `Row` for each instance.
        tolerance: up to which an answer is right.
    """

    rows: list[Row] = field(repr=False)
    tolerance: float = TOLERANCE

    @property
    def counts(self) -> dict[str, int]:
        """How many instances had which outcome."""
        found = Counter(row.outcome for row in self.rows)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    def of_kind(self, *kinds: str) -> Score:
        """The score on the instances of these kinds alone."""
        return Score([row for row in self.rows if row.kind in kinds], self.tolerance)

    def worst(self, which: str) -> float:
        """The largest ``"dose_error"`` or ``"gradient_error"``; NaN where there is none."""
        errors = [getattr(row, which) for row in self.rows]
        return max((e for e in errors if not np.isnan(e)), default=np.nan)

    def to_dict(self) -> dict[str, Any]:
        """The tolerance, the counts and the rows, of plain types."""
        rows = [row._asdict() for row in self.rows]
        return {"tolerance": self.tolerance, "counts": self.counts, "rows": rows}

    def __str__(self) -> str:
        """A table with a row for each kind and one for all."""
        heads = ("kind", *OUTCOMES, "worst dose", "worst gradient", "ms")
        kinds = list(dict.fromkeys(row.kind for row in self.rows))
        lines = [heads, *(self.of_kind(kind)._line(kind) for kind in kinds), self._line("all")]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
            for line in lines
        )

    def _line(self, name: str) -> tuple[str, ...]:
        errors = (self.worst(which) for which in ("dose_error", "gradient_error"))
        words = ("–" if np.isnan(error) else f"{error:.0e}" for error in errors)
        time = np.median([row.seconds for row in self.rows]) if self.rows else np.nan
        return name, *map(str, self.counts.values()), *words, f"{1e3 * time:.1f}"


def score(layer: Layer, instances: Iterable[Instance], *, tolerance: float = TOLERANCE) -> Score:
    """What a layer makes of instances whose answers are known.

    Args:
        layer: called as ``layer(benefit, cost, group, budget, alpha, **options)``.  Benefit (N, T),
            cost (N, T) and budget () are tensors in double precision, to be differentiated; group
            is an array (N,) of codes 0 … K − 1; alpha is a number.  The options are those of
            ``within`` (a number), ``cap`` (an array (N, T)) and ``baseline`` (an array (N,)) that
            the instance has.  It returns the doses, a tensor (N, T), or raises what it likes.
        instances: as from `instances`.
        tolerance: the largest error that is right, > 0.

    Returns:
        `Score`.

    Raises:
        ValueError: a tolerance out of its range, no instance, doses of another shape.
        TypeError: doses that are no tensor.

    Example:
        The split of the budget in five lines, by somebody who forgot the costs:

        >>> def careless(benefit, cost, group, budget, alpha, **options):
        ...     if options or cost.shape[1] > 1:
        ...         raise NotImplementedError("one treatment, and nothing else")
        ...     share = torch.softmax((1 / alpha - 1) * benefit.log(), 0)
        ...     return budget * share / cost
        >>> print(score(careless, instances(size=110)).counts)
        {'right': 0, 'refused': 97, 'warned': 0, 'silent': 13}
    """
    tolerance = number("tolerance", tolerance, "> 0 and finite", lambda v: 0 < v < np.inf)
    rows = [_row(layer, instance, tolerance) for instance in instances]
    if not rows:
        raise ValueError("instances is empty: draw some by alphafair.groundtruth.instances()")
    return Score(rows, tolerance)


def _row(layer: Layer, instance: Instance, tolerance: float) -> Row:
    """One instance, forward and backward."""
    benefit, cost, budget = inputs = instance.tensors()
    slopes = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        dose, refusal = _attempt(
            lambda: layer(benefit, cost, instance.group, budget, instance.alpha, **instance.options)
        )
        if not refusal:
            _check_shape(dose, instance)
            slopes, refusal = _attempt(lambda: _pulled_back(dose, inputs, instance))
        seconds = time.perf_counter() - start
    words = [w for w in caught if issubclass(w.category, UserWarning | RuntimeWarning)]
    error = np.nan if dose is None else instance.dose_error(dose.detach())
    slope = np.nan if slopes is None else instance.gradient_error(*slopes)
    if refusal:
        outcome = "refused"
    elif error <= tolerance and (slope <= tolerance or np.isnan(slope)):
        outcome = "right"
    else:
        outcome = "warned" if words else "silent"
    message = refusal or (str(words[0].message) if words else "")
    problem = instance.problem
    return Row(
        name=instance.name,
        kind=instance.kind,
        alpha=instance.alpha,
        within=problem.within,
        persons=problem.shape[0],
        budget=problem.budget,
        dose_error=error,
        gradient_error=slope,
        outcome=outcome,
        message=message,
        seconds=seconds,
    )


def _attempt(call: Callable[[], Any]) -> tuple[Any, str]:
    """The value of a call and "", or None and what it raised."""
    try:
        return call(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _check_shape(dose: Any, instance: Instance) -> None:
    if not isinstance(dose, Tensor):
        raise TypeError(f"layer returned {type(dose).__name__}: must return a tensor of doses")
    if tuple(dose.shape) != instance.problem.shape:
        raise ValueError(
            f"layer returned doses of shape {tuple(dose.shape)} for {instance.name!r}: must be "
            f"{instance.problem.shape}, a row for each person and a column for each treatment"
        )


def _pulled_back(
    dose: Tensor, inputs: tuple[Tensor, ...], instance: Instance
) -> tuple[Tensor, ...]:
    """The derivatives of Σ v d; 0 in what the doses do not depend on, for autograd."""
    if not dose.requires_grad:
        return tuple(map(torch.zeros_like, inputs))
    value = (torch.as_tensor(instance.cotangent) * dose).sum()
    found = torch.autograd.grad(value, inputs, allow_unused=True)
    pairs = zip(found, inputs, strict=True)
    return tuple(torch.zeros_like(x) if g is None else g for g, x in pairs)
