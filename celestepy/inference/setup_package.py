"""Extensions of the engines: posteriors of fluxes, and the trust region's subproblem."""

import sys
from pathlib import Path

from setuptools import Extension

_HERE = Path("celestepy") / "inference"
_MODEL = Path("celestepy") / "model"
_VECTORS = Path("celestepy")
# Not -ffast-math: the vectors' exponential depends on the order of its additions.
_OPTIMISE = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]


def _headers():
    paths = [path for room in (_HERE, _MODEL, _VECTORS) for pattern in ("*.pxd", "*.h") for path in room.glob(pattern)]
    return sorted(str(path) for path in paths)


def _extension(name):
    return Extension(
        f"celestepy.inference.{name}",
        [str(_HERE / f"{name}.pyx")],
        include_dirs=[str(_VECTORS)],
        depends=_headers(),
        extra_compile_args=["/O2"] if sys.platform == "win32" else _OPTIMISE,
    )


def get_extensions():
    """Extensions for `extension_helpers.get_extensions`."""
    return [_extension(name) for name in ("_fluxes", "_newton", "_posterior")]
