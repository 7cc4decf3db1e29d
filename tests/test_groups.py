"""Labels become codes: against numpy.unique, whatever they are."""

import copy

import numpy as np
import pytest

import alphafair as af


@pytest.mark.parametrize(
    ("count", "bytes_each"), [(1, 1), (255, 1), (256, 1), (257, 2), (65536, 2), (65537, 4)]
)
def test_codes_take_the_fewest_bytes(count, bytes_each):
    labels = np.arange(count)[::-1]
    code = af.Groups(labels).code
    assert code.dtype == np.dtype(f"u{bytes_each}")
    assert np.array_equal(code, labels)


def with_wide_codes(groups):
    """The same groups with codes of eight bytes, in which nothing overflows."""
    wide = copy.copy(groups)
    wide.code = groups.code.astype(np.int64)
    return wide


PEOPLE = np.append(np.arange(256)[::-1].repeat(2), 7)  # 256 groups: in a byte 255 + 1 is 0
TABLE = np.random.default_rng(0).uniform(1, 2, (PEOPLE.size, 3))
COST = np.random.default_rng(1).uniform(1, 2, (PEOPLE.size, 3))


def given(derivatives):
    return [derivative for derivative in derivatives if derivative is not None]


def everything(groups, alpha, within, bounds):
    """All that is computed from the codes of the groups."""
    problem = af.Problem(TABLE, COST, groups, 300.0, within, **bounds)
    a = problem.allocate(alpha)
    yield from (a.dose, a.group_utility, a.at_cap, *given(a.gradient()))
    jacobian = a.jacobian()
    yield from (jacobian.jvp(budget=1.0, benefit=TABLE), *given(jacobian.vjp(COST)))
    yield from af.optimality_gap(a.dose, problem, alpha)
    unit = None if problem.exclusive else 0.5
    yield from (a.whole(unit).dose, a.lottery(0, unit).dose)
    yield af.budget_path(problem, alpha, [200.0, 300.0]).group_budget


@pytest.mark.parametrize("within", [0, 0.5, 2, np.inf])
@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"cap": 1.0, "floor": 0.5 * (TABLE > 1.9)},
        {"baseline": 0.2},
        {"cap": 1.0, "exclusive": True},
        {"group_floor": 0.5, "group_cap": 2.0},
    ],
    ids=lambda bounds: " ".join(bounds),
)
def test_codes_of_one_byte_count_no_less(within, bounds):
    groups = af.Groups(PEOPLE)
    assert groups.code.dtype == np.uint8
    bounds = {k: np.full(256, v) if k.startswith("group") else v for k, v in bounds.items()}
    for alpha in (0, 2, np.inf):
        sides = (everything(x, alpha, within, bounds) for x in (groups, with_wide_codes(groups)))
        for narrow, wide in zip(*sides, strict=True):
            assert np.array_equal(narrow, wide, equal_nan=True)
