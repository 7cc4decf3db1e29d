"""Models are sent to other processes: what comes back is the same model, read-only where it was."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse

from alphafair.models import bandits, meanfield, selection, strategic
from alphafair.models.meanfield import games

SAME = 1e-14  # copies lie otherwise in memory, and sums are made in another order
SPREAD = np.array([[0.5, 0.5], [0.25, 0.75]])

MODELS = {
    "supermarket": lambda: meanfield.supermarket(0.9, buffer=6),
    "one choice": lambda: meanfield.supermarket(0.5, choices=1, buffer=6),
    "sis": lambda: meanfield.sis(2, 1, source=0.5),
    "sir": lambda: meanfield.sir(3, 1, waning=0.5),
    "seir": meanfield.seir,
    "servers": lambda: meanfield.heterogeneous_supermarket([1.0, 2.0, 0.5], 0.5, buffer=3),
    "gossip": meanfield.gossip_shuffle,
    "gossip in rounds": lambda: meanfield.gossip_shuffle(rounds=True),
    "gossip apart": lambda: meanfield.gossip_shuffle(rounds=True, coordinated=False),
    "coverage": meanfield.gossip_coverage,
    "coverage in rounds": lambda: meanfield.gossip_coverage(rounds=True),
    "cache": lambda: meanfield.random_cache(np.arange(1.0, 7), [2, 1]),
}
GAMES = {
    "vaccination": games.sir_vaccination,
    "prisoners": lambda: games.prisoners_dilemma(0.5),
    "prisoners in rounds": lambda: games.repeated_prisoners_dilemma(0.9),
    "distance": lambda: games.susceptible_infected(4),
}


def _again(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("name", MODELS)
def test_ready_populations(name):
    model = MODELS[name]()
    for same in (_again(model), copy.deepcopy(model)):
        x = 0.9 * model.start
        W = np.outer(x, x)
        for method in ("drift", "jacobian", "noise", "lower_drift"):
            assert np.allclose(getattr(same, method)(x), getattr(model, method)(x), 0, SAME), method
        assert np.allclose(same.curvature(x, W), model.curvature(x, W), 0, SAME)
    if isinstance(model, meanfield.Population):
        assert np.array_equal(
            _again(model).rates_at(model.start, 50), model.rates_at(model.start, 50)
        )


@pytest.mark.parametrize("name", GAMES)
def test_ready_games(name):
    game = GAMES[name]()
    m = np.array([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])[:, : game.shape[0]]
    same = _again(game)
    assert np.array_equal(same.moves(game.initial), game.moves(game.initial))
    assert np.array_equal(same.pays(m), game.pays(m))


@pytest.mark.parametrize("cost", [strategic.monomial(2.5), strategic.linear()])
def test_costs(cost):
    same, x = _again(cost), np.array([0.0, 0.5, 2.0])
    for method in ("value", "slope", "bend", "response"):
        assert np.array_equal(getattr(same, method)(x), getattr(cost, method)(x)), method


def test_arrays_stay_read_only():
    """An arm that is written to in another process is another arm, unchecked."""
    dense = bandits.Arm(SPREAD, SPREAD, 0, [1, 2])
    by_rows = bandits.Arm(*[sparse.csr_array(SPREAD)] * 2, 0, [1, 2])
    population = selection.Population([0.4, 0.6], noise=[2.0, 0.5], labels="ab")
    for thing in (dense, by_rows, population):
        for same in (_again(thing), copy.copy(thing), copy.deepcopy(thing)):
            for name, value in vars(thing).items():
                found = getattr(same, name)
                if sparse.issparse(value):
                    value, found = value.data, found.data
                if isinstance(value, np.ndarray):
                    assert np.array_equal(found, value)
                    assert not found.flags.writeable, name
                else:
                    assert found == value
