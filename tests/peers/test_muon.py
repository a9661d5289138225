"""Muon on every back end that trains: a run may change between them."""

import pytest
from against_native import check_in_turn


@pytest.mark.parametrize("other", ["torch", "jax"])
def test_updates_of_back_ends_in_turn_are_those_of_one(other):
    state = check_in_turn("numbers", other, {"optimizer": "muon", "weight_decay": 0.01})
    assert "muon/momentum/trunk.0.weight" in state
