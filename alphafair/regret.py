"""What a plan loses because it was made from predictions: the fair regret, and a loss to train on.

A plan d made from predicted benefits b̂ meets the true benefits b.  It is judged by the equivalent
utility ū_α, which has the same unit at every α, against the best plan that the same money buys::

    R(d) = 1 − ū_α(d; b) / ū_α(d(b); b)         U_k = M_{1−ε}(a_i + Σ_t b_it d_it, i in k)
                                                ū_α = M_{1−α}(U_k), weighted by w

For benefits ≥ 0 it is between 0, nothing is lost, and 1, everything is.  Doubling all predictions
changes nothing, so R judges a decision and no forecast.

`fair_regret` judges any plan, with numpy alone.  `regret_loss` is R(d(b̂)) as a function of b̂ in
PyTorch, through `alphafair.layer`, so that a model can be trained on what its decisions lose.

**Smoothing.**  At ε = 0 the best person of each group gets all the group's money, or, with caps,
the best ones do.  The loss then jumps where an order changes and is flat elsewhere, and its
derivative, correct as it is, never hears of people who are not funded.  So the plan may be made
with an aversion ``smoothing`` > 0 that shares the money, while the judge keeps his own ε.

With caps this works well.  Without caps a plan that is smoother than its judge rewards
exaggeration: he wants the best person to have all the money, and the larger her prediction is, the
more of it she gets.  Then raise ``within``, too, so that no prediction loses less than the truth.

Both means, inside the groups and across them, are weighted power means, and are computed by one
function, relative to their largest or least term, which neither overflows nor loses digits near the
exponent 0.

References:
    Elmachtoub and Grigas, "Smart predict, then optimize", Management Science 68(1), 2022.
    Wilder, Dilkina and Tambe, "Melding the data-decisions pipeline", AAAI 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .certificate import group_utility, optimality_gap, problem_first
from .checks import entry, number, reals, refuse_first
from .groups import Groups, by_group, refuse_group
from .problem import Problem
from .utility import check_alpha, equivalent_utility

if TYPE_CHECKING:
    from torch import Tensor

INFEASIBLE = 1e-9  # as a fraction of the budget: more than the rounding of anybody's doses
REDUCTIONS = ("mean", "sum", "none")
HARM = "judge at alpha = 0 and within = 0, which add up, or count in baseline what people have"


# --- of a plan --------------------------------------------------------------------------------
@problem_first(1, "fair_regret(dose, problem, alpha)")
def fair_regret(dose: ArrayLike, problem: Problem, alpha: float) -> float:
    """Part of the equivalent utility that a plan loses: R = 1 − ū(d) / ū(best plan).

    Args:
        dose: d, (N, T), or (N,) if T = 1: the plan, within the budget and all bounds.
        problem: the `Problem` with the *true* benefits.
        alpha: α in [0, ∞].

    Returns:
        A number between 0 and 1, up to rounding; above 1 only where a plan does harm at α = 0.  0
        if no plan can do anything (a budget of 0, and nobody has anything).

    Raises:
        ValueError: doses that are not finite, of another shape, or that break the budget or a
            bound; people (at within > 0) or groups (at α > 0) to whom the plan leaves a utility
            below 0, which has no equivalent utility; α out of its range.
        TypeError: no `Problem`.

    Example:
        >>> truth = Problem([4.0, 1.0], 1.0, ["Ana", "Ben"], budget=180.0)
        >>> predicted = Problem([9.0, 1.0], 1.0, ["Ana", "Ben"], budget=180.0)
        >>> round(28 * fair_regret(predicted.allocate(2).dose, truth, 2), 12)
        1.0
    """
    alpha = check_alpha(alpha)
    broken = optimality_gap(dose, problem, alpha).infeasibility
    if broken > INFEASIBLE:
        raise ValueError(
            f"dose breaks the budget or a bound, by {broken:.3g} of the budget in money: must be "
            f"a plan of this problem; divide it by the factor by which it costs too much"
        )
    mine = _equivalent(reals("dose", dose).reshape(problem.shape), problem, alpha)
    best = _equivalent(problem.allocate(alpha).dose, problem, alpha)
    return 1 - mine / best if best else 0.0


def _equivalent(dose: Any, problem: Problem, alpha: float) -> float:
    """ū, in the problem's unit of utility."""
    if problem.within > 0:
        person = (problem.benefit * dose).sum(axis=1)
        person = person if problem.baseline is None else person + problem.baseline
        refuse_first("the utility of person", person, person >= 0, "≥ 0 at within > 0", HARM)
    level = group_utility(dose, problem)
    if alpha == 0:  # a mean, also of what is below 0
        return float(problem.weight @ level / problem.weight.sum())
    refuse_group("utility", level, level >= 0, problem.groups, "≥ 0 at alpha > 0", HARM)
    return equivalent_utility(level, alpha, problem.weight)


