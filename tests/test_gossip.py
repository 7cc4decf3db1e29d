"""Gossip: the shuffle item by item, exact chains, coordinated and independent noise."""

import itertools
import json
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
import pytest

from alphafair.models.meanfield import exact_chain, steady_state, transient
from alphafair.models.meanfield.populations.gossip import (
    PairLaw,
    gossip_coverage,
    gossip_rounds,
    gossip_shuffle,
)

# Sums of products of probabilities, up to a hundred steps.
ROUNDING = 1e-12
# The differential equations of `transient`, and what json values computed in the same way have.
SOLVED = 1e-8

# n = 500, c = 100, s = 50.  Computed apart from this package: x and V by closed equations, the
# exact means by the birth-death chain (``ct``), the chain of matchings (``dt``), the chain of those
# who hold it and held it (``coverage``).
DATA = json.loads((Path(__file__).parent / "data" / "gossip.json").read_text())


def cases(kind):
    """All of a kind."""
    return pytest.mark.parametrize("case", [DATA[name] for name in DATA if name.startswith(kind)])


# --- one meeting ----------------------------------------------------------------------------------
def shuffles(n, c, s, overlap, first, second):
    """Exactly, item by item: law of (1 holds item 0, 2 holds it) after a meeting.

    Item 0 is in the first cache if ``first``; ``overlap`` of the other items are in both.
    """
    one = ([0] if first else []) + list(range(1, 1 + c - first))
    shared = one[first : first + overlap]
    own = range(1 + c - first, n)
    two = ([0] if second else []) + shared + list(own)[: c - second - overlap]
    law = {}
    for sent1, sent2 in itertools.product(
        itertools.combinations(one, s), itertools.combinations(two, s)
    ):
        chance = Fraction(1, comb(c, s) ** 2)
        keeps = []
        for mine, gone, came in ((one, sent1, sent2), (two, sent2, sent1)):
            new = set(came) - set(mine)
            spare = set(gone) - set(came)
            if 0 in new:
                keeps.append(Fraction(1))
            elif 0 in spare:  # as many of them as there are new ones go, at random
                keeps.append(1 - Fraction(len(new), len(spare)))
            else:
                keeps.append(Fraction(0 in mine))
        for a, b in itertools.product((0, 1), repeat=2):
            p = chance * (keeps[0] if a else 1 - keeps[0]) * (keeps[1] if b else 1 - keeps[1])
            law[a, b] = law.get((a, b), 0) + p
    return law


def test_pair_law_of_the_paper():
    """With n = 20, c = 6, s = 3; simulated 40000 times: 10 → 11 .0911, 01 .4106; 11 → 10 .2057."""
    law = PairLaw(20, 6, 3)
    assert law.drop == pytest.approx(0.8235294117647058, abs=ROUNDING)
    assert law.spread == pytest.approx(0.08823529411764708, abs=ROUNDING)
    assert law.swap == pytest.approx(0.4117647058823529, abs=ROUNDING)
    assert 1 - law.spread - law.swap == pytest.approx(0.5, abs=ROUNDING)
    assert law.lose / 2 == pytest.approx(0.20588235294117646, abs=ROUNDING)


@pytest.mark.parametrize(("n", "c", "s"), [(6, 3, 2), (5, 2, 1), (7, 3, 1)])
def test_pair_law_item_by_item(n, c, s):
    """The law holds for caches drawn at random: other items are in both as it happens."""
    law = PairLaw(n, c, s)
    for first, second in ((1, 0), (1, 1), (0, 0)):
        mean = {}
        for overlap in range(c - max(first, second) + 1):
            ways = comb(c - first, overlap) * comb(n - 1 - c + first, c - second - overlap)
            if not ways:
                continue
            part = Fraction(ways, comb(n - 1, c - second))
            for key, p in shuffles(n, c, s, overlap, first, second).items():
                mean[key] = mean.get(key, 0) + part * p
        expected = {
            (1, 0): {(1, 1): law.spread, (0, 1): law.swap, (1, 0): 1 - law.share, (0, 0): 0},
            (1, 1): {(1, 1): 1 - law.lose, (0, 1): law.lose / 2, (1, 0): law.lose / 2, (0, 0): 0},
            (0, 0): {(0, 0): 1, (1, 1): 0, (1, 0): 0, (0, 1): 0},
        }[first, second]
        for key, p in expected.items():
            assert float(mean.get(key, 0)) == pytest.approx(p, abs=ROUNDING)


