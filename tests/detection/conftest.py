"""Random numbers for the tests of detection."""

import numpy as np
import pytest


@pytest.fixture
def rng(request):
    """A generator seeded by the name of the test, so that tests do not depend on their order."""
    return np.random.default_rng(list(request.node.name.encode()))
