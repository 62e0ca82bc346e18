"""Fixtures that every part of the tests may use."""

import os
import signal
from pathlib import Path

import pytest

import celestepy


@pytest.fixture(scope="session")
def data_dir():
    """Folder of real survey data; tests that ask for it are skipped where it is absent."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("CELESTEPY_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set CELESTEPY_DATA to the one with sdss_94_1_12/")
    return folder


@pytest.fixture(scope="session", autouse=True)
def same_package_everywhere():
    """Programs that a test starts import the package under test, not the source tree they are started in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONSAFEPATH", "1")
        patch.setenv("PYTHONPATH", str(Path(celestepy.__file__).parents[1]))
        yield


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """A shell's background is deaf to SIGINT, and nohup's to SIGHUP, and so would be every program of the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
