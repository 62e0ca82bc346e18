"""The walls of the house: who may import whom, what files may be called, and how long they may grow."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "celestepy"

# What each room may import: one way along the main road, images, detection, model, inference, catalogue,
# with one turn: an engine's result is a catalogue, and so `inference` knows `catalog`, which knows no engine.
ALLOWED = {
    "kernel_variants": set(),
    "whole_files": set(),
    "images": set(),
    "detection": {"images"},
    "model": {"density", "images"},
    "catalog": {"images", "model"},
    # priors are learned from catalogues, whatever engine has made them; nothing but the roof knows of this
    "priors": {"catalog", "density", "model"},
    "inference": {"catalog", "detection", "images", "model"},
    "density": set(),
    "nn": set(),
    "deblend": {"catalog", "density", "detection", "images", "inference", "model", "nn"},
    "lensing": {"catalog", "detection", "images", "inference", "model"},
    "simulate": {"catalog", "detection", "images", "model"},
}
# Modules at the top that may import every room, and that no room imports.
ROOF = {"__init__", "cli", "demo", "pipeline", "plot"}
# Names a room may use of the package itself, with the two modules that know nothing of its subjects.
OF_THE_PACKAGE = {"__version__", "_version", "compiler_version", "kernel_variants", "whole_files"}

EXTRAS = {"arviz_base", "asdf", "astroML", "emcee", "galsim", "h5py", "matplotlib", "mpi4py", "photutils", "pyarrow",
          "sklearn", "torch", "xarray"}
MODULES_OF_AN_EXTRA = {"plot"}

MEANINGLESS = re.compile(r"^_?(utils?|helpers?|common|core|base|misc|tools?|stuff)(_.*)?$")
MOST_LINES = 450
MOST_LINES_OF_A_FUNCTION = 70


def python_files():
    """Every Python source file of the package, built ones aside."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "_version.py"]


def dotted(path):
    """The module name of a source file: celestepy/images/image.py -> celestepy.images.image."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path):
    """Every dotted name that a file imports, inside functions too, as (line, name)."""
    package = dotted(path) if path.name == "__init__.py" else dotted(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*parent, origin] if origin else parent)
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield node.lineno, ast.unparse(node.args[0]).strip("f'\"")


def room(name):
    """The part of the package that a dotted name belongs to, or None for what is not ours."""
    parts = name.split(".")
    if parts[0] != "celestepy":
        return None
    return parts[1] if len(parts) > 1 else "__init__"


def trespasses(path):
    """Imports of rooms that the file's own room may not know, one message each."""
    own = room(dotted(path))
    if own in ROOF:
        return
    for line, name in imported_names(path):
        other = room(name)
        if other is None or other == own or other in OF_THE_PACKAGE:
            continue
        if other not in ALLOWED.get(own, set()):
            yield f"{path.relative_to(ROOT)}:{line} imports {name}, which {own} may not know"


def kernels():
    """Module names of the compiled kernels."""
    return {dotted(path) for path in PACKAGE.rglob("*.pyx")}


def may_import_kernel(module, kernel):
    """Whether `module` is the public module whose name the kernel (or its variant) carries."""
    package, _, stem = module.rpartition(".")
    return re.match(rf"{re.escape(package)}\._{re.escape(stem)}(_|$|\.)", kernel) is not None


@pytest.mark.parametrize("path", python_files(), ids=dotted)
def test_imports_go_one_way(path):
    assert not list(trespasses(path))


def test_every_room_has_its_place():
    """A new room is entered in the table above, so that its imports are thought about."""
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"_version", "setup_package"}
    assert rooms | modules <= ALLOWED.keys() | ROOF


def test_kernels_are_imported_by_their_public_module_alone():
    compiled = kernels()
    strangers = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in python_files()
        for line, name in imported_names(path)
        if any(name == kernel or name.startswith(kernel + ".") for kernel in compiled)
        and not may_import_kernel(dotted(path), name)
    ]
    assert not strangers


@pytest.mark.parametrize("door", ["pixel_rate", "expectation"])
def test_variants_have_one_door(door):
    """The same for variants chosen at run time, whose whole name stands nowhere in the source."""
    strangers = [
        path.relative_to(ROOT)
        for path in python_files()
        if path.name not in (f"{door}.py", "setup_package.py")
        and any(f"._{door}" in f".{name}" for _, name in imported_names(path))
    ]
    assert not strangers


