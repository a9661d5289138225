"""Back ends that train keep their contract, in every case that they can run."""

import pytest
from pufferlib_core.testing import check_backend
from pufferlib_core.testing.trials import CASES


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_contract_is_kept(backend, case):
    check_backend(backend, [case])
