"""Known answers: true to fifty digits, and no broken layer passes for a right one."""

import json
import warnings

import cvxpy as cp
import mpmath
import numpy as np
import pytest
import torch

import alphafair as af
from alphafair import layer
from alphafair.groundtruth import KINDS, KINKED, Instance, instances, score

EXACT = 1e-12
STEP = mpmath.mpf(10) ** -15  # at 50 digits a central difference is right to 10^−30
SAMPLE = [i for kind in KINDS for i in instances(7, size=3, kinds=[kind])]
SMOOTH = [i for i in SAMPLE if i.smooth]


def name(instance):
    return instance.name


def by_hand(**options):
    """Ana and Ben at α = 2: doses 180/(1 + √4) and 2 · 180/(1 + √4)."""
    problem = af.Problem([4.0, 1.0], 1.0, ["Ana", "Ben"], 180.0)
    return Instance("by hand", problem, 2, np.array([[1.0], [0.0]]), **options)


# --- the answers, by conditions that no formula of the package knows ------------------------------
class Conditions:
    """The optimum by its Kuhn–Tucker conditions, in 50 digits.

    The package is asked only which items get money and which are at their caps.  On the others
    Newton's method solves ∂W/∂m = λ and Σ m = Q; then the conditions for the former are looked at.
    For a concave welfare they are sufficient, whoever made the guess.
    """

    def __init__(self, instance):
        problem, dose = instance.problem, instance.dose
        exact = np.vectorize(mpmath.mpf, otypes=[object])
        self.alpha, self.within = (mpmath.mpf(x) for x in (instance.alpha, problem.within))
        self.code, self.size = problem.groups.code, problem.groups.size
        self.benefit, self.cost = exact(problem.benefit), exact(problem.cost)
        self.budget, self.shape = mpmath.mpf(problem.budget), problem.shape
        self.cap = None if problem.cap is None else exact(problem.cap)
        base = np.zeros(self.shape[0]) if problem.baseline is None else problem.baseline
        self.base = exact(base)
        capped = np.zeros(self.shape, bool) if problem.cap is None else dose == problem.cap
        self.capped, self.open = capped & (dose > 0), (dose > 0) & ~capped
        self.start = (problem.cost * dose)[self.open]

    def moved(self, direction, step):
        """The same, with benefits, costs and budget moved."""
        other = object.__new__(Conditions)
        other.__dict__.update(self.__dict__)
        for key, part in direction.items():
            setattr(other, key, getattr(self, key) + step * part)
        return other

    def dose(self, money):
        """(N, T) of the money on the open items."""
        dose = np.full(self.shape, mpmath.mpf(0), object)
        dose[self.open] = money / self.cost[self.open]
        if self.cap is not None:
            dose[self.capped] = self.cap[self.capped]
        return dose

    def worth(self, dose):
        """(N, T) ∂W/∂m = U^(ε − α) u^(−ε) r / G."""
        u = self.base + (self.benefit * dose).sum(axis=1)
        worth = np.full(self.shape, mpmath.mpf(0), object)
        for k, size in enumerate(self.size):
            for i in np.flatnonzero(self.code == k):
                group = self._equivalent(u[self.code == k], size)
                with_zero = self.within > 0 and u[i] == 0  # then infinite: nobody may be left so
                slope = mpmath.inf if with_zero else u[i] ** -self.within
                worth[i] = group ** (self.within - self.alpha) * slope / int(size)
        return worth * self.benefit / self.cost

    def _equivalent(self, u, size):
        if self.within == 1:
            return mpmath.exp(mpmath.fsum(map(mpmath.log, u)) / int(size))
        power = 1 - self.within
        return (mpmath.fsum(x**power for x in u) / int(size)) ** (1 / power)

    def solve(self):
        """(N, T) doses, and the price; None where the budget exactly fills the caps."""
        if not self.open.any():
            return self.dose(np.zeros(0)), None

        def off(*logs):
            money = np.array([mpmath.exp(x) for x in logs[:-1]], object)
            dose = self.dose(money)
            worth = self.worth(dose)[self.open]
            slack = [mpmath.log(x) - logs[-1] for x in worth]
            return [*slack, (self.cost * dose).sum() / self.budget - 1]

        first = self.dose(np.array([mpmath.mpf(float(m)) for m in self.start], object))
        start = [mpmath.log(float(m)) for m in self.start]
        start.append(mpmath.log(self.worth(first)[self.open][0]))
        found = mpmath.findroot(off, start, tol=1e-60, verify=False)
        assert max(map(abs, off(*found))) < mpmath.mpf(10) ** -35
        money = np.array([mpmath.exp(x) for x in found[:-1]], object)
        return self.dose(money), mpmath.exp(found[len(found) - 1])

    def hold(self, dose, price):
        """Whether no money would be better elsewhere, and the budget is spent."""
        worth, tiny = self.worth(dose), mpmath.mpf(10) ** -30
        rest = ~self.open & ~self.capped
        low = max(worth[rest], default=mpmath.mpf(0))
        high = min(worth[self.capped], default=mpmath.inf)
        spent = abs((self.cost * dose).sum() / self.budget - 1) < tiny
        if price is None:
            return spent and low < high
        return spent and low <= price * (1 + tiny) and high >= price * (1 - tiny)


