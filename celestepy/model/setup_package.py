"""Extensions of the pixel kernel: one source, compiled once per instruction set, chosen at import."""

import platform
import sys
from pathlib import Path

from setuptools import Extension

_HERE = Path("celestepy") / "model"
_VECTORS = Path("celestepy")
_FLAGS = {
    "generic": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}
# Not -ffast-math: the exponential and the logarithm depend on the order of their additions.
_OPTIMISE = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]


def _headers():
    paths = [path for pattern in ("*.pxd", "*.pxi", "*.h") for room in (_HERE, _VECTORS) for path in room.glob(pattern)]
    return sorted(str(path) for path in paths)


def _extension(variant):
    """The extension of one variant, or a placeholder that keeps its .pyx from being compiled."""
    source = str(_HERE / f"_pixel_rate_{variant}.pyx")
    has_gnu_flags = sys.platform != "win32"
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    if variant != "generic" and not (has_gnu_flags and is_x86):
        return Extension("skip_cython", [source])
    return Extension(
        f"celestepy.model._pixel_rate_{variant}",
        [source],
        include_dirs=[str(_VECTORS)],
        depends=_headers(),
        extra_compile_args=_OPTIMISE + _FLAGS[variant] if has_gnu_flags else ["/O2"],
        optional=variant != "generic",
    )


def get_extensions():
    """Extensions for `extension_helpers.get_extensions`."""
    return [_extension(variant) for variant in _FLAGS]