# --- of predictions ---------------------------------------------------------------------------
def regret_loss(
    predicted_benefit: Tensor,
    true_benefit: Tensor,
    cost: Tensor | float,
    group: ArrayLike | Groups,
    budget: Tensor | float,
    alpha: float,
    *,
    within: float = 0.0,
    smoothing: float | None = None,
    weight: Any = None,
    baseline: Any = None,
    floor: Any = None,
    cap: Any = None,
    exclusive: bool = False,
    group_floor: Any = None,
    group_cap: Any = None,
    mask: Any = None,
    skip: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Fair regret of the plan made from predictions, differentiable in them: R(d(b̂)).

    Args:
        predicted_benefit: b̂, a tensor (..., N, T), or (N,) for one treatment.
        true_benefit: b, of the same shape, or with batch axes that fit; taken as a constant.
        cost, group, budget, weight, baseline, floor, cap, exclusive, group_floor, group_cap: as in
            `alphafair.layer.allocate`, and the same for the plan and for the best one.
        alpha: α in [0, ∞], a number.
        within: ε in [0, ∞], by which plans are judged, and by which the best one is made.
        smoothing: ε by which the plan is made from the predictions; None for that of the judge.
            To train with ``within=0`` and caps take it > 0, and without caps raise ``within``, too:
            see the head of this module.
        mask: booleans (..., N) or (..., N, T): who takes part, as in the layer.
        skip: give nothing to groups without a positive prediction, instead of an error.  They are
            judged all the same.
        reduction: "mean" or "sum" over the batch, or "none".

    Returns:
        A number, or with "none" a tensor of the shape of the batch.  Where a group (at α ≥ 1) is
        left with nothing the regret is 1 and its derivative 0.  At α = ε = 0 without bounds the
        plan is one item, and nothing depends on the predictions but which: there is no derivative.
        NaN only where nothing can be looked at: inside `torch.vmap`, and on other devices than the
        CPU (see the layer).

    Raises:
        ValueError: values out of range, shapes that do not fit, a group that by its predictions
            (or in truth) no money can help; people (at within > 0) or groups (at α > 0) to whom
            the plan leaves a utility below 0, because the true benefits are.
        TypeError: a benefit that is no floating-point tensor.

    Example:
        >>> import torch
        >>> truth = torch.tensor([4.0, 1.0], dtype=torch.float64)
        >>> hat = torch.tensor([9.0, 1.0], dtype=torch.float64, requires_grad=True)
        >>> loss = regret_loss(hat, truth, 1.0, ["Ana", "Ben"], budget=180.0, alpha=2.0)
        >>> round(28 * loss.item(), 12)
        1.0
        >>> loss.backward()
        >>> (28 * hat.grad).numpy().round(6)      # Ana is overrated, and Ben underrated
        array([ 0.267857, -2.410714])
    """
    import torch

    from . import layer  # torch is an extra

    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}: must be one of {', '.join(REDUCTIONS)}")
    groups = group if isinstance(group, Groups) else Groups(group)
    alpha = check_alpha(alpha)
    within = number("within", within, "between 0 and infinity", lambda v: v >= 0)
    plan_within = within if smoothing is None else smoothing
    rules = {
        **{"weight": weight, "baseline": baseline, "floor": floor, "cap": cap, "mask": mask},
        **{"exclusive": exclusive, "group_floor": group_floor, "group_cap": group_cap},
    }

    def plan(name: str, benefit: Tensor, **settings: Any) -> Tensor:
        try:
            return layer.allocate(benefit, cost, groups, budget, alpha, **rules, **settings)
        except (TypeError, ValueError) as error:
            raise type(error)(f"in the plan from {name}: {error}") from error

    dose = plan("predicted_benefit", predicted_benefit, within=plan_within, skip=skip)
    with torch.no_grad():
        best = plan("true_benefit", true_benefit, within=within)
    truth = true_benefit.detach()
    truth = truth[:, None] if truth.ndim == 1 else truth
    try:
        torch.broadcast_shapes(dose.shape, truth.shape)
    except RuntimeError:
        raise ValueError(
            f"predicted_benefit has shape {tuple(predicted_benefit.shape)}, true_benefit "
            f"{tuple(true_benefit.shape)}: they must fit together, the axes of the batch first"
        ) from None
    judge = _Judge(truth, groups, alpha, within, weight, baseline, mask)
    mine, most = judge.equivalent(dose), judge.equivalent(best)
    loss = 1 - (mine / most.where(most != 0, 1)).where(most != 0, 1)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


class _Judge:
    """Equivalent utilities of doses, in tensors."""

    def __init__(
        self,
        benefit: Tensor,
        groups: Groups,
        alpha: float,
        within: float,
        weight: Any,
        baseline: Any,
        mask: Any,
    ) -> None:
        import torch

        from .layer_bounds import on_device

        def like(value: Any) -> Tensor:
            return torch.as_tensor(value, dtype=benefit.dtype, device=benefit.device)

        self.benefit, self.groups, self.alpha, self.within = benefit, groups, alpha, within
        self.baseline = None if baseline is None else like(baseline)
        self.code = on_device(groups, benefit.device)[0]
        there = torch.ones(len(groups), dtype=torch.bool, device=benefit.device)
        if mask is not None:
            items = torch.as_tensor(mask, device=benefit.device)
            by_person = items.ndim == benefit.ndim - 1 or items.ndim == 1
            there = items if by_person else items.any(-1)
        self.there = there.to(benefit.dtype)
        size = _add(self.there, self.code, groups.size.size)
        if weight is None:
            weight = torch.ones_like(size)
        elif isinstance(weight, str):  # "size", or the layer has refused it
            weight = size
        elif not isinstance(weight, torch.Tensor):
            weight = by_group("weight", weight, groups)
        self.weight = like(weight) * (size > 0)

    def equivalent(self, dose: Tensor) -> Tensor:
        """(...) ū of doses (..., N, T)."""
        # What is masked may hold anything, even NaN, and has a dose of 0.
        gain = self.benefit.where(dose != 0, 0) * dose
        person = gain.sum(-1)
        if self.baseline is not None:
            person = person + self.baseline.where(self.there > 0, 0)
        if self.within > 0:
            person = _refuse_harm(person, "the utility of person", "within")
        level = _power_means(person, self.there, self.code, self.groups.size.size, 1 - self.within)
        if self.alpha > 0:
            level = _refuse_harm(level, "the utility of group", "alpha", self.groups)
        together = self.code.new_zeros(self.groups.size.size)
        return _power_means(level, self.weight, together, 1, 1 - self.alpha)[..., 0]


def _power_means(
    value: Tensor, weight: Tensor, code: Tensor, cells: int, exponent: float
) -> Tensor:
    """(..., cells) weighted power means M_s of the values (..., M) with each code.

    ``(Σ w v^s / Σ w)^{1/s}``, for values ≥ 0 unless s = 1; 0 for a cell without weight.  Relative
    to the largest value (s > 0) or the least, and through expm1 where the mean of the powers is
    near 1.  A value of 0 takes part with its power and without a derivative, which is infinite or
    that of the limit 0.
    """
    weight = weight.expand(value.shape)
    total = _add(weight, code, cells)
    total = total.where(total > 0, 1)
    if exponent == 1:
        return _add(weight * value, code, cells) / total
    kind, none = ("amax", 0.0) if exponent > 0 else ("amin", np.inf)
    extreme = value.new_full((*value.shape[:-1], cells), none)
    at = code.expand(value.shape)
    extreme = extreme.scatter_reduce(-1, at, value.where(weight > 0, none), kind)
    if np.isinf(exponent):
        return extreme.where(~extreme.isinf(), 0)
    useful = (extreme > 0) & extreme.isfinite()
    reference = extreme.detach().where(useful, 1)
    counts = (weight > 0) & (value > 0) & useful.gather(-1, at)
    log_ratio = value.where(counts, 1).log() - reference.log().gather(-1, at)
    log_ratio = log_ratio.where(counts, 0)
    if exponent == 0:
        log_mean = _add(weight * log_ratio, code, cells) / total
    else:
        z = exponent * log_ratio  # ≤ 0
        excess = _add(weight * z.expm1().where(counts, -1), code, cells) / total
        power = _add(weight * z.exp().where(counts, 0), code, cells) / total
        near = excess > -0.5
        log_mean = excess.where(near, 0).log1p().where(near, power.where(~near, 1).log())
        log_mean = log_mean / exponent
    mean = reference * log_mean.exp()
    return mean.where(useful, extreme.where(extreme.isnan(), 0))


def _add(value: Tensor, code: Tensor, cells: int) -> Tensor:
    return value.new_zeros((*value.shape[:-1], cells)).scatter_add(
        -1, code.expand(value.shape), value
    )


def _refuse_harm(value: Tensor, name: str, argument: str, groups: Groups | None = None) -> Tensor:
    """The value; ValueError about its first entry below 0, or NaN there if nobody can look."""
    try:
        if value.device.type == "cpu" and (value < 0).any().item():
            *element, last = (value < 0).nonzero()[0].tolist()
            came = value[(*element, last)].item()
            who = last if groups is None else f"{groups.label[last]!s}"
            where = f" in batch element {entry(element)}" if element else ""
            raise ValueError(
                f"{name} {who}{where} is {came}: must be ≥ 0 at {argument} > 0; {HARM}"
            )
    except RuntimeError:  # inside torch.vmap
        pass
    return value.where(value >= 0, np.nan)
