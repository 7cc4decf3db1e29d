"""A matrix product below the cube, and the elimination of Whittle's index with it.

    python benchmarks/fast_product.py [--sizes 512 8192] [--rounds 5] [--out book/fast_product.csv]

The product is Strassen's with Winograd's fifteen additions, plain numpy, down to squares of `leaf`
rows, which go to BLAS.  Its rival is one call of BLAS for the whole matrix.  The elimination drops
k states before it brings X up to date (chapter *How fast can indices be computed?*); the product
of a block is cut into k × k tiles, each multiplied either way.  Seconds are those of the processor
on one thread, the sides in turn, so that a busy machine hurts both alike.  Every run becomes a row
of the table, from which the chapter fits exponents; the medians are printed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _timing import machine, worked, write_runs
from threadpoolctl import threadpool_limits

from alphafair.models.bandits import examples, whittle_index

LEAVES = (64, 1024)  # rows of the squares that go to BLAS: many levels, or few
TILE_LEAF = 256  # the same in the elimination, whose tiles are smaller
DISCOUNT = 0.9
Matrix = np.ndarray[Any, np.dtype[Any]]
Row = tuple[str, int, int, int, float, float]  # task, size, leaf, round, seconds: fast, BLAS


def fast_product(A: Matrix, B: Matrix, leaf: int = TILE_LEAF) -> Matrix:
    """A B of two n × n matrices, n even down to the leaf: 7 products, 15 sums of halves a level."""
    if len(A) <= leaf:
        return A @ B
    n = len(A) // 2
    a, b, c, d = A[:n, :n], A[:n, n:], A[n:, :n], A[n:, n:]
    e, f, g, h = B[:n, :n], B[:n, n:], B[n:, :n], B[n:, n:]
    out = np.empty_like(A)
    w, x, y, z = out[:n, :n], out[:n, n:], out[n:, :n], out[n:, n:]
    s, t = a - c, h - f
    y[:] = fast_product(s, t, leaf)
    np.add(c, d, out=s)
    np.subtract(f, e, out=t)
    z[:] = fast_product(s, t, leaf)
    s -= a
    np.subtract(h, t, out=t)
    first = fast_product(a, e, leaf)
    u = fast_product(s, t, leaf)
    u += first
    np.subtract(b, s, out=s)
    x[:] = fast_product(s, h, leaf)
    x += u
    x += z
    u += y
    z += u
    t -= g
    np.subtract(u, fast_product(d, t, leaf), out=y)
    first += fast_product(b, g, leaf)
    w[:] = first
    return out


def tiled(W: Matrix, Y: Matrix, product: Callable[[Matrix, Matrix], Matrix]) -> Matrix:
    """Wᵀ Y of two (k, S) matrices, by k × k tiles."""
    k, S = W.shape
    out = np.empty((S, S))
    for i in range(0, S, k):
        left = np.ascontiguousarray(W[:, i : i + k].T)
        for j in range(0, S, k):
            out[i : i + k, j : j + k] = product(left, np.ascontiguousarray(Y[:, j : j + k]))
    return out


def eliminate(X: Matrix, k: int, product: Callable[[Matrix, Matrix], Matrix]) -> Matrix:
    """X after all its pivots in order, in blocks of k, each brought in by one product."""
    X, S = X.copy(), len(X)
    W, Y = np.empty((2, k, S))
    for begin in range(0, S, k):
        for j in range(k):
            s = begin + j
            column = X[:, s] - Y[:j, s] @ W[:j]
            Y[j] = X[s] - W[:j, s] @ Y[:j]
            np.divide(column, 1 + column[s], out=W[j])
        X -= tiled(W, Y, product)
    return X


def block(S: int) -> int:
    """The power of two next to S^0.838, where pivots and Strassen's products cost the same.

    At least two leaves, so that there is a level at all.
    """
    return max(int(2 ** round(0.838 * np.log2(S))), 2 * TILE_LEAF)


def products(sizes: list[int], rounds: int) -> list[Row]:
    """Both leaves against one call of BLAS."""
    rows = []
    for n in sizes:
        A, B = np.random.default_rng(n).normal(size=(2, n, n))
        leaves = [leaf for leaf in LEAVES if leaf < n]
        error = np.abs(fast_product(A, B) - A @ B).max() / np.sqrt(n)
        calls = [(fast_product, A, B, leaf) for leaf in leaves] + [(np.matmul, A, B)]
        runs = [[worked(*call)[0] for call in calls] for _ in range(rounds)]
        for leaf, fast in zip(leaves, zip(*(run[:-1] for run in runs), strict=True), strict=True):
            pairs = zip(range(rounds), fast, (run[-1] for run in runs), strict=True)
            rows += [("product", n, leaf, *pair) for pair in pairs]
            report(rows[-rounds:], f"largest error / √n {error:.0e}")
    return rows


def eliminations(sizes: list[int], rounds: int) -> list[Row]:
    """The elimination in blocks with either product; the package's `whittle_index` beside."""
    rows = []
    for S in sizes:
        arm = examples.random_dense(S, seed=S)
        P0, P1 = arm.dense()
        A, change = np.eye(S) - DISCOUNT * P1, DISCOUNT * (P1 - P0)
        X, k = np.linalg.solve(A.T, change.T).T.copy(), block(S)
        whittle_index(arm, discount=DISCOUNT)
        package = []
        for turn in range(rounds):
            pair = (
                worked(eliminate, X, k, fast_product)[0],
                worked(eliminate, X, k, np.matmul)[0],
            )
            rows.append(("elimination", S, TILE_LEAF, turn, *pair))
            package.append(worked(whittle_index, arm, discount=DISCOUNT)[0])
        report(
            rows[-rounds:],
            f"blocks of {k}, whittle_index, with its start, {np.median(package):.2f} s",
        )
    return rows


def report(rows: list[Row], more: str) -> None:
    """One line: medians and the median of the ratios."""
    times = np.array([row[4:] for row in rows])
    fast, blas = np.median(times, axis=0)
    ratio = np.median(times[:, 0] / times[:, 1])
    task, size, leaf = rows[0][:3]
    line = (
        f"{task:12} {size:6} leaf {leaf:5} {fast:9.3f} s {blas:9.3f} s  ratio {ratio:5.2f}  {more}"
    )
    print(line, flush=True)


def main() -> None:
    """Print the table and, on demand, write all runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--states", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(machine(), "; one thread")
    with threadpool_limits(1):
        rows = products(arguments.sizes, arguments.rounds)
        rows += eliminations(arguments.states, arguments.rounds)
    if arguments.out:
        header = ("task", "size", "leaf", "round", "fast", "blas")
        write_runs(arguments.out, header, rows)


if __name__ == "__main__":
    main()