# --- published and computed values ----------------------------------------------------------------
@cases("ct")
def test_meetings(case):
    nodes, start, times = case["N"], [case["X0"] / case["N"]], case["times"]
    found = transient(gossip_shuffle(), start, times)
    assert found.mean[:, 0] == pytest.approx(case["mf"], abs=SOLVED)
    assert found.expectation(nodes)[:, 0] == pytest.approx(case["rmf"], abs=SOLVED)
    alone = transient(gossip_shuffle(coordinated=False), start, times)
    assert alone.mean[:, 0] == pytest.approx(case["mf"], abs=SOLVED)
    assert alone.expectation(nodes)[:, 0] == pytest.approx(case["rmf_independent"], abs=SOLVED)
    chain = exact_chain(gossip_shuffle(), start, nodes)
    assert chain.transient(times)[:, 0] == pytest.approx(case["exact"], abs=SOLVED)


@cases("dt")
def test_rounds(case):
    nodes, start, times = case["N"], [case["X0"] / case["N"]], case["t"]
    exact, exchange = np.array(case["exact"]), case["lazy"]
    found = transient(gossip_shuffle(rounds=True, exchange=exchange), start, times)
    assert found.mean[:, 0] == pytest.approx(case["mf"], abs=ROUNDING)
    assert found.expectation(nodes)[:, 0] == pytest.approx(case["rmf_coord"], abs=ROUNDING)
    assert found.covariance[:, 0, 0] == pytest.approx(case["W_coord"], abs=ROUNDING)
    alone = gossip_shuffle(rounds=True, exchange=exchange, coordinated=False)
    alone = transient(alone, start, times)
    assert alone.expectation(nodes)[:, 0] == pytest.approx(case["rmf_indep"], abs=ROUNDING)
    assert alone.covariance[:, 0, 0] == pytest.approx(case["W_indep"], abs=ROUNDING)
    chain = gossip_rounds(nodes, case["X0"], exchange=exchange)
    laws = chain.laws(times)
    mean, square = laws @ chain.values[:, 0], laws @ chain.values[:, 0] ** 2
    assert mean == pytest.approx(exact, abs=1e-10)  # N² roundings in a matrix
    assert nodes * (square - mean**2) == pytest.approx(case["exact_N_var"], abs=1e-10)
    # Coordination matters: 7 to 9 times the noise and more, and worse than no correction at all.
    ratio = alone.covariance[1:, 0, 0] / found.covariance[1:, 0, 0]
    assert ((ratio > 6.9) & (ratio < 12)).all()
    error = [np.abs(case[key] - exact).max() for key in ("mf", "rmf_coord", "rmf_indep")]
    assert error[1] < error[0] / 3
    assert error[2] > 5 * error[0]


@cases("coverage")
def test_coverage(case):
    nodes, times = case["N"], case["times"]
    start = np.array([case["X0"], 0, nodes - case["X0"]]) / nodes
    found = transient(gossip_coverage(), start, times)
    assert 1 - found.mean[:, 2] == pytest.approx(case["coverage_mf"], abs=SOLVED)
    assert 1 - found.expectation(nodes)[:, 2] == pytest.approx(case["coverage_rmf"], abs=SOLVED)
    refined = found.expectation(nodes)[:, 0]
    assert refined == pytest.approx(case["replication_rmf"], abs=SOLVED)
    chain = exact_chain(gossip_coverage(), start, nodes).transient(times)
    assert 1 - chain[:, 2] == pytest.approx(case["coverage_exact"], abs=SOLVED)
    assert chain[:, 0] == pytest.approx(case["replication_exact"], abs=SOLVED)
    # Who holds it is as in the model without a memory.
    plain = transient(gossip_shuffle(), start[:1], times)
    assert found.covariance[:, 0, 0] == pytest.approx(plain.covariance[:, 0, 0], abs=1e-7)


