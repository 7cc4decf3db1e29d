"""The graph of a Markov chain: where it can go, and where it stays for ever.

A **closed class** is a smallest set of states that the chain never leaves.  A long-run average
does not depend on the start if and only if there is one of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import Integers
from .sparse import as_dense


def reached(possible: NDArray[np.bool_], start: int) -> Integers:
    """The states that a chain can reach, in the order of how many steps that takes.

    Args:
        possible: (S, S), true where there is a transition.
        start: the state that comes first.

    Example:
        >>> reached(np.array([[False, False, True], [True, True, False], [False, False, True]]), 1)
        array([1, 0, 2])
    """
    seen = np.zeros(len(possible), bool)
    seen[start] = True
    layers = [np.array([start])]
    while layers[-1].size:
        new = possible[layers[-1]].any(axis=0) & ~seen
        seen |= new
        layers.append(np.flatnonzero(new))
    return np.concatenate(layers)


def closed_classes(matrix: Any) -> list[list[int]]:
    """The closed classes of a Markov chain: sets of states that it never leaves.

    From any state, go to a state from which there is no way back, until there is none: the states
    that can be reached are then a closed class, and no state that leads to it is in another one.

    Args:
        matrix: (S, S) transitions, dense or sparse.

    Returns:
        The states of each class, in increasing order; the class of the smallest state comes first.

    Example:
        >>> closed_classes(np.array([[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]))
        [[0], [2]]
    """
    possible = as_dense(matrix) != 0
    left, found = np.ones(len(possible), bool), []
    while left.any():
        ahead = reached(possible, int(np.argmax(left)))
        while True:
            behind = np.zeros_like(left)
            behind[reached(possible.T, int(ahead[0]))] = True
            gone = ahead[~behind[ahead]]
            if not gone.size:
                break
            ahead = reached(possible, int(gone[-1]))
        found.append(np.sort(ahead).tolist())
        left &= ~behind
    return sorted(found)


def components(matrix: Any) -> Integers:
    """(S,) the part of the chain that each state is in, numbered: no transition connects two parts.

    Example:
        >>> components(np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1]])).tolist()
        [0, 1, 1]
    """
    possible = as_dense(matrix) != 0
    possible |= possible.T
    label = np.full(len(possible), -1, np.intp)
    while (label < 0).any():
        label[reached(possible, int(np.argmax(label < 0)))] = label.max() + 1
    return label
