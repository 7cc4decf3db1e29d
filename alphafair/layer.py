"""The closed form as a PyTorch layer: exact doses, exact derivatives of any order, no solver.

The two stages of the core in differentiable operations, so that autograd, `torch.func` and batching
over leading dimensions work as for any function.  Which items are best is a discrete choice and
carries no gradient; everything after it does (see `alphafair.derivatives`).  Nothing is copied to
the host, unless the tensors are there already.

Needs the extra ``alphafair[layer]``: torch.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .checks import number
from .groups import Groups, group_weights
from .utility import check_alpha
from .value import ROUNDING, money_exponent

LARGEST, SMALLEST = np.finfo(float).max, 5e-324  # x ≥ 0 is x > −5e−324
_COPIES: WeakKeyDictionary[Groups, dict[torch.device, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def allocate(
    benefit: Tensor,
    cost: Tensor | float,
    group: ArrayLike | Groups,
    budget: Tensor | float,
    alpha: Tensor | float,
    *,
    within: float = 0.0,
    weight: Any = None,
) -> Tensor:
    """α-fair doses, differentiable in benefit, cost, budget and alpha.

    Args:
        benefit: b, (..., N, T), or (N,) for one treatment.  Items ≤ 0 are never chosen.
        cost: c > 0, broadcastable to (..., N, T); (N,) is a cost for each person.
        group: (N,) labels, or `Groups` (build it once: it then stays on the device); the same for
            the whole batch.
        budget: Q ≥ 0, a number or (...,).
        alpha: α in [0, ∞] as a number; as a tensor, a number or (...,), 0 < α ≤ ∞.
        within: ε in [0, ∞], a number.
        weight: as for `alphafair.allocate`.

    Returns:
        (..., N, T) doses, of the dtype and device of ``benefit``.

    Raises:
        ValueError: on the CPU, outside `torch.vmap`: values out of range, a group without a
            positive benefit.  (Checking a tensor on another device would stop and wait for it.)
        TypeError: a benefit that is no floating-point tensor.

    Example:
        >>> b = torch.tensor([4.0, 1.0], dtype=torch.float64, requires_grad=True)
        >>> dose = allocate(b, 1.0, ["a", "b"], budget=30.0, alpha=2.0)
        >>> dose[:, 0].tolist()
        [10.0, 20.0]
        >>> torch.autograd.grad(dose[0, 0], b)[0].numpy().round(6)
        array([-0.833333,  3.333333])
    """
    groups = group if isinstance(group, Groups) else Groups(group)
    within = number("within", within, "between 0 and infinity", lambda value: value >= 0)
    b, c, q, a = _prepare(benefit, cost, budget, alpha, len(groups))
    shape = b.shape
    w = torch.as_tensor(group_weights(weight, groups), dtype=b.dtype, device=b.device)
    size = _on_device(groups, b.device)[1].to(b.dtype)
    item, code = _funded(b.detach(), c.detach(), groups, within)
    b, c = (x.flatten(-2).gather(-1, item) for x in (b, c))
    share, log_p = (
        (1.0, (b / c).log() - size.log()) if within == 0 else _inside(b, c, code, size, within)
    )
    amount = (q[..., None] * _across(w.log(), log_p, a)).gather(-1, code) * share / c
    dose = torch.zeros(shape, dtype=b.dtype, device=b.device).flatten(-2)
    return dose.scatter(-1, item, amount).reshape(shape)


def _on_device(groups: Groups, device: torch.device) -> tuple[Tensor, Tensor]:
    """Codes (N,) and sizes (K,) of the groups, copied to a device once."""
    copies = _COPIES.setdefault(groups, {})
    if device not in copies:
        code, size = (torch.as_tensor(x, device=device) for x in (groups.code, groups.size))
        copies[device] = code, size
    return copies[device]


def _funded(b: Tensor, c: Tensor, groups: Groups, within: float) -> tuple[Tensor, Tensor]:
    """Funded items, i T + t, and their groups (..., M): one a group or, at within > 0, a person.

    The ratio b/c, not its logarithm, decides, and the first of ties wins, as in the core.
    """
    best, treatment = (b / c).max(-1)
    code = _on_device(groups, b.device)[0].expand(best.shape)
    top = best.new_zeros((*best.shape[:-1], len(groups.label)))
    top = top.scatter_reduce(-1, code, best, "amax")
    if not _within(top, 0, np.inf):
        label = groups.label[int((top <= 0).nonzero()[0, -1])]
        raise ValueError(f"group {label!s} has no item with a positive benefit; drop the group")
    row = torch.arange(best.shape[-1], device=b.device)
    item = row * b.shape[-1] + treatment
    if within > 0:
        if within >= 1:
            _check("benefit", b.amax(-1), 0, LARGEST, "> 0 for all if within ≥ 1; use within < 1")
        return item, code
    winner = torch.where(best == top.gather(-1, code), row, row.numel())
    first = torch.full_like(top, row.numel(), dtype=row.dtype)
    first = first.scatter_reduce(-1, code, winner, "amin")
    group = torch.arange(top.shape[-1], device=b.device).expand(top.shape)
    return item.gather(-1, first), group


def _inside(
    b: Tensor, c: Tensor, code: Tensor, size: Tensor, within: float
) -> tuple[Tensor, Tensor]:
    """Shares y (..., N) of the group's money and log productivities (..., K), at within > 0."""
    s = money_exponent(within, _largest(b))
    shape, able = (*b.shape[:-1], size.numel()), b > 0
    log_ratio = torch.where(able, b, 1).log() - c.log()
    # Relative to the largest ratio (s ≥ 0) or the least, so that s z ≤ 0.
    sign = -1.0 if s < 0 else 1.0
    masked = torch.where(able, sign * log_ratio.detach(), -torch.inf)
    top = torch.full(shape, -torch.inf, dtype=b.dtype, device=b.device)
    top = sign * top.scatter_reduce(-1, code, masked, "amax")
    z = torch.where(able, log_ratio - top.gather(-1, code), 0)
    power = torch.where(able, (s * z).exp(), 0)
    total = _add(power, code, shape)
    if s == 0:
        log_mean = _add(z, code, shape) / size
    else:  # of the mean power; where that is near 1, through expm1 (as in the core)
        excess = _add(torch.where(able, (s * z).expm1(), -1), code, shape) / size
        near = excess > -0.5
        log_mean = torch.where(near, torch.where(near, excess, 0).log1p(), (total / size).log()) / s
    return power / total.gather(-1, code), top + log_mean - size.log()


