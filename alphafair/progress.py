"""Progress bars: the one route to tqdm, for work of more than a few seconds.

A bar is a courtesy, not a need: without tqdm the work goes on in silence, unless the user asked
for a bar.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

PATIENCE = 3.0  # seconds before a bar appears
STAGES = "{desc} (stage {n} of {total}, {elapsed})"
Item = TypeVar("Item")


def watched(
    items: Iterable[Item], what: str, *, asked: bool = False, unit: str = "it"
) -> Iterable[Item]:
    """The items, one after the other, under a bar.

    Args:
        items: anything to iterate over.
        what: is being done; it stands before the bar.
        asked: whether the user asked for a bar: then it appears at once and stays.
        unit: what an item is called.

    Raises:
        ModuleNotFoundError: ``asked`` without tqdm.

    Example:
        >>> list(watched([1, 2], "steps"))
        [1, 2]
    """
    tqdm = _tqdm()
    if tqdm is None:
        if asked:
            raise ModuleNotFoundError(
                "progress needs tqdm: install it with `pip install tqdm`, or leave progress=False"
            )
        return items
    options = {"unit": unit} if asked else {"delay": PATIENCE, "leave": False}
    bar: Iterable[Item] = tqdm(items, desc=what, **options)
    return bar


@contextmanager
def counted(total: int, what: str) -> Iterator[Callable[[int], Any]]:
    """A function to call with how many of the total have just been done; no bar for a total of 0.

    Example:
        >>> with counted(2, "states") as advance:
        ...     _ = advance(2)
    """
    tqdm = _tqdm()
    if tqdm is None or total == 0:
        yield lambda done: None
        return
    with tqdm(total=total, desc=what, delay=PATIENCE, leave=False) as bar:
        yield bar.update


@contextmanager
def staged(total: int, first: str) -> Iterator[Callable[[str], Any]]:
    """A function that tells which stage of a job begins; the first one has begun.

    A terminal is told at once, other receivers of standard error after some seconds.

    Example:
        >>> with staged(2, "reading") as stage:
        ...     stage("writing")
    """
    tqdm = _tqdm()
    if tqdm is None:
        yield lambda stage: None
        return
    options = {"total": total, "bar_format": STAGES, "mininterval": 0, "file": sys.stderr}
    delay = 0 if sys.stderr.isatty() else PATIENCE
    with tqdm(desc=first, delay=delay, **options) as bar:

        def begin(stage: str) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.update()

        yield begin


def _tqdm() -> Any:
    """The class of bars; None where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
