"""Muon on every back end that trains: a run may change between them."""

import numpy as np
import pytest
from against_native import at, make, make_segment

MUON = {"optimizer": "muon", "weight_decay": 0.01}


@pytest.mark.parametrize("other", ["torch", "jax"])
def test_updates_of_back_ends_in_turn_are_those_of_one(other):
    spec, engines, masked = make("numbers", other, MUON)
    _, alone, _ = make("numbers", other, MUON)
    (native, ours), (engine, theirs) = engines.values()
    reference, expected = alone["native"]
    assert set(ours) == set(theirs)
    assert "muon/momentum/trunk.0.weight" in ours
    segment, advantage, target = make_segment(spec, native, masked, 0.8)
    for update, (learner, state, before) in enumerate(
        [(native, ours, ours), (engine, theirs, ours), (engine, theirs, theirs), (native, ours, theirs)]
    ):
        for name, array in state.items():
            array[...] = before[name]
        learner.push()
        learner.load(state)
        learner.descend(segment, advantage, target, coefficients=at(learner.config, 1e-3), update=update)
        learner.pull()
        reference.descend(segment, advantage, target, coefficients=at(reference.config, 1e-3), update=update)
    assert ours["adam/step"] == expected["adam/step"] == 32
    for name, array in expected.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-3, atol=2e-5, err_msg=name)
