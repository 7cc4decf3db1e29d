"""Loops over all items, each written twice: compiled by numba for large inputs, plain otherwise.

numpy alone is enough.  A `Kernel` holds a loop that numba can compile and a **plain twin** with the
same results, vectorised where it is long.  The twin serves small inputs always, because importing
numba takes longer than solving them, and everything where numba is not installed (WebAssembly, for
one).  numba is imported when the first large input asks for it.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable, Sequence
from typing import Any

LARGE = 50_000  # items; numpy does fewer in less time than numba takes to load


@functools.cache
def numba() -> Any:
    """The module numba, imported at the first call; None where it is not installed or unwanted.

    The environment variable ``ALPHAFAIR_NUMBA=0`` does without.
    """
    if os.environ.get("ALPHAFAIR_NUMBA") == "0":
        return None
    try:
        import numba
    except ImportError:
        return None
    return numba


class Kernel:
    """A loop over all items and its plain twin.

    Args:
        loop: a function that numba can compile.
        plain: the same in numpy; None runs the loop itself as it stands.
        helpers: functions that the loop calls, each also those before it: compiled along with it.
        large: from this amount of work on the loop is compiled, where numba is there.
        adds_up: count the work of all calls so far, where small calls come by the thousand.  The
            twins must then agree to the last digit, or results would depend on earlier calls.
        signature: types to compile for at once; None compiles for the types of each call.
        options: passed on to `numba.njit`, such as ``error_model="numpy"`` or ``parallel=True``.
    """

    def __init__(
        self,
        loop: Callable[..., Any],
        plain: Callable[..., Any] | None = None,
        *,
        helpers: Sequence[Callable[..., Any]] = (),
        large: int = LARGE,
        adds_up: bool = False,
        signature: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        self.loop, self.plain, self.large = loop, plain or loop, large
        self._helpers, self._signature, self._options = helpers, signature, options
        self._adds_up, self._done = adds_up, 0
        self._compiled: Any = None
        self._cached = True
        functools.update_wrapper(self, loop)

    def __call__(self, *arguments: Any, work: int) -> Any:
        """The results, by whichever twin suits this amount of work."""
        if self._adds_up:
            self._done = work = self._done + work
        if work < self.large or numba() is None:
            return self.plain(*arguments)
        return self.compiled(*arguments)

    def compiled(self, *arguments: Any) -> Any:
        """The results of the compiled loop, compiled in memory where no cache can be written."""
        try:
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled(*arguments)
        except (OSError, RuntimeError):
            if not self._cached:
                raise
            self._cached, self._compiled = False, None
            return self.compiled(*arguments)

    def _compile(self) -> Any:
        module = numba()
        signature = self._signature(module.types) if self._signature else None
        jit = module.njit(signature, cache=self._cached, **self._options)
        if not self._helpers:
            return jit(self.loop)
        names = dict(self.loop.__globals__)
        for helper in self._helpers:
            names[helper.__name__] = module.njit(**self._options)(_among(names, helper))
        return jit(_among(names, self.loop))


def _among(names: dict[str, Any], function: Any) -> Any:
    """The same function, which finds what it calls among these names."""
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)
