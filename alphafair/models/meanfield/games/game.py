"""Games among very many players: what a player meets is the crowd, m, and m is what players do.

A player is in one of S states and chooses among A actions; m holds the fractions of all players in
the states.  In continuous time she goes from i to j at the rate Q_iaj(m) and pays c_ia(m) per unit
of time (`ContinuousGame`); in discrete time she moves with probability P_iaj(m) and pays per step
(`DiscreteGame`).  A `Policy` π_t(i, a) looks at her own state and the time only.  When all use π::

    m' = Σ_ia m_i π(i, a) Q_ia(m),   m(0) = m⁰                                  the mass flow
    −u' = −β u + min_a { c_ia(m) + Σ_j Q_iaj(m) u_j }                           her best response

with u = 0 at the horizon, or β > 0 and none; it is cut where e^(−βt) is 1e−14.

References:
    J. Doncel, N. Gast, B. Gaujal, "Discrete mean field games: existence of equilibria and
    convergence", J. Dynamics and Games 6 (2019), arXiv:1909.01209.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ....checks import Floats, entry, number, reals

NEGATIVE = -1e-9  # rates and probabilities below this are no rounding errors
TINY = 1e-9  # sums that should be 1 may be this far from it
FORGOTTEN = 32.0  # e^−32 = 1e−14: an infinite horizon ends here
FINITE = "finite; is there a division by a fraction that can be 0?"
LONGEST = 1_000_000  # steps of an infinite horizon


@dataclass(frozen=True, eq=False)
class Policy:
    """What to do in each state, from when: π(i, a) is constant between the times in ``starts``.

    Args:
        starts: (K,) 0 = t_0 < t_1 < …; row k holds from t_k on, the last one for ever.
        probabilities: (K, S, A) or, for K = 1, (S, A): ≥ 0, sum 1 over the actions.

    Raises:
        ValueError: times that do not start at 0 or do not increase, rows that are no probabilities.

    Example:
        >>> vaccinate = Policy([0, 0.5], [[[0, 1]], [[1, 0]]])
        >>> vaccinate.at([0.4, 0.5])[:, 0].tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """

    starts: Any
    probabilities: Any

    def __post_init__(self) -> None:
        starts = np.array(reals("starts", self.starts)).reshape(-1)
        table = np.array(reals("probabilities", self.probabilities))
        table = table[None] if table.ndim == 2 else table
        if table.ndim != 3 or len(table) != starts.size:
            raise ValueError(
                f"probabilities has shape {table.shape}: must be (times, states, actions) with "
                f"{starts.size} times, as in starts"
            )
        if starts[0] != 0 or not (np.diff(starts) > 0).all() or not np.isfinite(starts).all():
            raise ValueError(f"starts is {starts.tolist()}: must begin with 0 and increase")
        bad = (table < NEGATIVE) | ~(np.abs(table.sum(axis=-1, keepdims=True) - 1) <= TINY)
        if bad.any():
            k, i, _ = (int(index) for index in np.argwhere(bad)[0])
            raise ValueError(
                f"probabilities[{k}, {i}] is {table[k, i].tolist()}: must be ≥ 0 with sum 1"
            )
        table = np.maximum(table, 0)
        object.__setattr__(self, "starts", starts)
        object.__setattr__(self, "probabilities", table / table.sum(axis=-1, keepdims=True))

    def at(self, times: ArrayLike) -> Floats:
        """(…, S, A) in force at these times (…)."""
        row = np.searchsorted(self.starts, np.asarray(times, float), side="right") - 1
        rows: Floats = self.probabilities[np.maximum(row, 0)]
        return rows

    def merged(self) -> Policy:
        """The same policy, with rows that repeat the one before left out."""
        table = self.probabilities
        new = np.append(True, np.abs(np.diff(table, axis=0)).max(axis=(1, 2), initial=0) > 0)
        return Policy(self.starts[new], table[new])


@dataclass(frozen=True, eq=False)
class Game:
    """What both kinds of games share; make a `ContinuousGame` or a `DiscreteGame`.

    Args:
        states: names, S of them.
        actions: names, A of them.  A choice from an interval that enters Q and c linearly is a
            mixture of its two ends.
        transitions: a function of m with value (S, A, S): entry i, a, j for going from i to j.
            Nested lists will do, and m has the states on its first axis, so that ``m[1]`` is right
            for one m and for many, (S, K) to (S, A, S, K).  Whether the function is right for many
            is tried once; where it is not, it is asked for one m at a time, which is slower.
        costs: a function of m with value (S, A), in the same way.
        initial: (S,) fractions at time 0.
        horizon: T > 0, None for an infinite one.
        discount: see there.
    """

    states: Sequence[str]
    actions: Sequence[str]
    transitions: Callable[[Floats], Any]
    costs: Callable[[Floats], Any]
    initial: Any
    horizon: float | None = None
    discount: Any = None
    _together: dict[str, bool] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        values: dict[str, Any] = {"states": tuple(self.states), "actions": tuple(self.actions)}
        size = len(values["states"])
        if size < 1 or len(values["actions"]) < 1:
            raise ValueError("states and actions are empty: a game has at least one of each")
        values["initial"] = fractions("initial", self.initial, size)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_horizon()
        self.moves(self.initial)
        self.pays(self.initial)

    def _check_horizon(self) -> None:
        raise NotImplementedError("make a ContinuousGame or a DiscreteGame")

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        return len(self.states), len(self.actions)

    def moves(self, m: Floats) -> Floats:
        """(…, S) → (…, S, A, S): Q or P, checked."""
        return self._lawful(self.table("transitions", m), m)

    def pays(self, m: Floats) -> Floats:
        """(…, S) → (…, S, A): c."""
        return self.table("costs", m)

    @property
    def span(self) -> float:
        """Where the computation ends."""
        raise NotImplementedError

    def _lawful(self, table: Floats, m: Floats) -> Floats:
        raise NotImplementedError

    def table(self, name: str, m: Floats) -> Floats:
        """``transitions`` or ``costs`` as given, with the axes of many m in front."""
        shape = (*self.shape, *self.shape[:1]) if name == "transitions" else self.shape
        function = getattr(self, name)
        if m.ndim > 1 and name not in self._together:
            self._together[name] = takes_many(name, function, shape)
        return tables_of(name, function, m, shape, together=self._together.get(name, False))

    def policy_of(self, policy: Policy) -> Policy:
        """The policy, if it is one of this game."""
        if not isinstance(policy, Policy):
            raise TypeError(f"policy must be a Policy, not {type(policy).__name__}")
        if policy.probabilities.shape[1:] != self.shape:
            raise ValueError(
                f"policy has {policy.probabilities.shape[1:]} states and actions: the game has "
                f"{self.shape}"
            )
        return policy


@dataclass(frozen=True, eq=False)
class ContinuousGame(Game):
    """Players jump at rates Q_iaj(m) ≥ 0, i ≠ j; the diagonal is left to us.

    Args:
        horizon: T > 0, or None for an infinite one.
        discount: rate β ≥ 0 of e^(−βt), by default 0; > 0 if there is no horizon.

    Other arguments are those of `Game`.

    Raises:
        ValueError: rates that are negative or not finite, an initial m that is no distribution, an
            infinite horizon without discount.

    Example:
        >>> from alphafair.models.meanfield.games import exploitability
        >>> flee = ContinuousGame(
        ...     "AB", ["stay", "go"], lambda m: [[[0, 0], [0, 1]], [[0, 0], [0, 0]]],
        ...     lambda m: [[m[0], m[0]], [0, 0]], [1, 0], horizon=1)
        >>> round(exploitability(flee, Policy(0, [[1, 0], [1, 0]])), 6)  # 1 − (1 − e⁻¹)
        0.367879
    """

    def _check_horizon(self) -> None:
        beta = 0.0 if self.discount is None else self.discount
        beta = number("discount", beta, "≥ 0 and finite", lambda b: 0 <= b < np.inf)
        if self.horizon is None and beta == 0:
            raise ValueError("discount is 0 and horizon is None: an endless game needs a discount")
        if self.horizon is not None:
            number("horizon", self.horizon, "> 0 and finite", lambda t: 0 < t < np.inf)
        object.__setattr__(self, "discount", beta)

    @property
    def span(self) -> float:
        """Where the computation ends: the horizon or e^(−βt) = 1e−14."""
        if self.horizon is not None:
            return float(self.horizon)
        return FORGOTTEN / float(self.discount)

    def _lawful(self, table: Floats, m: Floats) -> Floats:
        diagonal = np.eye(table.shape[-1])[:, None, :]
        rates = table * (1 - diagonal)
        if rates.min() < NEGATIVE * max(1.0, float(rates.max())):
            floor = NEGATIVE * max(1.0, float(rates.max()))
            cure = "; is it right for all fractions m in [0, 1]? The diagonal need not be given"
            raise ValueError(_where("transitions", rates, m, rates >= floor, "a rate ≥ 0" + cure))
        generator: Floats = rates - diagonal * rates.sum(axis=-1, keepdims=True)
        return generator


@dataclass(frozen=True, eq=False)
class DiscreteGame(Game):
    """Players move at times 1, 2, …, T with probabilities P_iaj(m); they pay at 0 … T − 1.

    Args:
        horizon: T ≥ 1, whole, or None for an infinite one.
        discount: factor δ in (0, 1], by default 1; < 1 if there is no horizon.

    Other arguments are those of `Game`.

    Raises:
        ValueError: rows that are no probabilities, an initial m that is no distribution, an
            infinite horizon without discount.

    Example:
        >>> from alphafair.models.meanfield.games import exploitability, social_cost
        >>> stag = DiscreteGame(
        ...     "HS", ["hare", "stag"], lambda m: [[[1, 0], [0, 1]]] * 2,
        ...     lambda m: [[1, 1], [2 - 2 * m[1]] * 2], [0.2, 0.8], horizon=5)
        >>> everyone = Policy(0, [[0, 1], [0, 1]])
        >>> exploitability(stag, everyone), round(social_cost(stag, everyone), 2)
        (0.0, 0.52)
    """

    def _check_horizon(self) -> None:
        delta = 1.0 if self.discount is None else self.discount
        delta = number("discount", delta, "in (0, 1]", lambda d: 0 < d <= 1)
        if self.horizon is None and delta == 1:
            raise ValueError("discount is 1 and horizon is None: an endless game needs one < 1")
        if self.horizon is not None:
            number("horizon", self.horizon, "≥ 1 and whole", lambda t: t >= 1 and t % 1 == 0)
        object.__setattr__(self, "discount", delta)
        if self.span > LONGEST:
            raise ValueError(
                f"discount is {delta}: that takes {self.span:,} steps; at most {LONGEST:,} are "
                f"done, and δ ≤ {np.exp(-FORGOTTEN / LONGEST):.5f} needs no more"
            )

    @property
    def span(self) -> int:
        """The number of steps: the horizon or until δ^t = 1e−14."""
        if self.horizon is not None:
            return int(self.horizon)
        return int(np.ceil(-FORGOTTEN / np.log(self.discount)))

    def _lawful(self, table: Floats, m: Floats) -> Floats:
        total = table.sum(axis=-1, keepdims=True)
        fine = (table >= NEGATIVE) & (np.abs(total - 1) <= TINY)
        if not fine.all():
            index = np.argwhere(~fine)[0][:-1]
            row, away = table[tuple(index)], 1 - float(total[tuple(index)][0])
            state = int(index[-2])
            cure = "probabilities are not negative"
            if abs(away) > TINY:
                cure = (
                    f"if what is missing is to stay, add {away:.4g} to its entry {state}"
                    if away > 0
                    else "divide the row by its sum"
                )
            raise ValueError(
                f"transitions(m){entry(index[m.ndim - 1 :])} is {_short(row)} with sum "
                f"{1 - away:.10g} at m = {_short(m[tuple(index[: m.ndim - 1])])}: must be ≥ 0 with "
                f"sum 1; {cure}"
            )
        return table


# --- checks ---------------------------------------------------------------------------------------
def fractions(name: str, values: ArrayLike, size: int) -> Floats:
    """(size,) fractions of players, checked."""
    m = reals(name, values)
    if m.shape != (size,):
        raise ValueError(f"{name} has shape {m.shape}: must be ({size},), one for each state")
    if not (m.min() >= 0 and abs(m.sum() - 1) <= TINY):
        if (m >= 0).all() and 0 < m.sum() < np.inf:
            cure = f"divide it by its sum: {_short(m / m.sum())}"
        else:
            first = int(np.argmin(m >= 0))
            cure = f"{name}{entry([first])} is {m[first]:g}"
        raise ValueError(
            f"{name} has least entry {m.min():g} and sum {m.sum():.10g}: must be ≥ 0 with sum 1; "
            f"{cure}"
        )
    scaled: Floats = m / m.sum()
    return scaled


def tables_of(
    name: str, function: Callable[[Floats], Any], m: Floats, shape: tuple[int, ...], together: bool
) -> Floats:
    """(…, shape) what the function says of each m (…, S), checked.

    Args:
        name: of the function, for messages.
        function: of one m (S,), or of many, (S, K).
        m: (…, S).
        shape: of the table for one m.
        together: ask for all at once (`takes_many`), or for one at a time.
    """
    if m.ndim == 1:
        return _single(name, function(m), m, shape)
    rows = m.reshape(-1, m.shape[-1])
    if together:
        tables = _many(name, function(rows.T), rows, shape)
    else:
        tables = np.array([_single(name, function(row), row, shape) for row in rows])
    return tables.reshape(*m.shape[:-1], *shape)


def takes_many(name: str, function: Callable[[Floats], Any], shape: tuple[int, ...]) -> bool:
    """Does the function say of many m at once, (S, K), what it says of each?

    A function written for one m may mistake K for the number of states or of actions, where these
    are equal, or may add over all m.  So it is tried for a K that is neither.
    """
    count = next(k for k in (3, 4, 5) if k not in shape)
    rows = np.random.default_rng(0).dirichlet(np.ones(shape[0]), count)
    # What a function that was written for one m raises is not ours to know.
    try:
        each = tables_of(name, function, rows, shape, together=False)
        at_once = tables_of(name, function, rows, shape, together=True)
    except Exception:
        return False
    return bool(np.abs(at_once - each).max() <= TINY * max(1.0, float(np.abs(each).max())))


def _many(name: str, given: Any, rows: Floats, shape: tuple[int, ...]) -> Floats:
    """The tables (K, shape) of many m: from an array (shape, K) or nested lists of (K,)."""
    whole = (*shape, len(rows))
    if isinstance(given, np.ndarray) and given.shape in (shape, whole):
        table: Floats = np.empty(whole)
        table[:] = given if given.shape == whole else given[..., None]
    else:
        table = np.empty(whole)
        for index in np.ndindex(*shape):
            entry = given
            try:
                for depth in index:
                    entry = entry[depth]
                table[index] = entry
            except (IndexError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{name}(m){list(index)} is missing or no number: it must have shape {shape}"
                ) from error
    table = np.moveaxis(table, -1, 0)
    if not np.isfinite(table).all():
        raise ValueError(_where(name, table, rows, np.isfinite(table), FINITE))
    return table


def _single(name: str, given: Any, m: Floats, shape: tuple[int, ...]) -> Floats:
    """The table for one m: the same, without loops."""
    try:
        table: Floats = np.array(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}(m) is no table of numbers: it must have shape {shape}{_misfit(given, shape)}"
        ) from error
    if table.shape != shape:
        raise ValueError(
            f"{name}(m) has shape {table.shape}: must be {shape}{_misfit(given, shape)}"
        )
    if not np.isfinite(table).all():
        raise ValueError(_where(name, table, m, np.isfinite(table), FINITE))
    return table


def _misfit(given: Any, shape: tuple[int, ...], index: tuple[int, ...] = ()) -> str:
    """Where nested lists first differ from the shape, in words; nothing if they do not."""
    axes = ("states", "actions", "states")
    if len(index) == len(shape):
        return "" if np.ndim(given) == 0 else f"; entry {list(index)} is no number"
    what = f"entry {list(index)}" if index else "it"
    try:
        length = len(given)
    except TypeError:
        return f"; {what} is one number instead of {shape[len(index)]}"
    if length != shape[len(index)]:
        return f"; {what} has length {length}, and there are {shape[len(index)]} {axes[len(index)]}"
    found = (_misfit(part, shape, (*index, k)) for k, part in enumerate(given))
    return next((words for words in found if words), "")


def _short(m: Floats) -> str:
    """A row in a message."""
    return np.array2string(m, precision=4, threshold=8, separator=", ")


def _where(name: str, table: Floats, m: Floats, fine: Any, expected: str) -> str:
    """Names the first entry of a table (…, S, A[, S]) that is not fine."""
    index = tuple(int(i) for i in np.argwhere(~fine)[0])
    batch = m.ndim - 1
    at = np.array2string(m[index[:batch]], precision=4, threshold=8)
    return f"{name}(m){list(index[batch:])} is {table[index]:g} at m = {at}: must be {expected}"
