"""Fixtures that every part of the tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir():
    """Folder of real survey data; tests that ask for it are skipped where it is absent."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("CELESTEPY_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set CELESTEPY_DATA to the folder that holds sdss_94_1_12/ and the others")
    return folder
