"""Build the compiled kernels; everything else is declared in ``pyproject.toml``.

With ``CELESTEPY_CHECK_KERNELS=1`` in the environment the kernels are compiled with Cython's bounds checks,
which their own headers turn off for speed. Cython gives a header the last word: copies with other headers are
built.
"""

import os
import re
import shutil
from pathlib import Path

from extension_helpers import get_extensions
from setuptools import setup

CHECKED = Path("build", "checked")
CHECKS = re.compile(r"\b(boundscheck|initializedcheck)(\s*[=(]\s*)False")


def copy_with_checks():
    """Copy the package to ``CHECKED``, with the checks turned on in every Cython file."""
    shutil.rmtree(CHECKED, ignore_errors=True)
    shutil.copytree("celestepy", CHECKED / "celestepy", ignore=shutil.ignore_patterns("*.c", "*.so", "*.pyd"))
    for path in CHECKED.rglob("*.p[xy][xdi]"):
        path.write_text(CHECKS.sub(r"\1\2True", path.read_text("utf-8")), "utf-8")


def with_checks(extensions):
    """Point the extensions to the checked copies of their sources, and translate these."""
    from Cython.Build import cythonize

    copy_with_checks()
    for extension in extensions:
        extension.sources = [
            (CHECKED / source).as_posix() if source.endswith(".pyx") else source
            for source in extension.sources
        ]
    return cythonize(extensions, include_path=[CHECKED.as_posix()])


extensions = get_extensions()
if os.environ.get("CELESTEPY_CHECK_KERNELS") == "1":
    # objects in a directory of their own: neither kind of build must pick up those of the other
    setup(ext_modules=with_checks(extensions), options={"build": {"build_base": "build/checked-objects"}})
else:
    setup(ext_modules=extensions)