def _add(value: Tensor, code: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=value.dtype, device=value.device).scatter_add(-1, code, value)


def _across(log_w: Tensor, log_p: Tensor, alpha: Tensor | float) -> Tensor:
    """(..., K) budget shares: softmax( log(w)/α + (1/α − 1) log p )."""
    if isinstance(alpha, Tensor):
        beta = 1 / alpha[..., None]
        return torch.softmax(beta * log_w + (beta - 1) * log_p, -1)
    if alpha == 0:
        score = (log_w + log_p).detach()
        eps = ROUNDING * torch.finfo(score.dtype).eps / np.finfo(float).eps
        tied = score >= score.amax(-1, keepdim=True) - eps * (1 + log_w.abs() + log_p.abs())
        return tied.to(log_p.dtype) / tied.sum(-1, keepdim=True)
    tilt = money_exponent(alpha, _largest(log_p))
    return torch.softmax((tilt + 1) * log_w + tilt * log_p, -1)


def _largest(value: Tensor) -> float:
    """An exponent that no logarithm of this precision takes out of its range."""
    return torch.finfo(value.dtype).max / 1e6


class AlphaFairLayer(torch.nn.Module):
    """`allocate` as a module, for fixed groups, α, `within` and weights.

    Args:
        group: (N,) labels or `Groups`.
        alpha: α in [0, ∞].
        within: ε in [0, ∞].
        weight: as for `alphafair.allocate`.

    Example:
        >>> layer = AlphaFairLayer(["a", "b"], alpha=1.0)
        >>> layer(torch.tensor([4.0, 1.0]), 1.0, 30.0)[:, 0].tolist()
        [15.0, 15.0]
    """

    def __init__(
        self, group: ArrayLike | Groups, alpha: float, within: float = 0.0, weight: Any = None
    ) -> None:
        super().__init__()
        self.group = group if isinstance(group, Groups) else Groups(group)
        self.alpha, self.within, self.weight = check_alpha(alpha), within, weight

    def forward(self, benefit: Tensor, cost: Tensor | float, budget: Tensor | float) -> Tensor:
        """Doses (..., N, T)."""
        fixed = {"within": self.within, "weight": self.weight}
        return allocate(benefit, cost, self.group, budget, self.alpha, **fixed)

    def extra_repr(self) -> str:
        """Settings, for printing."""
        return f"{self.group}, alpha={self.alpha:g}, within={self.within:g}"


def _prepare(
    benefit: Tensor, cost: Any, budget: Any, alpha: Any, persons: int
) -> tuple[Tensor, Tensor, Tensor, Tensor | float]:
    """Tensors b (..., N, T), c (..., N, T), Q (...) and α, a number or (...), checked."""
    if not (isinstance(benefit, Tensor) and benefit.is_floating_point()):
        kind = getattr(benefit, "dtype", type(benefit).__name__)
        raise TypeError(f"benefit must be a floating-point tensor, not {kind}")
    b, c, q = (
        torch.as_tensor(x, dtype=benefit.dtype, device=benefit.device)
        for x in (benefit, cost, budget)
    )
    b, c = (x[:, None] if x.ndim == 1 else x for x in (b, c))
    if b.ndim == 0 or b.shape[-2] != persons:
        raise ValueError(
            f"benefit has shape {tuple(benefit.shape)}: must be (..., {persons}, T), a row for "
            f"each of the {persons} group labels"
        )
    _check("benefit", b, -np.inf, LARGEST, "finite; drop that row or impute the value")
    _check("cost", c, 0, LARGEST, "finite and > 0; give what is free a small positive cost")
    _check("budget", q, -SMALLEST, LARGEST, "finite and ≥ 0")
    if not isinstance(alpha, Tensor):
        b, c, q = torch.broadcast_tensors(b, c, q[..., None, None])
        return b, c, q[..., 0, 0], check_alpha(alpha)
    _check("alpha", alpha, 0, np.inf, "> 0 as a tensor (pass 0 as a number)")
    b, c, q, a = torch.broadcast_tensors(b, c, q[..., None, None], alpha.to(b)[..., None, None])
    return b, c, q[..., 0, 0], a[..., 0, 0]


def _check(name: str, value: Tensor, low: float, high: float, expected: str) -> None:
    """Refuse what is not in low < value ≤ high, naming the first entry."""
    if _within(value, low, high):
        return
    exact = value.double()  # in which every bound is itself, and not infinity
    index = (~((exact > low) & (exact <= high))).nonzero()[0].tolist()
    raise ValueError(f"{name}{index} is {exact[tuple(index)].item()}: must be {expected}")


def _within(value: Tensor, low: float, high: float) -> bool:
    """Whether low < value ≤ high, as far as one can tell without waiting for another device."""
    if value.device.type != "cpu":
        return True
    try:
        least, most = (extreme.item() for extreme in value.aminmax())
    except RuntimeError:  # inside torch.vmap values cannot be looked at
        return True
    return low < least and most <= high