@pytest.mark.parametrize("instance", SAMPLE, ids=name)
def test_doses_and_price_to_fifty_digits(instance):
    with mpmath.workdps(50):
        conditions = Conditions(instance)
        dose, price = conditions.solve()
        assert conditions.hold(dose, price)
        off = np.abs(instance.problem.cost * (instance.dose - dose)).max()
        assert off <= EXACT * (instance.problem.cost * instance.dose).max()
        if price is not None:
            assert abs(instance.price / price - 1) <= EXACT


@pytest.mark.parametrize("instance", SMOOTH, ids=name)
def test_derivatives_to_fifty_digits(instance):
    """Along a random direction in the logarithms of all benefits, costs and the budget."""
    random = np.random.default_rng(1)
    terms, direction = [], {}
    for key in ("benefit", "cost", "budget"):
        at = np.asarray(getattr(instance.problem, key))
        log_direction = random.normal(size=at.shape)
        direction[key] = at * log_direction
        terms.append(np.ravel(getattr(instance.derivatives, key) * at * log_direction))
    terms = np.concatenate(terms)
    with mpmath.workdps(50):
        plus, minus = (
            Conditions(instance).moved(direction, sign * STEP).solve()[0] for sign in (1, -1)
        )
        slope = (instance.cotangent * (plus - minus)).sum() / (2 * STEP)
        assert abs(terms.sum() - slope) <= EXACT * np.abs(terms).sum()


def test_the_certificate_agrees_on_all():
    for instance in instances():
        gap = af.optimality_gap(instance.dose, instance.problem, instance.alpha)
        assert max(gap.relative_gap, gap.infeasibility) <= EXACT, instance.name


# Where a cone solver, asked as one would write it down, may be believed.
EASY = [i for i in SAMPLE if i.kind in ("easy", "ties", "filled", "caps", "baselines")]


@pytest.mark.parametrize("instance", EASY, ids=name)
def test_the_program_is_the_same_problem(instance):
    program = instance.program()
    assert program.problem.is_dpp()
    program.problem.solve(solver=cp.CLARABEL)
    assert instance.dose_error(program.dose.value) < 1e-3


@pytest.mark.parametrize("within", [0.0, 1.0, 3.0, np.inf])
def test_the_program_at_any_within(within):
    problem = af.Problem([3.0, 2.0, 1.0, 1.5], 1.0, [0, 0, 1, 1], 4.0, within=within)
    instance = Instance("own", problem, 2, np.ones((4, 1)))
    program = instance.program()
    program.problem.solve(solver=cp.CLARABEL)
    assert instance.dose_error(program.dose.value) < 1e-4