@pytest.mark.parametrize("path", python_files(), ids=dotted)
def test_extras_are_imported_where_they_are_used(path):
    """Optional packages are imported inside the function that needs them: the package works without."""
    if path.stem in MODULES_OF_AN_EXTRA:
        pytest.skip("the whole module belongs to an extra")
    at_the_top = {node.lineno for node in ast.parse(path.read_text("utf-8")).body}
    names = {name.split(".")[0] for line, name in imported_names(path) if line in at_the_top}
    assert not names & EXTRAS


def test_importing_the_package_loads_no_extra():
    """Nothing that is optional is loaded before it is used, directly or through another package."""
    present = {path.stem for path in PACKAGE.iterdir()}
    rooms = [f"celestepy.{name}" for name in ALLOWED if name in present]
    program = (
        f"import sys, {', '.join(rooms)}\n"
        f"print(*sorted({EXTRAS} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr


def sources():
    """Every file of code in the repository that has to have a name and a measure."""
    folders = [ROOT / name for name in ("celestepy", "tests", "benchmarks", "examples")]
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in {".py", ".pyx", ".pxd", ".pxi", ".h"} and path.name != "_version.py"
    ]


def test_names_say_something():
    paths = [path.relative_to(ROOT) for path in sources()]
    assert not [str(path) for path in paths if any(map(MEANINGLESS.match, (*path.parts[:-1], path.stem)))]


def test_files_are_short():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert not {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MOST_LINES}


def statements_span(function):
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    functions = [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", statements_span(node))
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert not {name: n for name, n in functions if n > MOST_LINES_OF_A_FUNCTION}


class TestTheGuardsThemselves:
    """The rules above would pass on an empty package: they have to be able to fail."""

    @staticmethod
    def found(tmp_path, monkeypatch, where, source):
        path = tmp_path / "celestepy" / where
        path.parent.mkdir(parents=True)
        path.write_text(source)
        monkeypatch.setitem(globals(), "ROOT", tmp_path)
        return list(trespasses(path))

    @pytest.mark.parametrize(
        "source",
        [
            "from celestepy.model import priors",
            "import celestepy.inference.newton",
            "from ..model.priors import Prior",
            "from .. import inference",
            "from celestepy import catalog",
            "def f():\n    from celestepy.plot import draw",
            "import importlib\nimportlib.import_module('celestepy.model.priors')",
        ],
    )
    def test_a_trespass_is_seen(self, tmp_path, monkeypatch, source):
        assert len(self.found(tmp_path, monkeypatch, "images/image.py", source)) == 1

    @pytest.mark.parametrize(
        "source",
        [
            "from .psf import PSF",
            "from celestepy.images import psf",
            "import numpy",
            "from celestepy import __version__",
        ],
    )
    def test_the_own_room_is_open(self, tmp_path, monkeypatch, source):
        assert not self.found(tmp_path, monkeypatch, "images/image.py", source)

    def test_engines_are_closed_to_the_catalogue(self, tmp_path, monkeypatch):
        source = "from celestepy.inference import result"
        assert self.found(tmp_path, monkeypatch, "catalog/catalog.py", source)

    def test_kernel_doors(self):
        kernel = "celestepy.model._pixel_rate_avx2"
        assert may_import_kernel("celestepy.model.pixel_rate", kernel)
        assert may_import_kernel("celestepy.model.pixel_rate", "celestepy.model._pixel_rate.evaluate")
        assert not may_import_kernel("celestepy.model.priors", kernel)
        assert not may_import_kernel("celestepy.inference.pixel_rate", kernel)

    @pytest.mark.parametrize("name", ["utils", "_helpers", "common", "core", "base", "misc", "base_profile"])
    def test_meaningless_names(self, name):
        assert MEANINGLESS.match(name)

    @pytest.mark.parametrize("name", ["score", "based", "toolbox", "commonalities", "baseline", "images"])
    def test_meaningful_names(self, name):
        assert not MEANINGLESS.match(name)