# --- oracles --------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [gossip_shuffle(), gossip_shuffle(20, 6, 3, rounds=True)])
def test_at_rest(model):
    """c/n at rest, whatever s is; the error of x + V/N is O(1/N²), that of x O(1/N)."""
    rest = steady_state(model)
    share = 0.3 if model.synchronous else 0.2
    assert rest.mean.tolist() == pytest.approx([share], abs=ROUNDING)
    assert rest.covariance[0, 0] > 0


def test_orders_of_the_errors():
    """At t = 2 from 1/10 of the nodes: V/N + O(1/N²)."""
    found = transient(gossip_shuffle(20, 6, 3), [0.1], [2])
    sizes = np.array([40, 80, 160])
    exact = np.array(
        [exact_chain(gossip_shuffle(20, 6, 3), [0.1], int(n)).transient([2])[0, 0] for n in sizes]
    )
    first = np.abs(exact - found.mean[0, 0])
    second = np.abs(exact - np.array([found.expectation(n)[0, 0] for n in sizes]))
    slopes = [np.polyfit(np.log(sizes), np.log(e), 1)[0] for e in (first, second)]
    assert slopes == pytest.approx([-1, -2], abs=0.15)


def matchings(nodes):
    """All perfect matchings of a list."""
    if not nodes:
        yield []
        return
    for k in range(1, len(nodes)):
        rest = nodes[1:k] + nodes[k + 1 :]
        for others in matchings(rest):
            yield [(nodes[0], nodes[k]), *others]


@pytest.mark.parametrize("exchange", [1.0, 0.3])
def test_matching_chain_by_listing_all_matchings(exchange):
    """6 nodes, 15 matchings; each pair by `PairLaw`."""
    law, N = PairLaw(20, 6, 3), 6
    up, down = exchange * law.spread, exchange * law.lose
    everything = list(matchings(list(range(N))))
    assert len(everything) == 15
    for X in range(N + 1):
        expected = np.zeros(N + 1)
        for matching in everything:
            now = {X: 1.0}
            for i, j in matching:
                both = (i < X) + (j < X)
                change, p = {0: (0, 0), 1: (1, up), 2: (-1, down)}[both]
                after = {}
                for x, q in now.items():
                    after[x] = after.get(x, 0) + q * (1 - p)
                    after[x + change] = after.get(x + change, 0) + q * p
                now = after
            for x, q in now.items():
                expected[x] += q / 15
        chain = gossip_rounds(N, X, 20, 6, 3, exchange=exchange)
        found = chain.matrix.toarray()[0]
        places = np.rint(chain.values[:, 0] * N).astype(int)
        assert chain.values[0, 0] == X / N
        assert found == pytest.approx(expected[places], abs=ROUNDING)


def test_noise_and_drift_of_a_round():
    """Φ + Φ1/N and Γ/N against the exact chain of one round, in the limit: error O(1/N²)."""
    model, x = gossip_shuffle(20, 6, 3, rounds=True), np.array([0.4])
    errors = []
    for N in (100, 200):
        chain = gossip_rounds(N, int(0.4 * N), 20, 6, 3)
        law = chain.matrix.toarray()[0]
        mean = law @ chain.values[:, 0]
        variance = law @ chain.values[:, 0] ** 2 - mean**2
        drift = model.drift(x) + model.lower_drift(x) / N
        errors.append([mean - drift[0], N * variance - model.noise(x)[0, 0]])
    ratio = np.array(errors[0]) / np.array(errors[1])
    assert ratio == pytest.approx([4, 2], rel=0.1)


