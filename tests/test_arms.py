"""Arms: read, written, rescaled."""

import json

import numpy as np
import pytest
from scipy import sparse

from alphafair.models.bandits import Arm, whittle_index

ROWS = [[0.5, 0.5], [0.25, 0.75]]


def _random(size, density=1.0):
    rng = np.random.default_rng(size)
    rows = rng.exponential(size=(2, size, size)) * (rng.random((2, size, size)) < density)
    rows += np.eye(size)
    return Arm(*(rows / rows.sum(axis=-1, keepdims=True)), *rng.normal(size=(2, size)))


def _bits(arm):
    parts = [arm.R0, arm.R1]
    for P in (arm.P0, arm.P1):
        parts += [P.data, P.indices, P.indptr] if sparse.issparse(P) else [P]
    return [(part.shape, part.dtype.kind, part.tolist()) for part in parts]


def test_json_brings_every_bit_back():
    tiny = Arm([[1 - 2.0**-53, 2.0**-53], [0, 1]], ROWS, [-0.0, 5e-324], [1e300, 0.1])
    for arm in (_random(7), tiny):
        again = Arm.from_json(arm.to_json())
        assert _bits(again) == _bits(arm)
        assert again.to_json() == arm.to_json()
        assert not again.P0.flags.writeable


def test_json_keeps_sparse_arms_sparse():
    dense = _random(9, density=0.2)
    arm = Arm(*(sparse.csr_array(P) for P in dense.dense()), dense.R0, dense.R1)
    again = Arm.from_json(arm.to_json())
    assert sparse.issparse(again.P0)
    assert sparse.issparse(again.P1)
    assert _bits(again) == _bits(arm)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"P1": None}, 'text has no "P1": must be an object with'),
        (
            {"P0": [[1, 0], [1]]},
            r"P0\[1\] has 1 entry and P0\[0\] has 2: all rows must be",
        ),
        ({"P0": {"data": [1]}}, r"P0 has the keys \['data'\]: must be rows, or have"),
        ({"P0": {"data": [1], "indices": [9], "indptr": [0, 1]}}, "P0 is no sparse matrix"),
        ({"P0": [[0.5, 0.6], [0, 1]]}, "P0: row 0 sums to 1.1: every row must sum to 1"),
        ({"R0": [1, 2, 3]}, r"R0 has shape \(3,\): must be a scalar or \(2,\)"),
    ],
)
def test_json_that_is_no_arm(change, message):
    given = {"P0": ROWS, "P1": ROWS, "R0": 0, "R1": [1, 2], "name": "kept by the reader"} | change
    text = json.dumps({key: value for key, value in given.items() if value is not None})
    with pytest.raises(ValueError, match=message):
        Arm.from_json(text)


def test_text_that_is_no_json():
    with pytest.raises(ValueError, match="text is no JSON: Expecting value: line 1 column 7"):
        Arm.from_json('{"P0":}')
    with pytest.raises(ValueError, match='text has no "P0"'):
        Arm.from_json("[1, 2]")
    with pytest.raises(TypeError, match="R0 must hold real numbers"):
        Arm.from_json('{"P0": [[1]], "P1": [[1]], "R0": "none", "R1": 0}')


@pytest.mark.parametrize("kind", [np.array, sparse.csr_array])
def test_rows_are_rescaled_on_request(kind):
    printed = np.array([[0.3333333, 0.6666663], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"row 0 sums to 0\.9999996: every row must sum to 1"):
        Arm(kind(printed), kind(printed), 0, 1)
    arm = Arm(kind(printed), kind(printed), 0, 1, rescale=True)
    for P in arm.dense():
        np.testing.assert_allclose(P, printed / printed.sum(axis=1, keepdims=True), 0, 2e-16)
        np.testing.assert_allclose(P.sum(axis=1), 1, 0, 3e-16)
    with pytest.raises(ValueError, match=r"row 0 sums to 0\.999998"):
        Arm(kind(printed * (1 - 1.6e-6)), kind(printed), 0, 1, rescale=True)


def test_rescaled_from_json():
    text = json.dumps({"P0": [[0.4999996, 0.5], [0, 1]], "P1": ROWS, "R0": 0, "R1": [1, 2]})
    arm = Arm.from_json(text, rescale=True)
    exact = Arm([[0.4999996 / 0.9999996, 0.5 / 0.9999996], [0, 1]], ROWS, 0, [1, 2])
    np.testing.assert_allclose(
        whittle_index(arm, discount=0.9), whittle_index(exact, discount=0.9), 0, 1e-14
    )
