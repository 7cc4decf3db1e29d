"""The torch layer with bounds: the core's doses, and its Jacobian as the backward pass.

With a baseline, floors, caps or bounds of the groups' budgets, which pieces are full is found by
sorting and searching (`alphafair.closed_form`).  PyTorch cannot differentiate that and need not:
for a cotangent v of the doses, `DoseJacobian.vjp` has the cotangents of all parameters.  So there
are two operators, each a loop over the batch on the host::

    alphafair::bounded        parameters → doses               Problem(…).allocate(α).dose
    alphafair::bounded_vjp    v, parameters → cotangents       ….jacobian().vjp(v)

As operators of PyTorch they are opaque to `torch.compile` and know how `torch.vmap` batches them;
the second refuses to be differentiated.  The backward pass solves once more, which is cheaper than
to keep the optimum of every element for as long as somebody might ask for a derivative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from .allocation import Allocation
from .checks import entry
from .groups import Groups
from .problem import Problem

BOUNDS = ("baseline", "floor", "cap", "group_floor", "group_cap")
PARAMETERS = ("benefit", "cost", "budget", "alpha", "weight", *BOUNDS)
OF_GROUPS = ("weight", "group_floor", "group_cap")
NUMBERS = ("budget", "alpha")
_COPIES: WeakKeyDictionary[Groups, dict[torch.device, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def on_device(groups: Groups, device: torch.device) -> tuple[Tensor, Tensor]:
    """Codes (N,) and sizes (K,) of the groups, copied to a device once.

    Compiled graphs take them from the arrays at each call: their guards do not follow weak keys.
    """
    if torch.compiler.is_compiling():
        _remember(groups)
        return _tensors(groups, device)
    copies = _COPIES.setdefault(groups, {})
    if device not in copies:
        copies[device] = _tensors(groups, device)
    return copies[device]


def _tensors(groups: Groups, device: torch.device) -> tuple[Tensor, Tensor]:
    code = torch.as_tensor(groups.code.astype(np.int64), device=device)  # torch indexes with these
    return code, torch.as_tensor(groups.size, device=device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _remember(groups: Groups) -> int:
    """For `recall`; done once, while a graph is compiled."""
    _COPIES.setdefault(groups, {})
    return id(groups)


def recall(key: int) -> Groups | None:
    """The groups of this `id`, as operators take no objects; None if they are gone."""
    return next((groups for groups in _COPIES if id(groups) == key), None)


# --- the operators ----------------------------------------------------------------------------
@torch.library.custom_op("alphafair::bounded", mutates_args=())
def bounded(
    benefit: Tensor,
    cost: Tensor,
    budget: Tensor,
    alpha: Tensor,
    weight: Tensor,
    baseline: Tensor | None,
    floor: Tensor | None,
    cap: Tensor | None,
    group_floor: Tensor | None,
    group_cap: Tensor | None,
    there: Tensor | None,
    code: Tensor,
    within: float,
    exclusive: bool,
    key: int,
) -> Tensor:
    """Doses (..., N, T); every tensor but ``code`` (N,) has the same batch axes in front."""
    tensors = (benefit, cost, budget, alpha, weight, baseline, floor, cap, group_floor, group_cap)
    dose = np.zeros((math.prod(benefit.shape[:-2]), *benefit.shape[-2:]))
    for i, persons, _, allocation in _elements(tensors, there, code, within, exclusive, key):
        dose[i, persons] = allocation.dose
    return torch.from_numpy(dose.reshape(benefit.shape)).to(benefit)


@torch.library.custom_op("alphafair::bounded_vjp", mutates_args=())
def bounded_vjp(
    cotangent: Tensor,
    benefit: Tensor,
    cost: Tensor,
    budget: Tensor,
    alpha: Tensor,
    weight: Tensor,
    baseline: Tensor | None,
    floor: Tensor | None,
    cap: Tensor | None,
    group_floor: Tensor | None,
    group_cap: Tensor | None,
    there: Tensor | None,
    code: Tensor,
    within: float,
    exclusive: bool,
    key: int,
) -> list[Tensor]:
    """Cotangents of the ten parameters, empty tensors for those that were not given.

    The cotangent of the doses is (..., V, N, T): any number V of them for each batch element, and
    the results have these axes in the same place.
    """
    tensors = (benefit, cost, budget, alpha, weight, baseline, floor, cap, group_floor, group_cap)
    shapes = _pulled_shapes(cotangent, tensors)
    count, axes = math.prod(benefit.shape[:-2]), benefit.ndim - 2
    several = math.prod(cotangent.shape[axes:-2])
    vs = cotangent.detach().cpu().double().numpy()
    vs = vs.reshape(count, several, *cotangent.shape[-2:])
    pulled = {
        name: np.zeros((count, several, *x.shape[axes:]))
        for name, x in zip(PARAMETERS, tensors, strict=True)
        if x is not None
    }
    for i, persons, groups, allocation in _elements(tensors, there, code, within, exclusive, key):
        jacobian = allocation.jacobian()
        for j in range(several):
            cotangents = jacobian.vjp(vs[i, j, persons])
            for name, total in pulled.items():
                found = getattr(cotangents, name)
                if found is None:  # α at the ends of its range, a cap that is infinite everywhere
                    continue
                if name in NUMBERS:
                    total[i, j] = found
                else:
                    total[i, j, groups if name in OF_GROUPS else persons] = found
    return [
        torch.empty(0)
        if name not in pulled
        else torch.from_numpy(pulled[name].reshape(shape)).to(x)
        for name, x, shape in zip(PARAMETERS, tensors, shapes, strict=True)
    ]


def _elements(
    tensors: tuple[Tensor | None, ...],
    there: Tensor | None,
    code: Tensor,
    within: float,
    exclusive: bool,
    key: int,
) -> Iterator[tuple[int, Any, Any, Allocation]]:
    """The batch elements that have anybody: number, people and groups that are there, optimum."""
    codes = code.cpu().numpy()
    everybody = recall(key)
    if everybody is None or not np.array_equal(everybody.code, codes):
        everybody = Groups(codes)  # without the labels
    benefit = tensors[0]
    assert benefit is not None
    batch = benefit.shape[:-2]
    count = math.prod(batch)
    arrays = {
        name: x.detach().cpu().double().numpy().reshape(count, *x.shape[len(batch) :])
        for name, x in zip(PARAMETERS, tensors, strict=True)
        if x is not None
    }
    present = None if there is None else there.cpu().numpy().reshape(count, codes.size)
    for i in range(count):
        own, groups = {name: x[i] for name, x in arrays.items()}, everybody
        persons: Any = slice(None)
        of_groups: Any = persons
        if present is not None and not present[i].all():
            persons = np.flatnonzero(present[i])
            if persons.size == 0:
                continue
            of_groups = np.unique(everybody.code[persons])
            groups = Groups(everybody.label[everybody.code[persons]])
            for name in own.keys() - set(NUMBERS):
                own[name] = own[name][of_groups if name in OF_GROUPS else persons]
        budget, alpha = float(own.pop("budget")), float(own.pop("alpha"))
        try:
            problem = Problem(
                group=groups, budget=budget, within=within, exclusive=exclusive, **own
            )
            allocation = problem.allocate(alpha)
            assert allocation.dose.size  # built here, as it may overflow
        except ValueError as error:
            where = f"batch element {entry(np.unravel_index(i, batch))}: " if batch else ""
            rows = "" if groups is everybody else " (positions count only who is there)"
            raise ValueError(f"{where}{error}{rows}") from error
        yield i, persons, of_groups, allocation


def _pulled_shapes(cotangent: Tensor, tensors: tuple[Tensor | None, ...]) -> list[tuple[int, ...]]:
    """Shapes of the cotangents of the parameters."""
    benefit = tensors[0]
    assert benefit is not None
    front, axes = cotangent.shape[:-2], benefit.ndim - 2
    return [(0,) if x is None else (*front, *x.shape[axes:]) for x in tensors]


# --- what PyTorch asks of an operator -----------------------------------------------------------
@bounded.register_fake
def _bounded_fake(benefit: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(benefit, memory_format=torch.contiguous_format)


@bounded_vjp.register_fake
def _vjp_fake(cotangent: Tensor, *arguments: Any) -> list[Tensor]:
    tensors = arguments[: len(PARAMETERS)]
    return [
        torch.empty(0) if x is None else x.new_empty(shape)
        for x, shape in zip(tensors, _pulled_shapes(cotangent, tensors), strict=True)
    ]


@bounded.register_vmap
def _bounded_vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
    return bounded(*_in_front(info.batch_size, in_dims, inputs)), 0


@bounded_vjp.register_vmap
def _vjp_vmap(
    info: Any, in_dims: tuple[int | None, ...], *inputs: Any
) -> tuple[list[Tensor], list[int | None]]:
    """Cotangents alone (a Jacobian, row by row) join the axes V: each problem is solved once."""
    first = in_dims[0]
    if first is not None and all(axis is None for axis in in_dims[1:]):
        pulled = bounded_vjp(inputs[0].movedim(first, -3), *inputs[1:])
        axis = inputs[0].ndim - 3
    else:
        axis, pulled = 0, bounded_vjp(*_in_front(info.batch_size, in_dims, inputs))
    given = inputs[1 : 1 + len(pulled)]
    return pulled, [None if x is None else axis for x in given]


def _in_front(size: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]) -> list[Any]:
    """The inputs with the axis of vmap first; the codes and the settings, the last four, as is."""
    moved = [
        x if x is None else x.expand(size, *x.shape) if axis is None else x.movedim(axis, 0)
        for x, axis in zip(inputs[:-4], in_dims[:-4], strict=True)
    ]
    return [*moved, *inputs[-4:]]


# --- derivatives --------------------------------------------------------------------------------
def solve(*inputs: Any) -> Tensor:
    """`bounded`, differentiable: compiled graphs take the operator, `torch.func` a Function."""
    found = bounded(*inputs) if torch.compiler.is_compiling() else _Bounded.apply(*inputs)  # type: ignore[no-untyped-call]
    dose: Tensor = found
    return dose


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep the inputs: tensors, and the last three, which are settings."""
    ctx.save_for_backward(*inputs[:-3])
    ctx.settings = inputs[-3:]


def _pull_back(ctx: Any, cotangent: Tensor, pull: Any = bounded_vjp) -> tuple[Any, ...]:
    """Cotangents of the parameters; the mask, the codes and the settings have none."""
    tensors = ctx.saved_tensors
    pulled = pull(cotangent, *tensors, *ctx.settings)
    found = (p if x is not None else None for x, p in zip(tensors, pulled, strict=False))
    return *found, None, None, None, None, None


bounded.register_autograd(_pull_back, setup_context=_save)


class _Bounded(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        dose: Tensor = bounded(*inputs)
        return dose

    setup_context = staticmethod(_save)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        return _pull_back(ctx, cotangent, _BoundedVjp.apply)


class _BoundedVjp(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return tuple(bounded_vjp(*inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise NotImplementedError(
            "doses with a baseline, bounds or exclusive=True have first derivatives only; without "
            "them the layer has derivatives of every order"
        )