# --- the instances --------------------------------------------------------------------------------
def test_the_same_seed_draws_the_same():
    first, again, other = (instances(seed, size=22) for seed in (0, 0, 1))
    for x, y, z in zip(first, again, other, strict=True):
        assert (x.problem.benefit == y.problem.benefit).all()
        assert (x.cotangent == y.cotangent).all()
        assert x.cotangent.shape != z.cotangent.shape or (x.cotangent != z.cotangent).any()


def test_a_larger_sample_begins_with_the_smaller():
    small, large = instances(size=5), instances(size=40)
    assert [i.name for i in small] == [i.name for i in large[:5]]
    assert all((x.dose == y.dose).all() for x, y in zip(small, large, strict=False))
    alone = instances(size=2, kinds=["caps"])
    assert [i.name for i in alone] == ["caps 0", "caps 1"]
    assert (alone[0].dose == next(i.dose for i in large if i.name == "caps 0")).all()


def test_each_kind_is_what_it_is_called():
    found = {kind: instances(size=30, kinds=[kind]) for kind in KINDS}
    assert len(instances()) == sum(map(len, found.values()))
    for instance in found["tiny budget"]:
        assert instance.problem.budget < 1e-3
    for instance in found["huge budget"]:
        assert instance.problem.budget > 1e3
    for kind in ("caps", "caps and baselines"):
        at_cap = [i.allocation.at_cap.any() for i in found[kind]]
        assert sum(at_cap) > 15
    for instance in found["baselines"]:
        assert (instance.problem.baseline >= 0).all()
    for instance in found["filled"]:  # all is at a bound, and nothing is left
        dose, cap = instance.dose, instance.problem.cap
        assert ((dose == 0) | (dose == cap)).all()
        assert (dose == 0).any()
        assert dose.sum() == instance.problem.budget
    for kind, least, most in (("ties", 0, 0), ("near ties", 5e-7, 2e-3)):
        for instance in found[kind]:
            ratio = instance.problem.benefit / instance.problem.cost
            for k in range(instance.group.max() + 1):
                second, best = np.sort(ratio[instance.group == k], axis=None)[-2:]
                assert least <= 1 - second / best <= most
    assert {k for k, several in found.items() if not several[0].smooth} == set(KINKED)


def test_as_many_people_as_one_wants():
    for instance in instances(size=22, persons=40):
        assert instance.kind == "filled" or instance.problem.shape[0] == 40


# --- errors, by hand ------------------------------------------------------------------------------
def test_errors_by_hand():
    pair = by_hand()
    assert pair.dose_error([[60.0], [120.0]]) == 0
    assert pair.dose_error([[66.0], [114.0]]) == pytest.approx(6 / 120)
    assert pair.dose_error([[np.nan], [120.0]]) == np.inf
    # Σ v d is Ana's dose: b ∂ = (−20, 20), c ∂ = (−40, −20), Q ∂ = 60
    right = [[-5.0], [20.0]], [[-40.0], [-20.0]], 1 / 3
    assert pair.gradient_error(*right) < 1e-15
    assert pair.gradient_error([[-8.0], [20.0]], *right[1:]) == pytest.approx(3 * 4 / 60)
    assert pair.gradient_error(*right[:2], np.inf) == np.inf


def test_units_do_not_matter():
    instance = instances(size=1)[0]
    p = instance.problem
    other = af.Problem(1e5 * p.benefit, 1e3 * p.cost, p.groups, 1e6 * p.budget, within=p.within)
    scaled = Instance("own", other, instance.alpha, instance.cotangent)
    off = 1 + 0.1 * instance.cotangent
    error = instance.dose_error(instance.dose * off)
    assert scaled.dose_error(1e3 * instance.dose * off) == pytest.approx(error, rel=1e-12)


def test_a_kink_has_no_error_but_no_nan_either():
    pair = by_hand(smooth=False)
    zero = np.zeros((2, 1))
    assert np.isnan(pair.gradient_error(zero, zero, 0.0))
    assert pair.gradient_error(zero, zero, np.nan) == np.inf


