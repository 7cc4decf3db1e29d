"""Progress bars: for work of more than a few seconds, where tqdm is installed.

A bar is a courtesy, not a need: without tqdm the work goes on in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 3.0  # seconds before a bar appears


def watched(items: Iterable[Any], what: str) -> Iterable[Any]:
    """The items, one after the other, under a bar.

    Example:
        >>> list(watched([1, 2], "steps"))
        [1, 2]
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    bar: Iterable[Any] = tqdm(items, desc=what, delay=PATIENCE, leave=False)
    return bar


@contextmanager
def counted(total: int, what: str) -> Iterator[Callable[[int], Any]]:
    """A function to call with how many of the total have just been done; no bar for a total of 0.

    Example:
        >>> with counted(2, "states") as advance:
        ...     _ = advance(2)
    """
    try:
        from tqdm import tqdm
    except ImportError:
        total = 0
    if total == 0:
        yield lambda done: None
        return
    with tqdm(total=total, desc=what, delay=PATIENCE, leave=False) as bar:
        yield bar.update
