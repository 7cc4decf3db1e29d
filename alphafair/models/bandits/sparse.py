"""Matrices that may be sparse, where scipy is installed.

Transition matrices are float arrays or ``scipy.sparse`` arrays, and numpy alone is enough: whoever
has a sparse matrix has imported scipy already, and what is made sparse here to save memory is dense
where scipy is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks import Floats
from ..common import scipy


def is_sparse(matrix: Any) -> bool:
    """Is it one of scipy's sparse matrices?  While nobody has imported those, nothing is.

    Example:
        >>> is_sparse(np.eye(2))
        False
    """
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(matrix))


def as_dense(matrix: Any) -> Floats:
    """The matrix as an array.

    Example:
        >>> as_dense(matrix_of([2.0], [0], [1], 2)).tolist()
        [[0.0, 2.0], [0.0, 0.0]]
    """
    array: Floats = matrix.toarray() if is_sparse(matrix) else matrix
    return array


def scale_rows(matrix: Any, factor: Floats) -> Any:
    """diag(factor) · matrix, as dense or sparse as the matrix is.

    Example:
        >>> scale_rows(np.ones((2, 2)), np.array([1.0, 3.0])).tolist()
        [[1.0, 1.0], [3.0, 3.0]]
    """
    if is_sparse(matrix):
        return scipy().sparse.csr_array(matrix.multiply(factor[:, None]))
    return matrix * factor[:, None]


def stochastic(matrix: Any) -> Any:
    """Rows divided by their sums, which may be off 1 by 1e−7 where an arm was printed.

    Example:
        >>> stochastic(np.array([[0.5, 0.49999999], [0, 1]])).round(9).tolist()
        [[0.500000005, 0.499999995], [0.0, 1.0]]
    """
    if is_sparse(matrix):
        return scale_rows(matrix, 1 / np.asarray(matrix.sum(axis=1)))
    return matrix / matrix.sum(axis=1, keepdims=True)


def matrix_of(entry: ArrayLike, row: ArrayLike, column: ArrayLike, size: int) -> Any:
    """(size, size) with these entries, added up where they meet: sparse where scipy is installed.

    Example:
        >>> as_dense(matrix_of([0.5, 0.25], [1, 1], [0, 0], 2)).tolist()
        [[0.0, 0.0], [0.75, 0.0]]
    """
    try:
        return scipy().sparse.csr_array((entry, (row, column)), shape=(size, size))
    except ImportError:
        matrix = np.zeros((size, size))
        np.add.at(matrix, (row, column), entry)  # type: ignore[arg-type]
        return matrix


def block_diagonal(blocks: Sequence[Any]) -> Any:
    """The blocks along the diagonal, and zeros: sparse where scipy is installed.

    Example:
        >>> as_dense(block_diagonal([np.ones((1, 1)), np.full((1, 1), 2.0)])).tolist()
        [[1.0, 0.0], [0.0, 2.0]]
    """
    try:
        sparse = scipy().sparse
        return sparse.csr_array(sparse.block_diag(blocks, "csr"))
    except ImportError:
        end = np.cumsum([len(block) for block in blocks])
        matrix = np.zeros((end[-1], end[-1]))
        for last, block in zip(end, blocks, strict=True):
            inside = slice(last - len(block), last)
            matrix[inside, inside] = block
        return matrix