def test_tied_items_may_share_as_they_like():
    problem = af.Problem([2.0, 4.0, 1.0], [1.0, 2.0, 1.0], [0, 0, 1], 12.0)
    tied = Instance("own", problem, 1, np.ones((3, 1)), smooth=False)
    for first in (0.0, 2.5, 6.0):
        assert tied.dose_error([[first], [(6 - first) / 2], [6.0]]) == 0
    assert tied.dose_error([[5.0], [1.0], [6.0]]) == pytest.approx(1 / 6)
    assert tied.dose_error([[9.0], [-1.5], [6.0]]) == pytest.approx(3 / 6)  # not that much
    problem = af.Problem([2.0, 2.0, 1.0], 1.0, [0, 0, 1], 6.0, cap=[4.0, 2.0, 9.0])
    tied = Instance("own", problem, 1, np.ones((3, 1)), smooth=False)
    money = 3.0
    assert tied.dose.sum() == 6
    assert tied.dose_error([[money - 2.5], [2.5], [3.0]]) == pytest.approx(0.5 / 3)


# --- layers ---------------------------------------------------------------------------------------
def scaled_gradient(factor):
    """Right doses, and ``factor`` times their derivatives."""

    def broken(*arguments, **options):
        dose = layer.allocate(*arguments, **options)
        return dose.detach() + factor * (dose - dose.detach())

    return broken


def broken_by(change):
    return lambda *arguments, **options: change(layer.allocate(*arguments, **options))


def without_costs(benefit, cost, *arguments, **options):
    return layer.allocate(benefit, cost.detach(), *arguments, **options)


def nan_backward(benefit, *arguments, **options):
    """The derivative of √ at 0 is infinite, and 0 times that is NaN."""
    return layer.allocate(benefit, *arguments, **options) + (0 * benefit).sqrt()


BROKEN = {
    "wrong sign": scaled_gradient(-1.0),
    "twice": scaled_gradient(2.0),
    "three percent too much": scaled_gradient(1.03),
    "detached": broken_by(torch.Tensor.detach),
    "costs detached": without_costs,
    "too much money": broken_by(lambda dose: 1.02 * dose),
    "nothing": broken_by(lambda dose: 0 * dose),
    "nan forward": broken_by(lambda dose: torch.full_like(dose, torch.nan)),
    "nan backward": nan_backward,
}


def test_ours_is_right_on_all():
    result = score(layer.allocate, instances(), tolerance=EXACT)
    assert result.counts == {"right": 330, "refused": 0, "warned": 0, "silent": 0}
    assert len({row.name for row in result.rows}) == 330


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_layers_are_caught(broken):
    smooth = [i for i in instances(size=44) if i.smooth]
    counts = score(BROKEN[broken], smooth).counts
    assert counts["silent"] == len(smooth), counts


def test_a_nan_at_a_kink_is_caught():
    kinks = [i for i in instances(size=44) if not i.smooth]
    assert score(BROKEN["nan backward"], kinks).counts["silent"] == len(kinks)
    assert score(BROKEN["wrong sign"], kinks).counts["right"] == len(kinks)


def test_who_speaks_is_not_silent():
    def refuses(*arguments, **options):
        raise ArithmeticError("too hard")

    def warns(dose, category):
        warnings.warn("not sure", category, stacklevel=2)
        return 2 * dose

    for category, outcome in (
        (UserWarning, "warned"),
        (RuntimeWarning, "warned"),
        (DeprecationWarning, "silent"),
    ):
        (row,) = score(broken_by(lambda d, c=category: warns(d, c)), [by_hand()]).rows
        assert row.outcome == outcome
        assert row.message == ("not sure" if outcome == "warned" else "")
    (row,) = score(refuses, [by_hand()]).rows
    assert (row.outcome, row.message) == ("refused", "ArithmeticError: too hard")
    assert np.isnan(row.dose_error)

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(context, dose):
            return dose.clone()

        @staticmethod
        def backward(context, slope):
            raise ArithmeticError("no way back")

    (row,) = score(broken_by(Backward.apply), [by_hand()]).rows
    assert (row.outcome, row.dose_error) == ("refused", 0.0)
    assert row.message.endswith("no way back")


