"""One term more: E X = x + V/N + A/N² + O(1/N³) in the steady state.

With Z = X − x, the moments E Z, E ZZ, E ZZZ, E ZZZZ are V/N + A/N², W/N + B/N², C/N² and D/N².
Each is the fixed point of its differential equation; F_k is the k-th derivative of f, Q' and Q''
those of Q, T = Σ ℓℓℓ β_ℓ, and S(·) the sum over the places at which the first index can stand:

    D = W_ij W_kl + W_ik W_jl + W_il W_jk
    0 = S(F1 C + ½ F2 : D + f₁ W) + S(Q V + Q' W) + T
    0 = S(F1 B + ½ F2 : C + ⅙ F3 : D + f₁ V + f₁' W) + Q' V + ½ Q'' : W + Q1
    0 = F1 A + ½ F2 : B + ⅙ F3 : C + (1/24) F4 : D + f₁' V + ½ f₁'' : W

All in the basis of the jumps, where sums that are conserved are out of the way.  Memory is r⁵
numbers for r directions: for small models.

References:
    N. Gast, L. Bortolussi, M. Tribastone, "Size expansions of mean field approximation: transient
    and steady-state analysis", Performance Evaluation 129 (2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....checks import Floats
from .differentiate import Differentiated, as_tensors
from .population import Population
from .refined import steady_state

RESIDUAL = 1e-6  # of the equations, relatively: above it the eigenvectors are nearly dependent


def second_order(model: Population) -> Floats:
    """A, so that E X = x + V/N + A/N² + O(1/N³) in the steady state.

    Args:
        model: a population whose rates torch can differentiate (four times).

    Returns:
        (d,).

    Raises:
        ValueError: rates that torch cannot differentiate; all that `steady_state` raises.

    Example:
        >>> from alphafair.models.meanfield import sis
        >>> second_order(sis(2, 1, source=0.5)).round(5).tolist()
        [0.30744, -0.30744]
    """
    refined, U = steady_state(model), model.tangent
    jumps = model.jumps @ U
    V, W = U.T @ refined.correction, U.T @ refined.covariance @ U
    rates = _derivatives(model.rates, refined.mean, U, 4)
    F = [np.tensordot(jumps, table, (0, 0)) for table in rates]
    Q = [np.einsum("li,lj,l...->ij...", jumps, jumps, table) for table in rates[:3]]
    f1 = [np.zeros(F[k].shape) for k in range(3)]
    Q1 = np.zeros_like(Q[0])
    if model.lower_rates is not None:
        lower = _derivatives(model.lower_rates, refined.mean, U, 2)
        f1 = [np.tensordot(jumps, table, (0, 0)) for table in lower]
        Q1 = np.einsum("li,lj,l->ij", jumps, jumps, lower[0])
    D = sum(np.einsum(f"ij,kl->{out}", W, W) for out in ("ijkl", "ikjl", "iljk"))
    third = _cyclic(np.einsum("ilm,lmjk->ijk", F[2], D) / 2 + np.einsum("i,jk->ijk", f1[0], W))
    noise = np.einsum("ij,k->kij", Q[0], V) + np.einsum("ijl,lk->kij", Q[1], W)
    T = np.einsum("li,lj,lk,l->ijk", jumps, jumps, jumps, rates[0])
    C = _moment(F[1], third + _cyclic(noise) + T)
    second = np.einsum("ilm,lmj->ij", F[2], C) / 2 + np.einsum("iklm,klmj->ij", F[3], D) / 6
    second += np.outer(f1[0], V) + f1[1] @ W
    noise = Q[1] @ V + np.einsum("ijkl,kl->ij", Q[2], W) / 2 + Q1
    B = _moment(F[1], second + second.T + noise)
    first = np.einsum("ijk,jk->i", F[2], B) / 2 + np.einsum("ijkl,jkl->i", F[3], C) / 6
    first += np.einsum("ijklm,jklm->i", F[4], D) / 24
    first += f1[1] @ V + np.einsum("ijk,jk->i", f1[2], W) / 2
    A: Floats = U @ _moment(F[1], first)
    return A


def _cyclic(table: Floats) -> Floats:
    """The sum over the places at which the first of three indices can stand."""
    total: Floats = table + table.transpose(1, 0, 2) + table.transpose(1, 2, 0)
    return total


def _moment(F: Floats, source: Floats) -> Floats:
    """M with Σ over its indices (F on this index) M + source = 0, by the eigenvectors of F."""
    values, vectors = np.linalg.eig(F)
    inverse = np.linalg.inv(vectors)
    total = sum(np.ix_(*[values] * source.ndim))
    moment: Floats = _on_each(vectors, -_on_each(inverse, source) / total).real
    rest = source + sum(
        np.moveaxis(np.tensordot(F, moment, (1, axis)), 0, axis) for axis in range(source.ndim)
    )
    error = float(np.abs(rest).max(initial=0)) / max(float(np.abs(source).max(initial=0)), 1e-300)
    if not error <= RESIDUAL:
        raise ValueError(
            f"the equations of the moments are solved to {error:.1g} only, relatively: modes of "
            f"the model are nearly equal; change its rates a little"
        )
    return moment


def _on_each(matrix: Any, table: Any) -> Any:
    for axis in range(table.ndim):
        table = np.moveaxis(np.tensordot(matrix, table, (1, axis)), 0, axis)
    return table


def _derivatives(rates: Any, x: Floats, U: Floats, order: int) -> list[Floats]:
    """β, Dβ, D²β, … at x along the columns of U."""
    if not isinstance(rates, Differentiated) or not rates.takes_tensors(x):
        raise ValueError(
            "model has rates that torch cannot differentiate (or torch is not there): write them "
            "with operators, indexing and torch functions"
        )
    import torch

    function, point, basis = as_tensors(rates.function), torch.tensor(x), torch.tensor(U)
    along: list[Any] = [lambda y: function(point + basis @ y)]
    for _ in range(order):
        along.append(torch.func.jacfwd(along[-1]))
    zero = torch.zeros(U.shape[1], dtype=torch.float64)
    return [each(zero).numpy() for each in along]