# --- coverage in rounds ---------------------------------------------------------------------------
def round_of(states, law, exchange):
    """The law of the numbers of D, O and U after a round, by listing all matchings of these."""
    up, swap, down = (exchange * p for p in (law.spread, law.swap, law.lose))
    becomes = {
        "DU": [("DD", up), ("OD", swap)],
        "DO": [("DD", up), ("OD", swap)],  # O D: who held it has it, and who had it held it
        "DD": [("DO", down / 2), ("OD", down / 2)],
    }
    everything = list(matchings(list(range(len(states)))))
    found = {}
    for matching in everything:
        now = {"": 1 / len(everything)}
        for i, j in matching:
            pair = "".join(sorted(states[i] + states[j]))
            outcomes = becomes.get(pair, [])
            stays = 1 - sum(p for _, p in outcomes)
            now = {
                before + after: q * p
                for before, q in now.items()
                for after, p in [*outcomes, (pair, stays)]
            }
        for after, q in now.items():
            key = tuple(after.count(s) for s in "DOU")
            found[key] = found.get(key, 0) + q
    return found


@pytest.mark.parametrize("exchange", [1.0, 0.3])
@pytest.mark.parametrize("numbers", [(20, 6, 3), (6, 3, 3), (5, 2, 1)])
def test_coverage_chain_by_listing_all_matchings(numbers, exchange):
    """6 nodes, all numbers of D, O and U that can be reached from one holder."""
    law, N = PairLaw(*numbers), 6
    chain = gossip_rounds(N, 1, *numbers, exchange=exchange, coverage=True)
    counts = [tuple(row) for row in np.rint(chain.values * N).astype(int).tolist()]
    assert counts[0] == (1, 0, 5)
    assert len(counts) == len(set(counts)) == 21  # D ≥ 1
    matrix = chain.matrix.toarray()
    for row, (D, had, U) in zip(matrix, counts, strict=True):
        expected = round_of("D" * D + "O" * had + "U" * U, law, exchange)
        assert dict(zip(counts, row, strict=True)) == pytest.approx(
            {key: expected.get(key, 0) for key in counts}, abs=ROUNDING
        )
        assert sum(expected.values()) == pytest.approx(1, abs=ROUNDING)


def test_coverage_in_rounds_of_fifty():
    """Coverage .319, .502, .752 after 5, 10, 20 rounds: simulated apart from this package."""
    rounds = [0, 5, 10, 20, 40]
    chain = gossip_rounds(50, 5, coverage=True).transient(rounds)
    assert 1 - chain[1:4, 2] == pytest.approx([0.319, 0.502, 0.752], abs=0.0025)
    plain = gossip_rounds(50, 5).transient(rounds)[:, 0]
    assert chain[:, 0] == pytest.approx(plain, abs=1e-10)  # N² roundings in a matrix
    found = transient(gossip_coverage(rounds=True), [0.1, 0, 0.9], rounds)
    refined = np.abs(found.expectation(50) - chain)[:, 2].max()
    assert refined < 0.0015
    assert np.abs(found.mean - chain)[:, 2].max() > 5 * refined
    # Who holds it is as in the model without a memory.
    shuffle = transient(gossip_shuffle(rounds=True), [0.1], rounds)
    assert found.expectation(50)[:, 0] == pytest.approx(shuffle.expectation(50)[:, 0], abs=ROUNDING)
    assert found.covariance[:, 0, 0] == pytest.approx(shuffle.covariance[:, 0, 0], abs=ROUNDING)


