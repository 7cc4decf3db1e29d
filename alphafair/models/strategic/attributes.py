"""Who takes part: attributes that determine the coefficients, weights and masses that are > 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats, reals, refuse_first
from .costs import SMALLEST
from .game import UNSEEN


def as_attributes(name: str, attributes: ArrayLike) -> Floats:
    """(n, d) finite attributes that span R^d; (n,) is a column."""
    x = reals(name, attributes)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} has shape {x.shape}: must be (n, d), or (n,) for d = 1")
    refuse_first(name, x, np.isfinite(x), "finite", "drop that agent")
    if len(x) < x.shape[1]:
        raise ValueError(
            f"{name} has n = {len(x)} rows and d = {x.shape[1]} columns: d coefficients need at "
            f"least d agents; add agents or drop columns"
        )
    scale = np.maximum(np.abs(x).max(axis=0), SMALLEST)
    _, size, axes = np.linalg.svd(x / scale, full_matrices=False)
    rank = int((size > UNSEEN * size[0]).sum())
    if rank < x.shape[1]:
        missing = axes[-1] / scale / np.abs(axes[-1] / scale).max()
        raise ValueError(
            f"{name} span only {rank} of {x.shape[1]} dimensions: x·v = 0 for all with v = "
            f"{np.round(missing, 6).tolist()}; drop a column or add agents who differ there"
        )
    return x


def as_positive(name: str, value: ArrayLike | None, n: int) -> Floats:
    """(n,) positive numbers; 1 where None."""
    array = reals(name, 1.0 if value is None else value)
    if array.shape not in ((), (1,), (n,)):
        raise ValueError(f"{name} has shape {array.shape}: must be ({n},), one for each row, or ()")
    row = np.atleast_1d(array)
    refuse_first(name, row, (row > 0) & np.isfinite(row), "finite and > 0", "drop the row")
    return np.broadcast_to(array, n).astype(float)
