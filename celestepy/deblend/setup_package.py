"""Extensions of the deblender: proximal operators."""

import sys
from pathlib import Path

from setuptools import Extension

_HERE = Path("celestepy") / "deblend"
_OPTIMISE = ["-O3", "-fno-math-errno", "-fno-trapping-math"]


def get_extensions():
    """Extensions for `extension_helpers.get_extensions`."""
    return [
        Extension(
            f"celestepy.deblend.{name}",
            [str(_HERE / f"{name}.pyx")],
            extra_compile_args=["/O2"] if sys.platform == "win32" else _OPTIMISE,
        )
        for name in ("_operators",)
    ]