def test_coverage_in_rounds_with_sets_of_items():
    """50 nodes move 100 of 500 items, 50 at a time; items that start with 4 to 6 holders."""
    rng, (R, N, n, c, s) = np.random.default_rng(0), (60, 50, 500, 100, 50)
    row, place = np.arange(R * N)[:, None], np.repeat(np.arange(R) * N, N).reshape(R, N)
    cache = rng.permuted(np.tile(np.arange(n), (R * N, 1)), axis=1)[:, :c]
    holds = np.zeros((R * N, n), bool)
    holds[row, cache] = True
    ever, start = holds.copy(), holds.reshape(R, N, n).sum(1)
    for _ in range(10):
        cache = rng.permuted(cache, axis=1)
        shuffled = (place + rng.random((R, N)).argsort(1)).reshape(-1, 2)
        partner = np.empty(R * N, int)
        partner[shuffled], partner[shuffled[:, ::-1]] = shuffled[:, ::-1], shuffled
        sent = cache[:, :s]
        got, has_sent = sent[partner], np.zeros((R * N, n), bool)
        has_sent[row, sent] = True
        new = ~holds[row, got]
        spare = ~has_sent[partner][row, sent]
        gone = spare & (spare.cumsum(1) <= new.sum(1, keepdims=True))
        sent[gone] = got[new]
        holds[:] = False
        holds[row, cache] = True
        ever |= holds
        assert (holds.sum(1) == c).all()
    had, has = (table.reshape(R, N, n).mean(1) for table in (ever, holds))
    for X0 in (4, 5, 6):
        chosen = start == X0
        chain = gossip_rounds(N, X0, n, c, s, coverage=True).transient([10])[0]
        for seen, wanted in ((had, 1 - chain[2]), (has, chain[0])):
            error = seen[chosen].std() / np.sqrt(chosen.sum())
            assert abs(seen[chosen].mean() - wanted) < 4 * error < 0.02


def test_noise_and_drift_of_a_round_with_memory():
    """Φ + Φ1/N and Γ/N against the exact chain of one round, in the limit: error O(1/N²)."""
    model, x = gossip_coverage(20, 6, 3, rounds=True), np.array([0.4, 0.2, 0.4])
    errors = []
    for N in (20, 40):
        chain = gossip_rounds(N, N // 10, 20, 6, 3, coverage=True)
        at = np.flatnonzero(np.abs(chain.values - x).max(axis=1) < ROUNDING)
        law = chain.matrix[at].toarray()[0]
        mean = law @ chain.values
        covariance = ((chain.values - mean).T * law) @ (chain.values - mean)
        drift = model.drift(x) + model.lower_drift(x) / N
        errors.append([mean - drift, *(N * covariance - model.noise(x))])
    one, two = np.array(errors)
    assert two[0] == pytest.approx(one[0] / 4, rel=0.1)
    assert two[1:] == pytest.approx(one[1:] / 2, rel=0.1, abs=1e-5)


def test_derivatives_of_a_round_with_memory():
    """Those of parabolas, from differences that have no error but rounding."""
    model, x = gossip_coverage(20, 6, 3, rounds=True), np.array([0.3, 0.5, 0.2])
    for function, slope in (
        (model.drift, model.jacobian),
        (model.lower_drift, model.lower_step.jacobian),
    ):
        for h in np.eye(3):
            central = (function(x + h) - function(x - h)) / 2
            assert slope(x) @ h == pytest.approx(central, abs=ROUNDING)
            second = function(x + h) - 2 * function(x) + function(x - h)
            assert model.curvature(x, np.outer(h, h)) == pytest.approx(second, abs=ROUNDING)
    batch = np.array([x, [0.1, 0, 0.9]])
    for each in (model.drift, model.jacobian, model.lower_drift, model.noise):
        assert each(batch)[1] == pytest.approx(each(batch[1]), abs=ROUNDING)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairLaw(10, 11, 2), "cache is 11.0: must be a whole number ≥ 1 and ≤ 10"),
        (lambda: PairLaw(10, 5, 6), "sent is 6.0: must be a whole number ≥ 1 and ≤ 5"),
        (lambda: PairLaw(10, 10, 10), "sent is 10.0: must be a whole number ≥ 1 and ≤ 9"),
        (lambda: PairLaw(2.5, 1, 1), "items is 2.5"),
        (lambda: gossip_shuffle(exchange=0), r"exchange is 0.0: must be in \(0, 1\]"),
        (lambda: gossip_coverage(exchange=2), r"exchange is 2.0: must be in \(0, 1\]"),
        (lambda: gossip_rounds(5, 2), "nodes is 5: must be even"),
        (lambda: gossip_rounds(6, 7), "holders is 7.0: must be a whole number ≥ 0 and ≤ 6"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