def test_a_layer_sees_only_the_options_that_are_there():
    seen = []

    def look(benefit, cost, group, budget, alpha, **options):
        seen.append(sorted(options))
        assert all(x.requires_grad for x in (benefit, cost, budget))
        return layer.allocate(benefit, cost, group, budget, alpha, **options)

    kinds = ["near ties", "caps", "baselines", "caps and baselines"]
    drawn = [i for kind in kinds for i in instances(size=9, kinds=[kind])]
    assert score(look, drawn).counts["right"] == 36
    assert {tuple(x) for x in seen} == {
        *((), ("cap",), ("cap", "within"), ("baseline",), ("baseline", "within")),
        *(("baseline", "cap"), ("baseline", "cap", "within")),
    }


def test_the_table():
    result = score(scaled_gradient(2.0), instances(size=22, kinds=["easy", "ties"]))
    head, easy, ties, total = str(result).splitlines()
    assert head.split()[:5] == ["kind", "right", "refused", "warned", "silent"]
    assert head.split()[5:] == ["worst", "dose", "worst", "gradient", "ms"]
    assert easy.split()[:5] == ["easy", "0", "0", "0", "11"]
    assert easy.split()[6] == "1e+00"
    assert ties.split()[:5] == ["ties", "11", "0", "0", "0"]
    assert ties.split()[6] == "–"
    assert total.split()[:5] == ["all", "11", "0", "0", "11"]
    assert len(result.of_kind("ties").rows) == 11
    assert result.worst("gradient_error") == pytest.approx(1)
    plain = result.to_dict()
    assert plain["tolerance"] == 0.01
    assert json.loads(json.dumps(plain))["counts"] == result.counts


# --- refusals -------------------------------------------------------------------------------------
PAIR = ([4.0, 1.0], 1.0, ["a", "b"], 3.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: instances(size=0), ValueError, r"size is 0.0: must be a whole number ≥ 1"),
        (lambda: instances(-1), ValueError, r"seed is -1.0: must be a whole number ≥ 0"),
        (lambda: instances(persons=2.5), ValueError, r"persons is 2.5: must be a whole number ≥ 4"),
        (lambda: instances(kinds=[]), ValueError, r"kinds is empty: name some of easy, small"),
        (lambda: instances(kinds=["eazy"]), ValueError, r"kinds has 'eazy': must be of easy, sm"),
        (lambda: score(layer.allocate, []), ValueError, r"instances is empty: draw some by"),
        (
            lambda: score(layer.allocate, [by_hand()], tolerance=0),
            ValueError,
            r"tolerance is 0.0: must be > 0 and finite",
        ),
        (
            lambda: score(broken_by(lambda dose: dose[:, 0]), [by_hand()]),
            ValueError,
            r"layer returned doses of shape \(2,\) for 'by hand': must be \(2, 1\), a row for",
        ),
        (
            lambda: score(broken_by(lambda dose: dose.tolist()), [by_hand()]),
            TypeError,
            r"layer returned list: must return a tensor of doses",
        ),
        (
            lambda: Instance("own", af.Problem(*PAIR), np.inf, np.ones((2, 1))),
            ValueError,
            r"alpha is inf: an instance needs 0 < alpha < infinity",
        ),
        (
            lambda: Instance("own", af.Problem(*PAIR), 2, np.ones(2)),
            ValueError,
            r"cotangent has shape \(2,\): must be that of the doses, \(2, 1\), and finite",
        ),
        (
            lambda: Instance("own", af.Problem(*PAIR), 2, np.full((2, 1), np.nan)),
            ValueError,
            r"cotangent has shape .*, and finite",
        ),
        *(
            (
                lambda given=given: Instance("own", af.Problem(*PAIR, **given), 2, np.ones((2, 1))),
                ValueError,
                r"problem has .*: an instance cannot; leave (it|them) out",
            )
            for given in (
                {"floor": 0.1},
                {"group_floor": [1.0, 0.0]},
                {"group_cap": [1.0, 2.0]},
                {"weight": [1.0, 2.0]},
                {"cap": 2.0, "exclusive": True},
            )
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
