"""The benchmarks' own functions, so that tests and tables cannot disagree."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def benchmark_script():
    """Return a function that imports a script of the benchmarks folder by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module
