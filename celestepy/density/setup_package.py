"""Extensions of densities: one source for mixtures under noise, compiled once per instruction set; checks of rows."""

import platform
import sys
from pathlib import Path

from setuptools import Extension

_HERE = Path("celestepy") / "density"
_VECTORS = Path("celestepy")
_FLAGS = {
    "generic": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}
# Not -ffast-math: the exponential and the logarithm depend on the order of their additions.
_OPTIMISE = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
_HAS_GNU_FLAGS = sys.platform != "win32"


def _headers():
    paths = [path for pattern in ("*.pxd", "*.pxi", "*.h") for room in (_HERE, _VECTORS) for path in room.glob(pattern)]
    return sorted(str(path) for path in paths)


def _extension(name, flags=(), optional=False):
    return Extension(
        f"celestepy.density.{name}",
        [str(_HERE / f"{name}.pyx")],
        include_dirs=[str(_HERE), str(_VECTORS)],
        depends=_headers(),
        extra_compile_args=[*_OPTIMISE, *flags] if _HAS_GNU_FLAGS else ["/O2"],
        optional=optional,
    )


def _variant(name):
    """The extension of one variant, or a placeholder that keeps its .pyx from being compiled."""
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    if name != "generic" and not (_HAS_GNU_FLAGS and is_x86):
        return Extension("skip_cython", [str(_HERE / f"_expectation_{name}.pyx")])
    return _extension(f"_expectation_{name}", _FLAGS[name], optional=name != "generic")


def get_extensions():
    """Extensions for `extension_helpers.get_extensions`."""
    return [_extension("_noisy_rows"), *(_variant(name) for name in _FLAGS)]
