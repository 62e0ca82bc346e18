"""What the tests of densities share."""

import pytest
from reference.mixtures import CASES, make_case


@pytest.fixture(params=CASES, ids=str)
def case(request):
    """Every kind of rows."""
    return make_case(**CASES[request.param])
