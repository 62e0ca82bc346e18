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
from setuptools.command.build_ext import build_ext

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


class BuildKernels(build_ext):
    """Translate first, then compile in parallel; what comes out of the translation as it was is not compiled again.

    Cython's own files are newer than any kernel in a fresh build environment, as pip makes one for each installation,
    and so it translates everything there.
    """

    def run(self):
        """Build all extensions."""
        from Cython.Build import cythonize

        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path("celestepy").rglob("*.c")}
        sources = {extension.name: extension.sources for extension in cythonize(self.extensions)}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        for path, (content, date) in before.items():
            if path.read_bytes() == content:
                os.utime(path, ns=(date, date))
        super().run()


extensions = get_extensions()
options = {"build_ext": {"parallel": os.cpu_count() or 1}}
if os.environ.get("CELESTEPY_CHECK_KERNELS") == "1":
    extensions = with_checks(extensions)
    # objects in a directory of their own: neither kind of build must pick up those of the other
    options["build"] = {"build_base": "build/checked-objects"}
setup(ext_modules=extensions, options=options, cmdclass={"build_ext": BuildKernels})
